/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   accepted --> waiting --> sent --ack--> confirmed
 *                  ^  ^        |
 *                  |  +-reset--+  the connection broke: all of sent, before what waits
 *                  +--refused <+  nack, or returned because no queue takes it; after a pause
 *
 * Tags count the messages of one connection from 1; sent[] finds a message by its tag.  The
 * message's id in its properties is the tag too, which tells whose a returned message is: the
 * return comes before the confirm.
 *
 * Messages go to the carrier only while little is in its buffer, so neither a slow broker nor a
 * hung one makes it grow.
 */
#include "flow/broker-parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/clock.h"

#define PUBLISH_CHANNEL    1
#define CARRIER_FULL_BYTES ((size_t)256 * 1024)
#define REFUSED_NS         (2 * CLOCK_S)
#define REFUSING_NS        (10 * CLOCK_S)

/* ---- lists ------------------------------------------------------------------------------- */

static void list_clear(struct message_list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

static void list_push(struct message_list *list, struct message *message)
{
	message->next = NULL;
	*list->tail = message;
	list->tail = &message->next;
}

static struct message *list_pop(struct message_list *list)
{
	struct message *message = list->head;
	if (message) {
		list->head = message->next;
		if (!list->head) {
			list->tail = &list->head;
		}
	}
	return message;
}

/* Moves all of `from` behind `list`. */
static void list_append(struct message_list *list, struct message_list *from)
{
	if (from->head) {
		*list->tail = from->head;
		list->tail = from->tail;
		list_clear(from);
	}
}

/* ---- sending ----------------------------------------------------------------------------- */

static void pump(void *arg)
{
	struct broker *broker = arg;
	struct publisher *publisher = &broker->publisher;
	struct carrier *carrier = broker->publish.carrier;
	char id[24];
	while (broker->publish.up && !publisher->blocked.text[0] && publisher->waiting.head &&
		publisher->next_tag - publisher->first_tag < PUBLISH_RING &&
		carrier_backlog_bytes(carrier) < CARRIER_FULL_BYTES) {
		struct message *message = list_pop(&publisher->waiting);
		uint64_t tag = publisher->next_tag++;
		publisher->sent[tag % PUBLISH_RING] = message;
		message->returned = false;
		(void)snprintf(id, sizeof(id), "%" PRIu64, tag);
		carrier_publish(carrier, PUBLISH_CHANNEL, message->exchange, message->routing_key,
			id, message->body);
	}
}

static void send_again(void *arg)
{
	struct broker *broker = arg;
	list_append(&broker->publisher.waiting, &broker->publisher.refused);
	pump(broker);
}

int broker_publish(struct broker *broker, const char *exchange, struct span routing_key,
	struct span body, broker_confirmed_fn fn, void *arg)
{
	struct publisher *publisher = &broker->publisher;
	size_t exchange_len = strlen(exchange);
	if (exchange_len > 255 || routing_key.len > 255) {
		return -EINVAL;
	}
	if (publisher->count >= BROKER_WINDOW ||
		(publisher->count && publisher->bytes + body.len > BROKER_WINDOW_BYTES)) {
		publisher->wants_room = true;
		return BROKER_FULL;
	}
	struct message *message =
		malloc(sizeof(*message) + exchange_len + routing_key.len + body.len);
	if (!message) {
		return -ENOMEM;
	}
	char *bytes = (char *)(message + 1);
	*message = (struct message){.fn = fn, .arg = arg};
	message->exchange = span_of(memcpy(bytes, exchange, exchange_len), exchange_len);
	bytes += exchange_len;
	if (routing_key.len) {
		memcpy(bytes, routing_key.data, routing_key.len);
	}
	message->routing_key = span_of(bytes, routing_key.len);
	bytes += routing_key.len;
	if (body.len) {
		memcpy(bytes, body.data, body.len);
	}
	message->body = span_of(bytes, body.len);
	list_push(&publisher->waiting, message);
	publisher->count++;
	publisher->bytes += body.len;
	if (publisher->pump.deadline_ns != 0) {
		(void)loop_timer_set(&publisher->pump, 0);
	}
	return 0;
}

size_t broker_unconfirmed(const struct broker *broker)
{
	return broker->publisher.count;
}

/* ---- confirms ---------------------------------------------------------------------------- */

static void tell_room(void *arg)
{
	struct broker *broker = arg;
	if (broker->publisher.room_fn) {
		broker->publisher.room_fn(broker->publisher.room_arg);
	}
}

void broker_on_room(struct broker *broker, loop_fn fn, void *arg)
{
	broker->publisher.room_fn = fn;
	broker->publisher.room_arg = arg;
}

static void confirmed(struct broker *broker, struct message *message)
{
	struct publisher *publisher = &broker->publisher;
	broker_confirmed_fn fn = message->fn;
	void *arg = message->arg;
	publisher->count--;
	publisher->bytes -= message->body.len;
	if (message->refused && --publisher->untaken_count == 0) {
		publisher->untaken.text[0] = '\0';
		broker_changed(broker);
	}
	free(message);
	if (publisher->wants_room && publisher->count <= BROKER_WINDOW * 3 / 4 &&
		publisher->bytes <= BROKER_WINDOW_BYTES * 3 / 4) {
		publisher->wants_room = false;
		(void)loop_timer_set(&publisher->room, 0);
	}
	if (fn) {
		fn(arg);
	}
}

static void refused(struct broker *broker, struct message *message)
{
	struct publisher *publisher = &broker->publisher;
	(void)why_error(&publisher->untaken, 0,
		message->returned ? "no queue takes messages for '%.*s'"
				  : "the broker refuses messages for '%.*s'",
		SPAN_ARG(message->exchange));
	publisher->untaken_count += !message->refused;
	message->refused = true;
	list_push(&publisher->refused, message);
	if (publisher->again.deadline_ns == CLOCK_NEVER) {
		(void)loop_timer_set(&publisher->again, clock_now() + REFUSED_NS);
	}
	broker_changed(broker);
}

/* Settles one tag, or all up to it; a tag that is not open is passed over. */
static void settle(struct broker *broker, uint64_t tag, bool multiple, bool taken)
{
	struct publisher *publisher = &broker->publisher;
	uint64_t first = multiple ? publisher->first_tag : tag;
	if (tag >= publisher->next_tag || first < publisher->first_tag) {
		return;
	}
	for (uint64_t at = first; at <= tag; at++) {
		struct message *message = STEAL(publisher->sent[at % PUBLISH_RING]);
		if (message && taken && !message->returned) {
			confirmed(broker, message);
		} else if (message) {
			refused(broker, message);
		}
	}
	while (publisher->first_tag < publisher->next_tag &&
		!publisher->sent[publisher->first_tag % PUBLISH_RING]) {
		publisher->first_tag++;
	}
	if (publisher->waiting.head && publisher->pump.deadline_ns != 0) {
		(void)loop_timer_set(&publisher->pump, 0);
	}
}

/*
 * A channel of RabbitMQ that was opened while a quorum queue changed its leader may go on asking
 * the old one and refuse everything, long after there is a new one (seen with 3.10): another
 * channel does not.
 */
static void give_up_refusing(struct broker *broker)
{
	if (broker->options.nodes.count > 1 && broker->publish.up &&
		clock_now() >= broker->publish.since_ns + REFUSING_NS) {
		carrier_fail(
			broker->publish.carrier, -EAGAIN, "%s", broker->publisher.untaken.text);
	}
}

/* ---- events of the connection ------------------------------------------------------------ */

static void on_opened(void *arg)
{
	struct broker *broker = arg;
	amqp_channel_open_t open = {.out_of_band = amqp_empty_bytes};
	amqp_confirm_select_t select = {0};
	carrier_send(broker->publish.carrier, PUBLISH_CHANNEL, AMQP_CHANNEL_OPEN_METHOD, &open);
	carrier_send(broker->publish.carrier, PUBLISH_CHANNEL, AMQP_CONFIRM_SELECT_METHOD, &select);
}

static void on_close(struct broker *broker, const amqp_channel_close_t *close)
{
	carrier_fail(broker->publish.carrier, carrier_close_error(close->reply_code),
		"the broker refuses to publish: %.*s", SPAN_ARG(carrier_span(close->reply_text)));
}

static void on_method(void *arg, uint16_t channel, const amqp_method_t *method)
{
	struct broker *broker = arg;
	const amqp_basic_ack_t *ack = method->decoded;
	const amqp_basic_nack_t *nack = method->decoded;
	(void)channel;
	switch (method->id) {
	case AMQP_CONFIRM_SELECT_OK_METHOD:
		link_is_up(&broker->publish);
		pump(broker);
		break;
	case AMQP_BASIC_ACK_METHOD:
		settle(broker, ack->delivery_tag, ack->multiple, true);
		break;
	case AMQP_BASIC_NACK_METHOD:
		settle(broker, nack->delivery_tag, nack->multiple, false);
		give_up_refusing(broker);
		break;
	case AMQP_CHANNEL_CLOSE_METHOD:
		on_close(broker, method->decoded);
		break;
	default:
		break;
	}
}

static void on_returned(void *arg, uint16_t channel, const amqp_method_t *method,
	const amqp_basic_properties_t *properties, struct span body)
{
	struct broker *broker = arg;
	struct publisher *publisher = &broker->publisher;
	char id[24] = "";
	(void)channel;
	(void)body;
	if (method->id != AMQP_BASIC_RETURN_METHOD ||
		!(properties->_flags & AMQP_BASIC_MESSAGE_ID_FLAG) || /* else it is not set */
		properties->message_id.len >= sizeof(id)) {
		return;
	}
	memcpy(id, properties->message_id.bytes, properties->message_id.len);
	uint64_t tag = strtoull(id, NULL, 10);
	if (tag >= publisher->first_tag && tag < publisher->next_tag &&
		publisher->sent[tag % PUBLISH_RING]) {
		publisher->sent[tag % PUBLISH_RING]->returned = true;
	}
}

static void on_blocked(void *arg, const char *words)
{
	struct broker *broker = arg;
	(void)why_error(&broker->publisher.blocked, 0, "%s", words ? words : "");
	broker_changed(broker);
	pump(broker);
}

static void on_closed(void *arg, int error, const char *words)
{
	struct broker *broker = arg;
	(void)error;
	publisher_reset(broker);
	link_is_down(&broker->publish, words);
}

const struct carrier_events publisher_events = {
	.opened = on_opened,
	.method = on_method,
	.content = on_returned,
	.blocked = on_blocked,
	.drained = pump,
	.closed = on_closed,
};

/* ---- life -------------------------------------------------------------------------------- */

void publisher_init(struct broker *broker)
{
	struct publisher *publisher = &broker->publisher;
	list_clear(&publisher->waiting);
	list_clear(&publisher->refused);
	publisher->first_tag = publisher->next_tag = 1;
	loop_timer_init(&publisher->pump, broker->loop, pump, broker);
	loop_timer_init(&publisher->room, broker->loop, tell_room, broker);
	loop_timer_init(&publisher->again, broker->loop, send_again, broker);
}

void publisher_reset(struct broker *broker)
{
	struct publisher *publisher = &broker->publisher;
	struct message_list all;
	list_clear(&all);
	for (uint64_t tag = publisher->first_tag; tag < publisher->next_tag; tag++) {
		struct message *message = STEAL(publisher->sent[tag % PUBLISH_RING]);
		if (message) {
			list_push(&all, message);
		}
	}
	list_append(&all, &publisher->waiting);
	list_clear(&publisher->waiting);
	list_append(&publisher->waiting, &all);
	publisher->first_tag = publisher->next_tag = 1;
	publisher->blocked.text[0] = '\0';
}

void publisher_finish(struct broker *broker)
{
	struct publisher *publisher = &broker->publisher;
	struct message *message;
	publisher_reset(broker);
	list_append(&publisher->waiting, &publisher->refused);
	while ((message = list_pop(&publisher->waiting))) {
		free(message);
	}
	loop_timer_stop(&publisher->pump);
	loop_timer_stop(&publisher->room);
	loop_timer_stop(&publisher->again);
}
