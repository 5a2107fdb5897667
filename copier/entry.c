/* SPDX-License-Identifier: Apache-2.0 */
/* What is neither a regular file nor a directory: nothing at all, and symlinks. */
#include "reconcile.h"

#include <errno.h>

#include "core/cleanup.h"
#include "core/path.h"

int entry_gone(struct job *job)
{
	struct side_attr t;
	if (!job->rel.len) {
		return why_error(&job->why, -ENOENT, "the root of %s is gone: nothing is removed",
			side_name(job->pair->source));
	}
	int r = look_there(job, &t);
	if (r < 0 || t.type == SIDE_NONE) {
		return r;
	}
	r = guarded(job);
	return r < 0 ? r : detach(job, job->rel);
}

/* Whether T is a symlink with the same text. */
static int same_text(struct job *job, struct span text, bool *ret_same)
{
	CLEANUP(free_p) char *there = NULL;
	size_t len = 0;
	int r = side_readlink(job->pair->target, job->rel, &there, &len, &job->why);
	if (r < 0) {
		return r;
	}
	*ret_same = span_equal(span_of(there, len), text);
	return 0;
}

static int symlink_make(struct job *job, struct span text, const struct side_attr *s)
{
	struct side *target = job->pair->target;
	CLEANUP(buf_finish) struct buf temporary = BUF_EMPTY;
	temporary_name(job->rel, &temporary);
	int r = side_symlink(target, text, buf_span(&temporary), &job->why);
	if (r == -EACCES && parent_opened(job, job->rel)) {
		r = side_symlink(target, text, buf_span(&temporary), &job->why);
	}
	if (r == 0) {
		r = job_touched(job, job->rel);
	}
	if (r < 0) {
		return r;
	}
	if (side_can(target) & SIDE_CAN_SET_LINK) {
		r = side_set(target, buf_span(&temporary), s, SIDE_SET_MTIME, &job->why);
	}
	if (r == 0) {
		r = side_rename(target, buf_span(&temporary), job->rel, &job->why);
	}
	if (r < 0) {
		struct why ignored;
		side_unlink(target, buf_span(&temporary), &ignored);
		return r;
	}
	job->work.links++;
	return 0;
}

int entry_symlink(struct job *job, const struct side_attr *s)
{
	struct pair *pair = job->pair;
	CLEANUP(free_p) char *text = NULL;
	size_t len = 0;
	struct side_attr t;
	bool same = false;
	int r = side_readlink(pair->source, job->rel, &text, &len, &job->why);
	if (r == -EINVAL || r == -ENOENT) { /* it is something else by now */
		return job_follow_order(job, 0, job->order->attempt, 0);
	}
	if (r == 0) {
		r = look_there(job, &t);
	}
	if (r == 0 && t.type == SIDE_SYMLINK) {
		r = same_text(job, span_of(text, len), &same);
	}
	if (r < 0) {
		return r;
	}
	if (same && (!(side_can(pair->target) & SIDE_CAN_SET_LINK) || same_mtime(pair, s, &t))) {
		job->work.unchanged++;
		return 0;
	}
	if (t.type == SIDE_DIRECTORY) {
		r = detach(job, job->rel);
		if (r < 0 ||
			(side_is_remote(pair->target) && !(job->order->facts & CHANGE_SETTLED))) {
			/* A server may still execute what was asked of it below the directory; it
			 * must not do so through the symlink (rule 2). */
			return r < 0 ? r
				     : job_follow_order(job, CHANGE_SETTLED, job->order->attempt,
					       pair->config->settle_ns);
		}
	}
	return symlink_make(job, span_of(text, len), s);
}
