/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A large file of which little has changed, at a server that cannot copy within itself: where the
 * tree says `in_place`, its blocks are overwritten where they stand.
 *
 *   T, open to be written   its record (record.h) has the hash of each block
 *   S                       read whole, each block hashed: few differ, else it is sent whole
 *   look at S               it has held still, and its second is over
 *   drop the record         from here on T is a mixture, with an mtime of its own
 *   write the blocks, read them back
 *   look at S again         it still is what was read
 *   size, mode, mtime       now T is S; a new record
 *
 * Whatever ends it in the middle, the next try finds no record and sends S whole, to a temporary
 * name as always.
 */
#include "copy.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "record.h"

#define FEW        8 /* of so many blocks one may have changed */
#define TURN_BYTES (16U * 1024 * 1024)

struct patch {
	struct copy *copy;
	struct record old, made;
	size_t changed;
	char *block, *back; /* room for one each */
};

static void patch_finish(struct patch *patch)
{
	record_finish(&patch->old);
	record_finish(&patch->made);
	free(patch->block);
	free(patch->back);
}

static bool may_patch(const struct copy *copy)
{
	const struct pair *pair = copy->job->pair;
	return pair->tree->in_place && !copy->no_delta && !copy->only &&
	       span_equal(copy->to, copy->job->rel) && !side_is_remote(pair->source) &&
	       side_is_remote(pair->target) && !(side_can(pair->target) & SIDE_CAN_COPY_DATA);
}

/* Both files, and the record of T's.  What is amiss with either is told by the usual way. */
static int begin(struct patch *patch)
{
	struct copy *copy = patch->copy;
	struct job *job = copy->job;
	struct pair *pair = job->pair;
	const uint64_t least = pair->config->copier.delta_bytes;
	struct side_attr t;
	int r = side_open(pair->source, job->rel, &copy->from_file, &copy->s, &job->why);
	if (r < 0 || copy->s.type != SIDE_FILE || !least || copy->s.size_bytes < least) {
		return PATCH_NOT;
	}
	r = side_edit(pair->target, copy->to, &copy->to_file, &t, &job->why);
	if (r < 0 || record_load(pair, &t, &patch->old) < 0) {
		return r == -ENOTCONN ? r : PATCH_NOT;
	}
	r = record_init(&patch->made, copy->s.size_bytes, patch->old.block_bytes);
	if (r < 0 || patch->made.block_bytes != patch->old.block_bytes) {
		return r < 0 ? r : PATCH_NOT;
	}
	patch->block = malloc(patch->made.block_bytes);
	patch->back = malloc(patch->made.block_bytes);
	return patch->block && patch->back ? 0 : -ENOMEM;
}

/* ---- blocks ------------------------------------------------------------------------------- */

static uint64_t block_at(const struct patch *patch, size_t i)
{
	return (uint64_t)i * patch->made.block_bytes;
}

static size_t block_len(const struct patch *patch, size_t i)
{
	return (size_t)(record_block_end(&patch->made, i) - block_at(patch, i));
}

static bool has_changed(const struct patch *patch, size_t i)
{
	return !record_same_block(&patch->old, &patch->made, i);
}

/* Of either file.  FILE_CHANGED: it is shorter than that. */
static int read_block(
	struct patch *patch, struct side_file *file, size_t i, char *room, XXH128_hash_t *ret)
{
	size_t len = block_len(patch, i), got = 0;
	int r = side_read(file, block_at(patch, i), room, len, &got, &patch->copy->job->why);
	if (r == 0) {
		*ret = XXH3_128bits(room, got);
	}
	if (block_at(patch, i) / TURN_BYTES != (block_at(patch, i) + len) / TURN_BYTES) {
		content_pause();
	}
	return r == 0 && got < len ? FILE_CHANGED : r;
}

static int find_changed(struct patch *patch)
{
	struct record *made = &patch->made;
	int r = 0;
	for (size_t i = 0; r == 0 && i < made->count; i++) {
		r = read_block(patch, patch->copy->from_file, i, patch->block, &made->hashes[i]);
		patch->changed += r == 0 && has_changed(patch, i);
		if (patch->changed > made->count / FEW + 1) {
			return PATCH_NOT;
		}
	}
	return r;
}

/* Zeros, too: T has something else there. */
static int write_changed(struct patch *patch)
{
	struct copy *copy = patch->copy;
	int r = 0;
	for (size_t i = 0; r == 0 && i < patch->made.count; i++) {
		XXH128_hash_t hash;
		if (!has_changed(patch, i)) {
			copy->job->work.bytes_saved += block_len(patch, i);
			continue;
		}
		r = read_block(patch, copy->from_file, i, patch->block, &hash);
		if (r == 0 && !XXH128_isEqual(hash, patch->made.hashes[i])) {
			r = FILE_CHANGED;
		}
		if (r == 0) {
			copy->job->work.bytes += block_len(patch, i);
			r = content_write(
				copy, block_at(patch, i), patch->block, block_len(patch, i), false);
		}
	}
	return r;
}

/* Behind the writes in one session, so it is what they have made.  `verify: checksum`: all of it.
 */
static int read_back(struct patch *patch)
{
	struct copy *copy = patch->copy;
	bool all = copy->job->pair->tree->verify == VERIFY_CONTENT;
	struct side_attr t;
	int r = side_file_attr(copy->to_file, &t, &copy->job->why);
	for (size_t i = 0; r == 0 && i < patch->made.count; i++) {
		XXH128_hash_t hash;
		if (!all && !has_changed(patch, i)) {
			continue;
		}
		r = read_block(patch, copy->to_file, i, patch->back, &hash);
		if (r == 0 && !XXH128_isEqual(hash, patch->made.hashes[i])) {
			r = FILE_CHANGED;
		}
	}
	return r;
}

/* ---- the steps ---------------------------------------------------------------------------- */

static int source_held_still(struct copy *copy)
{
	struct side_attr now;
	int r = look(copy->job, copy->job->pair->source, copy->job->rel, &now);
	return r == 0 && !file_held_still(&copy->s, &now) ? FILE_CHANGED : r;
}

/* T is still what the record is of: hashing takes long. */
static int target_held_still(struct patch *patch)
{
	struct side_attr t;
	int r = side_file_attr(patch->copy->to_file, &t, &patch->copy->job->why);
	bool same = r == 0 && t.atime_s == patch->old.tag &&
		    t.size_bytes == patch->old.size_bytes &&
		    t.mtime_ns / 1000000000 == patch->old.mtime_s;
	return r == 0 && !same ? PATCH_NOT : r;
}

static int overwrite(struct patch *patch)
{
	struct copy *copy = patch->copy;
	struct job *job = copy->job;
	struct side_attr set = copy->s;
	set.has_owner = false;
	set.atime_s = patch->made.tag = record_tag();
	copy->no_delta = true; /* until T is whole again */
	record_drop(job->pair, &patch->old);
	int r = write_changed(patch);
	r = r == 0 ? read_back(patch) : r;
	r = r == 0 ? source_held_still(copy) : r;
	if (r == 0) {
		r = side_complete(
			STEAL(copy->to_file), &set, job->pair->config->copier.fsync, &job->why);
	}
	if (r == 0) {
		patch->made.mtime_s = copy->s.mtime_ns / 1000000000;
		record_save(job->pair, &patch->made);
		copy->no_delta = false;
	}
	return r;
}

int patch_copy(struct copy *copy, bool *ret_made)
{
	CLEANUP(patch_finish) struct patch patch = {.copy = copy};
	if (!may_patch(copy)) {
		return PATCH_NOT;
	}
	int r = begin(&patch);
	r = r == 0 ? find_changed(&patch) : r;
	if (r == 0) {
		file_wait_for_second(copy->job, &copy->s);
		r = source_held_still(copy);
	}
	r = r == 0 ? target_held_still(&patch) : r;
	r = r == 0 ? overwrite(&patch) : r;
	*ret_made = r == 0;
	side_close(STEAL(copy->to_file));
	if (r == PATCH_NOT) {
		side_close(STEAL(copy->from_file));
	}
	return r;
}
