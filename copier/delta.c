/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A large file that has changed in part: what is as it was is copied at the target, the rest is
 * sent.
 *
 *   S, here       read whole, each block hashed
 *   old T         its record (record.h) has the hash of each block
 *   temporary     blocks of equal hash: server side copy from old T, run by run, while reading
 *                 goes on; others: written
 *   look at old T again: it still is what the record is of
 *   then as always: size, mode, mtime, and only then the name
 *
 * Old T is held open from before its record is read until after the last copy, so whatever gets
 * its name meanwhile does not matter.  A crash leaves a temporary name and old T as it was.
 *
 * Only where S is here and T is remote: elsewhere reading S to find out costs what sending does,
 * and the kernel copies.  Of a file with several names, T is the anchor (links.c), which is
 * replaced like any other file.  Where the server cannot copy, and the tree says in_place, all this
 * only makes the records for patch.c.
 */
#include "copy.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "record.h"

#define READ_BYTES (256U * 1024)
#define TURN_BYTES (16U * 1024 * 1024)

struct delta {
	struct record made, old;
	struct side_file *old_file;  /* NULL: nothing to copy from */
	uint64_t run_begin, run_end; /* to be copied; the last one that was found */
	uint64_t saved_bytes;
};

static bool is_large(const struct copy *copy)
{
	const struct job *job = copy->job;
	uint64_t least = job->pair->config->copier.delta_bytes;
	return least && copy->s.size_bytes >= least && !side_is_remote(job->pair->source) &&
	       side_is_remote(job->pair->target) &&
	       ((side_can(job->pair->target) & SIDE_CAN_COPY_DATA) || job->pair->tree->in_place);
}

/* Opens T as it is now, if there is a record of it. */
static void open_old(struct copy *copy)
{
	struct delta *delta = copy->delta;
	struct pair *pair = copy->job->pair;
	struct side_attr t;
	struct why ignored;
	if (copy->no_delta || !(side_can(pair->target) & SIDE_CAN_COPY_DATA) ||
		side_open(pair->target, copy->to, &delta->old_file, &t, &ignored) < 0) {
		return;
	}
	if (record_load(pair, &t, &delta->old) < 0) {
		side_close(STEAL(delta->old_file));
	}
}

bool delta_begin(struct copy *copy)
{
	if (!is_large(copy) || !(copy->delta = calloc(1, sizeof(*copy->delta)))) {
		return false;
	}
	struct delta *delta = copy->delta;
	open_old(copy);
	if (record_init(&delta->made, copy->s.size_bytes, delta->old.block_bytes) < 0) {
		delta_finish(copy);
		return false;
	}
	if (delta->old_file && delta->made.block_bytes != delta->old.block_bytes) {
		side_close(STEAL(delta->old_file)); /* it has outgrown its blocks */
	}
	delta->made.mtime_s = copy->s.mtime_ns / 1000000000;
	delta->made.tag = copy->tag = record_tag();
	return true;
}

/* --- runs of what is there already -------------------------------------------------------- */

/* What the server could not do after all ends the whole attempt. */
static int copied(struct copy *copy, int r)
{
	if (r == -EOPNOTSUPP || r == -ENODATA) {
		copy->no_delta = true;
		return FILE_CHANGED;
	}
	return r;
}

static int run_flush(struct copy *copy)
{
	struct delta *delta = copy->delta;
	uint64_t len = delta->run_end - delta->run_begin;
	if (!len) {
		return 0;
	}
	int r = side_copy_data(delta->old_file, delta->run_begin, len, copy->to_file,
		delta->run_begin, &copy->job->why);
	delta->saved_bytes += len;
	delta->run_begin = delta->run_end = 0;
	return copied(copy, r);
}

static int run_add(struct copy *copy, uint64_t begin, uint64_t end)
{
	struct delta *delta = copy->delta;
	int r = 0;
	if (delta->run_end != begin || !delta->run_end) {
		r = run_flush(copy);
		delta->run_begin = begin;
	}
	delta->run_end = end;
	return r;
}

/* Of a long run the server copies the beginning while the rest is read here. */
static int turn(struct copy *copy)
{
	int r = run_flush(copy);
	content_pause();
	return r;
}

static int runs_end(struct copy *copy)
{
	int r = run_flush(copy);
	r = r == 0 ? copied(copy, side_copied(copy->to_file, &copy->job->why)) : r;
	copy->job->work.bytes_saved += r == 0 ? copy->delta->saved_bytes : 0;
	return r;
}

/* --- blocks ------------------------------------------------------------------------------- */

static bool is_there(const struct delta *delta, size_t i)
{
	return delta->old_file && record_same_block(&delta->old, &delta->made, i);
}

/* What is zero stays a hole of the new file. */
static int block_copy(struct copy *copy, uint64_t begin, const char *data, size_t len)
{
	bool zero = false;
	int r = 0;
	for (size_t run; r == 0 && len; begin += run, data += run, len -= run) {
		run = content_run(data, len, &zero);
		if (!zero) {
			r = run_add(copy, begin, begin + run);
		}
	}
	return r;
}

static int block_send(struct copy *copy, uint64_t begin, const char *data, size_t len)
{
	bool zero = false;
	size_t run = content_run(data, len, &zero);
	if (!zero || run < len) {
		copy->job->work.bytes += len;
	}
	return content_write(copy, begin, data, len, true);
}

/* Blocks from first on that are all there, or all not: how many. */
static size_t same_kind(const struct delta *delta, size_t first, size_t end)
{
	size_t i = first + 1;
	while (i < end && is_there(delta, i) == is_there(delta, first)) {
		i++;
	}
	return i - first;
}

/* Some blocks, read at once, and sent at once where they are to be sent. */
static int blocks(struct copy *copy, size_t first, size_t count)
{
	struct delta *delta = copy->delta;
	struct record *made = &delta->made;
	const uint64_t begin = (uint64_t)first * made->block_bytes;
	size_t len = (size_t)(record_block_end(made, first + count - 1) - begin), got = 0;
	int r = side_read(copy->from_file, begin, copy->buffer, len, &got, &copy->job->why);
	if (r < 0 || got < len) {
		return r < 0 ? r : FILE_CHANGED;
	}
	for (size_t i = first; i < first + count; i++) {
		uint64_t at = (uint64_t)i * made->block_bytes;
		made->hashes[i] = XXH3_128bits(
			copy->buffer + (at - begin), (size_t)(record_block_end(made, i) - at));
	}
	for (size_t i = first, n; r == 0 && i < first + count; i += n) {
		n = same_kind(delta, i, first + count);
		uint64_t at = (uint64_t)i * made->block_bytes;
		size_t bytes = (size_t)(record_block_end(made, i + n - 1) - at);
		const char *data = copy->buffer + (at - begin);
		r = is_there(delta, i) ? block_copy(copy, at, data, bytes)
				       : block_send(copy, at, data, bytes);
	}
	return r;
}

/* No copy was made of anything but what the record is of. */
static int old_held_still(struct copy *copy)
{
	struct delta *delta = copy->delta;
	struct side_attr t;
	if (!delta->old_file) {
		return 0;
	}
	int r = side_file_attr(delta->old_file, &t, &copy->job->why);
	if (r == 0 && (t.atime_s != delta->old.tag || t.size_bytes != delta->old.size_bytes ||
			      t.mtime_ns / 1000000000 != delta->old.mtime_s)) {
		copy->no_delta = true;
		return FILE_CHANGED;
	}
	return r;
}

int delta_copy(struct copy *copy)
{
	struct record *made = &copy->delta->made;
	const size_t some = made->block_bytes < READ_BYTES ? READ_BYTES / made->block_bytes : 1;
	int r = (copy->buffer = malloc(some * made->block_bytes)) ? 0 : -ENOMEM;
	uint64_t next = TURN_BYTES;
	for (size_t i = 0; r == 0 && i < made->count; i += some) {
		r = blocks(copy, i, made->count - i < some ? made->count - i : some);
		if (r == 0 && (uint64_t)i * made->block_bytes >= next) {
			next += TURN_BYTES;
			r = turn(copy);
		}
	}
	r = r == 0 ? runs_end(copy) : r;
	return r == 0 ? old_held_still(copy) : r;
}

void delta_done(struct copy *copy)
{
	struct delta *delta = copy->delta;
	if (delta && delta->made.count) {
		record_save(copy->job->pair, &delta->made);
		if (delta->old.count) {
			record_drop(copy->job->pair, &delta->old);
		}
	}
}

void delta_finish(struct copy *copy)
{
	struct delta *delta = copy->delta;
	if (!delta) {
		return;
	}
	if (copy->no_delta && delta->old.count) {
		record_drop(copy->job->pair, &delta->old);
	}
	side_close(delta->old_file);
	record_finish(&delta->made);
	record_finish(&delta->old);
	free(STEAL(copy->delta));
}
