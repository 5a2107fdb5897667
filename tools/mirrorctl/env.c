/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl env: what a job profile evaluates.  Exactly two lines, for any POSIX shell.
 */
#include <stdio.h>

#include "core/cleanup.h"
#include "shell.h"
#include "verb.h"

static int env_run(struct command *command)
{
	struct why why = {0};
	CLEANUP(free_p) char *preload = NULL;
	CLEANUP(free_p) char *journal = NULL;
	CLEANUP(buf_finish) struct buf lines = BUF_EMPTY;
	if (shell_values(command->config, &preload, &journal, &why) < 0) {
		return say(EXIT_FAILED, "%s", why.text);
	}
	buf_add_str(&lines, "export LD_PRELOAD=");
	shell_quote(&lines, span_str(preload));
	buf_add_str(&lines, "\nexport MIRROR_JOURNAL=");
	shell_quote(&lines, span_str(journal));
	buf_add_char(&lines, '\n');
	if (lines.failed || fwrite(lines.data, lines.len, 1, stdout) != 1) {
		return say(EXIT_FAILED, "cannot print the environment");
	}
	return EXIT_DONE;
}

const struct verb verb_env = {
	.name = "env",
	.summary = "print the export lines for a job profile",
	.help = "A job profile has one line:\n\n  eval \"$(mirrorctl env)\"\n\n"
		"What LD_PRELOAD names already is kept.",
	.run = env_run,
};
