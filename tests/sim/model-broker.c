/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the stages see of the broker, in place of flow/broker.c and the publishing half of
 * flow/topology.c: messages take their time, overtake each other, come twice now and then, and
 * come again when whoever had them dies.  Of what a dead client had published, the end may not have
 * arrived.  In the tally's queue, and nowhere else, what one client publishes keeps its order.
 */
#include <stdlib.h>

#include "flow/message.h"
#include "flow/topology.h"
#include "sim.h"

enum queue { CHANGES, ORDERS, BULK };

struct message {
	struct message *next;
	enum queue queue;
	unsigned shard;
	struct change *change;
	bool redelivered;
};

struct unsettled {
	struct unsettled *next;
	uint64_t tag;
	struct message *message;
};

struct broker {
	bool dead;
	bool silent; /* dead, and something that it published did not arrive */
	uint64_t published_ns, counted_ns; /* the last message */
	size_t count;
	struct unsettled *unsettled;
};

#define PREFETCH 24 /* of a copier */

static struct broker *winnows[SIM_SHARDS_MAX], *copiers[SIM_COPIERS_MAX];
static struct message *waiting; /* for a consumer */
static uint64_t last_tag;
static size_t on_the_way; /* messages and confirms */

struct broker *client_create(void)
{
	struct broker *client = calloc(1, sizeof(*client));
	must(client);
	return client;
}

/* ---- delivering ---------------------------------------------------------------------------- */

static struct broker_delivery take(struct broker *client, struct message *message)
{
	struct unsettled *it = calloc(1, sizeof(*it));
	must(it);
	*it = (struct unsettled){client->unsettled, ++last_tag, message};
	client->unsettled = it;
	client->count++;
	return (struct broker_delivery){.tag = it->tag, .redelivered = message->redelivered};
}

static bool deliver_order(struct message *message)
{
	unsigned begin = (unsigned)dice(sim.options.copiers);
	for (unsigned k = 0; k < sim.options.copiers; k++) {
		unsigned i = (begin + k) % sim.options.copiers;
		struct broker *client = copiers[i];
		if (client && client->count < PREFETCH) {
			copier_deliver(i, change_copy(message->change), message->queue == BULK,
				take(client, message));
			return true;
		}
	}
	return false;
}

static bool deliver(struct message *message)
{
	if (message->queue != CHANGES) {
		return deliver_order(message);
	}
	struct broker *client = winnows[message->shard];
	if (!client) {
		return false;
	}
	winnow_deliver(message->shard, change_copy(message->change), take(client, message));
	return true;
}

static void deliver_waiting(void *arg)
{
	struct message *list = waiting;
	waiting = NULL;
	while (list) {
		struct message *message = list;
		list = message->next;
		if (!deliver(message)) {
			message->next = waiting;
			waiting = message;
		}
	}
}

static void on_arrival(void *arg)
{
	struct message *message = arg;
	on_the_way--;
	if (!deliver(message)) {
		message->next = waiting;
		waiting = message;
	}
}

static void send_message(
	enum queue queue, struct change *change, uint64_t delay_ns, bool redelivered)
{
	struct message *message = calloc(1, sizeof(*message));
	must(message);
	*message = (struct message){.queue = queue,
		.shard = message_shard(change->path, sim.options.shards),
		.change = change,
		.redelivered = redelivered};
	on_the_way++;
	sim_after(delay_ns, on_arrival, message);
}

void broker_attach_winnow(unsigned shard, struct broker *client)
{
	winnows[shard] = client;
	sim_after(0, deliver_waiting, NULL);
}

void broker_attach_copier(unsigned i, struct broker *client)
{
	copiers[i] = client;
	sim_after(0, deliver_waiting, NULL);
}

bool broker_idle(void)
{
	return !on_the_way && !waiting;
}

/* ---- settling ------------------------------------------------------------------------------ */

static struct message *settle(struct broker *client, uint64_t tag)
{
	for (struct unsettled **at = &client->unsettled; *at; at = &(*at)->next) {
		if ((*at)->tag == tag) {
			struct unsettled *it = *at;
			struct message *message = it->message;
			*at = it->next;
			client->count--;
			free(it);
			return message;
		}
	}
	sim_broken(__FILE__, __LINE__, "settled twice");
}

void __wrap_broker_ack(struct broker *client, struct broker_delivery delivery);
void __wrap_broker_requeue(struct broker *client, struct broker_delivery delivery);

void __wrap_broker_ack(struct broker *client, struct broker_delivery delivery)
{
	if (!client->dead) {
		struct message *message = settle(client, delivery.tag);
		change_destroy(message->change);
		free(message);
		sim_after(0, deliver_waiting, NULL);
	}
}

void __wrap_broker_requeue(struct broker *client, struct broker_delivery delivery)
{
	if (!client->dead) {
		struct message *message = settle(client, delivery.tag);
		send_message(message->queue, message->change, sim_latency(), true);
		free(message);
	}
}

void client_kill(struct broker *client)
{
	/* the broker ends a connection when it has done what came by it */
	uint64_t now = clock_now(), end = client->counted_ns > now ? client->counted_ns - now : 0;
	client->dead = true;
	for (struct unsettled *it = client->unsettled; it; it = it->next) {
		send_message(it->message->queue, it->message->change, end + sim_latency(), true);
	}
	client->unsettled = NULL;
}

/* ---- publishing ---------------------------------------------------------------------------- */

struct publishing {
	struct broker *client;
	broker_confirmed_fn fn;
	void *arg;
	enum queue queue;
	struct change *change;
	uint64_t pause_ns;
	struct buf copy;     /* for the tally; empty: it gets none */
	uint64_t counted_ns; /* when it gets it */
};

static void on_confirmed(void *arg)
{
	struct publishing *it = arg;
	on_the_way--;
	if (it->fn && !it->client->dead) {
		it->fn(it->arg);
	}
	free(it);
}

/* Both queues have it. */
static void on_counted(void *arg)
{
	struct publishing *it = arg;
	if (it->copy.len) {
		tally_hear(buf_span(&it->copy));
		if (sim.options.faults && once_in(50)) {
			tally_hear(buf_span(&it->copy));
		}
	}
	buf_finish(&it->copy);
	sim_after(sim_latency(), on_confirmed, it);
}

/* When what sets out then is there: behind the one before. */
static uint64_t in_turn(uint64_t *last_ns, uint64_t then_ns)
{
	uint64_t there = then_ns + sim_latency();
	*last_ns = there > *last_ns ? there : *last_ns + 1;
	return *last_ns;
}

static void on_published(void *arg)
{
	struct publishing *it = arg;
	on_the_way--;
	it->client->silent = it->client->silent || (it->client->dead && once_in(2));
	if (it->client->silent) {
		change_destroy(it->change);
		buf_finish(&it->copy);
		free(it);
		return;
	}
	if (it->change) {
		if (sim.options.faults && once_in(50)) {
			send_message(it->queue, change_copy(it->change),
				it->pause_ns + sim_latency(), false);
		}
		send_message(it->queue, it->change, it->pause_ns + sim_latency(), false);
	}
	on_the_way++;
	sim_after(it->counted_ns - clock_now(), on_counted, it);
}

/* Owns the copy. */
static int publish(struct broker *client, enum queue queue, const struct change *change,
	uint64_t pause_ns, struct buf copy, broker_confirmed_fn fn, void *arg)
{
	struct publishing *it = calloc(1, sizeof(*it));
	must(it && !copy.failed);
	*it = (struct publishing){
		client, fn, arg, queue, change ? change_copy(change) : NULL, pause_ns, copy};
	on_the_way++;
	uint64_t published_ns = in_turn(&client->published_ns, clock_now());
	it->counted_ns = in_turn(&client->counted_ns, published_ns);
	sim_after(published_ns - clock_now(), on_published, it);
	return 0;
}

static void trace_change(const char *what, const struct change *change)
{
	static const char letters[] = "FDXSBZGP";
	char facts[10] = "", id[IDENT_TEXT], cause[IDENT_TEXT];
	if (!sim.options.trace) {
		return;
	}
	for (unsigned i = 0, n = 0; letters[i]; i++) {
		if (change->facts & 1u << i) {
			facts[n++] = letters[i];
		}
	}
	trace("%s %s %s %.*s%s%.*s id=%s cause=%s%s", what, change_op_name(change->op), facts,
		SPAN_ARG(change->path), change->pair_count ? " <- " : "",
		SPAN_ARG(change->pair_count ? change->pairs[0].from : SPAN("")),
		ident_text(change->id, id), ident_text(change->cause, cause),
		change->suspect_ns ? " suspect" : "");
}

int __wrap_topology_publish_change(const struct config *config, struct broker *client,
	const struct change *change, broker_confirmed_fn fn, void *arg);
int __wrap_topology_publish_later(const struct config *config, struct broker *client,
	const struct change *change, uint64_t pause_ns, broker_confirmed_fn fn, void *arg);
int __wrap_topology_publish_order(const struct config *config, struct broker *client,
	const struct change *order, broker_confirmed_fn fn, void *arg);
int __wrap_topology_publish_receipt(const struct config *config, struct broker *client,
	const struct receipt *receipt, broker_confirmed_fn fn, void *arg);
int __wrap_topology_publish_note(const struct config *config, struct broker *client,
	const struct note *note, broker_confirmed_fn fn, void *arg);

static int publish_change(const char *what, struct broker *client, const struct change *change,
	uint64_t pause_ns, broker_confirmed_fn fn, void *arg)
{
	struct buf copy = BUF_EMPTY;
	sim.changes++;
	trace_change(what, change);
	message_encode_change(change, &copy);
	return publish(client, CHANGES, change, pause_ns, copy, fn, arg);
}

int __wrap_topology_publish_change(const struct config *config, struct broker *client,
	const struct change *change, broker_confirmed_fn fn, void *arg)
{
	return publish_change("change", client, change, 0, fn, arg);
}

int __wrap_topology_publish_later(const struct config *config, struct broker *client,
	const struct change *change, uint64_t pause_ns, broker_confirmed_fn fn, void *arg)
{
	return publish_change("later ", client, change, pause_ns, fn, arg);
}

int __wrap_topology_publish_order(const struct config *config, struct broker *client,
	const struct change *order, broker_confirmed_fn fn, void *arg)
{
	sim.orders++;
	trace_change("order ", order);
	return publish(
		client, order->facts & CHANGE_BULK ? BULK : ORDERS, order, 0, BUF_EMPTY, fn, arg);
}

struct answer {
	unsigned shard;
	struct ident id;
	struct buf path;
};

static void on_answer(void *arg)
{
	struct answer *answer = arg;
	on_the_way--;
	winnow_answer(answer->shard, buf_span(&answer->path), answer->id);
	buf_finish(&answer->path);
	free(answer);
}

int __wrap_topology_publish_receipt(const struct config *config, struct broker *client,
	const struct receipt *receipt, broker_confirmed_fn fn, void *arg)
{
	struct answer *answer = calloc(1, sizeof(*answer));
	char id[IDENT_TEXT];
	struct buf copy = BUF_EMPTY;
	must(answer);
	answer->shard = message_shard(receipt->path, sim.options.shards);
	answer->id = receipt->id;
	buf_add(&answer->path, receipt->path);
	sim.failed += receipt->status == RECEIPT_FAILED;
	trace("receipt %s %.*s id=%s %s", receipt_status_name(receipt->status),
		SPAN_ARG(receipt->path), ident_text(receipt->id, id),
		receipt->status == RECEIPT_DONE ? "" : "(not done)");
	on_the_way++;
	sim_after(sim_latency(), on_answer, answer);
	message_encode_receipt(receipt, &copy);
	return publish(client, CHANGES, NULL, 0, copy, fn, arg);
}

int __wrap_topology_publish_note(const struct config *config, struct broker *client,
	const struct note *note, broker_confirmed_fn fn, void *arg)
{
	struct buf copy = BUF_EMPTY;
	message_encode_note(note, &copy);
	return publish(client, CHANGES, NULL, 0, copy, fn, arg);
}
