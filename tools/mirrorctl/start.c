/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl start and restart.
 */
#include "core/clock.h"
#include "lifecycle.h"
#include "verb.h"

#define START_NS (120 * CLOCK_S)

static int start_run(struct command *command)
{
	uint64_t timeout;
	int failed = command_duration(command, "timeout", START_NS, &timeout);
	return failed ? failed : lifecycle_start(command->config, command->arguments, timeout);
}

static int restart_run(struct command *command)
{
	uint64_t timeout;
	int failed = command_duration(command, "timeout", START_NS, &timeout);
	if (!failed) {
		failed = lifecycle_stop(command->config, command->arguments, timeout);
	}
	return failed ? failed : lifecycle_start(command->config, command->arguments, timeout);
}

static const struct option_row start_options[] = {
	{"timeout", 't', "TIME", false, "give up waiting after this long (2m)"},
	{0},
};

const struct verb verb_start = {
	.name = "start",
	.arguments = "[STAGE…]",
	.summary = "start the broker and the daemons, and wait until all is ready",
	.help = "Stages are broker, poster, winnow, copier, tally; none given: all.  What dies "
		"later is "
		"started\nagain in the background.  Harmless where everything runs already.",
	.options = start_options,
	.words = WORDS_STAGES,
	.run = start_run,
};

const struct verb verb_restart = {
	.name = "restart",
	.arguments = "[STAGE…]",
	.summary = "stop, then start (also to use a changed configuration)",
	.options = start_options,
	.words = WORDS_STAGES,
	.run = restart_run,
};
