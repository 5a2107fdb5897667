/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Temporary names at the target, and the end of those that nobody will finish:
 *
 *   .mirror-0199a2b3c4d5e6f7
 *           |          |
 *           |          the last name of what it was to become, hashed: 5 hex digits
 *           when it was made: milliseconds since 1970, 11 hex digits
 *
 * They lie beside what they become, because a directory of the target may have a quota, a layout
 * or a device of its own.  So two things leave some behind: a copier that dies, and a rename that
 * carries a directory off while another copier works in it.  The first is found by who gets the
 * order again, the second by the deep walk that follows each move.  Removing one that is
 * still used does no harm: its owner misses it when it comes to the rename, and tries again.
 */
#include "reconcile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <xxhash.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"

#define PREFIX         ".mirror-"
#define PREFIX_LEN     (sizeof(PREFIX) - 1)
#define TIME_DIGITS    11
#define NAME_LEN       24
#define ABANDONED_NS   ((int64_t)(3600 * CLOCK_S)) /* without an owner by then */
#define LEAF_HASH_MASK 0xfffffu

static uint32_t leaf_hash(struct span rel)
{
	struct span leaf = path_name(rel);
	return (uint32_t)(XXH3_64bits(leaf.data, leaf.len) & LEAF_HASH_MASK);
}

void temporary_name(struct span rel, struct buf *ret)
{
	static uint64_t last_ms; /* no two of one process are equal */
	uint64_t now_ms = clock_wall() / CLOCK_MS;
	last_ms = now_ms > last_ms ? now_ms : last_ms + 1;
	path_join(ret, path_parent(rel), SPAN(PREFIX));
	buf_printf(ret, "%011" PRIx64 "%05" PRIx32, last_ms, leaf_hash(rel));
}

/* Reads a name that tree_is_our_name() knows; false: .mirror, .mirror-gone, .mirror-links. */
static bool parse(struct span name, int64_t *ret_made_ns, uint32_t *ret_hash)
{
	char time[TIME_DIGITS + 1] = "", hash[NAME_LEN - PREFIX_LEN - TIME_DIGITS + 1] = "";
	if (name.len != NAME_LEN) {
		return false;
	}
	memcpy(time, name.data + PREFIX_LEN, TIME_DIGITS);
	memcpy(hash, name.data + PREFIX_LEN + TIME_DIGITS, sizeof(hash) - 1);
	*ret_made_ns = (int64_t)(strtoull(time, NULL, 16) * CLOCK_MS);
	*ret_hash = (uint32_t)strtoul(hash, NULL, 16);
	return true;
}

bool temporary_is_left(const struct job *job, struct span name, const struct side_attr *t)
{
	int64_t made_ns, now_ns = (int64_t)clock_wall();
	uint32_t hash;
	if (t->type == SIDE_DIRECTORY || !parse(name, &made_ns, &hash)) {
		return false;
	}
	/* its mtime may be the source's already, its name's time another host's */
	bool old = now_ns - made_ns > ABANDONED_NS && now_ns - t->mtime_ns > ABANDONED_NS;
	return old || made_ns < job->moved_ns;
}

int temporary_sweep(struct job *job)
{
	CLEANUP(side_list_finish) struct side_list list = {0};
	struct span parent = path_parent(job->rel);
	uint32_t hash = leaf_hash(job->rel);
	struct why ignored;
	int r = side_list(job->pair->target, parent, &list, &job->why);
	for (size_t i = 0; r == 0 && i < list.count; i++) {
		struct span name = list.entries[i].name;
		int64_t made_ns;
		uint32_t its;
		if (!tree_is_our_name(name) || !parse(name, &made_ns, &its) || its != hash) {
			continue;
		}
		CLEANUP(buf_finish) struct buf rel = BUF_EMPTY;
		path_join(&rel, parent, name);
		if (rel.failed) {
			return -ENOMEM;
		}
		side_unlink(job->pair->target, buf_span(&rel), &ignored);
	}
	return r == -EACCES ? 0 : r; /* not to be listed: then the walk of an hour later has it */
}
