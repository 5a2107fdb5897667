/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular files: written to a temporary name in the same directory, and renamed over T only if
 * S has held still since it was opened.  Readers of T see the old file or the new one.
 *
 *   wait until S is older than the tick of its clock   or a write while we read could leave the
 *                                                      same mtime
 *   open S, fstat  ->  make temporary  ->  copy data, not holes  ->  size, mode, mtime
 *   wait until the second is over for which T's mtime will stand
 *   look at S by path: same inode, size, mtime, ctime?  no: throw away, try again
 *   rename over T, look once more:                     a change since then is a change again
 *
 * So no file at the target, whatever its name becomes there, has the size and mtime of a version of
 * S that it does not hold.
 *
 * A file that never holds still is published all the same after some rounds, as long as it was
 * when it was opened: a log's readers get a prefix of it, those of a file that is replaced again
 * and again one of its versions.  The receipt says `live`.
 */
#include "copy.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "flow/task.h"
#include "record.h"

#define COPY_TRIES     3 /* in one order */
#define LIVE_ATTEMPTS  2 /* orders that found it changing, before a prefix is published */
#define TICK_FINE_NS   (20 * CLOCK_MS) /* local clocks tick with the kernel */
#define TICK_COARSE_NS (2 * CLOCK_S)   /* whole seconds, and servers' clocks */

static void wait_until_old(const struct side_attr *s, uint64_t age_ns)
{
	int64_t age = (int64_t)clock_wall() - s->mtime_ns;
	if (age >= 0 && (uint64_t)age < age_ns) {
		uint64_t deadline = clock_now() + age_ns - (uint64_t)age;
		while (clock_now() < deadline) {
			task_wait_until(deadline);
		}
	}
}

static uint64_t tick_ns(const struct pair *pair)
{
	return pair->source_coherent ? TICK_FINE_NS : TICK_COARSE_NS;
}

/*
 * T's mtime knows only seconds: until S's second is over, another version of the same size would
 * look the same to all who compare later.
 */
void file_wait_for_second(struct job *job, const struct side_attr *s)
{
	uint64_t left = CLOCK_S - (uint64_t)s->mtime_ns % CLOCK_S;
	if (side_can(job->pair->target) & SIDE_CAN_NANOSECONDS) {
		return;
	}
	if ((int64_t)clock_wall() - s->mtime_ns < (int64_t)left && job->idle) {
		job->idle(job->idle_arg);
	}
	wait_until_old(s, left + TICK_FINE_NS);
}

bool file_held_still(const struct side_attr *before, const struct side_attr *now)
{
	return now->type == SIDE_FILE && before->size_bytes == now->size_bytes &&
	       before->mtime_ns == now->mtime_ns &&
	       (!before->has_inode ||
		       (before->ino == now->ino && before->ctime_ns == now->ctime_ns));
}

/* What was read may be a prefix of what S is now: a log that is written to. */
static bool only_grew(const struct side_attr *before, const struct side_attr *now)
{
	return now->type == SIDE_FILE && now->size_bytes >= before->size_bytes &&
	       (!before->has_inode || before->ino == now->ino);
}

/* The file that was opened has another name or none by now, and is as it was when it was opened:
 * what was read of it is one whole version. */
static bool replaced_whole(struct copy *copy, const struct side_attr *now)
{
	struct side_attr opened;
	return now->type == SIDE_FILE && now->has_inode && now->ino != copy->s.ino &&
	       side_file_attr(copy->from_file, &opened, &copy->job->why) == 0 &&
	       opened.size_bytes == copy->s.size_bytes && opened.mtime_ns == copy->s.mtime_ns;
}

static int make_temporary(struct copy *copy, struct span temporary)
{
	struct job *job = copy->job;
	struct side *target = job->pair->target;
	int r = side_make(target, temporary, &copy->to_file, &job->why);
	if (r == -EACCES && parent_opened(job, temporary)) {
		r = side_make(target, temporary, &copy->to_file, &job->why);
	}
	/* whatever becomes of it, the directory's mtime is another one now */
	return r == 0 && span_equal(copy->to, job->rel) ? job_touched(job, job->rel) : r;
}

static bool is_meant(const struct copy *copy, const struct side_attr *s)
{
	const struct side_attr *only = copy->only;
	return !only || !s->has_inode || (s->ino == only->ino && s->dev == only->dev);
}

/* Fills the temporary name with S as it was when opened. */
static int fill_temporary(struct copy *copy, struct span temporary)
{
	struct job *job = copy->job;
	struct pair *pair = job->pair;
	int r = side_open(pair->source, job->rel, &copy->from_file, &copy->s, &job->why);
	if (r == -ENOENT || r == -ELOOP || r == -ENOTDIR ||
		(r == 0 && (copy->s.type != SIDE_FILE || !is_meant(copy, &copy->s)))) {
		return FILE_CHANGED;
	}
	if (r == 0) {
		r = make_temporary(copy, temporary);
	}
	if (r == 0) {
		r = delta_begin(copy) ? delta_copy(copy) : content_copy(copy);
	}
	if (r == 0 && !side_is_remote(pair->source) && !side_is_remote(pair->target)) {
		r = side_copy_xattrs(copy->from_file, copy->to_file, &job->why);
	}
	struct side_attr set = copy->s;
	set.has_owner = r == 0 && owner_is_shared(job, &set);
	set.atime_s = copy->tag;
	if (r == 0) {
		r = side_complete(
			STEAL(copy->to_file), &set, pair->config->copier.fsync, &job->why);
	}
	return r;
}

static void copy_finish(struct copy *copy)
{
	side_close(STEAL(copy->from_file));
	side_close(STEAL(copy->to_file));
	free(STEAL(copy->buffer));
	delta_finish(copy);
}

/* Also when the connection broke under it: nobody else would know of this name. */
static void remove_temporary(struct job *job, struct span temporary)
{
	struct side *target = job->pair->target;
	struct why ignored;
	int r = side_unlink(target, temporary, &ignored);
	if (r == -ENOTCONN && (r = side_connect(target, &ignored)) == 0) {
		r = side_unlink(target, temporary, &ignored);
	}
	job->left = job->left || (r < 0 && r != -ENOENT && r != -ENOTDIR);
}

/* Gives the temporary its name.  exclusive: only if that name is free. */
static int give_name(
	struct job *job, struct span temporary, struct span to, bool exclusive, bool *ret_made)
{
	struct side *target = job->pair->target;
	int (*const rename)(struct side *, struct span, struct span, struct why *) =
		exclusive ? side_rename_new : side_rename;
	int r = rename(target, temporary, to, &job->why);
	if (r == -EACCES && parent_opened(job, to)) { /* closed again by its own order */
		r = rename(target, temporary, to, &job->why);
	}
	*ret_made = r == 0;
	if (r < 0) {
		remove_temporary(job, temporary);
	}
	return exclusive && r == -EEXIST ? 0 : r;
}

/* One try.  Returns 0, FILE_CHANGED, or -errno; the temporary name is gone, or job->left. */
static int copy_once(struct copy *copy, bool exclusive, bool publish_live, bool *ret_made)
{
	struct job *job = copy->job;
	struct pair *pair = job->pair;
	struct side_attr now;
	CLEANUP(buf_finish) struct buf temporary = BUF_EMPTY;
	temporary_name(copy->to, &temporary);

	int r = fill_temporary(copy, buf_span(&temporary));
	if (r == 0) {
		r = content_verify(copy, buf_span(&temporary));
	}
	if (r == 0) {
		file_wait_for_second(job, &copy->s);
		r = look(job, pair->source, job->rel, &now);
	}
	if (r == 0 && !file_held_still(&copy->s, &now)) {
		job->live =
			publish_live && (only_grew(&copy->s, &now) || replaced_whole(copy, &now));
		r = job->live ? 0 : FILE_CHANGED;
	}
	if (r == 0) {
		r = give_name(job, buf_span(&temporary), copy->to, exclusive, ret_made);
		if (*ret_made) {
			delta_done(copy);
		}
		return r;
	}
	side_close(STEAL(copy->to_file));
	remove_temporary(job, buf_span(&temporary));
	return r;
}

/* After the act: what happened to S since it was opened is a change again. */
static int look_again(struct job *job, const struct side_attr *before)
{
	struct side_attr now;
	int r = look(job, job->pair->source, job->rel, &now);
	if (r == 0 && !file_held_still(before, &now)) {
		r = job_follow_order(job, CHANGE_FORCE, job->order->attempt, 0);
	}
	return r;
}

static int ask_again(struct job *job)
{
	/* counts no further than this needs: errors have to be tried again all the same */
	unsigned attempt = job->order->attempt + (job->order->attempt <= LIVE_ATTEMPTS);
	const struct config *config = job->pair->config;
	uint64_t pause = attempt > LIVE_ATTEMPTS && config->retry_count ? config->retry_ns[0] : 0;
	int r = job_follow_order(job, CHANGE_FORCE, attempt, pause);
	return r < 0 ? r : FILE_CHANGED;
}

int file_copy(struct job *job, struct span to, const struct side_attr *only, bool exclusive,
	bool *ret_made)
{
	int r = FILE_CHANGED;
	bool no_delta = false;
	*ret_made = false;
	for (unsigned i = 0; r == FILE_CHANGED && i < COPY_TRIES; i++) {
		struct copy copy = {.job = job, .to = to, .only = only, .no_delta = no_delta};
		bool is_anchor = !span_equal(to, job->rel);
		copy.tag = is_anchor && side_is_remote(job->pair->target) ? record_tag() : 0;
		struct side_attr s;
		r = look(job, job->pair->source, job->rel, &s);
		if (r == 0 && (s.type != SIDE_FILE || !is_meant(&copy, &s))) {
			r = FILE_CHANGED;
			break;
		}
		if (r == 0) {
			wait_until_old(&s, tick_ns(job->pair));
			bool last = i + 1 == COPY_TRIES && job->order->attempt >= LIVE_ATTEMPTS;
			r = patch_copy(&copy, ret_made);
			r = r == PATCH_NOT ? copy_once(&copy, exclusive, last, ret_made) : r;
		}
		no_delta = copy.no_delta;
		copy_finish(&copy);
		if (r == 0) {
			r = look_again(job, &copy.s);
			job->work.files += *ret_made;
		}
	}
	return r == FILE_CHANGED ? ask_again(job) : r;
}

int file_attributes(struct job *job, const struct side_attr *s, const struct side_attr *t)
{
	struct pair *pair = job->pair;
	unsigned what = 0;
	if (t ? owner_differs(job, s, t) : owner_is_shared(job, s)) {
		what |= SIDE_SET_OWNER | SIDE_SET_MODE; /* chown takes set-id bits away */
	}
	if (!t || s->mode != t->mode) {
		what |= SIDE_SET_MODE;
	}
	if (!t || !same_mtime(pair, s, t)) {
		what |= SIDE_SET_MTIME;
	}
	if (!what) {
		job->work.unchanged++;
		return 0;
	}
	int r = side_set(pair->target, job->rel, s, what, &job->why);
	if (r == -ENOENT) { /* gone since we looked: somebody else's order will tell */
		return job_follow_order(job, 0, job->order->attempt, 0);
	}
	return r;
}

int copy_xattrs(struct job *job)
{
	struct pair *pair = job->pair;
	if (side_is_remote(pair->source) || side_is_remote(pair->target)) {
		return 0;
	}
	int r = side_copy_xattrs_at(pair->source, job->rel, pair->target, job->rel, &job->why);
	return r == -ENOENT || r == -EACCES ? 0 : r;
}

int entry_file(struct job *job, const struct side_attr *s)
{
	struct pair *pair = job->pair;
	struct side_attr t;
	bool made;
	int r = look_there(job, &t);
	if (r == 0 && t.type == SIDE_DIRECTORY) {
		r = detach(job, job->rel);
		t.type = SIDE_NONE;
	}
	if (r < 0) {
		return r;
	}
	if (s->has_inode && s->nlink > 1 && (side_can(pair->target) & SIDE_CAN_LINK)) {
		return entry_links(job, s, &t);
	}
	/* a name that was linked may be another file than the one that T has under it */
	bool trusted = !job->force && !job->again && job->order->op != CHANGE_LINK;
	if (trusted && same_content(pair, s, &t)) {
		r = job->order->op == CHANGE_META ? copy_xattrs(job) : 0;
		return r < 0 ? r : file_attributes(job, s, &t);
	}
	r = file_copy(job, job->rel, NULL, false, &made);
	return r == FILE_CHANGED ? 0 : r;
}
