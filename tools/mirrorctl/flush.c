/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl flush: the barrier.
 *
 *   mirrorctl ── flush ──▶ control ──▶ posters: publish all, then a marker
 *                                  ──▶ tally: tells how far it is, every second
 *       ▲──────────── barrier (private queue) ──────────┘
 *
 * When the connection breaks, a barrier of its own begins: it asks for more than the first did,
 * never for less.  The tally forgets a barrier that nobody asks about, so the note is repeated.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/job.h"
#include "core/journal.h"
#include "core/log.h"
#include "flow/place.h"
#include "gather.h"
#include "publish.h"
#include "term.h"
#include "units.h"
#include "verb.h"

#define LOGIN_NS  (10 * CLOCK_S)
#define AGAIN_NS  (5 * CLOCK_S)  /* the note is repeated: a poster that begins has not heard it */
#define SILENT_NS (30 * CLOCK_S) /* without a time limit, an answer is waited for so long */

struct flush {
	const struct command *command;
	const struct config *config;
	struct broker_session *session;
	char queue[256];
	struct ident id;
	uint64_t begun_ns, deadline_ns;
	uint64_t asked_ns, heard_ns;
	bool limited, heard;
	bool journal; /* on this host */
	uint64_t waiting, failed;
	char silent[512];
	bool reached;
	struct why why;
};

/* Within a task of an array, its number alone means the task: what shims call it is longer. */
static const char *job_meant(const char *given, char *name)
{
	struct job_variables seen = {0};
	bool own = false;
	for (char **entry = environ; given && *entry; entry++) {
		job_note(&seen, *entry);
	}
	for (int i = 0; i < JOB_VARIABLE_COUNT && given; i++) {
		own = own || (seen.values[i] && strcmp(seen.values[i], given) == 0);
	}
	return own && job_name(&seen, name) ? name : given;
}

/* Whether programs on this host have somewhere to record, though the poster may be stopped. */
static bool has_journal(const struct config *config)
{
	for (size_t i = 0; config->journal[i]; i++) {
		CLEANUP(free_p) char *directory = place_journal(config, i);
		struct journal *journal;
		if (directory && journal_peek(directory, &journal, NULL) == 0) {
			journal_destroy(journal);
			return true;
		}
	}
	return false;
}

static int flush_ask(struct flush *flush)
{
	char name[JOB_BYTES];
	const char *job = job_meant(command_value(flush->command, "job"), name);
	struct note note = {
		.kind = NOTE_FLUSH,
		.flush = flush->id,
		.now = command_has(flush->command, "now"),
		.reply = span_str(flush->queue),
		.job = span_str(job),
		.journal = flush->journal,
		.host = span_str(place_host()),
		.stage = SPAN("mirrorctl"),
		.pid = (uint32_t)getpid(),
		.time_ns = clock_wall(),
	};
	flush->asked_ns = clock_now();
	return publish_note(flush->config, flush->session, "control", &note, &flush->why);
}

static int flush_connect(struct flush *flush)
{
	flush->id = publish_ident();
	int r = gather_session(flush->config, clock_now() + LOGIN_NS, &flush->session, &flush->why);
	if (r == 0) {
		r = broker_session_private_queue(
			flush->session, flush->queue, sizeof(flush->queue), &flush->why);
	}
	flush->heard_ns = clock_now();
	return r < 0 ? r : flush_ask(flush);
}

/* Takes one barrier note, if it is about this barrier. */
static void flush_hear(struct flush *flush, struct span body)
{
	struct note note;
	if (message_decode_note(body, &note, NULL) < 0) {
		return;
	}
	if (note.kind == NOTE_BARRIER && ident_equal(note.flush, flush->id)) {
		flush->heard = true;
		flush->heard_ns = clock_now();
		flush->waiting = note.waiting;
		flush->failed = note.failed;
		flush->reached = note.reached;
		log_words(note.silent, flush->silent, sizeof(flush->silent));
	}
	note_finish(&note);
}

static void flush_progress(const struct flush *flush)
{
	const char *time = units_duration(clock_now() - flush->begun_ns);
	if (!flush->heard) {
		term_progress("flush (%s): waiting for the tally", time);
	} else if (flush->silent[0]) {
		term_progress("flush (%s): waiting for %s; %s open", time, flush->silent,
			units_count(flush->waiting));
	} else {
		term_progress("flush (%s): %s open", time, units_count(flush->waiting));
	}
}

/* Whether everything has been said that will be said. */
static bool flush_is_over(const struct flush *flush)
{
	bool only_failed = flush->failed && !flush->waiting && !flush->silent[0];
	return flush->reached || (flush->heard && only_failed);
}

/* Receives until the end, a broken connection, or the time limit.  0, -ETIMEDOUT, or -errno. */
static int flush_listen(struct flush *flush)
{
	while (!flush_is_over(flush)) {
		CLEANUP(free_p) char *body = NULL;
		size_t len = 0;
		uint64_t now = clock_now(), until = now + 500 * CLOCK_MS;
		if (now > flush->deadline_ns ||
			(!flush->limited && now > flush->heard_ns + SILENT_NS)) {
			return -ETIMEDOUT;
		}
		flush_progress(flush);
		int r = broker_session_receive(flush->session,
			until < flush->deadline_ns ? until : flush->deadline_ns, &body, &len,
			&flush->why);
		if (r == 0) {
			flush_hear(flush, span_of(body, len));
		} else if (r != -ETIMEDOUT) {
			return r;
		}
		if (clock_now() > flush->asked_ns + AGAIN_NS && (r = flush_ask(flush)) < 0) {
			return r;
		}
	}
	return 0;
}

static int say_failed(const struct flush *flush)
{
	return say(EXIT_FAILED, "%s order%s failed: look at mirrorctl failed",
		units_count(flush->failed), flush->failed == 1 ? " has" : "s have");
}

static bool nothing_runs(const struct flush *flush)
{
	char holder[320];
	control_holder(flush->config->mirror, holder, sizeof(holder));
	return flush->config->broker_managed && !holder[0];
}

/* Time ran out, in words: what is known about why. */
static int say_late(const struct flush *flush)
{
	const char *time = units_duration(clock_now() - flush->begun_ns);
	int status = flush->limited ? EXIT_TIMEOUT : EXIT_FAILED;
	if (nothing_runs(flush)) {
		return say(status, "not flushed: nothing runs; mirrorctl start");
	}
	if (!flush->session) {
		return say(status, "not flushed: %s", flush->why.text);
	}
	if (!flush->heard) {
		return say(status,
			"not flushed after %s: the tally does not answer; mirrorctl status tells "
			"whether it runs",
			time);
	}
	return say(status, "not flushed after %s: %s open%s%s%s", time, units_count(flush->waiting),
		flush->silent[0] ? "; no answer from " : "", flush->silent,
		flush->failed ? "; orders have failed: look at mirrorctl failed" : "");
}

static int flush_wait(struct flush *flush)
{
	for (;;) {
		int r = flush_connect(flush);
		if (r == 0) {
			r = flush_listen(flush);
		}
		if (r == 0) {
			term_progress_end();
			return flush->failed ? say_failed(flush) : EXIT_DONE;
		}
		bool over = r == -ETIMEDOUT && flush->session;
		if (over || clock_now() > flush->deadline_ns || !flush->limited) {
			term_progress_end();
			return say_late(flush);
		}
		broker_session_close(STEAL(flush->session));
		flush->heard = false;
		term_progress("flush (%s): %s", units_duration(clock_now() - flush->begun_ns),
			flush->why.text);
		(void)usleep(500000);
	}
}

static int flush_run(struct command *command)
{
	uint64_t limit;
	struct flush flush = {.command = command,
		.config = command->config,
		.begun_ns = clock_now(),
		.limited = command_has(command, "timeout"),
		.journal = has_journal(command->config)};
	int failed = command_duration(command, "timeout", 0, &limit);
	if (failed) {
		return failed;
	}
	flush.deadline_ns = flush.limited ? flush.begun_ns + limit : CLOCK_NEVER;
	if (nothing_runs(&flush) && !flush.limited) {
		return say(EXIT_FAILED, "nothing runs; mirrorctl start");
	}
	int status = flush_wait(&flush);
	broker_session_close(flush.session);
	return status;
}

static const struct option_row flush_options[] = {
	{"now", 0, NULL, false, "do not wait until paths are quiet"},
	{"timeout", 't', "TIME", false, "give up after TIME (30, 30s, 5m), with exit status 75"},
	{"job", 'j', "ID", false, "only what this batch job did"},
	{0},
};

const struct verb verb_flush = {
	.name = "flush",
	.summary = "wait until everything that has happened so far is on the target",
	.help = "Exit status: 0 it is, 1 orders have failed (or nobody can tell), 75 time ran out.",
	.options = flush_options,
	.run = flush_run,
};
