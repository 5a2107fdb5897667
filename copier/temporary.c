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
 * or a device of its own.  So two things leave some behind: a copier that dies, or loses its
 * connection, and a rename that carries a directory off while another copier works in it.  The
 * first is found by who gets the order again (redelivered, or as a retry that was begun), the
 * second by the deep walk that follows each move.  What both miss is found when it is old: by
 * deep walks, by the purger among the anchors of links, and by an audit.  Removing one that is
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
#define HASH_DIGITS    5
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

bool temporary_is_left(const struct job *job, struct span name, const struct side_attr *t)
{
	int64_t made_ns, slack_ns = (int64_t)job->pair->config->settle_ns;
	if (t->type == SIDE_DIRECTORY || !tree_is_temporary(name, &made_ns)) {
		return false;
	}
	/* the clock of who made it may be ahead of that of who moved it */
	return (job->moved_ns && made_ns < job->moved_ns + slack_ns) ||
	       tree_temporary_is_left(name, t->mtime_ns, (int64_t)clock_wall());
}

/* Whether name was to become something whose name has this hash. */
static bool is_of(struct span name, uint32_t hash)
{
	char digits[HASH_DIGITS + 1] = "";
	int64_t made_ns;
	if (!tree_is_temporary(name, &made_ns)) {
		return false;
	}
	memcpy(digits, name.data + name.len - HASH_DIGITS, HASH_DIGITS);
	return strtoul(digits, NULL, 16) == hash;
}

int temporary_sweep(struct job *job, struct span of)
{
	CLEANUP(side_list_finish) struct side_list list = {0};
	struct span parent = path_parent(of);
	uint32_t hash = leaf_hash(of);
	struct why ignored;
	int r = side_list(job->pair->target, parent, &list, &job->why);
	for (size_t i = 0; r == 0 && i < list.count; i++) {
		CLEANUP(buf_finish) struct buf rel = BUF_EMPTY;
		if (!is_of(list.entries[i].name, hash)) {
			continue;
		}
		path_join(&rel, parent, list.entries[i].name);
		if (rel.failed) {
			return -ENOMEM;
		}
		side_unlink(job->pair->target, buf_span(&rel), &ignored);
		r = job_touched(job, of);
	}
	return r == -EACCES ? 0 : r; /* not to be listed: then the walk of an hour later has it */
}
