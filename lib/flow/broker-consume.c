/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each consumer has a channel of its own, because prefetch and delivery tags belong to channels.
 *
 * Open deliveries stand in a list in the order of their tags; the slots are as many as the
 * prefetch allows, and a delivery names its slot (high half of `channel`), so settling is O(1).
 *
 * Acknowledgements are collected during a turn of the loop.  Then all below the first delivery
 * still open become one ack with `multiple`; the others are sent one by one.  Whatever is below
 * that point was acknowledged by the user before, so `multiple` says nothing untrue.  For a
 * quorum queue that is one entry in its log instead of many.
 *
 * A channel of RabbitMQ keeps acknowledgements back while some tens of them are not in that log
 * yet, and when its connection ends, they are lost (seen with 3.10).  So those of a consumer that
 * is paused, which will hardly live on, wait for each other: in the end one says it all.
 */
#include "flow/broker-parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/clock.h"

#define TOGETHER_NS (500 * CLOCK_MS) /* so long they wait at most */

struct open_delivery {
	uint64_t tag;            /* 0: free */
	uint32_t next, previous; /* slots; a free slot uses only next */
};
#define NO_SLOT UINT32_MAX

struct broker_consumer {
	struct broker *broker;
	uint16_t channel;
	char *queue;      /* NULL: private */
	char **exchanges; /* of a private queue; NULL-terminated */
	unsigned prefetch;
	broker_deliver_fn deliver;
	loop_fn lost;
	void *arg;
	bool paused, held;
	bool begun, ready; /* since the last connect: asked for, agreed to by the broker */
	unsigned awaited;  /* paused: answers to what was sent */

	struct open_delivery *slots;
	uint32_t free_slot, first_slot, last_slot;
	uint64_t *settled; /* tags acknowledged and not yet told */
	size_t settled_count, open_count;
};

/* ---- open deliveries --------------------------------------------------------------------- */

static void slots_clear(struct broker_consumer *consumer)
{
	for (uint32_t i = 0; i < consumer->prefetch; i++) {
		consumer->slots[i] = (struct open_delivery){0, i + 1, NO_SLOT};
	}
	consumer->slots[consumer->prefetch - 1].next = NO_SLOT;
	consumer->free_slot = 0;
	consumer->first_slot = consumer->last_slot = NO_SLOT;
	consumer->settled_count = consumer->open_count = 0;
}

/* Enters a delivery at the end; NO_SLOT where the broker sent more than the prefetch. */
static uint32_t slot_take(struct broker_consumer *consumer, uint64_t tag)
{
	uint32_t slot = consumer->free_slot;
	/* what was not acknowledged yet counts, for the broker too */
	if (consumer->open_count + consumer->settled_count >= consumer->prefetch) {
		return NO_SLOT;
	}
	consumer->free_slot = consumer->slots[slot].next;
	consumer->slots[slot] = (struct open_delivery){tag, NO_SLOT, consumer->last_slot};
	if (consumer->last_slot == NO_SLOT) {
		consumer->first_slot = slot;
	} else {
		consumer->slots[consumer->last_slot].next = slot;
	}
	consumer->last_slot = slot;
	consumer->open_count++;
	return slot;
}

static void slot_release(struct broker_consumer *consumer, uint32_t slot)
{
	struct open_delivery *it = &consumer->slots[slot];
	if (it->previous == NO_SLOT) {
		consumer->first_slot = it->next;
	} else {
		consumer->slots[it->previous].next = it->next;
	}
	if (it->next == NO_SLOT) {
		consumer->last_slot = it->previous;
	} else {
		consumer->slots[it->next].previous = it->previous;
	}
	*it = (struct open_delivery){0, consumer->free_slot, NO_SLOT};
	consumer->free_slot = slot;
	consumer->open_count--;
}

/* ---- settling ---------------------------------------------------------------------------- */

static void send_ack(struct broker_consumer *consumer, uint64_t tag, bool multiple)
{
	amqp_basic_ack_t ack = {.delivery_tag = tag, .multiple = multiple};
	carrier_send(
		consumer->broker->consume.carrier, consumer->channel, AMQP_BASIC_ACK_METHOD, &ack);
}

static void send_requeue(struct broker_consumer *consumer, uint64_t tag)
{
	amqp_basic_nack_t nack = {.delivery_tag = tag, .requeue = 1};
	carrier_send(consumer->broker->consume.carrier, consumer->channel, AMQP_BASIC_NACK_METHOD,
		&nack);
}

/* Acknowledgements have no answer; this one comes when all before it was taken. */
static void send_prefetch(struct broker_consumer *consumer)
{
	amqp_basic_qos_t qos = {.prefetch_count = (uint16_t)consumer->prefetch};
	consumer->awaited++;
	carrier_send(
		consumer->broker->consume.carrier, consumer->channel, AMQP_BASIC_QOS_METHOD, &qos);
}

static void send_settled(struct broker_consumer *consumer)
{
	uint64_t first_open = consumer->first_slot == NO_SLOT
				      ? UINT64_MAX
				      : consumer->slots[consumer->first_slot].tag;
	uint64_t below = 0;
	for (size_t i = 0; i < consumer->settled_count; i++) {
		uint64_t tag = consumer->settled[i];
		if (tag > first_open) {
			send_ack(consumer, tag, false);
		} else if (tag > below) {
			below = tag;
		}
	}
	if (below) {
		send_ack(consumer, below, true);
	}
	consumer->settled_count = 0;
	if (consumer->paused) {
		send_prefetch(consumer);
	}
}

static void send_all_settled(void *arg)
{
	struct broker *broker = arg;
	for (unsigned i = 1; i <= broker->consumer_count; i++) {
		if (broker->consumers[i]->settled_count && !broker->consumers[i]->held) {
			send_settled(broker->consumers[i]);
		}
	}
}

/* The consumer of a delivery that is still open, its slot released; NULL: void or settled. */
static struct broker_consumer *settle(struct broker *broker, struct broker_delivery delivery)
{
	uint32_t channel = delivery.channel & 0xffff, slot = delivery.channel >> 16;
	if (delivery.epoch != broker->epoch || !broker->consume.carrier || channel == 0 ||
		channel > broker->consumer_count) {
		return NULL;
	}
	struct broker_consumer *consumer = broker->consumers[channel];
	if (slot >= consumer->prefetch || consumer->slots[slot].tag != delivery.tag) {
		return NULL;
	}
	slot_release(consumer, slot);
	return consumer;
}

void broker_ack(struct broker *broker, struct broker_delivery delivery)
{
	struct broker_consumer *consumer = settle(broker, delivery);
	if (!consumer) {
		return;
	}
	consumer->settled[consumer->settled_count++] = delivery.tag;
	bool wait = consumer->paused && consumer->first_slot != NO_SLOT;
	uint64_t when = wait ? clock_now() + TOGETHER_NS : 0;
	if (when < broker->settle.deadline_ns) {
		(void)loop_timer_set(&broker->settle, when);
	}
}

void broker_requeue(struct broker *broker, struct broker_delivery delivery)
{
	struct broker_consumer *consumer = settle(broker, delivery);
	if (consumer) {
		send_requeue(consumer, delivery.tag);
	}
}

/* ---- setting up a channel ---------------------------------------------------------------- */

static void send_private_queue(struct broker_consumer *consumer)
{
	struct carrier *carrier = consumer->broker->consume.carrier;
	amqp_queue_declare_t declare = {
		.queue = amqp_empty_bytes, .exclusive = 1, .auto_delete = 1};
	carrier_send(carrier, consumer->channel, AMQP_QUEUE_DECLARE_METHOD, &declare);
	for (char **exchange = consumer->exchanges; *exchange; exchange++) {
		amqp_queue_bind_t bind = {
			/* an empty queue name is the one declared last */
			.queue = amqp_empty_bytes,
			.exchange = amqp_cstring_bytes(*exchange),
			.routing_key = amqp_cstring_bytes("#"),
		};
		carrier_send(carrier, consumer->channel, AMQP_QUEUE_BIND_METHOD, &bind);
	}
}

static void send_consume(struct broker_consumer *consumer)
{
	amqp_basic_consume_t consume = {
		.queue = consumer->queue ? amqp_cstring_bytes(consumer->queue) : amqp_empty_bytes,
		.consumer_tag = amqp_cstring_bytes("treemirror"),
	};
	carrier_send(consumer->broker->consume.carrier, consumer->channel,
		AMQP_BASIC_CONSUME_METHOD, &consume);
}

static void send_setup(struct broker_consumer *consumer)
{
	struct carrier *carrier = consumer->broker->consume.carrier;
	consumer->begun = true;
	amqp_channel_open_t open = {.out_of_band = amqp_empty_bytes};
	carrier_send(carrier, consumer->channel, AMQP_CHANNEL_OPEN_METHOD, &open);
	if (!consumer->queue) {
		send_private_queue(consumer);
	}
	send_prefetch(consumer);
	if (!consumer->paused) {
		send_consume(consumer);
	}
}

/*
 * One consumer after the other, in the order in which they were made: channels know no order among
 * themselves, and who hears answers first must not miss any.  The link is up when every consumer
 * that is not paused has been agreed to.
 */
static void check_up(struct broker *broker)
{
	for (unsigned i = 1; i <= broker->consumer_count; i++) {
		struct broker_consumer *consumer = broker->consumers[i];
		if (!consumer->begun) {
			send_setup(consumer);
		}
		if (!consumer->ready) {
			return;
		}
	}
	link_is_up(&broker->consume);
}

/* ---- events of the connection ------------------------------------------------------------ */

static void on_opened(void *arg)
{
	struct broker *broker = arg;
	broker->logged_in = true;
	check_up(broker);
}

static void on_method(void *arg, uint16_t channel, const amqp_method_t *method)
{
	struct broker *broker = arg;
	const amqp_channel_close_t *close = method->decoded;
	struct broker_consumer *consumer =
		channel <= broker->consumer_count ? broker->consumers[channel] : NULL;
	if (!consumer) {
		return;
	}
	switch (method->id) {
	case AMQP_BASIC_QOS_OK_METHOD:
		consumer->awaited -= consumer->awaited > 0;
		consumer->ready = consumer->ready || consumer->paused;
		check_up(broker);
		break;
	case AMQP_BASIC_CONSUME_OK_METHOD:
		consumer->ready = true;
		check_up(broker);
		break;
	case AMQP_BASIC_CANCEL_OK_METHOD:
		consumer->awaited -= consumer->awaited > 0;
		break;
	case AMQP_BASIC_CANCEL_METHOD:
		carrier_fail(broker->consume.carrier, -ENOENT, "the queue '%s' is gone",
			consumer->queue ? consumer->queue : "(private)");
		break;
	case AMQP_CHANNEL_CLOSE_METHOD:
		carrier_fail(broker->consume.carrier, carrier_close_error(close->reply_code),
			"cannot consume from '%s': %.*s",
			consumer->queue ? consumer->queue : "(private)",
			SPAN_ARG(carrier_span(close->reply_text)));
		break;
	default:
		break;
	}
}

static void on_content(void *arg, uint16_t channel, const amqp_method_t *method,
	const amqp_basic_properties_t *properties, struct span body)
{
	struct broker *broker = arg;
	const amqp_basic_deliver_t *deliver = method->decoded;
	struct broker_consumer *consumer =
		channel <= broker->consumer_count ? broker->consumers[channel] : NULL;
	(void)properties;
	if (!consumer || method->id != AMQP_BASIC_DELIVER_METHOD) {
		return;
	}
	if (deliver->delivery_tag == 0) { /* that of a free slot */
		carrier_fail(broker->consume.carrier, -EPROTO,
			"the broker sent a message without a delivery tag");
		return;
	}
	uint32_t slot = slot_take(consumer, deliver->delivery_tag);
	if (slot == NO_SLOT) {
		carrier_fail(broker->consume.carrier, -EPROTO,
			"the broker sent more than %u messages at once", consumer->prefetch);
		return;
	}
	struct broker_delivery delivery = {
		deliver->delivery_tag, slot << 16 | channel, broker->epoch, deliver->redelivered};
	consumer->deliver(consumer->arg, delivery, body);
}

static void on_blocked(void *arg, const char *words)
{
	(void)arg, (void)words; /* concerns publishers only */
}

static void on_drained(void *arg)
{
	(void)arg;
}

static void on_closed(void *arg, int error, const char *words)
{
	struct broker *broker = arg;
	(void)error;
	link_is_down(&broker->consume, words);
	consumers_reset(broker);
}

const struct carrier_events consumer_events = {
	.opened = on_opened,
	.method = on_method,
	.content = on_content,
	.blocked = on_blocked,
	.drained = on_drained,
	.closed = on_closed,
};

/* ---- consumers --------------------------------------------------------------------------- */

static void consumer_destroy(struct broker_consumer *consumer)
{
	for (char **exchange = consumer->exchanges; exchange && *exchange; exchange++) {
		free(*exchange);
	}
	free(consumer->exchanges);
	free(consumer->queue);
	free(consumer->slots);
	free(consumer->settled);
	free(consumer);
}
DEFINE_CLEANUP(struct broker_consumer *, consumer_destroy)

static int set_source(struct broker_consumer *consumer, const char *queue,
	const char *const *exchanges, size_t exchange_count)
{
	if (queue) {
		consumer->queue = strdup(queue);
		return consumer->queue ? 0 : -ENOMEM;
	}
	consumer->exchanges = calloc(exchange_count + 1, sizeof(char *));
	for (size_t i = 0; consumer->exchanges && i < exchange_count; i++) {
		consumer->exchanges[i] = strdup(exchanges[i]);
		if (!consumer->exchanges[i]) {
			return -ENOMEM;
		}
	}
	return consumer->exchanges ? 0 : -ENOMEM;
}

int broker_consume(struct broker *broker, const char *queue, const char *const *exchanges,
	size_t exchange_count, unsigned prefetch, broker_deliver_fn deliver, loop_fn lost,
	void *arg, struct broker_consumer **ret)
{
	if (prefetch == 0 || prefetch > UINT16_MAX ||
		broker->consumer_count + 1 >= CARRIER_CHANNELS) {
		return -EINVAL;
	}
	CLEANUP(consumer_destroy_p) struct broker_consumer *consumer = calloc(1, sizeof(*consumer));
	if (!consumer) {
		return -ENOMEM;
	}
	consumer->broker = broker;
	consumer->prefetch = prefetch;
	consumer->deliver = deliver;
	consumer->lost = lost;
	consumer->arg = arg;
	consumer->slots = calloc(prefetch, sizeof(consumer->slots[0]));
	consumer->settled = calloc(prefetch, sizeof(consumer->settled[0]));
	int r = set_source(consumer, queue, exchanges, exchange_count);
	if (r < 0 || !consumer->slots || !consumer->settled) {
		return -ENOMEM;
	}
	slots_clear(consumer);
	consumer->channel = (uint16_t)++broker->consumer_count;
	broker->consumers[consumer->channel] = consumer;
	if (broker->logged_in) {
		check_up(broker);
	}
	*ret = STEAL(consumer);
	return 0;
}

void broker_consumer_pause(struct broker_consumer *consumer)
{
	amqp_basic_cancel_t cancel = {.consumer_tag = amqp_cstring_bytes("treemirror")};
	if (!consumer->paused) {
		consumer->paused = true;
		if (consumer->begun) {
			consumer->awaited++;
			carrier_send(consumer->broker->consume.carrier, consumer->channel,
				AMQP_BASIC_CANCEL_METHOD, &cancel);
		}
	}
	consumer->held = false;
	if (consumer->settled_count) {
		(void)loop_timer_set(&consumer->broker->settle, 0);
	}
}

bool broker_consumer_is_full(const struct broker_consumer *consumer)
{
	return consumer->open_count + consumer->settled_count >= consumer->prefetch;
}

void broker_consumer_hold(struct broker_consumer *consumer)
{
	consumer->held = !consumer->paused;
}

void broker_consumer_resume(struct broker_consumer *consumer)
{
	if (consumer->paused) {
		consumer->paused = consumer->held = false;
		if (consumer->begun) {
			send_consume(consumer);
		}
	}
}

bool broker_consumer_rests(const struct broker_consumer *consumer)
{
	return consumer->paused &&
	       (!consumer->begun || (!consumer->awaited && !consumer->settled_count));
}

/* ---- life -------------------------------------------------------------------------------- */

void consumers_init(struct broker *broker)
{
	loop_timer_init(&broker->settle, broker->loop, send_all_settled, broker);
}

void consumers_reset(struct broker *broker)
{
	broker->logged_in = false;
	broker->epoch++;
	for (unsigned i = 1; i <= broker->consumer_count; i++) {
		struct broker_consumer *consumer = broker->consumers[i];
		bool was_ready = consumer->ready;
		consumer->begun = consumer->ready = false;
		consumer->awaited = 0;
		slots_clear(consumer);
		if (was_ready && consumer->lost) {
			consumer->lost(consumer->arg);
		}
	}
}

void consumers_finish(struct broker *broker)
{
	loop_timer_stop(&broker->settle);
	for (unsigned i = 1; i <= broker->consumer_count; i++) {
		consumer_destroy(broker->consumers[i]);
	}
}
