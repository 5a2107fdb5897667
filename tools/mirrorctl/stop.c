/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl stop.
 */
#include "core/clock.h"
#include "lifecycle.h"
#include "verb.h"

#define STOP_NS (90 * CLOCK_S)

static int stop_run(struct command *command)
{
	uint64_t timeout;
	int failed = command_duration(command, "timeout", STOP_NS, &timeout);
	return failed ? failed : lifecycle_stop(command->config, command->arguments, timeout);
}

static const struct option_row stop_options[] = {
	{"timeout", 't', "TIME", false, "give up waiting after this long (90s)"},
	{0},
};

const struct verb verb_stop = {
	.name = "stop",
	.arguments = "[STAGE…]",
	.summary = "end the daemons and the managed broker, and wait until they are gone",
	.help = "Nothing is lost: what was not done yet waits in the journals and in the broker.\n"
		"Harmless where nothing runs.",
	.options = stop_options,
	.words = WORDS_STAGES,
	.run = stop_run,
};
