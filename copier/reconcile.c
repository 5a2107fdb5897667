/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of steps, and why it is this one:
 *
 *   guards     a vanished source or a strange target must not be acted upon
 *   parents    nothing is touched below something that is not a directory on both sides; the
 *              topmost such ancestor becomes a change of its own
 *   renames    before looking at the entry, so that it is found where it now belongs
 *   look       S as it is now, which is all that counts; the order is only a hint
 *   act        by type, see entry.c, directory.c, file.c, links.c
 *   look again S must still be what was acted upon (file.c), else it is a change again
 */
#include "reconcile.h"

#include <errno.h>
#include <sys/stat.h>

#include "core/path.h"
#include "guard.h"
#include "side/compare.h"

int look(struct job *job, struct side *side, struct span rel, struct side_attr *ret)
{
	int r = side_lstat(side, rel, ret, &job->why);
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP) {
		*ret = (struct side_attr){.type = SIDE_NONE};
		return 0;
	}
	return r;
}

int look_there(struct job *job, struct side_attr *ret)
{
	if (job->there_known) {
		job->there_known = false;
		*ret = job->there;
		return 0;
	}
	return look(job, job->pair->target, job->rel, ret);
}

bool same_mtime(const struct pair *pair, const struct side_attr *s, const struct side_attr *t)
{
	return compare_same_mtime(
		s->mtime_ns, t->mtime_ns, side_can(pair->source) & side_can(pair->target));
}

bool same_content(const struct pair *pair, const struct side_attr *s, const struct side_attr *t)
{
	if (s->type != SIDE_FILE || t->type != SIDE_FILE || s->size_bytes != t->size_bytes) {
		return false;
	}
	return same_mtime(pair, s, t);
}

int guarded(struct job *job)
{
	int r = guard_look(job->pair, &job->why);
	job->blocked = job->blocked || r < 0;
	return r;
}

bool parent_opened(struct job *job, struct span rel)
{
	struct side *target = job->pair->target;
	struct span parent = path_parent(rel);
	struct side_attr attr;
	if (side_lstat(target, parent, &attr, &job->why) < 0 || (attr.mode & 0700) == 0700) {
		return false;
	}
	attr.mode |= 0700;
	/* its own change, asked for here, sets the mode right again */
	return side_set(target, parent, &attr, SIDE_SET_MODE, &job->why) == 0 &&
	       job_touched(job, rel) == 0;
}

/* Makes the target's directories above the order's path, from missing_len on, as S has them. */
static int make_parents(struct job *job, size_t missing_len)
{
	struct span parent = path_parent(job->rel);
	struct span first = span_of(job->rel.data, missing_len);
	/* Published first: should we die here, somebody still sees to what is below.  Not forced:
	 * there is nothing at the target yet that could look right and be wrong. */
	int r = job_follow(
		job, first, CHANGE_DEEP | (job_inherited(job) & ~(unsigned)CHANGE_FORCE), 0);
	if (r == 0) {
		r = job_publish(job);
	}
	for (size_t len = missing_len; r == 0 && len <= parent.len; len++) {
		if (len < parent.len && parent.data[len] != '/') {
			continue;
		}
		struct span rel = span_of(parent.data, len);
		struct side_attr s;
		r = side_lstat(job->pair->source, rel, &s, &job->why);
		if (r == 0) {
			r = side_mkdir(job->pair->target, rel, s.mode | 0700, &job->why);
			if (r == -EACCES && parent_opened(job, rel)) {
				r = side_mkdir(job->pair->target, rel, s.mode | 0700, &job->why);
			}
			job->work.directories += r == 0;
		}
		if (r == 0 || r == -EEXIST) {
			r = job_touched(job, rel);
		}
	}
	return r;
}

/*
 * An order that was begun before, here or by a copier that died, may have changed entries of any
 * directory on its way without telling: all of them are looked at once more.  The copier that
 * died has left a temporary name, too, and an old server process may have made one after that:
 * the look after `settle` finds it.
 */
static int clear_up(struct job *job)
{
	bool settled = job->order->facts & CHANGE_SETTLED;
	int r = 0;
	if ((job->again || settled) && job->rel.len) {
		r = temporary_sweep(job, job->rel);
	}
	if (!job->again && !job->order->attempt) {
		return r;
	}
	if (job->again && r == 0) {
		r = rename_ask_old(job, 0);
	}
	for (struct span rel = job->rel; r == 0 && rel.len; rel = path_parent(rel)) {
		r = job_touched(job, rel);
	}
	return r;
}

#define PARENTS_ELSEWHERE 1 /* an ancestor was asked for, which covers this path */

static int parents_ready(struct job *job)
{
	struct pair *pair = job->pair;
	struct span parent = path_parent(job->rel);
	size_t bad_len = 0;
	if (!job->rel.len) {
		return 0;
	}
	int r = side_check(pair->source, parent, &bad_len, &job->why);
	if (r == -ENOENT || r == -ELOOP || r == -ENOTDIR) {
		r = guarded(job);
		if (r == 0) {
			r = job_follow(job, span_of(parent.data, bad_len),
				job_inherited(job) | CHANGE_DEEP | CHANGE_DELETE,
				job_doubts(job) ? pair->config->settle_ns : 0);
		}
		return r < 0 ? r : PARENTS_ELSEWHERE;
	}
	if (r < 0) {
		return r;
	}
	r = side_check_entry(pair->target, job->rel, &job->there, &bad_len, &job->why);
	job->there_known = r == 0;
	if (r == -ENOENT) {
		r = guarded(job);
		return r < 0 ? r : make_parents(job, bad_len);
	}
	if (r == -ELOOP || r == -ENOTDIR) {
		r = job_follow(job, span_of(parent.data, bad_len),
			job_inherited(job) | CHANGE_DEEP | CHANGE_DELETE | CHANGE_FORCE, 0);
		return r < 0 ? r : PARENTS_ELSEWHERE;
	}
	return r;
}

/* Whether S contradicts what the writer said: then a cache may be lying (rule 3). */
static bool is_surprise(const struct job *job, const struct side_attr *s)
{
	const struct change *order = job->order;
	if (order->op == CHANGE_LOOK || !job_doubts(job)) {
		return false;
	}
	bool removed =
		order->op == CHANGE_REMOVE || order->op == CHANGE_RMDIR || order->op == CHANGE_AWAY;
	if (removed != (s->type == SIDE_NONE)) {
		return true;
	}
	return s->type == SIDE_FILE && order->seen.has_stat && S_ISREG(order->seen.mode) &&
	       s->mtime_ns / 1000000000 < order->seen.mtime_ns / 1000000000;
}

/*
 * Whether the writer changed S's parent directory even if T's needs nothing: an entry that came
 * and went within the delay leaves only its parent's mtime behind.
 */
static bool parent_changed(const struct change *order, const struct side_attr *s)
{
	bool content =
		order->op == CHANGE_WRITE || order->op == CHANGE_META || order->op == CHANGE_LOOK;
	return !content || order->pair_count || (order->op != CHANGE_LOOK && s->type == SIDE_NONE);
}

static int reconcile_entry(struct job *job, const struct side_attr *s)
{
	switch (s->type) {
	case SIDE_FILE:
		return entry_file(job, s);
	case SIDE_DIRECTORY:
		return entry_directory(job, s);
	case SIDE_SYMLINK:
		return entry_symlink(job, s);
	case SIDE_OTHER:
		job->work.skipped++;
		return entry_gone(job);
	case SIDE_NONE:
		break;
	}
	return entry_gone(job);
}

/*
 * After the act: had S changed before it, what was done may be wrong, and the order that told of
 * that change may have been here in between; or it was told of another name of the same file.
 * Then the path is a change again; a directory whose entries changed needs no more than its mtime.
 */
static int look_again(struct job *job, const struct side_attr *before)
{
	struct side_attr now;
	int r = look(job, job->pair->source, job->rel, &now);
	if (r < 0) {
		return r;
	}
	bool same = now.type == before->type && now.mode == before->mode &&
		    (!now.has_inode || (now.ino == before->ino && now.dev == before->dev));
	if (same && now.mtime_ns == before->mtime_ns) {
		return 0;
	}
	if (same && now.type == SIDE_DIRECTORY) {
		return job_follow(job, job->rel, job->order->facts & CHANGE_BULK, 0);
	}
	return job_follow_order(job, 0, job->order->attempt, 0);
}

int reconcile(struct job *job)
{
	struct side_attr s;
	int r = guard_pass(job->pair, &job->why);
	if (r < 0) {
		job->blocked = true;
		return r;
	}
	job->force = job->order->facts & CHANGE_FORCE;
	job->moved_ns = job->order->moved_ns;
	r = parents_ready(job);
	if (r) {
		s = (struct side_attr){.type = SIDE_NONE};
		return r == PARENTS_ELSEWHERE ? links_elsewhere(job, &s) : r;
	}
	r = clear_up(job);
	if (r == 0) {
		r = look(job, job->pair->source, job->rel, &s);
	}
	if (r == 0 && is_surprise(job, &s)) {
		return job_follow_order(
			job, CHANGE_SETTLED, job->order->attempt, job->pair->config->settle_ns);
	}
	if (r == 0 && job->rel.len && parent_changed(job->order, &s)) {
		r = job_touched(job, job->rel);
	}
	if (r == 0) {
		r = rename_pairs(job);
	}
	if (r == 0) {
		r = reconcile_entry(job, &s);
	}
	if (r == 0) {
		r = links_elsewhere(job, &s);
	}
	return r < 0 ? r : look_again(job, &s);
}
