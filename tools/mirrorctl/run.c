/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl run: becomes the command (exec), so that exit status, signals, terminal and pid are
 * the command's own; with --trace it stays as the parent (trace.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "flow/place.h"
#include "shell.h"
#include "trace.h"
#include "verb.h"

#define EXIT_CANNOT_RUN 126

/*
 * We have no shim in us, so nobody would look at what the command is: it is run by a small program
 * that has.  NULL when memory ran out.
 */
static char **through(char *helper, const struct command *command)
{
	static char option[] = "--run";
	char **vector = calloc(command->argument_count + 3, sizeof(*vector));
	if (vector) {
		vector[0] = helper;
		vector[1] = option;
		memcpy(vector + 2, command->arguments, command->argument_count * sizeof(*vector));
	}
	return vector;
}

static int run_run(struct command *command)
{
	struct why why = {0};
	CLEANUP(free_p) char *preload = NULL;
	CLEANUP(free_p) char *journal = NULL;
	if (command->argument_count == 0) {
		return say(EXIT_USAGE, "run which command?  mirrorctl run -- CMD [ARGUMENT…]");
	}
	if (shell_values(command->config, &preload, &journal, &why) < 0) {
		return say(EXIT_CANNOT_RUN, "%s", why.text);
	}
	if (setenv("LD_PRELOAD", preload, 1) < 0 || setenv("MIRROR_JOURNAL", journal, 1) < 0) {
		return say(EXIT_CANNOT_RUN, "set the environment: %s", strerror(errno));
	}
	CLEANUP(free_p) char *helper = place_program("mirror-trace");
	CLEANUP(free_p) char **vector = helper ? through(helper, command) : NULL;
	if (!vector) {
		return say(EXIT_CANNOT_RUN, "out of memory");
	}
	if (command_has(command, "trace")) {
		if (trace_probe(&why) < 0) {
			return say(EXIT_USAGE, "%s", why.text);
		}
		(void)trace_run(command->config, vector, &why);
		return say(EXIT_CANNOT_RUN, "%s", why.text);
	}
	execv(vector[0], vector);
	return say(EXIT_CANNOT_RUN, "run %s: %s", log_quote(span_str(vector[0])), strerror(errno));
}

static const struct option_row run_options[] = {
	{"trace", 0, NULL, false, "see each file call of programs that no shim can be in, too"},
	{0},
};

const struct verb verb_run = {
	.name = "run",
	.arguments = "-- CMD [ARGUMENT…]",
	.summary = "run one command under the shim",
	.help = "Exits as the command does; 126 where it cannot be run, 127 where there is none.",
	.options = run_options,
	.words = WORDS_COMMAND,
	.run = run_run,
};
