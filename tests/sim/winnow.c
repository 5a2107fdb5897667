/* SPDX-License-Identifier: Apache-2.0 */
/* The real window, wired to the model broker as winnow/main.c does it. */
#include <stdlib.h>

#include "flow/message.h"
#include "flow/topology.h"
#include "sim.h"
#include "winnow/window.h"

struct shard {
	struct broker *client; /* NULL: dead */
	struct window *window;
	struct loop_timer due;
	uint64_t lives;
};

/* What a confirm comes back with: it may be about a life that is over. */
struct told {
	struct shard *shard;
	uint64_t life;
	void *ticket;
	bool order;
};

static struct shard shards[SIM_SHARDS_MAX];

static void pump(struct shard *shard);

static void on_told(void *arg)
{
	struct told *told = arg;
	struct shard *shard = told->shard;
	if (shard->client && told->life == shard->lives) {
		if (told->order) {
			window_ordered(shard->window, told->ticket);
		} else {
			window_noted(shard->window, told->ticket);
		}
		pump(shard);
	}
	free(told);
}

static void act(struct shard *shard, const struct window_action *action)
{
	struct note note = {.kind = NOTE_MERGED,
		.merged = (struct ident *)action->merged,
		.merged_count = action->merged_count};
	struct told *told = NULL;
	if (action->kind != WINDOW_ACK) {
		told = calloc(1, sizeof(*told));
		must(told);
		*told = (struct told){
			shard, shard->lives, action->ticket, action->kind == WINDOW_ORDER};
	}
	switch (action->kind) {
	case WINDOW_ACK:
		broker_ack(shard->client, action->delivery);
		break;
	case WINDOW_NOTE:
		topology_publish_note(&sim.config, shard->client, &note, on_told, told);
		break;
	case WINDOW_ORDER:
		topology_publish_order(&sim.config, shard->client, action->order, on_told, told);
		break;
	}
}

static void pump(struct shard *shard)
{
	struct window_action action;
	while (window_next(shard->window, clock_now(), &action) == 0) {
		act(shard, &action);
		window_took(shard->window, &action);
	}
	must(loop_timer_set(&shard->due, window_deadline(shard->window)) == 0);
}

static void on_due(void *arg)
{
	pump(arg);
}

void winnow_start(unsigned i)
{
	struct shard *shard = &shards[i];
	const struct window_options options = {.delay_ns = sim.config.delay_ns,
		.max_delay_ns = sim.config.max_delay_ns,
		.in_flight_max = sim.config.winnow.in_flight};
	shard->client = client_create();
	shard->lives++;
	loop_timer_init(&shard->due, sim.loop, on_due, shard);
	must(window_create(&options, &shard->window) == 0);
	broker_attach_winnow(i, shard->client);
}

void winnow_kill(unsigned i)
{
	struct shard *shard = &shards[i];
	trace("winnow %u is killed", i);
	broker_attach_winnow(i, NULL);
	client_kill(shard->client);
	loop_timer_stop(&shard->due);
	window_destroy(shard->window);
	shard->client = NULL;
}

bool winnow_idle(void)
{
	for (unsigned i = 0; i < sim.options.shards; i++) {
		if (!shards[i].client || window_counts(shards[i].window).held ||
			window_counts(shards[i].window).unacked) {
			return false;
		}
	}
	return true;
}

void winnow_deliver(unsigned i, struct change *change, struct broker_delivery delivery)
{
	struct shard *shard = &shards[i];
	must(window_feed(shard->window, change, delivery, clock_now(), clock_wall()) == 0);
	pump(shard);
}

void winnow_answer(unsigned i, struct span path, struct ident id)
{
	struct shard *shard = &shards[i];
	if (shard->client) { /* else nobody's queue was there to take it */
		window_receipt(shard->window, path, id);
		pump(shard);
	}
}
