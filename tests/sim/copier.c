/* SPDX-License-Identifier: Apache-2.0 */
/* The real errands and the real reconciler, with tasks of their own for each copier. */
#include "copier.h"

#include <stdio.h>
#include <stdlib.h>

#include "guard.h"
#include "sim.h"

#define STACK_BYTES (128 * 1024)
#define IN_FLIGHT   6
#define TASKS       48
#define HANDS       8

struct one {
	struct copier *copier; /* NULL: dead */
	struct service service;
	char name[16];
	size_t has; /* orders */
};

static struct one ones[SIM_COPIERS_MAX];

void __wrap_service_problem(struct service *service, const char *format, ...);
void __wrap_service_problem(struct service *service, const char *format, ...)
{
}

void copier_start(unsigned i)
{
	struct one *one = &ones[i];
	struct copier *copier = calloc(1, sizeof(*copier));
	must(copier);
	(void)snprintf(one->name, sizeof(one->name), "copier-%u", i);
	one->service = (struct service){.config = &sim.config,
		.loop = sim.loop,
		.broker = client_create(),
		.instance = i,
		.name = one->name};
	copier->service = &one->service;
	copier->done_end = &copier->done;
	copier->pairs = calloc(1, sizeof(*copier->pairs));
	must(copier->pairs);
	copier->pair_count = 1;
	*copier->pairs = (struct pair){.config = &sim.config,
		.tree = &sim.tree,
		.source = model_side(&sim.s, sim.options.pull, "S"),
		.target = model_side(&sim.t, sim.options.remote, one->name),
		.self = {.source = ident_source()}};
	slots_init(&copier->orders_slots, IN_FLIGHT);
	slots_init(&copier->bulk_slots, IN_FLIGHT / 2);
	must(task_pool_create(sim.loop, TASKS, STACK_BYTES, &copier->orders) == 0);
	must(task_pool_create(sim.loop, TASKS, STACK_BYTES, &copier->bulk) == 0);
	must(task_pool_create(sim.loop, 1, STACK_BYTES, &copier->house) == 0);
	must(task_pool_create(sim.loop, HANDS, STACK_BYTES, &copier->hands) == 0);
	must(task_start(copier->house, settle_run, copier) == 0);
	one->copier = copier;
	broker_attach_copier(i, one->service.broker);
}

void copier_kill(unsigned i)
{
	struct one *one = &ones[i];
	struct copier *copier = one->copier;
	trace("copier %u is killed", i);
	broker_attach_copier(i, NULL);
	client_kill(one->service.broker);
	if (sim.options.remote) { /* the kernel ends what it has begun before a process is dead */
		model_side_abandon(copier->pairs[0].target);
	}
	task_pool_destroy(copier->orders);
	task_pool_destroy(copier->bulk);
	task_pool_destroy(copier->house);
	task_pool_destroy(copier->hands);
	one->copier = NULL; /* what it had is lost with it */
}

void copier_break(unsigned i)
{
	if (ones[i].copier && (sim.options.remote || sim.options.pull)) {
		const struct pair *pair = ones[i].copier->pairs;
		trace("copier %u loses its connection", i);
		model_side_break(sim.options.pull ? pair->source : pair->target);
	}
}

bool copier_idle(void)
{
	for (unsigned i = 0; i < sim.options.copiers; i++) {
		const struct copier *copier = ones[i].copier;
		if (!copier || task_pool_running(copier->orders) ||
			task_pool_running(copier->bulk) || copier->done) {
			return false;
		}
	}
	return true;
}

void copier_deliver(unsigned i, struct change *order, bool bulk, struct broker_delivery delivery)
{
	struct copier *copier = ones[i].copier;
	must(errand_start(copier, bulk ? copier->bulk : copier->orders,
		     bulk ? &copier->bulk_slots : &copier->orders_slots, delivery, order) == 0);
}
