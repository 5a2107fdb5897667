/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is worst is said first: STOPPED, STALLED because something is down or says that it cannot
 * work, FAILED, STALLED because nothing moves, LAGGING, IN SYNC.
 *
 * Nothing moves: something is open, and for `limit` nothing was done and nothing new came.  While
 * all that is open is merely held until it is quiet, that may take up to max_delay more.
 */
#include "judge.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/clock.h"
#include "units.h"
#include "verb.h"

const char *judge_name(enum answer answer)
{
	static const char *const names[] = {
		[ANSWER_IN_SYNC] = "IN SYNC",
		[ANSWER_LAGGING] = "LAGGING",
		[ANSWER_FAILED] = "FAILED",
		[ANSWER_STALLED] = "STALLED",
		[ANSWER_UNKNOWN] = "UNKNOWN",
		[ANSWER_STOPPED] = "STOPPED",
	};
	return names[answer];
}

static uint64_t age(uint64_t now_ns, uint64_t then_ns)
{
	return then_ns && now_ns > then_ns ? now_ns - then_ns : 0;
}

static uint64_t later_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static bool nothing_moves(const struct facts *facts, uint64_t *ret_idle_ns)
{
	uint64_t limit = later_of(2 * facts->delay_ns, 60 * CLOCK_S);
	if (facts->held >= facts->open) {
		limit += facts->max_delay_ns;
	}
	*ret_idle_ns = age(facts->now_ns, later_of(facts->last_done_ns, facts->open_since_ns));
	return facts->open > 0 && *ret_idle_ns > limit;
}

static bool all_quiet(const struct facts *facts)
{
	return !facts->open && !facts->queued && !facts->journal && !facts->backlog &&
	       !facts->dirty && !facts->rescan;
}

/* What there is still to do, for the case that no age is known. */
static void say_rest(const struct facts *facts, struct verdict *ret)
{
	char *words = ret->words;
	size_t size = sizeof(ret->words);
	if (facts->rescan) {
		(void)snprintf(words, size, "changes were lost; a rescan is on its way");
	} else if (facts->mending) {
		(void)snprintf(words, size, "changes were lost; a rescan is under way");
	} else if (facts->open_bulk && facts->open_bulk == facts->open) {
		(void)snprintf(words, size, "bulk pass: %s to go", units_count(facts->open_bulk));
	} else if (!ret->lag_ns && facts->dirty && !facts->open && !facts->queued) {
		(void)snprintf(words, size, "%s being written",
			facts->dirty == 1 ? "a file is" : units_count(facts->dirty));
	}
}

static void judge_flow(const struct facts *facts, struct verdict *ret)
{
	uint64_t idle;
	ret->lag_ns = age(facts->now_ns, facts->oldest_ns);
	if (!facts->tally_here) {
		ret->answer = facts->tally_wanted ? ANSWER_STALLED : ANSWER_UNKNOWN;
		(void)snprintf(ret->words, sizeof(ret->words),
			facts->tally_wanted ? "the tally does not report"
					    : "the tally runs on another host; ask there");
	} else if (facts->failed) {
		ret->answer = ANSWER_FAILED;
		(void)snprintf(
			ret->words, sizeof(ret->words), "mirrorctl failed tells which and why");
	} else if (nothing_moves(facts, &idle)) {
		ret->answer = ANSWER_STALLED;
		(void)snprintf(ret->words, sizeof(ret->words), "%s open, nothing done for %s%s",
			units_count(facts->open), units_duration(idle),
			facts->later ? "; waiting for another try" : "");
	} else if (!all_quiet(facts)) {
		ret->answer = ANSWER_LAGGING;
		say_rest(facts, ret);
	} else {
		ret->answer = ANSWER_IN_SYNC;
		ret->lag_ns = 0;
	}
}

void judge(const struct facts *facts, struct verdict *ret)
{
	*ret = (struct verdict){
		.answer = ANSWER_STALLED, .lag_ns = age(facts->now_ns, facts->oldest_ns)};
	const char *why = facts->down ? facts->down : facts->problem;
	if (!facts->runs) {
		ret->answer = ANSWER_STOPPED;
	} else if (why) {
		(void)snprintf(ret->words, sizeof(ret->words), "%s", why);
	} else {
		judge_flow(facts, ret);
	}
	ret->exit_status = !facts->runs || facts->down ? EXIT_DOWN
			   : facts->failed             ? EXIT_ORDERS
						       : EXIT_DONE;
}
