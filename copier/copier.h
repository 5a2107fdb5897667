/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copier's wiring: deliveries become errands, errands run as tasks, what they did is settled.
 *
 *   errand.c   one order from delivery to outcome: reconcile, try again, retry later, failed
 *   settle.c   outcomes: further changes, then receipts, then acknowledgements, in batches
 */
#pragma once

#include "flow/broker.h"
#include "flow/service.h"
#include "flow/task.h"
#include "job.h"

/*
 * So many errands work at once; those that only wait for time to pass do not count.  Errands of
 * a connection that broke go on while the broker delivers the same orders again: what finds no
 * task then comes later, since an order handed back would be here again at once.
 */
struct slots {
	unsigned free;
	struct errand *first, **end;       /* who waits for one */
	struct errand *later, **later_end; /* who waits for a task */
	bool closed;                       /* stopping */
};
void slots_init(struct slots *slots, unsigned count);

struct errand {
	struct copier *copier;
	struct slots *slots;
	struct task *task;
	bool has_slot;
	struct broker_delivery delivery;
	struct change *order;
	struct job job;
	struct receipt receipt;
	bool begun;   /* a try, here or before, was broken off */
	bool requeue; /* no outcome: the broker shall give it to somebody else */
	bool unbegun; /* stopped before it began: published anew, as if it had never come here */
	struct errand *next;
};

struct copier {
	struct service *service;
	struct throttle throttle; /* of all trees */
	struct pair *pairs;
	size_t pair_count;
	struct task_pool *orders, *bulk, *house; /* house: settling, purging, probing */
	struct task_pool *hands;                 /* of bulk.c */
	struct slots orders_slots, bulk_slots;
	struct broker_consumer *orders_consumer, *bulk_consumer;
	struct errand *done, **done_end; /* to be settled, oldest first */
	struct task *settler;
	struct task **room_waiters; /* tasks that wait for BROKER_FULL to pass */
	size_t room_waiter_count, room_waiter_room;
	struct loop_timer purge_timer, probe_timer, drain_timer;
	uint64_t taken, finished, unreadable;
	bool purging, probing;
	uint64_t came_ns, asked_ns; /* the last order; to stop */
	bool drained;               /* stopping: there was nothing left to be told */
	bool purge_stopped;         /* a tree is above max_delete */
	bool blocked;               /* the problem that is told is an errand's */
};

/* errand.c: takes the order. */
int errand_start(struct copier *copier, struct task_pool *pool, struct slots *slots,
	struct broker_delivery delivery, struct change *order);
/* Stopping: who still waits for a slot does not begin. */
void slots_close(struct slots *slots);
void errand_destroy(struct errand *errand);
/* Whatever kept errands from working has passed: takes back the problem that was told. */
void errand_unblocked(struct copier *copier);

/* settle.c */
void settle_add(struct errand *errand);
void settle_run(void *copier); /* a task that never ends but with the process */
/* Publishes follows; returns when the broker has all. Owns the changes. A job_publish_fn. */
int settle_publish(void *copier, struct follow *follows, size_t count, struct why *why);
/* For broker_on_room(). */
void settle_room(void *copier);
