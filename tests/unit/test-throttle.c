/* SPDX-License-Identifier: Apache-2.0 */
/* The bucket with a clock of its own. */
#include "check.h"

#include "core/clock.h"
#include "flow/task.h"
#include "job.h"
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

/* One sender, in virtual time: how much begins in so many seconds. */
static uint64_t sent_in(struct bucket *bucket, uint64_t *now, uint64_t seconds)
{
	const uint64_t end = *now + seconds * CLOCK_S;
	uint64_t sent = 0, when;
	while ((when = bucket_take(bucket, 10 * KIB, *now)) < end) {
		sent += 10 * KIB;
		*now = when;
	}
	*now = end;
	return sent;
}

static void a_changed_rate_is_kept_from_then_on(void **state)
{
	static const uint64_t rates[] = {100 * KIB, 1000 * KIB, 50 * KIB, 400 * KIB};
	struct bucket bucket = {.rate_bytes = rates[0]};
	uint64_t now = 1000 * CLOCK_S;
	(void)state;
	for (size_t i = 0; i < 4; i++) {
		bucket_change(&bucket, rates[i], now);
		uint64_t sent = sent_in(&bucket, &now, 60), piece = 10 * KIB;
		/* a piece more or less, and what may be caught up at the beginning */
		assert_in_range(sent, 60 * rates[i] - piece, 60 * rates[i] + rates[i] / 10 + piece);
	}
	bucket_change(&bucket, 0, now);
	assert_int_equal(bucket_take(&bucket, 1 << 30, now), now);
	bucket_change(&bucket, KIB, now);
	assert_int_equal(bucket_take(&bucket, KIB, now), now);
	assert_int_equal(bucket_take(&bucket, KIB, now), now + CLOCK_S);
}

static void a_rate_that_stays_owes_what_it_owed(void **state)
{
	struct bucket bucket = {.rate_bytes = KIB};
	const uint64_t now = 1000 * CLOCK_S;
	(void)state;
	(void)bucket_take(&bucket, 100 * KIB, now);
	bucket_change(&bucket, KIB, now);
	assert_in_range(bucket_take(&bucket, KIB, now), now + 99 * CLOCK_S, now + 100 * CLOCK_S);
}

struct senders {
	struct pair pair;
	struct throttle shared;
	struct change *order;
	unsigned waiting, done;
};

static void send_one(void *arg)
{
	struct senders *senders = arg;
	struct job job = {.pair = &senders->pair, .order = senders->order};
	senders->waiting++;
	throttle_wait(&job, (size_t)64 * KIB);
	senders->done++;
}

/* Ten wait, for hours by the rate that was: they go on by the one that is. */
static void who_waits_goes_on_by_the_new_rate(void **state)
{
	struct senders senders = {.shared.bucket.rate_bytes = 1, .order = change_create()};
	struct loop *loop;
	struct task_pool *pool;
	(void)state;
	senders.pair.shared_throttle = &senders.shared;
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(task_pool_create(loop, 10, (size_t)64 * KIB, &pool), 0);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(task_start(pool, send_one, &senders), 0);
	}
	while (senders.waiting < 10) {
		assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
	}
	assert_int_equal(senders.done, 1); /* the first one finds nobody before it */
	bucket_change(&senders.shared.bucket, (uint64_t)100 * 1024 * KIB, clock_now());
	while (task_pool_running(pool)) {
		assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
	}
	assert_int_equal(senders.done, 10);
	assert_int_equal(senders.shared.live_waiting, 0);
	task_pool_destroy(pool);
	loop_destroy(loop);
	change_destroy(senders.order);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_limit_nothing_waits),
		cmocka_unit_test(the_rate_is_kept),
		cmocka_unit_test(a_pause_saves_little),
		cmocka_unit_test(who_comes_later_waits_for_a_piece_of_each),
		cmocka_unit_test(a_changed_rate_is_kept_from_then_on),
		cmocka_unit_test(a_rate_that_stays_owes_what_it_owed),
		cmocka_unit_test(who_waits_goes_on_by_the_new_rate),
	};
	return cmocka_run_group_tests_name("throttle", tests, NULL, NULL);
}
