/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "core/clock.h"
#include "mirrorctl/judge.h"
#include "mirrorctl/verb.h"

#define NOW (UINT64_C(1000000) * CLOCK_S)

/* Everything up, everything done. */
static struct facts quiet(void)
{
	return (struct facts){.now_ns = NOW,
		.runs = true,
		.tally_here = true,
		.tally_wanted = true,
		.delay_ns = 30 * CLOCK_S,
		.max_delay_ns = 300 * CLOCK_S,
		.last_done_ns = NOW - CLOCK_S};
}

static void expect(const struct facts *facts, enum answer answer, int exit_status)
{
	struct verdict verdict;
	judge(facts, &verdict);
	assert_string_equal(judge_name(verdict.answer), judge_name(answer));
	assert_int_equal(verdict.exit_status, exit_status);
}

static void in_sync_only_when_nothing_is_left(void **state)
{
	struct facts facts = quiet();
	expect(&facts, ANSWER_IN_SYNC, EXIT_DONE);

	uint64_t *const counts[] = {
		&facts.open, &facts.queued, &facts.journal, &facts.backlog, &facts.dirty};
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		*counts[i] = 1;
		expect(&facts, ANSWER_LAGGING, EXIT_DONE);
		*counts[i] = 0;
	}
	facts.rescan = true;
	expect(&facts, ANSWER_LAGGING, EXIT_DONE);
}

static void failed_orders_are_never_in_sync(void **state)
{
	struct facts facts = quiet();
	facts.failed = 3;
	expect(&facts, ANSWER_FAILED, EXIT_ORDERS);
	facts.open = 1;
	expect(&facts, ANSWER_FAILED, EXIT_ORDERS);
	facts.problem = "copier: target full";
	expect(&facts, ANSWER_STALLED, EXIT_ORDERS);
	facts.down = "tally is down";
	expect(&facts, ANSWER_STALLED, EXIT_DOWN);
}

static void stopped_is_said_first(void **state)
{
	struct facts facts = {.now_ns = NOW, .failed = 1, .open = 5};
	expect(&facts, ANSWER_STOPPED, EXIT_DOWN);
}

static void without_a_tally_nothing_is_claimed(void **state)
{
	struct facts facts = quiet();
	facts.tally_here = false;
	expect(&facts, ANSWER_STALLED, EXIT_DONE);
	facts.tally_wanted = false;
	expect(&facts, ANSWER_UNKNOWN, EXIT_DONE);
}

static void lag_is_the_age_of_the_oldest(void **state)
{
	struct facts facts = quiet();
	struct verdict verdict;
	facts.open = 1;
	facts.oldest_ns = facts.open_since_ns = NOW - 42 * CLOCK_S;
	judge(&facts, &verdict);
	assert_int_equal(verdict.answer, ANSWER_LAGGING);
	assert_int_equal(verdict.lag_ns, 42 * CLOCK_S);
}

static void stalled_when_nothing_moves(void **state)
{
	struct facts facts = quiet();
	facts.open = 2;
	facts.held = 0;
	facts.last_done_ns = NOW - 600 * CLOCK_S;
	facts.open_since_ns = NOW - 60 * CLOCK_S;
	expect(&facts, ANSWER_LAGGING, EXIT_DONE); /* long idle, but what is open is young */
	facts.open_since_ns = NOW - 61 * CLOCK_S;
	expect(&facts, ANSWER_STALLED, EXIT_DONE);
	facts.last_done_ns = NOW - 5 * CLOCK_S;
	expect(&facts, ANSWER_LAGGING, EXIT_DONE);
}

static void held_paths_may_wait_for_max_delay(void **state)
{
	struct facts facts = quiet();
	facts.open = facts.held = 1;
	facts.last_done_ns = 0;
	facts.open_since_ns = NOW - 200 * CLOCK_S;
	expect(&facts, ANSWER_LAGGING, EXIT_DONE);
	facts.open_since_ns = NOW - 361 * CLOCK_S;
	expect(&facts, ANSWER_STALLED, EXIT_DONE);
}

static void clocks_ahead_do_no_harm(void **state)
{
	struct facts facts = quiet();
	struct verdict verdict;
	facts.open = 1;
	facts.oldest_ns = facts.open_since_ns = NOW + 90 * CLOCK_S;
	judge(&facts, &verdict);
	assert_int_equal(verdict.answer, ANSWER_LAGGING);
	assert_int_equal(verdict.lag_ns, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_sync_only_when_nothing_is_left),
		cmocka_unit_test(failed_orders_are_never_in_sync),
		cmocka_unit_test(stopped_is_said_first),
		cmocka_unit_test(without_a_tally_nothing_is_claimed),
		cmocka_unit_test(lag_is_the_age_of_the_oldest),
		cmocka_unit_test(stalled_when_nothing_moves),
		cmocka_unit_test(held_paths_may_wait_for_max_delay),
		cmocka_unit_test(clocks_ahead_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
