/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories.  A deep order lists both sides and asks for a change of every entry that differs;
 * sub-directories are asked for deep, so the walk spreads over all copiers, and each entry is
 * then looked at by its own order: nothing is removed or trusted on the word of a listing (files
 * that a bulk pass finds missing are copied at once, see bulk.c).  An
 * order that is not deep and asks for removals (DELETE) does the same with this one directory.
 *
 * mode and mtime are set at the end; whatever is made below later asks for this directory again.
 */
#include "reconcile.h"

#include <errno.h>
#include <stdlib.h>

#include "bulk.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"

static bool within_limits(const struct change *order, const struct side_attr *s)
{
	return s->type != SIDE_FILE ||
	       ((!order->newer_ns || s->mtime_ns > order->newer_ns) &&
		       (!order->older_ns || s->mtime_ns <= order->older_ns));
}

/* Whether S may have been written with nobody told.  Over SFTP nobody knows its ctime. */
static bool is_suspect(const struct change *order, const struct side_attr *s)
{
	return order->suspect_ns && s->type == SIDE_FILE &&
	       (s->has_inode ? s->ctime_ns : s->mtime_ns) >= order->suspect_ns;
}

/* Whether an entry that both sides have needs a look of its own. */
static bool entry_differs(struct job *job, const struct side_attr *s, const struct side_attr *t)
{
	if (s->type != t->type || s->type == SIDE_SYMLINK || job->force) {
		return true;
	}
	if (s->type == SIDE_OTHER) {
		return false;
	}
	return !same_content(job->pair, s, t) || s->mode != t->mode || owner_differs(job, s, t) ||
	       (s->has_inode && s->nlink > 1);
}

/* Else only the directory's own entries are compared. */
static bool goes_deep(const struct job *job)
{
	return (job->order->facts & CHANGE_DEEP) || job->detached;
}

#define ENTRY_OURS 1 /* to be copied here and now */

/* One name of a deep directory; s or t is NULL where that side lacks it. */
static int deep_entry(
	struct job *job, struct span name, const struct side_attr *s, const struct side_attr *t)
{
	CLEANUP(buf_finish) struct buf rel = BUF_EMPTY;
	path_join(&rel, job->rel, name);
	if (rel.failed) {
		return -ENOMEM;
	}
	if (tree_is_our_name(buf_span(&rel))) {
		struct why ignored;
		if (t && temporary_is_left(job, name, t)) {
			side_unlink(job->pair->target, buf_span(&rel), &ignored);
		}
		return 0;
	}
	if (tree_excludes(job->pair->tree, buf_span(&rel))) {
		return 0;
	}
	if (!s && !(job->order->facts & CHANGE_DELETE)) {
		return 0;
	}
	/* also where only T has a directory: by then S may have one again, which is another */
	bool is_directory = (s && s->type == SIDE_DIRECTORY) || (t && t->type == SIDE_DIRECTORY);
	if (!goes_deep(job) && s && t && s->type == t->type && is_directory) {
		return 0;
	}
	if (s && !is_directory && !within_limits(job->order, s)) {
		return 0;
	}
	if (s && is_suspect(job->order, s)) {
		return job_follow_written(job, buf_span(&rel));
	}
	if (s && t && !is_directory && !entry_differs(job, s, t)) {
		job->work.unchanged++;
		return 0;
	}
	if (s && bulk_may_copy(job, s, t)) {
		return ENTRY_OURS;
	}
	return job_follow(
		job, buf_span(&rel), (is_directory ? CHANGE_DEEP : 0) | job_inherited(job), 0);
}

static int span_order(struct span a, struct span b)
{
	int r = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
	return r ? r : (a.len > b.len) - (a.len < b.len);
}

/*
 * Both lists are sorted: one pass over the union of names.  ours has room for all of s; those to be
 * copied here are put into it.
 */
static int deep_lists(struct job *job, const struct side_list *s, const struct side_list *t,
	size_t *ours, size_t *ret_count)
{
	size_t i = 0, k = 0;
	int r = 0;
	while (r >= 0 && (i < s->count || k < t->count)) {
		int order = i == s->count   ? 1
			    : k == t->count ? -1
					    : span_order(s->entries[i].name, t->entries[k].name);
		const struct side_entry *here = order <= 0 ? &s->entries[i++] : NULL;
		const struct side_entry *there = order >= 0 ? &t->entries[k++] : NULL;
		r = deep_entry(job, here ? here->name : there->name, here ? &here->attr : NULL,
			there ? &there->attr : NULL);
		if (r == ENTRY_OURS) {
			ours[(*ret_count)++] = (size_t)(here - s->entries);
		}
	}
	return r < 0 ? r : 0;
}

/* What others are to do is told first, so that they begin. */
static int deep_work(struct job *job, const struct side_list *s, const struct side_list *t)
{
	size_t count = 0;
	CLEANUP(free_p) size_t *ours = malloc((s->count ? s->count : 1) * sizeof(*ours));
	if (!ours) {
		return -ENOMEM;
	}
	int r = deep_lists(job, s, t, ours, &count);
	if (r == 0 && count) {
		r = job_publish(job);
	}
	return r == 0 && count ? bulk_copy(job, s, ours, count) : r;
}

/* fresh: T's directory was made a moment ago, and what others put there they tell of. */
static int deep(struct job *job, bool fresh)
{
	CLEANUP(side_list_finish) struct side_list s = {0};
	CLEANUP(side_list_finish) struct side_list t = {0};
	int r = side_list(job->pair->source, job->rel, &s, &job->why);
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP) {
		return job_follow_order(job, 0, job->order->attempt, 0);
	}
	if (r == 0 && !fresh) {
		r = side_list(job->pair->target, job->rel, &t, &job->why);
	}
	return r < 0 ? r : deep_work(job, &s, &t);
}

/* *ret_fresh: it was not there before. */
static int make_directory(struct job *job, const struct side_attr *s, bool *ret_fresh)
{
	int r = side_mkdir(job->pair->target, job->rel, s->mode | 0700, &job->why);
	if (r == -EACCES && parent_opened(job, job->rel)) {
		r = side_mkdir(job->pair->target, job->rel, s->mode | 0700, &job->why);
	}
	if (r == 0) {
		*ret_fresh = true;
		job->work.directories++;
		return job_touched(job, job->rel);
	}
	return r == -EEXIST ? 0 : r; /* another copier was here; its own change follows */
}

int entry_directory(struct job *job, const struct side_attr *s)
{
	struct side_attr t;
	bool fresh = false;
	job->directory = true;
	int r = look_there(job, &t);
	bool there = t.type == SIDE_DIRECTORY;
	if (r == 0 && t.type != SIDE_NONE && !there) {
		r = detach(job, job->rel); /* maybe what another copier made here since the look */
	}
	bool is_listed = goes_deep(job) || (job->order->facts & CHANGE_DELETE);
	if (r == 0 && !there) {
		r = make_directory(job, s, &fresh);
	}
	if (r == 0 && there && is_listed && (t.mode & 0500) != 0500) { /* S can be listed by now */
		t.mode |= 0700;
		r = side_set(job->pair->target, job->rel, &t, SIDE_SET_MODE, &job->why);
	}
	if (r == 0 && is_listed) {
		r = deep(job, fresh);
		if (r == 0 && there) {
			r = look(job, job->pair->target, job->rel,
				&t); /* left-overs may have gone */
		}
	}
	if (r == 0) {
		r = copy_xattrs(job);
	}
	return r < 0 ? r : file_attributes(job, s, there ? &t : NULL);
}
