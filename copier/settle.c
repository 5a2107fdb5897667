/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an errand found goes out before its receipt, and the receipt before the acknowledgement;
 * each step waits for the broker's confirms.  So nothing found is ever forgotten, and the tally
 * sees children before their parent is settled.
 *
 * An order that was not begun when the copier is to stop is published anew and acknowledged then.
 *
 * Many errands touch the same directory.  A batch asks for each touched directory once: the
 * first errand is its cause, and a `shared` note says that it stands for the others too, so a
 * barrier that waits for any of them waits for the directory.
 */
#include "copier.h"

#include <errno.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "flow/topology.h"

#define GATHER_NS (10 * CLOCK_MS)

/* Counts confirms that a task waits for. */
struct confirms {
	struct task *task;
	size_t open;
};

static void confirmed(void *arg)
{
	struct confirms *confirms = arg;
	if (--confirms->open == 0) {
		task_wake(confirms->task);
	}
}

static void confirms_wait(struct confirms *confirms)
{
	while (confirms->open > 0) {
		task_wait();
	}
}

void settle_room(void *arg)
{
	struct copier *copier = arg;
	for (size_t i = 0; i < copier->room_waiter_count; i++) {
		task_wake(copier->room_waiters[i]);
	}
	copier->room_waiter_count = 0;
}

static int wait_for_room(struct copier *copier)
{
	if (copier->room_waiter_count == copier->room_waiter_room) {
		size_t room = copier->room_waiter_room ? copier->room_waiter_room * 2 : 64;
		struct task **waiters = realloc(copier->room_waiters, room * sizeof(struct task *));
		if (!waiters) {
			return -ENOMEM;
		}
		copier->room_waiters = waiters;
		copier->room_waiter_room = room;
	}
	copier->room_waiters[copier->room_waiter_count++] = task_self();
	task_wait();
	return 0;
}

static int publish_follow(
	struct copier *copier, const struct follow *follow, struct confirms *confirms)
{
	const struct config *config = copier->service->config;
	struct broker *broker = copier->service->broker;
	for (;;) {
		int r = follow->pause_ns ? topology_publish_later(config, broker, follow->change,
						   follow->pause_ns, confirmed, confirms)
					 : topology_publish_change(config, broker, follow->change,
						   confirmed, confirms);
		if (r == 0) {
			confirms->open++;
		}
		if (r != BROKER_FULL) {
			return r;
		}
		r = wait_for_room(copier);
		if (r < 0) {
			return r;
		}
	}
}

int settle_publish(void *arg, struct follow *follows, size_t count, struct why *why)
{
	struct copier *copier = arg;
	struct confirms confirms = {.task = task_self()};
	int r = 0;
	for (size_t i = 0; i < count; i++) {
		if (r == 0) {
			r = publish_follow(copier, &follows[i], &confirms);
		}
		change_destroy(follows[i].change);
	}
	confirms_wait(&confirms);
	return r < 0 ? why_error(why, r, "publish what was found: out of memory") : 0;
}

void settle_add(struct errand *errand)
{
	struct copier *copier = errand->copier;
	errand->next = NULL;
	*copier->done_end = errand;
	copier->done_end = &errand->next;
	task_wake(copier->settler);
}

/* A directory that errands of one batch touched. */
struct touched {
	struct pair *pair;
	char *rel;           /* owned by the first errand's job */
	struct ident change; /* what was asked for */
};

struct batch {
	struct copier *copier;
	struct touched *touched;
	size_t touched_count, touched_room;
	struct ident *merged;
	size_t merged_count, merged_room;
	struct confirms confirms;
};

static struct touched *batch_find(struct batch *batch, const struct pair *pair, const char *rel)
{
	for (size_t i = 0; i < batch->touched_count; i++) {
		if (batch->touched[i].pair == pair && strcmp(batch->touched[i].rel, rel) == 0) {
			return &batch->touched[i];
		}
	}
	return NULL;
}

/* Grows an array for one more; returns false when memory ran out. */
static bool grow(void **array, size_t count, size_t *room, size_t size)
{
	if (count < *room) {
		return true;
	}
	void *bigger = realloc(*array, (*room ? *room * 2 : 64) * size);
	if (!bigger) {
		return false;
	}
	*array = bigger;
	*room = *room ? *room * 2 : 64;
	return true;
}

static int batch_merge(struct batch *batch, struct ident id, struct ident into)
{
	if (!grow((void **)&batch->merged, batch->merged_count, &batch->merged_room,
		    2 * sizeof(struct ident))) {
		return -ENOMEM;
	}
	batch->merged[2 * batch->merged_count] = id;
	batch->merged[2 * batch->merged_count + 1] = into;
	batch->merged_count++;
	return 0;
}

/* Asks for the touched directory rel, on behalf of the errand's order. */
static int batch_ask(struct batch *batch, struct errand *errand, char *rel)
{
	struct job *job = &errand->job;
	unsigned facts = job->order->facts & (CHANGE_BULK | CHANGE_SOON);
	if (!grow((void **)&batch->touched, batch->touched_count, &batch->touched_room,
		    sizeof(*batch->touched))) {
		return -ENOMEM;
	}
	struct ident id = job->pair->self; /* that of the next change; job_follow() may wait */
	id.number++;
	int r = job_follow(job, span_str(rel), facts, 0);
	if (r == 0) {
		batch->touched[batch->touched_count++] = (struct touched){job->pair, rel, id};
	}
	return r;
}

/* What one errand asks for beside its receipt. */
static int batch_add(struct batch *batch, struct errand *errand)
{
	struct job *job = &errand->job;
	int r = 0;
	for (size_t i = 0; r == 0 && i < job->touched_count; i++) {
		struct touched *touched = batch_find(batch, job->pair, job->touched[i]);
		r = touched ? batch_merge(batch, errand->order->id, touched->change)
			    : batch_ask(batch, errand, job->touched[i]);
	}
	for (size_t i = 0; r == 0 && i < job->follow_count; i++) {
		r = publish_follow(batch->copier, &job->follows[i], &batch->confirms);
	}
	return r;
}

static int batch_publish_note(struct batch *batch)
{
	struct copier *copier = batch->copier;
	struct note note = {
		.kind = NOTE_SHARED, .merged = batch->merged, .merged_count = batch->merged_count};
	int r = BROKER_FULL;
	while (batch->merged_count && r == BROKER_FULL) {
		r = topology_publish_note(copier->service->config, copier->service->broker, &note,
			confirmed, &batch->confirms);
		if (r == BROKER_FULL && wait_for_room(copier) < 0) {
			return -ENOMEM;
		}
	}
	batch->confirms.open += batch->merged_count && r == 0;
	return r < 0 ? r : 0;
}

/*
 * Its receipt; or, where it was not begun, the order itself.  Not as a redelivery: those are taken
 * for begun, and are done twice to be sure.
 */
static int publish_outcome(struct batch *batch, struct errand *errand)
{
	const struct config *config = batch->copier->service->config;
	struct broker *broker = batch->copier->service->broker;
	int r = BROKER_FULL;
	if (errand->unbegun && errand->delivery.redelivered) {
		errand->order->facts |= CHANGE_BEGUN;
	}
	while (r == BROKER_FULL) {
		r = errand->unbegun ? topology_publish_order(config, broker, errand->order,
					      confirmed, &batch->confirms)
				    : topology_publish_receipt(config, broker, &errand->receipt,
					      confirmed, &batch->confirms);
		if (r == BROKER_FULL && wait_for_room(batch->copier) < 0) {
			return -ENOMEM;
		}
	}
	batch->confirms.open += r == 0;
	return r;
}

static int batch_publish(struct batch *batch, struct errand *list)
{
	int r = 0;
	for (struct errand *e = list; r == 0 && e; e = e->next) {
		r = e->requeue || e->unbegun ? 0 : batch_add(batch, e);
	}
	if (r == 0) {
		r = batch_publish_note(batch);
	}
	confirms_wait(&batch->confirms);
	for (struct errand *e = list; r == 0 && e; e = e->next) {
		r = e->requeue ? 0 : publish_outcome(batch, e);
	}
	confirms_wait(&batch->confirms);
	return r;
}

static void settle_batch(struct copier *copier, struct errand *list)
{
	struct batch batch = {.copier = copier, .confirms = {.task = task_self()}};
	int r = batch_publish(&batch, list);
	if (r < 0) {
		log_error_r(r, "settle orders: out of memory, handed back");
	}
	while (list) {
		struct errand *errand = list;
		list = errand->next;
		if (r < 0 || errand->requeue) {
			broker_requeue(copier->service->broker, errand->delivery);
		} else {
			broker_ack(copier->service->broker, errand->delivery);
			copier->finished++;
		}
		errand_destroy(errand);
	}
	free(batch.touched);
	free(batch.merged);
}

void settle_run(void *arg)
{
	struct copier *copier = arg;
	copier->settler = task_self();
	for (;;) {
		while (!copier->done) {
			task_wait();
		}
		uint64_t deadline = clock_now() + GATHER_NS;
		while (clock_now() < deadline) {
			task_wait_until(deadline);
		}
		struct errand *list = copier->done;
		copier->done = NULL;
		copier->done_end = &copier->done;
		settle_batch(copier, list);
	}
}
