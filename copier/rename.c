/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Renames.  An order for the new name knows where its entry came from; if the target still has it
 * under the old name, or detached because the old name's order came first, it is moved instead of
 * copied.  Only the new name's half moves: so "moved by this very order" is exact, and what was
 * not moved is copied by force, since equal size and mtime may be another file's.
 *
 * A wrong guess costs time, never content: both names are reconciled afterwards, deep.
 *
 * Symlinks are not moved but made anew: one that takes a directory's place must wait (entry.c).
 */
#include "reconcile.h"

#include <errno.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"

/* Whether T's entry can be what is now S: files by size and mtime, directories by their mtime. */
static bool looks_like(
	const struct pair *pair, const struct side_attr *t, const struct side_attr *s)
{
	if (t->type != s->type || t->type == SIDE_NONE) {
		return false;
	}
	if (t->type == SIDE_FILE) {
		return same_content(pair, s, t);
	}
	return same_mtime(pair, s, t);
}

/* Where T has what S calls `to` now: under its old name, or detached.  -ENOENT: nowhere. */
static int find_old(struct job *job, struct span from, const struct side_attr *s_to,
	struct buf *ret, bool *ret_detached)
{
	struct pair *pair = job->pair;
	struct side_attr t, s_from;
	int r = look(job, pair->target, from, &t);
	if (r == 0) {
		r = look(job, pair->source, from, &s_from);
	}
	if (r < 0) {
		return r;
	}
	bool vacated = s_from.type == SIDE_NONE;
	*ret_detached = false;
	if (looks_like(pair, &t, s_to)
			? !looks_like(pair, &t, &s_from)
			: vacated && t.type == SIDE_DIRECTORY && s_to->type == SIDE_DIRECTORY) {
		buf_add(ret, from);
		return 0;
	}
	*ret_detached = true;
	r = detached_find(job, from, ret);
	if (r == 0) {
		r = look(job, pair->target, buf_span(ret), &t);
	}
	if (r == 0 && (t.type != s_to->type ||
			      (t.type != SIDE_DIRECTORY && !looks_like(pair, &t, s_to)))) {
		r = -ENOENT;
	}
	return r;
}

static int ask_old(struct job *job, struct span from, uint64_t pause_ns)
{
	return job_follow(job, from, job_inherited(job) | CHANGE_DEEP | CHANGE_DELETE, pause_ns);
}

/* Moves T's entry at old to the order's name.  What stands there is detached, not replaced: the
 * other end of a swap or a chain looks for it. */
static int move_here(struct job *job, struct span old, struct span from, bool detached)
{
	struct side *target = job->pair->target;
	struct side_attr there;
	int r = look(job, target, job->rel, &there);
	if (r == 0 && there.type != SIDE_NONE) {
		r = detach(job, job->rel);
	}
	if (r == 0) {
		r = side_rename(target, old, job->rel, &job->why);
		if (r == -EACCES &&
			((int)parent_opened(job, job->rel) | (int)parent_opened(job, old) |
				(int)entry_opened(job, old))) {
			r = side_rename(target, old, job->rel, &job->why);
		}
	}
	if (r == -ENOENT) {
		return 1; /* somebody was faster */
	}
	if (r == 0) {
		job->work.renames++;
		r = job_touched(job, job->rel);
	}
	if (r == 0 && detached) {
		detached_taken(job, old);
	} else if (r == 0) {
		r = job_touched(job, from);
		if (r == 0) {
			r = ask_old(job, from, 0);
		}
	}
	return r;
}

/* The old name of the order's pair number i, below the same tree; empty: not for us. */
static struct span pair_from(const struct job *job, unsigned i)
{
	const struct change_pair *pair = &job->order->pairs[i];
	struct span root = span_str(job->pair->tree->source.path), from = SPAN_NONE;
	bool ours = !pair->is_link && span_equal(pair->to, job->order->path) &&
		    path_below(pair->from, root, &from) && path_is_rel(from) &&
		    !span_equal(from, job->rel) && !tree_excludes(job->pair->tree, from);
	return ours ? from : SPAN("");
}

int rename_ask_old(struct job *job, uint64_t pause_ns)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < job->order->pair_count; i++) {
		struct span from = pair_from(job, i);
		if (from.len) {
			r = ask_old(job, from, pause_ns);
		}
	}
	return r;
}

/* T has a file of S's size and time under the new name already: which of two is meant, nobody knows
 * without reading. */
static bool is_ambiguous(const struct job *job, const struct side_attr *s)
{
	return job->there_known && same_content(job->pair, s, &job->there);
}

int rename_pairs(struct job *job)
{
	struct side_attr s, t;
	bool asked = false;
	int r = look(job, job->pair->source, job->rel, &s);
	job->moved = false;
	for (unsigned i = job->order->pair_count; r == 0 && !job->moved && i-- > 0;) {
		CLEANUP(buf_finish) struct buf old = BUF_EMPTY;
		bool detached = false;
		size_t bad_len;
		struct span from = pair_from(job, i);
		if (!from.len || s.type == SIDE_NONE || s.type == SIDE_SYMLINK) {
			continue;
		}
		asked = true;
		if (is_ambiguous(job, &s)) {
			break;
		}
		job->there_known = false;
		if (side_check(job->pair->target, path_parent(from), &bad_len, &job->why) == 0) {
			r = find_old(job, from, &s, &old, &detached);
		} else {
			detached = true;
			r = detached_find(job, from, &old);
		}
		if (r == 0) {
			r = move_here(job, buf_span(&old), from, detached);
			job->moved = r == 0;
			job->moved_ns = (int64_t)clock_wall();
		}
		r = r == -ENOENT || r > 0 ? 0 : r;
	}
	if (r == 0 && asked && !job->moved) {
		/* what has this name at the target is not what was moved: equal size and mtime say
		 * nothing */
		r = look(job, job->pair->target, job->rel, &t);
		job->force = job->force || s.type != SIDE_DIRECTORY || t.type != SIDE_NONE;
	}
	return r;
}
