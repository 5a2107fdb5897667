/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror-copier: orders -> target.
 *
 *   main.c       wiring: queues, task pools, purging, the daemon's life
 *   errand.c     one order from delivery to outcome
 *   settle.c     outcomes: further changes, receipts, acknowledgements
 *   reconcile.c  the steps that make T what S is:
 *     guard.c      both roots are what they should be
 *     rename.c     move instead of copy
 *     entry.c      gone, symlinks          directory.c  directories, deep
 *     file.c       regular files           links.c      files with several names
 *       content.c    moving the bytes      delta.c      of large files only what changed
 *       patch.c      or overwritten        record.c     what the target has
 *       throttle.c   not faster than allowed
 *     gone.c       detaching               purge.c      deleting what was detached
 *     bulk.c       many new files of one directory
 *   job.c        what one order found and did
 */
#include "copier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "flow/topology.h"
#include "guard.h"
#include "purge.h"

#define STACK_BYTES      (256 * 1024)
#define WAITING_PER_SLOT 8
#define HANDS_PER_SLOT   4
#define DRAIN_NS         (20 * CLOCK_MS)
#define COMING_NS        (500 * CLOCK_MS) /* so long after the last order no other was on its way */
#define COMING_MOST_NS   (4 * CLOCK_S)
#define FAREWELL_NS      (200 * CLOCK_MS) /* for the broker to write down what it was told last */
#define PROBE_NS         (5 * CLOCK_S)

static void take(struct copier *copier, struct task_pool *pool, struct slots *slots,
	struct broker_delivery delivery, struct span body)
{
	struct change *order = NULL;
	struct why why;
	int r = message_decode_change(body, &order, &why);
	if (r == -EPROTONOSUPPORT) {
		service_keep(copier->service, &why);
		return;
	}
	if (r < 0) {
		log_error("an order that nobody can read is dropped (%llu so far): %s",
			(unsigned long long)++copier->unreadable, why.text);
		broker_ack(copier->service->broker, delivery);
		return;
	}
	copier->taken++;
	copier->came_ns = clock_now();
	r = errand_start(copier, pool, slots, delivery, order);
	if (r < 0) {
		broker_requeue(copier->service->broker, delivery);
	}
}

static void on_order(void *arg, struct broker_delivery delivery, struct span body)
{
	struct copier *copier = arg;
	take(copier, copier->orders, &copier->orders_slots, delivery, body);
}

static void on_bulk(void *arg, struct broker_delivery delivery, struct span body)
{
	struct copier *copier = arg;
	take(copier, copier->bulk, &copier->bulk_slots, delivery, body);
}

static void on_lost(void *arg)
{
	struct copier *copier = arg;
	service_kept_void(copier->service);
}

static void purge_all(void *arg)
{
	struct copier *copier = arg;
	struct why why;
	bool stopped = false;
	for (size_t i = 0; i < copier->pair_count; i++) {
		int r = purge_round(&copier->pairs[i], &why);
		if (r == -EDQUOT) {
			stopped = true;
			service_problem(copier->service, "%s", why.text);
		} else if (r < 0) {
			log_warning("purge %s: %s", copier->pairs[i].tree->target.text, why.text);
		}
	}
	if (copier->purge_stopped && !stopped && !copier->blocked) {
		service_problem(copier->service, NULL);
	}
	copier->purge_stopped = stopped;
	copier->purging = false;
}

/*
 * The copier whose errands were blocked may get no more work that would show that all is well:
 * its orders have gone to others.  At the start it finds out what stands in the way before there is
 * work, and has the connections by then.
 */
static void probe(void *arg)
{
	struct copier *copier = arg;
	struct why why;
	int r = 0;
	for (size_t i = 0; r == 0 && i < copier->pair_count; i++) {
		r = guard_look(&copier->pairs[i], &why);
	}
	if (r < 0 && !copier->blocked && !copier->service->stopping) {
		copier->blocked = true;
		service_problem(copier->service, "%s", why.text);
	}
	if (r == 0 && !task_pool_running(copier->orders) && !task_pool_running(copier->bulk)) {
		errand_unblocked(copier);
	}
	copier->probing = false;
}

static void on_probe_timer(void *arg)
{
	struct copier *copier = arg;
	if (copier->blocked && !copier->probing && !copier->service->stopping) {
		copier->probing = task_start(copier->house, probe, copier) == 0;
	}
	loop_timer_set(&copier->probe_timer, clock_now() + PROBE_NS);
}

static uint64_t purge_interval_ns(const struct config *config)
{
	uint64_t ns = config->keep_gone_ns / 10;
	return ns < CLOCK_S ? CLOCK_S : ns > 60 * CLOCK_S ? 60 * CLOCK_S : ns;
}

/* One copier of a host is its trees' purger. */
static void on_purge_timer(void *arg)
{
	struct copier *copier = arg;
	if (!copier->purging && !copier->service->stopping) {
		copier->purging = task_start(copier->house, purge_all, copier) == 0;
	}
	loop_timer_set(
		&copier->purge_timer, clock_now() + purge_interval_ns(copier->service->config));
}

static int open_pairs(struct copier *copier, struct why *why)
{
	const struct config *config = copier->service->config;
	copier->throttle.bucket.rate_bytes = config->copier.bandwidth_bytes;
	copier->pairs = calloc(config->tree_count, sizeof(*copier->pairs));
	if (!copier->pairs) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < config->tree_count; i++) {
		copier->pair_count = i + 1;
		copier->pairs[i].shared_throttle = &copier->throttle;
		int r = pair_open(
			&copier->pairs[i], copier->service->loop, config, &config->trees[i], why);
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

/*
 * So many deliveries, so many tasks: whatever is delivered has begun.  Where files may be copied
 * while they are younger than a second, many more wait than work (file.c, file_wait_for_second).
 */
static unsigned deliveries(const struct config *config, unsigned in_flight)
{
	return config->delay_ns >= 2 * CLOCK_S ? in_flight : in_flight * WAITING_PER_SLOT;
}

static int open_pools(struct copier *copier, unsigned live, unsigned bulk)
{
	const struct config *config = copier->service->config;
	struct loop *loop = copier->service->loop;
	slots_init(&copier->orders_slots, live);
	slots_init(&copier->bulk_slots, bulk);
	int r = task_pool_create(loop, deliveries(config, live), STACK_BYTES, &copier->orders);
	if (r == 0) {
		r = task_pool_create(loop, deliveries(config, bulk), STACK_BYTES, &copier->bulk);
	}
	if (r == 0) {
		r = task_pool_create(loop, 3, STACK_BYTES, &copier->house);
	}
	if (r == 0) {
		r = task_pool_create(loop, live * HANDS_PER_SLOT, STACK_BYTES, &copier->hands);
	}
	return r;
}

static int consume(struct copier *copier, unsigned live_slots, unsigned bulk_slots)
{
	const struct config *config = copier->service->config;
	struct broker *broker = copier->service->broker;
	struct topology_name orders = topology_queue(config, "orders");
	struct topology_name bulk = topology_queue(config, "bulk");
	broker_on_room(broker, settle_room, copier);
	int r = broker_consume(broker, orders.text, NULL, 0, deliveries(config, live_slots),
		on_order, on_lost, copier, &copier->orders_consumer);
	if (r == 0) {
		r = broker_consume(broker, bulk.text, NULL, 0, deliveries(config, bulk_slots),
			on_bulk, on_lost, copier, &copier->bulk_consumer);
	}
	return r;
}

static int copier_setup(struct service *service, struct why *why)
{
	struct copier *copier = calloc(1, sizeof(*copier));
	unsigned live = (unsigned)service->config->copier.in_flight;
	if (!copier) {
		return -ENOMEM;
	}
	service->state = copier;
	copier->service = service;
	copier->done_end = &copier->done;
	int r = open_pairs(copier, why);
	if (r == 0) {
		r = open_pools(copier, live, live / 2 + 1);
	}
	if (r == 0) {
		r = task_start(copier->house, settle_run, copier);
	}
	if (r == 0) {
		r = consume(copier, live, live / 2 + 1);
	}
	loop_timer_init(&copier->purge_timer, service->loop, on_purge_timer, copier);
	loop_timer_init(&copier->probe_timer, service->loop, on_probe_timer, copier);
	if (r == 0) {
		r = loop_timer_set(&copier->probe_timer, clock_now() + PROBE_NS);
	}
	if (r == 0) {
		r = task_start(copier->house, probe, copier);
		copier->probing = r == 0;
	}
	if (r == 0 && service->instance == 0) {
		r = loop_timer_set(
			&copier->purge_timer, clock_now() + purge_interval_ns(service->config));
	}
	return r;
}

/* ---- limits that change ------------------------------------------------------------------- */

static void limit(struct throttle *throttle, uint64_t bytes, const char *whose)
{
	if (bytes != throttle->bucket.rate_bytes) {
		bucket_change(&throttle->bucket, bytes, clock_now());
		log_info("bandwidth of %s: %llu bytes a second%s", whose, (unsigned long long)bytes,
			bytes ? "" : ", which is no limit");
	}
}

/* A tree is known by its two sides. */
static bool same_tree(const struct tree *a, const struct tree *b)
{
	return strcmp(a->source.text, b->source.text) == 0 &&
	       strcmp(a->target.text, b->target.text) == 0;
}

static void copier_reload(struct service *service, const struct config *fresh)
{
	struct copier *copier = service->state;
	limit(&copier->throttle, fresh->copier.bandwidth_bytes, "all trees");
	for (size_t i = 0; i < copier->pair_count; i++) {
		struct pair *pair = &copier->pairs[i];
		for (size_t k = 0; k < fresh->tree_count; k++) {
			if (same_tree(pair->tree, &fresh->trees[k])) {
				limit(&pair->throttle, fresh->trees[k].bandwidth_bytes,
					pair->tree->source.text);
			}
		}
	}
}

/* ---- life --------------------------------------------------------------------------------- */

static void copier_beat(struct service *service, struct note *note)
{
	const struct copier *copier = service->state;
	note->backlog = task_pool_running(copier->orders) + task_pool_running(copier->bulk);
	note->captured = copier->taken;
	note->published = copier->finished;
	note->lost = copier->unreadable;
}

/* No more orders, when those that were on their way have come. */
static void end_orders(struct copier *copier, struct broker_consumer *consumer)
{
	uint64_t now = clock_now();
	if (broker_consumer_is_full(consumer) || now >= copier->came_ns + COMING_NS ||
		now >= copier->asked_ns + COMING_MOST_NS) {
		broker_consumer_pause(consumer);
	}
}

/* Over when nothing runs, nothing waits to be settled, and the broker has it all. */
static void on_drain_timer(void *arg)
{
	struct copier *copier = arg;
	end_orders(copier, copier->orders_consumer);
	end_orders(copier, copier->bulk_consumer);
	bool coming = !broker_consumer_rests(copier->orders_consumer) ||
		      !broker_consumer_rests(copier->bulk_consumer);
	bool busy = task_pool_running(copier->orders) || task_pool_running(copier->bulk) ||
		    copier->done || broker_unconfirmed(copier->service->broker) || coming;
	if (!busy && copier->drained) {
		service_stop(copier->service);
		return;
	}
	copier->drained = !busy;
	loop_timer_set(&copier->drain_timer, clock_now() + (busy ? DRAIN_NS : FAREWELL_NS));
}

static void copier_drain(struct service *service)
{
	struct copier *copier = service->state;
	copier->asked_ns = copier->came_ns = clock_now();
	broker_consumer_hold(copier->orders_consumer);
	broker_consumer_hold(copier->bulk_consumer);
	slots_close(&copier->orders_slots);
	slots_close(&copier->bulk_slots);
	loop_timer_init(&copier->drain_timer, service->loop, on_drain_timer, copier);
	loop_timer_set(&copier->drain_timer, clock_now() + DRAIN_NS);
}

static void copier_finish(struct service *service)
{
	struct copier *copier = service->state;
	for (size_t i = 0; copier && i < copier->pair_count; i++) {
		pair_close(&copier->pairs[i]);
	}
	/* tasks may still stand in the middle of an order: the process ends, their stacks with it
	 */
}

int main(int argc, char **argv)
{
	static const struct service_stage stage = {
		.name = "copier",
		.summary = "carries out orders: makes the target's paths what the source's are",
		.instances = true,
		.setup = copier_setup,
		.beat = copier_beat,
		.drain = copier_drain,
		.reload = copier_reload,
		.finish = copier_finish,
	};
	return service_main(&stage, argc, argv);
}
