/* SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include <errno.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "flow/place.h"

#define FOLLOW_BATCH 256 /* changes gathered before they are published */

static void follows_clear(struct job *job)
{
	for (size_t i = 0; i < job->follow_count; i++) {
		change_destroy(job->follows[i].change);
	}
	job->follow_count = 0;
}

void job_finish(struct job *job)
{
	follows_clear(job);
	free(job->follows);
	for (size_t i = 0; i < job->touched_count; i++) {
		free(job->touched[i]);
	}
	free(job->touched);
	job->follows = NULL;
	job->touched = NULL;
	job->touched_count = 0;
}

int job_publish(struct job *job)
{
	size_t count = job->follow_count;
	if (!count) {
		return 0;
	}
	job->follow_count = 0;
	return job->publish(job->publish_arg, job->follows, count, &job->why);
}

/* Takes the change, also when that fails. */
static int follow_add(struct job *job, struct change *change, uint64_t pause_ns)
{
	if (job->follow_count == job->follow_room) {
		size_t room = job->follow_room ? job->follow_room * 2 : 8;
		struct follow *follows = realloc(job->follows, room * sizeof(*follows));
		if (!follows) {
			change_destroy(change);
			return -ENOMEM;
		}
		job->follows = follows;
		job->follow_room = room;
	}
	job->follows[job->follow_count++] = (struct follow){change, pause_ns};
	return job->follow_count >= FOLLOW_BATCH ? job_publish(job) : 0;
}

static void work_add(struct receipt_work *to, const struct receipt_work *from)
{
	to->files += from->files;
	to->directories += from->directories;
	to->links += from->links;
	to->renames += from->renames;
	to->removals += from->removals;
	to->bytes += from->bytes;
	to->bytes_saved += from->bytes_saved;
	to->unchanged += from->unchanged;
	to->skipped += from->skipped;
}

int job_take(struct job *job, struct job *other)
{
	size_t count = job->follow_count + other->follow_count;
	if (count > job->follow_room) {
		struct follow *follows = realloc(job->follows, count * sizeof(*follows));
		if (!follows) {
			job_finish(other);
			return -ENOMEM;
		}
		job->follows = follows;
		job->follow_room = count;
	}
	for (size_t i = 0; i < other->follow_count; i++) {
		job->follows[job->follow_count++] = other->follows[i];
	}
	other->follow_count = 0;
	work_add(&job->work, &other->work);
	job->blocked = job->blocked || other->blocked;
	job->live = job->live || other->live;
	job->left = job->left || other->left;
	job_finish(other);
	return 0;
}

static struct ident job_ident(struct job *job)
{
	job->pair->self.number++;
	return job->pair->self;
}

/* A look at rel that was found on the order's way; NULL when memory ran out. */
static struct change *follow_make(struct job *job, struct span rel, unsigned facts)
{
	const struct change *order = job->order;
	struct change *change = change_create();
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	struct span below;
	if (!change) {
		return NULL;
	}
	path_join(&path, span_str(job->pair->tree->source.path), rel);
	change->id = job_ident(job);
	change->cause = order->id;
	change->op = CHANGE_LOOK;
	change->facts = facts;
	change->time_ns = order->time_ns;
	change->newer_ns = order->newer_ns;
	change->older_ns = order->older_ns;
	if (!job->rel.len || path_below(rel, job->rel, &below)) {
		change->moved_ns = job->moved_ns;
		change->suspect_ns = order->suspect_ns;
	}
	if (path.failed || change_set(&change->path, buf_span(&path)) ||
		change_set(&change->host, order->host) || change_set(&change->job, order->job)) {
		change_destroy(change);
		return NULL;
	}
	return change;
}

int job_follow(struct job *job, struct span rel, unsigned facts, uint64_t pause_ns)
{
	struct change *change = follow_make(job, rel, facts);
	return change ? follow_add(job, change, pause_ns) : -ENOMEM;
}

int job_follow_written(struct job *job, struct span rel)
{
	struct change *change = follow_make(job, rel, job_inherited(job) | CHANGE_FORCE);
	if (!change) {
		return -ENOMEM;
	}
	change->op = CHANGE_WRITE;
	return follow_add(job, change, 0);
}

int job_follow_group(struct job *job, struct span rel, struct change_group group)
{
	struct change *change = follow_make(job, rel, job_inherited(job));
	if (!change) {
		return -ENOMEM;
	}
	change->op = job->force ? CHANGE_WRITE : CHANGE_META;
	change_add_group(change, group);
	return follow_add(job, change, 0);
}

int job_follow_order(struct job *job, unsigned facts, unsigned attempt, uint64_t pause_ns)
{
	struct change *change = change_copy(job->order);
	if (!change) {
		return -ENOMEM;
	}
	change->id = job_ident(job);
	change->cause = job->order->id;
	change->facts &= ~(unsigned)CHANGE_BEGUN; /* who could not clear up says so again */
	change->facts |= facts | (job->detached ? CHANGE_DEEP : 0);
	change->attempt = attempt;
	change->moved_ns = job->moved_ns;
	if (!pause_ns) {
		change->time_ns = clock_wall(); /* it is changing: wait until it is quiet again */
	}
	return follow_add(job, change, pause_ns);
}

int job_touched(struct job *job, struct span rel)
{
	struct span parent = path_parent(rel);
	for (size_t i = 0; i < job->touched_count; i++) {
		if (span_equal(span_str(job->touched[i]), parent)) {
			return 0;
		}
	}
	char **touched = realloc(job->touched, (job->touched_count + 1) * sizeof(*touched));
	if (!touched) {
		return -ENOMEM;
	}
	job->touched = touched;
	touched[job->touched_count] = strndup(parent.len ? parent.data : "", parent.len);
	if (!touched[job->touched_count]) {
		return -ENOMEM;
	}
	job->touched_count++;
	return 0;
}

unsigned job_inherited(const struct job *job)
{
	unsigned facts = job->order->facts & (CHANGE_DELETE | CHANGE_BULK | CHANGE_PASS);
	return (job->force ? CHANGE_FORCE : 0) | CHANGE_SOON | facts |
	       (facts & CHANGE_PASS ? CHANGE_BULK : 0);
}

bool job_doubts(const struct job *job)
{
	bool here = span_equal(job->order->host, span_str(place_host()));
	return !(job->order->facts & CHANGE_SETTLED) && !(job->pair->source_coherent && here);
}
