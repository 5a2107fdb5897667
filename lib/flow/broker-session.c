/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A carrier on a loop of its own, turned until what was asked for has come.
 *
 * A broker answers a wrong request by closing the channel; so there are three, each opened when
 * first needed and again after it was closed, and a failed declaration disturbs neither the
 * publishing nor the private queue.
 */
#include "flow/broker-carrier.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"

#define CHANNEL_ASK     1
#define CHANNEL_PUBLISH 2
#define CHANNEL_RECEIVE 3
#define CHANNEL_COUNT   4

#define ANSWER_NS       (30 * CLOCK_S)
#define DELIVERY_LIMIT  1000000000 /* RabbitMQ 4 drops after 20 deliveries unless told otherwise */
#define QUEUE_ARGUMENTS 8

struct received {
	struct received *next;
	struct buf body;
};

struct broker_session {
	struct loop *loop;
	struct carrier *carrier;
	struct broker_url url;
	bool logged_in, closed;
	bool channel_open[CHANNEL_COUNT];
	int error; /* of the connection or the last request */
	struct why why;

	bool waiting;
	amqp_method_number_t expected;
	bool answered;
	char name[256]; /* of the queue declared last */
	uint64_t messages;
	uint32_t consumers;

	uint64_t next_tag; /* of the publishing channel */
	bool confirmed, returned;
	struct received *head, **tail;
};

/* ---- events ------------------------------------------------------------------------------ */

static void on_opened(void *arg)
{
	struct broker_session *session = arg;
	session->logged_in = true;
}

static void on_channel_close(
	struct broker_session *session, uint16_t channel, const amqp_channel_close_t *close)
{
	amqp_channel_close_ok_t close_ok = {0};
	session->error = why_error(&session->why, carrier_close_error(close->reply_code), "%.*s",
		SPAN_ARG(carrier_span(close->reply_text)));
	session->channel_open[channel] = false;
	carrier_send(session->carrier, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &close_ok);
}

static void on_declared(struct broker_session *session, const amqp_queue_declare_ok_t *declared)
{
	(void)snprintf(session->name, sizeof(session->name), "%.*s",
		SPAN_ARG(carrier_span(declared->queue)));
	session->messages = declared->message_count;
	session->consumers = declared->consumer_count;
}

static void on_method(void *arg, uint16_t channel, const amqp_method_t *method)
{
	struct broker_session *session = arg;
	if (channel >= CHANNEL_COUNT) {
		return;
	}
	session->answered = session->answered || method->id == session->expected;
	switch (method->id) {
	case AMQP_CHANNEL_CLOSE_METHOD:
		on_channel_close(session, channel, method->decoded);
		break;
	case AMQP_QUEUE_DECLARE_OK_METHOD:
		on_declared(session, method->decoded);
		break;
	case AMQP_BASIC_NACK_METHOD:
		session->error =
			why_error(&session->why, -EAGAIN, "the broker refused the message");
		break;
	case AMQP_BASIC_CANCEL_METHOD:
		session->error = why_error(&session->why, -ENOENT, "the private queue is gone");
		break;
	default:
		break;
	}
}

static void on_content(void *arg, uint16_t channel, const amqp_method_t *method,
	const amqp_basic_properties_t *properties, struct span body)
{
	struct broker_session *session = arg;
	(void)channel, (void)properties;
	if (method->id == AMQP_BASIC_RETURN_METHOD) {
		session->returned = true;
		return;
	}
	struct received *received = calloc(1, sizeof(*received));
	if (received) {
		buf_add(&received->body, body);
		*session->tail = received;
		session->tail = &received->next;
	}
	if (!received || received->body.failed) {
		carrier_fail(session->carrier, -ENOMEM, "out of memory");
	}
}

static void on_blocked(void *arg, const char *words)
{
	(void)arg, (void)words; /* a request that needs room runs into its deadline */
}

static void on_drained(void *arg)
{
	(void)arg;
}

static void on_closed(void *arg, int error, const char *words)
{
	struct broker_session *session = arg;
	session->closed = true;
	session->error = why_error(&session->why, error, "%s", words);
}

static const struct carrier_events session_events = {
	.opened = on_opened,
	.method = on_method,
	.content = on_content,
	.blocked = on_blocked,
	.drained = on_drained,
	.closed = on_closed,
};

/* ---- waiting ----------------------------------------------------------------------------- */

/* Turns the loop until *done, an error or the deadline. */
static int wait_for(
	struct broker_session *session, const bool *done, uint64_t deadline_ns, struct why *why)
{
	while (!*done && !session->error) {
		if (clock_now() >= deadline_ns) {
			return why_error(why, -ETIMEDOUT,
				"the broker at '%s' port %u did not answer in time",
				session->url.host, session->url.port);
		}
		int r = loop_turn(session->loop, deadline_ns);
		if (r < 0) {
			return why_error(why, r, "waiting for the broker: %s", strerror(-r));
		}
	}
	if (session->error) {
		return why_error(why, session->error, "%s", session->why.text);
	}
	return 0;
}

/* Sends a method and waits for its answer. */
static int ask(struct broker_session *session, uint16_t channel, amqp_method_number_t id,
	void *decoded, amqp_method_number_t expected, struct why *why)
{
	if (session->closed) {
		return why_error(why, session->error, "%s", session->why.text);
	}
	session->error = 0;
	session->answered = false;
	session->expected = expected;
	carrier_send(session->carrier, channel, id, decoded);
	return wait_for(session, &session->answered, clock_now() + ANSWER_NS, why);
}

static int need_channel(struct broker_session *session, uint16_t channel, struct why *why)
{
	amqp_channel_open_t open = {.out_of_band = amqp_empty_bytes};
	amqp_confirm_select_t select = {0};
	if (session->channel_open[channel]) {
		return 0;
	}
	int r = ask(session, channel, AMQP_CHANNEL_OPEN_METHOD, &open, AMQP_CHANNEL_OPEN_OK_METHOD,
		why);
	if (r == 0 && channel == CHANNEL_PUBLISH) {
		session->next_tag = 1;
		r = ask(session, channel, AMQP_CONFIRM_SELECT_METHOD, &select,
			AMQP_CONFIRM_SELECT_OK_METHOD, why);
	}
	session->channel_open[channel] = r == 0;
	return r;
}

/* ---- life -------------------------------------------------------------------------------- */

DEFINE_CLEANUP(struct broker_session *, broker_session_close)

int broker_session_open(const struct broker_url *url, uint64_t deadline_ns,
	struct broker_session **ret, struct why *why)
{
	CLEANUP(broker_session_close_p)
	struct broker_session *session = calloc(1, sizeof(*session));
	if (!session) {
		return why_error(why, -ENOMEM, "out of memory");
	}
	session->url = *url;
	session->tail = &session->head;
	int r = loop_create(&session->loop);
	if (r < 0) {
		return why_error(why, r, "cannot make an event loop: %s", strerror(-r));
	}
	r = carrier_create(session->loop, url, program_invocation_short_name, &session_events,
		session, &session->carrier, why);
	if (r == 0) {
		r = wait_for(session, &session->logged_in, deadline_ns, why);
	}
	if (r < 0) {
		return r;
	}
	*ret = STEAL(session);
	return 0;
}

int broker_session_open_any(const struct broker_nodes *nodes, uint64_t deadline_ns,
	struct broker_session **ret, struct why *why)
{
	size_t first = 0;
	int r = -EINVAL;
	(void)getrandom(&first, sizeof(first), GRND_NONBLOCK);
	for (size_t left = nodes->count; left; left--) {
		const struct broker_url *url =
			&nodes->urls[(first % nodes->count + left) % nodes->count];
		uint64_t now = clock_now();
		uint64_t share = deadline_ns > now ? (deadline_ns - now) / left : 0;
		r = broker_session_open(url, now + share, ret, why);
		if (r == 0 || r == -ENOMEM) {
			return r;
		}
	}
	if (nodes->count > 1) {
		why_prefix(why, "none of the broker's %zu nodes; the last one", nodes->count);
	}
	return r;
}

const struct broker_url *broker_session_node(const struct broker_session *session)
{
	return &session->url;
}

void broker_session_close(struct broker_session *session)
{
	amqp_connection_close_t close = {
		.reply_code = AMQP_REPLY_SUCCESS, .reply_text = amqp_cstring_bytes("done")};
	if (!session) {
		return;
	}
	if (session->logged_in && !session->closed) {
		carrier_send(session->carrier, 0, AMQP_CONNECTION_CLOSE_METHOD, &close);
		(void)loop_turn(session->loop, 0); /* sends it; nobody waits for the answer */
	}
	carrier_destroy(session->carrier);
	loop_destroy(session->loop);
	while (session->head) {
		struct received *received = session->head;
		session->head = received->next;
		buf_finish(&received->body);
		free(received);
	}
	explicit_bzero(&session->url, sizeof(session->url));
	free(session);
}

/* ---- objects ----------------------------------------------------------------------------- */

int broker_declare_exchange(
	struct broker_session *session, const char *name, const char *type, struct why *why)
{
	amqp_exchange_declare_t declare = {
		.exchange = amqp_cstring_bytes(name),
		.type = amqp_cstring_bytes(type),
		.durable = 1,
	};
	int r = need_channel(session, CHANNEL_ASK, why);
	return r < 0 ? r
		     : ask(session, CHANNEL_ASK, AMQP_EXCHANGE_DECLARE_METHOD, &declare,
			       AMQP_EXCHANGE_DECLARE_OK_METHOD, why);
}

static amqp_table_entry_t text_entry(const char *key, const char *text)
{
	amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
	entry.value.kind = AMQP_FIELD_KIND_UTF8;
	entry.value.value.bytes = amqp_cstring_bytes(text);
	return entry;
}

static amqp_table_entry_t number_entry(const char *key, uint64_t number)
{
	amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
	entry.value.kind = AMQP_FIELD_KIND_I64;
	entry.value.value.i64 = (int64_t)number;
	return entry;
}

static int queue_arguments(
	const struct broker_queue_options *options, amqp_table_entry_t entries[QUEUE_ARGUMENTS])
{
	int count = 0;
	if (options->quorum) {
		entries[count++] = text_entry("x-queue-type", "quorum");
		entries[count++] = number_entry("x-delivery-limit", DELIVERY_LIMIT);
	}
	if (options->single_active) {
		entries[count] = text_entry("x-single-active-consumer", "");
		entries[count].value.kind = AMQP_FIELD_KIND_BOOLEAN;
		entries[count++].value.value.boolean = 1;
	}
	if (options->ttl_ms) {
		entries[count++] = number_entry("x-message-ttl", options->ttl_ms);
	}
	if (options->dead_letter_exchange) {
		entries[count++] =
			text_entry("x-dead-letter-exchange", options->dead_letter_exchange);
	}
	if (options->dead_letter_exchange && options->quorum) {
		entries[count++] = text_entry("x-dead-letter-strategy", "at-least-once");
		entries[count++] = text_entry("x-overflow", "reject-publish");
	}
	return count;
}

int broker_declare_queue(struct broker_session *session, const char *name,
	const struct broker_queue_options *options, struct why *why)
{
	amqp_table_entry_t entries[QUEUE_ARGUMENTS];
	amqp_queue_declare_t declare = {
		.queue = amqp_cstring_bytes(name),
		.durable = 1,
		.arguments = {queue_arguments(options, entries), entries},
	};
	int r = need_channel(session, CHANNEL_ASK, why);
	return r < 0 ? r
		     : ask(session, CHANNEL_ASK, AMQP_QUEUE_DECLARE_METHOD, &declare,
			       AMQP_QUEUE_DECLARE_OK_METHOD, why);
}

int broker_bind_queue(struct broker_session *session, const char *queue, const char *exchange,
	const char *key, struct why *why)
{
	amqp_queue_bind_t bind = {
		.queue = amqp_cstring_bytes(queue),
		.exchange = amqp_cstring_bytes(exchange),
		.routing_key = amqp_cstring_bytes(key),
	};
	int r = need_channel(session, CHANNEL_ASK, why);
	return r < 0 ? r
		     : ask(session, CHANNEL_ASK, AMQP_QUEUE_BIND_METHOD, &bind,
			       AMQP_QUEUE_BIND_OK_METHOD, why);
}

int broker_delete_queue(struct broker_session *session, const char *name, struct why *why)
{
	amqp_queue_delete_t delete = {.queue = amqp_cstring_bytes(name)};
	int r = need_channel(session, CHANNEL_ASK, why);
	return r < 0 ? r
		     : ask(session, CHANNEL_ASK, AMQP_QUEUE_DELETE_METHOD, &delete,
			       AMQP_QUEUE_DELETE_OK_METHOD, why);
}

int broker_queue_depth(struct broker_session *session, const char *name, uint64_t *ret_messages,
	uint32_t *ret_consumers, struct why *why)
{
	amqp_queue_declare_t declare = {.queue = amqp_cstring_bytes(name), .passive = 1};
	int r = need_channel(session, CHANNEL_ASK, why);
	if (r == 0) {
		r = ask(session, CHANNEL_ASK, AMQP_QUEUE_DECLARE_METHOD, &declare,
			AMQP_QUEUE_DECLARE_OK_METHOD, why);
	}
	if (r == 0) {
		*ret_messages = session->messages;
		*ret_consumers = session->consumers;
	}
	return r;
}

/* ---- messages ---------------------------------------------------------------------------- */

int broker_session_publish(struct broker_session *session, const char *exchange,
	struct span routing_key, struct span body, uint64_t deadline_ns, struct why *why)
{
	int r = need_channel(session, CHANNEL_PUBLISH, why);
	if (r < 0) {
		return r;
	}
	session->error = 0;
	session->answered = session->returned = false;
	session->expected = AMQP_BASIC_ACK_METHOD;
	carrier_publish(session->carrier, CHANNEL_PUBLISH, span_str(exchange), routing_key,
		"session", body);
	r = wait_for(session, &session->answered, deadline_ns, why);
	if (r == -ETIMEDOUT) { /* a late answer must not be taken for that of the next message */
		session->closed = true;
		session->error = why_error(
			&session->why, -ETIMEDOUT, "an earlier message was not confirmed");
	}
	if (r == 0 && session->returned) {
		return why_error(why, -ENOENT, "no queue takes messages for '%s'", exchange);
	}
	return r;
}

int broker_session_private_queue(
	struct broker_session *session, char *ret_name, size_t size_bytes, struct why *why)
{
	amqp_queue_declare_t declare = {
		.queue = amqp_empty_bytes, .exclusive = 1, .auto_delete = 1};
	amqp_basic_consume_t consume = {.queue = amqp_empty_bytes,
		.consumer_tag = amqp_cstring_bytes("treemirror"),
		.no_ack = 1};
	int r = need_channel(session, CHANNEL_RECEIVE, why);
	if (r == 0) {
		r = ask(session, CHANNEL_RECEIVE, AMQP_QUEUE_DECLARE_METHOD, &declare,
			AMQP_QUEUE_DECLARE_OK_METHOD, why);
	}
	if (r == 0) {
		(void)snprintf(ret_name, size_bytes, "%s", session->name);
		r = ask(session, CHANNEL_RECEIVE, AMQP_BASIC_CONSUME_METHOD, &consume,
			AMQP_BASIC_CONSUME_OK_METHOD, why);
	}
	return r;
}

int broker_session_receive(struct broker_session *session, uint64_t deadline_ns, char **ret_body,
	size_t *ret_len, struct why *why)
{
	session->error = session->closed ? session->error : 0;
	while (!session->head && !session->error && clock_now() < deadline_ns) {
		int r = loop_turn(session->loop, deadline_ns);
		if (r < 0) {
			return why_error(why, r, "waiting for the broker: %s", strerror(-r));
		}
	}
	struct received *received = session->head;
	if (!received) {
		return session->error ? why_error(why, session->error, "%s", session->why.text)
				      : why_error(why, -ETIMEDOUT, "no message came in time");
	}
	session->head = received->next;
	if (!session->head) {
		session->tail = &session->head;
	}
	*ret_len = received->body.len;
	*ret_body = buf_steal(&received->body);
	free(received);
	return *ret_body ? 0 : why_error(why, -ENOMEM, "out of memory");
}
