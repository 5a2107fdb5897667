/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl status: the answer first, then the stages, then what is wrong, then the sums.
 */
#include "status.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "term.h"
#include "verb.h"

#define SETTLE_LOOKS 8
#define SETTLE_US    200000

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
	interrupted = 1;
}

/*
 * Whether nothing is owed any more, and only the poster has not released what it has published,
 * which it does once a second: who asks right after a flush shall not be told of a lag.
 */
static bool almost_in_sync(const struct view *view)
{
	const struct facts *facts = &view->facts;
	return view->verdict.answer == ANSWER_LAGGING && !facts->open && !facts->queued &&
	       !facts->rescan;
}

static int show_once(const struct command *command)
{
	struct view view;
	gather(command->config, &view);
	for (int looks = 0; looks < SETTLE_LOOKS && almost_in_sync(&view); looks++) {
		(void)usleep(SETTLE_US);
		gather_finish(&view);
		gather(command->config, &view);
	}
	int status = view.verdict.exit_status;
	if (command_has(command, "json")) {
		status = status_json(&view, stdout) < 0 ? EXIT_FAILED : status;
	} else {
		status_text(&view, NULL, stdout);
	}
	gather_finish(&view);
	return status;
}

/* Again and again: on a terminal in place, else one after the other. */
static int watch(const struct command *command, uint64_t pause_ns)
{
	struct view now = {0}, before = {0};
	bool json = command_has(command, "json");
	int status = EXIT_DONE;
	(void)sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt}, NULL);
	while (!interrupted && !ferror(stdout)) {
		gather_finish(&before);
		before = now;
		gather(command->config, &now);
		status = now.verdict.exit_status;
		if (json) {
			(void)status_json(&now, stdout);
		} else {
			(void)fputs(term_styled(stdout) ? "\033[H\033[2J" : "", stdout);
			status_text(&now, before.config ? &before : NULL, stdout);
		}
		(void)fflush(stdout);
		struct timespec pause = {(time_t)(pause_ns / CLOCK_S), (long)(pause_ns % CLOCK_S)};
		(void)nanosleep(&pause, NULL);
	}
	gather_finish(&before);
	gather_finish(&now);
	return status;
}

static int status_run(struct command *command)
{
	uint64_t pause;
	int failed = command_duration(command, "watch", 2 * CLOCK_S, &pause);
	if (failed) {
		return failed;
	}
	if (!command_has(command, "watch")) {
		return show_once(command);
	}
	return watch(command, pause < 200 * CLOCK_MS ? 200 * CLOCK_MS : pause);
}

static const struct option_row status_options[] = {
	{"json", 0, NULL, false, "for programs: one JSON object"},
	{"watch", 'w', "TIME", true, "again every TIME (2s), until Ctrl-C"},
	{0},
};

const struct verb verb_status = {
	.name = "status",
	.summary = "tell whether the copy is complete, and how everything is",
	.help = "The first line is the answer:\n\n"
		"  IN SYNC    everything that happened is on the target\n"
		"  LAGGING    work is under way; the age of the oldest change\n"
		"  STALLED    work is open and nothing moves, or something is down\n"
		"  FAILED     orders have failed; mirrorctl failed\n"
		"  UNKNOWN    the tally runs on another host; ask there\n"
		"  STOPPED    nothing runs\n\n"
		"Exit status: 0 all is up (lagging too), 3 something is down, 4 orders have "
		"failed.",
	.options = status_options,
	.run = status_run,
};
