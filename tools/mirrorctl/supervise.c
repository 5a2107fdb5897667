/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl supervise: the supervisor itself, in the foreground.  `start` runs it in the
 * background.  Ends 0 as well when another one lives: then there is nothing to do.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "shell.h"
#include "supervisor.h"
#include "verb.h"

static int supervise_run(struct command *command)
{
	struct why why = {0};
	(void)signal(SIGPIPE, SIG_IGN);
	log_open("supervisor", LOG_LEVEL_INFO);
	shell_leave_shim();
	(void)setenv("MIRROR_NOTIFY_FD", "3", 1); /* process.c puts the pipe there */
	if (chdir("/") < 0) {
		return say(EXIT_FAILED, "chdir /: %s", strerror(errno));
	}
	int r = supervisor_run(command->config, &why);
	if (r == -EBUSY) {
		log_info("%s", why.text);
		return EXIT_DONE;
	}
	if (r < 0) {
		log_error("%s", why.text[0] ? why.text : strerror(-r));
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

const struct verb verb_supervise = {
	.name = "supervise",
	.summary = "run the supervisor in the foreground",
	.help = "Keeps the broker and the daemons running that `mirrorctl start` asks for.",
	.hidden = true,
	.run = supervise_run,
};
