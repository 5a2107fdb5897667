/* SPDX-License-Identifier: Apache-2.0 */
/* The bucket with a clock of its own. */
#include "check.h"

#include "core/clock.h"
#include "throttle.h"

#define KIB 1024

static void without_a_limit_nothing_waits(void **state)
{
	struct bucket bucket = {0};
	(void)state;
	for (uint64_t i = 0; i < 100; i++) {
		assert_int_equal(bucket_take(&bucket, 1 << 30, i), i);
	}
}

static void the_rate_is_kept(void **state)
{
	struct bucket bucket = {.rate_bytes = 100 * KIB};
	const uint64_t begin = 5 * CLOCK_S;
	uint64_t now = begin;
	(void)state;
	for (unsigned i = 0; i < 600; i++) { /* one after the other, as one file does */
		uint64_t when = bucket_take(&bucket, 10 * KIB, now);
		assert_true(when >= now);
		now = when;
	}
	/* 599 pieces before the last one, less what may be caught up at the beginning */
	assert_in_range((now - begin) / CLOCK_MS, 59700, 59900);
}

static void a_pause_saves_little(void **state)
{
	struct bucket bucket = {.rate_bytes = 1000 * KIB};
	uint64_t now = 1000 * CLOCK_S, sent = 0;
	(void)state;
	assert_int_equal(bucket_take(&bucket, KIB, CLOCK_S), CLOCK_S);
	while (bucket_take(&bucket, 10 * KIB, now) == now) {
		sent += 10 * KIB;
	}
	assert_in_range(sent, 90 * KIB, 120 * KIB);
}

/* Ten send large files without end; who comes then waits for a piece of each at most. */
static void who_comes_later_waits_for_a_piece_of_each(void **state)
{
	struct bucket bucket = {.rate_bytes = 1000 * KIB};
	uint64_t now = 1000 * CLOCK_S, when[10];
	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		when[i] = bucket_take(&bucket, 50 * KIB, now);
	}
	for (unsigned turn = 0; turn < 200; turn++) {
		now = when[turn % 10];
		when[turn % 10] = bucket_take(&bucket, 50 * KIB, now);
	}
	uint64_t small = bucket_take(&bucket, KIB, now);
	assert_in_range((small - now) / CLOCK_MS, 0, 551); /* and the one being sent */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_limit_nothing_waits),
		cmocka_unit_test(the_rate_is_kept),
		cmocka_unit_test(a_pause_saves_little),
		cmocka_unit_test(who_comes_later_waits_for_a_piece_of_each),
	};
	return cmocka_run_group_tests_name("throttle", tests, NULL, NULL);
}
