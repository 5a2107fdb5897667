/* SPDX-License-Identifier: Apache-2.0 */
#include "throttle.h"

#include <stdbool.h>

#include "core/clock.h"
#include "flow/task.h"
#include "job.h"

#define BURST_NS        (100 * CLOCK_MS) /* may be caught up after a pause */
#define PIECES_A_SECOND 20
#define PIECE_MIN_BYTES (16U * 1024)
#define LOOK_AGAIN_NS   (20 * CLOCK_MS)
#define NOTICE_NS       (200 * CLOCK_MS) /* who waits looks for another rate */

uint64_t bucket_take(struct bucket *bucket, uint64_t bytes, uint64_t now_ns)
{
	if (!bucket->rate_bytes) {
		return now_ns;
	}
	uint64_t earliest = now_ns > BURST_NS ? now_ns - BURST_NS : 0;
	uint64_t begin = bucket->next_ns > earliest ? bucket->next_ns : earliest;
	bucket->next_ns =
		begin + (uint64_t)((double)bytes * (double)CLOCK_S / (double)bucket->rate_bytes);
	return begin > now_ns ? begin : now_ns;
}

void bucket_change(struct bucket *bucket, uint64_t rate_bytes, uint64_t now_ns)
{
	if (rate_bytes != bucket->rate_bytes) {
		bucket->rate_bytes = rate_bytes;
		bucket->next_ns = now_ns;
		bucket->changes++;
	}
}

size_t throttle_piece(const struct job *job, size_t most)
{
	const struct throttle *const all[] = {&job->pair->throttle, job->pair->shared_throttle};
	for (size_t i = 0; i < 2; i++) {
		uint64_t rate = all[i] ? all[i]->bucket.rate_bytes : 0;
		uint64_t piece = rate / PIECES_A_SECOND;
		piece = piece / PIECE_MIN_BYTES * PIECE_MIN_BYTES;
		piece = piece < PIECE_MIN_BYTES ? PIECE_MIN_BYTES : piece;
		most = rate && piece < most ? (size_t)piece : most;
	}
	return most;
}

static void wait_at(struct throttle *throttle, bool bulk, size_t bytes)
{
	struct bucket *bucket = &throttle->bucket;
	while (bulk && throttle->live_waiting) {
		task_wait_until(clock_now() + LOOK_AGAIN_NS);
	}
	uint64_t now = clock_now(), when = bucket_take(bucket, bytes, now);
	throttle->live_waiting += !bulk;
	for (unsigned changes = bucket->changes; now < when; now = clock_now()) {
		task_wait_until(when - now < NOTICE_NS ? when : now + NOTICE_NS);
		if (bucket->changes != changes) {
			changes = bucket->changes;
			when = bucket_take(bucket, bytes, clock_now());
		}
	}
	throttle->live_waiting -= !bulk;
}

void throttle_wait(struct job *job, size_t bytes)
{
	bool bulk = job->order->facts & CHANGE_BULK;
	struct throttle *const all[] = {&job->pair->throttle, job->pair->shared_throttle};
	for (size_t i = 0; i < 2; i++) {
		if (all[i] && all[i]->bucket.rate_bytes) {
			wait_at(all[i], bulk, bytes);
		}
	}
}
