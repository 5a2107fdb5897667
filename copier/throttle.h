/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A limit of bytes in a second, shared by all who send.
 *
 * bucket_take() is pure: it says from when on the bytes may be sent, and counts them as sent then.
 * Nobody asks for more than throttle_piece() at once, and nobody asks again before what he asked
 * for was sent: so whoever comes waits for one piece of each who is sending, however large their
 * files are.  Bulk work asks only while no live work waits.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct bucket {
	uint64_t rate_bytes; /* in a second; 0: no limit */
	uint64_t next_ns;    /* when all that was taken has been sent */
	unsigned changes;    /* of the rate, so far */
};

/* Returns when, not before now_ns. */
uint64_t bucket_take(struct bucket *bucket, uint64_t bytes, uint64_t now_ns);
/* Another rate from now on.  What was taken and has not been sent yet has to be taken again. */
void bucket_change(struct bucket *bucket, uint64_t rate_bytes, uint64_t now_ns);

struct throttle {
	struct bucket bucket;
	unsigned live_waiting;
};

struct job;
/* At most so much at once, no more than most. */
size_t throttle_piece(const struct job *job, size_t most);
/* Returns when the job may send these bytes, by the rate of that moment.  In a task. */
void throttle_wait(struct job *job, size_t bytes);
