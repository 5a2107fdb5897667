/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a bulk pass that the target lacks are copied by the order of their directory: an
 * order for each would cost more than the file.
 *
 *   listing -> names to copy -> many hands (tasks) take the next name, each with a job of its own
 *                               what does not simply succeed is asked for as a change
 *
 * Orders for the same names may be under way elsewhere.  So a name is only ever given where it is
 * free, and S is looked at afterwards as always: nobody's newer copy is replaced by ours.
 *
 * A directory takes long this way, so the tree and the parent are looked at again each second.
 */
#include "bulk.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "guard.h"
#include "reconcile.h"

/* larger files are worth an order, and another copier */
#define SIZE_BYTES_MAX (UINT64_C(4) << 20)
#define HANDS_MAX      512
#define OLD_NS         ((int64_t)(4 * CLOCK_S))
#define CHECKED_NS     CLOCK_S

struct pass {
	struct job *job; /* the directory's */
	const struct side_list *list;
	const size_t *entries; /* of the list */
	size_t count, next;
	unsigned hands; /* at work */
	uint64_t checked_ns;
	struct task *waiter;
	int error; /* the first that is the tree's or the connection's, and ends the pass */
	struct why why;
};

struct hand {
	struct pass *pass;
	struct change order; /* as if it were the file's own */
	struct job job;
};

bool bulk_may_copy(const struct job *job, const struct side_attr *s, const struct side_attr *t)
{
	int64_t age_ns = (int64_t)clock_wall() - s->mtime_ns;
	return job->hands && (job->order->facts & CHANGE_BULK) && !t && s->type == SIDE_FILE &&
	       s->size_bytes <= SIZE_BYTES_MAX && age_ns > OLD_NS &&
	       (!s->has_inode || s->nlink == 1) && (side_can(job->pair->target) & SIDE_CAN_LINK);
}

/* ---- one hand ------------------------------------------------------------------------------ */

static bool is_fatal(int r)
{
	return r == -ENOTCONN || r == -ENOSPC || r == -EDQUOT || r == -EROFS || r == -ENOMEM;
}

/* One of the hands looks for all. */
static int check_again(struct pass *pass, struct job *job)
{
	size_t bad_len;
	if (clock_now() - pass->checked_ns < CHECKED_NS) {
		return 0;
	}
	pass->checked_ns = clock_now();
	int r = guard_pass(job->pair, &job->why);
	if (r < 0) {
		job->blocked = true;
		return r;
	}
	return side_check(job->pair->target, pass->job->rel, &bad_len, &job->why);
}

static int copy_one(struct hand *hand, const struct side_entry *entry)
{
	const struct pair *pair = hand->job.pair;
	bool made = false;
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	path_join(&path, hand->pass->job->order->path, entry->name);
	if (path.failed) {
		return -ENOMEM;
	}
	hand->order.path = buf_span(&path);
	(void)path_below(buf_span(&path), span_str(pair->tree->source.path), &hand->job.rel);
	int r = file_copy(&hand->job, hand->job.rel, NULL, true, &made);
	if (is_fatal(r) || r == FILE_CHANGED) {
		return r < 0 ? r : 0;
	}
	return r == 0 && made ? 0
			      : job_follow(&hand->job, hand->job.rel, job_inherited(&hand->job), 0);
}

static void hand_init(struct hand *hand, struct pass *pass)
{
	const struct job *job = pass->job;
	*hand = (struct hand){.pass = pass, .order = *job->order};
	hand->order.op = CHANGE_LOOK;
	hand->order.facts = job_inherited(job);
	hand->order.pair_count = 0;
	hand->order.attempt = 0;
	hand->order.link = SPAN_NONE;
	hand->order.seen = (struct change_seen){0};
	hand->job = (struct job){.pair = job->pair,
		.order = &hand->order,
		.force = job->force,
		.moved_ns = job->moved_ns,
		.publish = job->publish,
		.publish_arg = job->publish_arg};
}

static void hands_fill(struct pass *pass);

static void hand_work(struct hand *hand)
{
	struct pass *pass = hand->pass;
	int r = 0;
	while (r == 0 && !pass->error && pass->next < pass->count) {
		hands_fill(pass);
		r = check_again(pass, &hand->job);
		if (r == 0 && pass->next < pass->count) {
			r = copy_one(hand, &pass->list->entries[pass->entries[pass->next++]]);
		}
	}
	if (r < 0 && !pass->error) {
		pass->error = r;
		pass->why = hand->job.why;
	}
	/* what it touched is the directory, which the order that we are part of sets right */
	r = job_take(pass->job, &hand->job);
	pass->error = pass->error ? pass->error : r;
}

static void hand_run(void *arg)
{
	struct hand *hand = arg;
	struct pass *pass = hand->pass;
	task_set_patient(true); /* as the directory's order */
	hand_work(hand);
	free(hand);
	pass->hands--;
	task_wake(pass->waiter);
}

static bool hand_start(struct pass *pass)
{
	struct hand *hand = malloc(sizeof(*hand));
	if (hand) {
		hand_init(hand, pass);
	}
	if (!hand || task_start(pass->job->hands, hand_run, hand) != 0) {
		free(hand);
		return false;
	}
	pass->hands++;
	return true;
}

/* As many as there are names left, and the pool has: what other passes let go of comes here. */
static void hands_fill(struct pass *pass)
{
	while (pass->hands < HANDS_MAX && pass->count - pass->next > pass->hands &&
		hand_start(pass)) {
	}
}

/* ---- all of them ---------------------------------------------------------------------------- */

int bulk_copy(struct job *job, const struct side_list *list, const size_t *entries, size_t count)
{
	struct pass pass = {.job = job,
		.list = list,
		.entries = entries,
		.count = count,
		.checked_ns = clock_now(),
		.waiter = task_self()};
	struct hand own;
	hand_init(&own, &pass);
	hand_work(&own);
	while (pass.hands) {
		task_wait();
	}
	if (pass.error) {
		job->why = pass.why;
	}
	return pass.error;
}
