/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl: the one command people type.  A map of its files:
 *
 *   verb.h command.c     the form of a verb; reading what was typed against its rows
 *   start.c stop.c …     one file per verb
 *   lifecycle.[ch]       what start, stop and restart share; stray.[ch] posters of jobs
 *   status.c             gathers and prints; judge.[ch] decides what the first line says
 *   gather.[ch]          what can be known: supervisor, ledger, queues, journal, /proc
 *   publish.[ch]         what sync, flush, failed and forget say to the pipeline
 *   supervisor.[ch]      in the background: keeps broker and daemons running
 *   process.[ch]         one daemon: started, ready, dead, started again
 *   keeper.[ch]          the broker: managed or not, its objects declared; worker.[ch] a thread
 *   control.[ch]         the socket between the two
 *   logfile.[ch]         logs that are rotated, and their last words
 *   shell.[ch]           the environment of programs under the shim
 *   units.[ch] table.[ch] term.[ch] nearest.[ch] when.[ch]   what people see and type
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "verb.h"

const struct verb *const verbs[] = {
	&verb_start,
	&verb_stop,
	&verb_restart,
	&verb_reload,
	&verb_status,
	&verb_env,
	&verb_run,
	&verb_sync,
	&verb_flush,
	&verb_failed,
	&verb_forget,
	&verb_journal,
	&verb_config,
	&verb_doctor,
	&verb_supervise,
	&verb_completion,
	NULL,
};

static int help_all(FILE *out)
{
	(void)fputs("usage: mirrorctl [-c FILE] VERB [OPTION…] [ARGUMENT…]\n\n"
		    "Keeps a second copy of a directory tree, and says how it is.\n\n",
		out);
	for (size_t i = 0; verbs[i]; i++) {
		if (!verbs[i]->hidden) {
			(void)fprintf(out, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
		}
	}
	(void)fputs("\nmirrorctl VERB --help tells more; the manual is mirrorctl(1).\n"
		    "Exit status: 0 done, 1 failed, 2 bad usage or configuration.\n",
		out);
	return EXIT_DONE;
}

int main(int argc, char **argv)
{
	struct command command;
	log_open("mirrorctl", LOG_LEVEL_WARNING);
	if (argc < 1) {
		return EXIT_USAGE;
	}
	int status = command_parse(argv, &command);
	if (status) {
		return status;
	}
	if (command.version) {
		return printf("mirrorctl (treemirror) %s\n", TREEMIRROR_VERSION) < 0;
	}
	if (command.help && command.verb) {
		command_usage(command.verb, stdout);
		return EXIT_DONE;
	}
	if (!command.verb) {
		return command.help ? help_all(stdout) : (help_all(stderr), EXIT_USAGE);
	}
	status = command.verb->no_config ? EXIT_DONE : command_load_config(&command);
	if (status == EXIT_DONE) {
		status = command.verb->run(&command);
	}
	config_destroy(command.config);
	if (fflush(stdout) != 0 && status == EXIT_DONE) {
		status = say(EXIT_FAILED, "write the result: %s", strerror(errno));
	}
	return status;
}
