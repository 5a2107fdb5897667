/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl forget: tells the tally that a host will not come back, so that no barrier waits for
 * its poster any more.
 */
#include "core/clock.h"
#include "flow/place.h"
#include "gather.h"
#include "publish.h"
#include "verb.h"

#define LOGIN_NS (10 * CLOCK_S)

static int forget_run(struct command *command)
{
	struct why why = {0};
	struct broker_session *session = NULL;
	if (command->argument_count == 0) {
		return say(EXIT_USAGE,
			"forget which host?  mirrorctl status names those that are silent");
	}
	int r = gather_session(command->config, clock_now() + LOGIN_NS, &session, &why);
	for (size_t i = 0; r == 0 && i < command->argument_count; i++) {
		struct note note = {.kind = NOTE_FORGET,
			.stage = SPAN("poster"),
			.host = span_str(command->arguments[i]),
			.time_ns = clock_wall()};
		r = publish_note(command->config, session, "notes", &note, &why);
	}
	broker_session_close(session);
	return r < 0 ? say(EXIT_FAILED, "%s", why.text) : EXIT_DONE;
}

const struct verb verb_forget = {
	.name = "forget",
	.arguments = "HOST…",
	.summary = "do not wait for the poster of a host that will not come back",
	.help = "What its journal still held, if anything, is then known to nobody: run mirrorctl "
		"sync "
		"for what\nthat host wrote to.",
	.words = WORDS_HOSTS,
	.run = forget_run,
};
