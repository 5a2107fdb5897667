/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving the bytes of a file, and looking at what has become of them.
 *
 * Where both sides are local the kernel copies, else they go through a buffer.  A source that does
 * not tell its holes gives zeros for them, and blocks of zeros are not written: the target's file
 * is new and has a hole there.
 */
#include "copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/task.h"

#define COPY_BYTES (256 * 1024)       /* read and written at once */
#define HOLE_BYTES 4096               /* zeros, so many and aligned, may be a hole */
#define TURN_BYTES (16 * 1024 * 1024) /* copied before the loop gets a turn */

static bool is_zero(const char *data, size_t len)
{
	return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

size_t content_run(const char *data, size_t len, bool *ret_zero)
{
	size_t done = 0;
	for (size_t block; done < len; done += block) {
		block = len - done < HOLE_BYTES ? len - done : HOLE_BYTES;
		bool zero = is_zero(data + done, block);
		if (done && zero != *ret_zero) {
			break;
		}
		*ret_zero = zero;
	}
	return done;
}

int content_write(struct copy *copy, uint64_t offset, const char *data, size_t len, bool zeros)
{
	bool zero = false;
	int r = 0;
	for (size_t run; r == 0 && len; offset += run, data += run, len -= run) {
		run = throttle_piece(copy->job, len);
		run = zeros ? content_run(data, run, &zero) : run;
		if (!zero) {
			throttle_wait(copy->job, run);
			r = side_write(copy->to_file, offset, data, run, &copy->job->why);
		}
	}
	return r;
}

static int copy_by_buffer(struct copy *copy, uint64_t begin, uint64_t end)
{
	struct job *job = copy->job;
	while (begin < end) {
		size_t want = end - begin < COPY_BYTES ? (size_t)(end - begin) : COPY_BYTES,
		       got = 0;
		if (!copy->buffer &&
			!(copy->buffer = malloc(want < COPY_BYTES ? want : COPY_BYTES))) {
			return -ENOMEM;
		}
		int r = side_read(copy->from_file, begin, copy->buffer, want, &got, &job->why);
		if (r == 0 && got == 0) {
			return FILE_CHANGED; /* shorter than when it was opened */
		}
		if (r == 0) {
			r = content_write(copy, begin, copy->buffer, got,
				!(side_can(job->pair->source) & SIDE_CAN_HOLES));
		}
		if (r < 0) {
			return r;
		}
		begin += got;
	}
	return 0;
}

void content_pause(void)
{
	task_wait_until(clock_now());
}

static int copy_step(struct copy *copy, uint64_t begin, uint64_t end)
{
	int r = side_copy_range(
		copy->from_file, copy->to_file, begin, end - begin, &copy->job->why);
	if (r == 0) {
		throttle_wait(copy->job, (size_t)(end - begin));
	}
	if (r == -EOPNOTSUPP) {
		free(copy->buffer);
		copy->buffer = NULL;
		r = copy_by_buffer(copy, begin, end);
	}
	if (r == 0) {
		copy->job->work.bytes += end - begin;
	}
	return r;
}

/* Between local sides nothing else would give way to the broker's heartbeat. */
static int copy_range(struct copy *copy, uint64_t begin, uint64_t end)
{
	int r = 0;
	while (r == 0 && begin < end) {
		const size_t step = throttle_piece(copy->job, TURN_BYTES);
		uint64_t next = end - begin > step ? begin + step : end;
		r = copy_step(copy, begin, next);
		begin = next;
		if (begin < end) {
			content_pause();
		}
	}
	return r;
}

/* Data goes over, holes stay holes. */
int content_copy(struct copy *copy)
{
	uint64_t at = 0, begin, end;
	int r = 0;
	while (r == 0 && at < copy->s.size_bytes) {
		r = side_next_data(copy->from_file, at, &begin, &end, &copy->job->why);
		if (r == -ENXIO) {
			return 0; /* the rest is a hole */
		}
		if (end > copy->s.size_bytes) {
			end = copy->s.size_bytes;
		}
		if (r == 0 && begin < end) {
			r = copy_range(copy, begin, end);
		}
		at = r == 0 && end > at ? end : copy->s.size_bytes;
	}
	return r;
}

/* ---- looking at it ----------------------------------------------------------------------- */

/* A copy in memory of both sides, chunk by chunk. */
static int compare_chunk(struct copy *copy, struct side_file *made, char *here, char *there,
	uint64_t at, size_t *ret_len)
{
	struct job *job = copy->job;
	size_t there_len = 0;
	int r = side_read(copy->from_file, at, here, COPY_BYTES, ret_len, &job->why);
	if (r == 0) {
		r = side_read(made, at, there, COPY_BYTES, &there_len, &job->why);
	}
	if (r < 0) {
		return r;
	}
	uint64_t left = copy->s.size_bytes - at;
	if (*ret_len > left) {
		*ret_len = (size_t)left; /* S has grown */
	}
	if (*ret_len == 0) {
		return FILE_CHANGED;
	}
	return *ret_len == there_len && memcmp(here, there, there_len) == 0 ? 0 : -EBADMSG;
}

static int compare_content(struct copy *copy, struct side_file *made)
{
	CLEANUP(free_p) char *here = malloc(COPY_BYTES);
	CLEANUP(free_p) char *there = malloc(COPY_BYTES);
	int r = here && there ? 0 : -ENOMEM;
	for (uint64_t at = 0, turn = 0; r == 0 && at < copy->s.size_bytes;) {
		size_t len = 0;
		r = compare_chunk(copy, made, here, there, at, &len);
		at += len;
		if (at / TURN_BYTES != turn) {
			turn = at / TURN_BYTES;
			content_pause();
		}
	}
	return r;
}

/* Where S itself is another one by now, that is why they differ. */
static int told_apart(struct copy *copy, int r)
{
	struct job *job = copy->job;
	struct side_attr now;
	if (r != -EBADMSG) {
		return r;
	}
	if (side_file_attr(copy->from_file, &now, &job->why) == 0 &&
		(now.mtime_ns != copy->s.mtime_ns || now.size_bytes != copy->s.size_bytes)) {
		return FILE_CHANGED;
	}
	copy->no_delta = true;
	return why_error(&job->why, r, "what was read back from %s is not what was sent",
		side_name(job->pair->target));
}

int content_verify(struct copy *copy, struct span temporary)
{
	struct job *job = copy->job;
	struct side_file *made = NULL;
	struct side_attr attr;
	const enum verify verify = job->pair->tree->verify;
	if (verify == VERIFY_NONE && !copy->delta) {
		return 0;
	}
	int r = side_lstat(job->pair->target, temporary, &attr, &job->why);
	if (r == 0 && attr.size_bytes != copy->s.size_bytes) {
		r = -EBADMSG;
	}
	/* what its mode keeps its owner from reading cannot be read back */
	if (r == 0 && verify == VERIFY_CONTENT && (attr.mode & 0400)) {
		r = side_open(job->pair->target, temporary, &made, &attr, &job->why);
		r = r == 0 ? compare_content(copy, made) : r;
	}
	side_close(made);
	return told_apart(copy, r);
}
