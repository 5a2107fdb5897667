/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging in:
 *
 *   us   header            start-ok (PLAIN)        tune-ok, open(vhost)
 *   it            start                     tune                         open-ok -> `opened`
 *
 * A frame is type(1) channel(2) size(4) payload end(1).  A method that carries content is kept,
 * undecoded, until its header and all its body frames have come; channels may interleave.
 *
 * One timer serves three clocks: the time-out of logging in, our heartbeat (sent when nothing
 * else was for half the interval), and the broker's silence (twice the interval is the end).
 */
#include "flow/broker-carrier.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/stream.h"

#define CARRIER_LOGIN_NS    (10 * CLOCK_S)
#define CARRIER_HEARTBEAT_S 15
#define CARRIER_FRAME_BYTES 131072
#define CARRIER_FRAME_MIN   4096 /* by the standard; a few bytes would hold nothing of a message */
#define CARRIER_BODY_BYTES  (UINT64_C(256) * 1024 * 1024) /* no message is larger */
#define FRAME_OVERHEAD      8
#define SYSTEM_CA_FILE      "/etc/ssl/certs/ca-certificates.crt"

/* A message on its way in. */
struct incoming {
	amqp_method_number_t method; /* 0: none */
	struct buf arguments, properties, body;
	uint64_t body_bytes;
	bool has_header;
};

struct carrier {
	struct broker_url url;
	char name[128];
	const struct carrier_events *events;
	void *arg;
	struct stream *stream;
	struct loop_timer timer, failed;
	bool open, dead;
	const char *phase; /* of logging in, in words */
	uint64_t sent_ns, received_ns;
	uint64_t heartbeat_ns;
	size_t frame_bytes;
	int error;
	struct why why;
	amqp_pool_t pool;
	struct incoming incoming[CARRIER_CHANNELS];
};

/* ---- the end ----------------------------------------------------------------------------- */

static void on_failed(void *arg)
{
	struct carrier *carrier = arg;
	carrier->events->closed(carrier->arg, carrier->error, carrier->why.text);
}

__attribute__((format(printf, 3, 0))) static void carrier_vfail(
	struct carrier *carrier, int error, const char *format, va_list arguments)
{
	if (carrier->dead) {
		return;
	}
	carrier->dead = true;
	carrier->error = error;
	why_verror(&carrier->why, error, format, arguments);
	loop_timer_stop(&carrier->timer);
	(void)loop_timer_set(&carrier->failed, 0); /* cannot fail: the slot of the other is free */
}

void carrier_fail(struct carrier *carrier, int error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	carrier_vfail(carrier, error, format, arguments);
	va_end(arguments);
}

int carrier_close_error(int reply_code)
{
	switch (reply_code) {
	case AMQP_ACCESS_REFUSED:
	case AMQP_NOT_ALLOWED:
		return -EACCES;
	case AMQP_NOT_FOUND:
		return -ENOENT;
	case AMQP_PRECONDITION_FAILED:
		return -EEXIST;
	case AMQP_RESOURCE_LOCKED:
		return -EBUSY;
	case AMQP_CONNECTION_FORCED:
		return -ECONNRESET;
	default:
		return -EPROTO;
	}
}

static void fail_by_close(struct carrier *carrier, const amqp_connection_close_t *close)
{
	int code = close->reply_code;
	struct span text = carrier_span(close->reply_text);
	const struct broker_url *url = &carrier->url;
	if (!carrier->open && code == AMQP_ACCESS_REFUSED) {
		carrier_fail(carrier, -EACCES,
			"the broker at '%s' port %u refuses user '%s': wrong password "
			"or unknown user",
			url->host, url->port, url->user);
	} else if (!carrier->open && code == AMQP_NOT_ALLOWED) {
		carrier_fail(carrier, -EACCES,
			"the broker at '%s' port %u does not let '%s' use virtual host "
			"'%s': %.*s",
			url->host, url->port, url->user, url->vhost, SPAN_ARG(text));
	} else {
		carrier_fail(carrier, carrier_close_error(code),
			"the broker at '%s' port %u closed the "
			"connection: %.*s",
			url->host, url->port, SPAN_ARG(text));
	}
}

/* ---- sending ----------------------------------------------------------------------------- */

static void put_frame(struct carrier *carrier, uint8_t type, uint16_t channel, struct span payload)
{
	unsigned char head[7] = {type, (unsigned char)(channel >> 8), (unsigned char)channel};
	uint32_t size = htonl((uint32_t)payload.len);
	memcpy(head + 3, &size, sizeof(size));
	stream_write(carrier->stream, span_of(head, sizeof(head)));
	stream_write(carrier->stream, payload);
	stream_write(carrier->stream, SPAN("\xce"));
	carrier->sent_ns = clock_now();
}

void carrier_send(struct carrier *carrier, uint16_t channel, amqp_method_number_t id, void *decoded)
{
	unsigned char payload[16 * 1024];
	uint32_t number = htonl(id);
	if (carrier->dead) {
		return;
	}
	memcpy(payload, &number, sizeof(number));
	int len = amqp_encode_method(id, decoded,
		(amqp_bytes_t){sizeof(payload) - sizeof(number), payload + sizeof(number)});
	if (len < 0) {
		carrier_fail(carrier, -EINVAL, "cannot encode %s: %s", amqp_method_name(id),
			amqp_error_string2(len));
		return;
	}
	put_frame(carrier, AMQP_FRAME_METHOD, channel,
		span_of(payload, sizeof(number) + (size_t)len));
}

static void put_content_header(
	struct carrier *carrier, uint16_t channel, const char *message_id, size_t body_bytes)
{
	unsigned char payload[1024] = {0, AMQP_BASIC_CLASS};
	amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
			  AMQP_BASIC_MESSAGE_ID_FLAG,
		.content_type = amqp_cstring_bytes("application/json"),
		.delivery_mode = AMQP_DELIVERY_PERSISTENT,
		.message_id = amqp_cstring_bytes(message_id),
	};
	for (unsigned i = 0; i < 8; i++) {
		payload[4 + i] = (unsigned char)((uint64_t)body_bytes >> (56 - 8 * i));
	}
	int len = amqp_encode_properties(
		AMQP_BASIC_CLASS, &properties, (amqp_bytes_t){sizeof(payload) - 12, payload + 12});
	if (len < 0) {
		carrier_fail(
			carrier, -EINVAL, "cannot encode properties: %s", amqp_error_string2(len));
		return;
	}
	put_frame(carrier, AMQP_FRAME_HEADER, channel, span_of(payload, 12 + (size_t)len));
}

void carrier_publish(struct carrier *carrier, uint16_t channel, struct span exchange,
	struct span routing_key, const char *message_id, struct span body)
{
	amqp_basic_publish_t publish = {
		.exchange = carrier_bytes(exchange),
		.routing_key = carrier_bytes(routing_key),
		/* A private queue may be gone with whoever asked: nobody else wants it. */
		.mandatory = exchange.len > 0,
	};
	carrier_send(carrier, channel, AMQP_BASIC_PUBLISH_METHOD, &publish);
	put_content_header(carrier, channel, message_id, body.len);
	while (body.len) {
		struct span part = body;
		if (part.len > carrier->frame_bytes - FRAME_OVERHEAD) {
			part.len = carrier->frame_bytes - FRAME_OVERHEAD;
		}
		put_frame(carrier, AMQP_FRAME_BODY, channel, part);
		body = span_skip(body, part.len);
	}
}

size_t carrier_backlog_bytes(const struct carrier *carrier)
{
	return stream_backlog_bytes(carrier->stream);
}

/* ---- logging in -------------------------------------------------------------------------- */

static amqp_table_entry_t entry_bool(const char *key)
{
	amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
	entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
	entry.value.value.boolean = 1;
	return entry;
}

static amqp_table_entry_t entry_text(const char *key, const char *text)
{
	amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
	entry.value.kind = AMQP_FIELD_KIND_UTF8;
	entry.value.value.bytes = amqp_cstring_bytes(text);
	return entry;
}

static void send_start_ok(struct carrier *carrier)
{
	amqp_table_entry_t abilities[] = {
		entry_bool("publisher_confirms"),
		entry_bool("basic.nack"),
		entry_bool("consumer_cancel_notify"),
		entry_bool("connection.blocked"),
		entry_bool("authentication_failure_close"),
	};
	amqp_table_entry_t properties[] = {
		entry_text("product", "treemirror"),
		entry_text("version", TREEMIRROR_VERSION),
		entry_text("connection_name", carrier->name),
		entry_bool("capabilities"),
	};
	properties[3].value.kind = AMQP_FIELD_KIND_TABLE;
	properties[3].value.value.table =
		(amqp_table_t){sizeof(abilities) / sizeof(abilities[0]), abilities};

	char secret[sizeof(carrier->url.user) + sizeof(carrier->url.password) + 2];
	int len = snprintf(
		secret, sizeof(secret), "%c%s%c%s", 0, carrier->url.user, 0, carrier->url.password);
	amqp_connection_start_ok_t start_ok = {
		.client_properties = {sizeof(properties) / sizeof(properties[0]), properties},
		.mechanism = amqp_cstring_bytes("PLAIN"),
		.response = {(size_t)len, secret},
		.locale = amqp_cstring_bytes("en_US"),
	};
	carrier_send(carrier, 0, AMQP_CONNECTION_START_OK_METHOD, &start_ok);
	explicit_bzero(secret, sizeof(secret));
}

static void send_tune_ok(struct carrier *carrier, const amqp_connection_tune_t *tune)
{
	amqp_connection_tune_ok_t tune_ok = {.channel_max = CARRIER_CHANNELS - 1,
		.frame_max = CARRIER_FRAME_BYTES,
		.heartbeat = CARRIER_HEARTBEAT_S};
	if (tune->channel_max && tune->channel_max < tune_ok.channel_max) {
		tune_ok.channel_max = tune->channel_max;
	}
	if (tune->frame_max && tune->frame_max < CARRIER_FRAME_MIN) {
		carrier_fail(carrier, -EPROTO, "the broker takes frames of %u bytes only",
			tune->frame_max);
		return;
	}
	if (tune->frame_max && tune->frame_max < tune_ok.frame_max) {
		tune_ok.frame_max = tune->frame_max;
	}
	if (tune->heartbeat && tune->heartbeat < tune_ok.heartbeat) {
		tune_ok.heartbeat = tune->heartbeat;
	}
	amqp_connection_open_t open = {.virtual_host = amqp_cstring_bytes(carrier->url.vhost),
		.capabilities = amqp_empty_bytes};
	carrier->frame_bytes = tune_ok.frame_max;
	carrier->heartbeat_ns = tune_ok.heartbeat * CLOCK_S;
	carrier_send(carrier, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &tune_ok);
	carrier_send(carrier, 0, AMQP_CONNECTION_OPEN_METHOD, &open);
}

static void on_open(struct carrier *carrier)
{
	carrier->open = true;
	(void)loop_timer_set(&carrier->timer, clock_now() + carrier->heartbeat_ns / 2);
	carrier->events->opened(carrier->arg);
}

static void on_blocked(struct carrier *carrier, const amqp_connection_blocked_t *blocked)
{
	struct why why;
	(void)why_error(&why, 0, "the broker takes no messages: %.*s",
		SPAN_ARG(carrier_span(blocked->reason)));
	carrier->events->blocked(carrier->arg, why.text);
}

/* Channel 0. */
static void on_connection_method(struct carrier *carrier, const amqp_method_t *method)
{
	amqp_connection_close_ok_t close_ok = {0};
	switch (method->id) {
	case AMQP_CONNECTION_START_METHOD:
		carrier->phase = "logging in";
		send_start_ok(carrier);
		break;
	case AMQP_CONNECTION_TUNE_METHOD:
		send_tune_ok(carrier, method->decoded);
		break;
	case AMQP_CONNECTION_OPEN_OK_METHOD:
		on_open(carrier);
		break;
	case AMQP_CONNECTION_BLOCKED_METHOD:
		on_blocked(carrier, method->decoded);
		break;
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		carrier->events->blocked(carrier->arg, NULL);
		break;
	case AMQP_CONNECTION_CLOSE_METHOD:
		carrier_send(carrier, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &close_ok);
		fail_by_close(carrier, method->decoded);
		break;
	default:
		carrier_fail(
			carrier, -EPROTO, "the broker sent an unexpected method 0x%x", method->id);
	}
}

/* ---- receiving --------------------------------------------------------------------------- */

static uint64_t read_number(const char *bytes, size_t count)
{
	uint64_t number = 0;
	for (size_t i = 0; i < count; i++) {
		number = number << 8 | (unsigned char)bytes[i];
	}
	return number;
}

/* Decodes into the pool; false where the broker speaks nonsense. */
static bool decode(
	struct carrier *carrier, amqp_method_number_t id, struct span arguments, amqp_method_t *ret)
{
	ret->id = id;
	int r = amqp_decode_method(id, &carrier->pool, carrier_bytes(arguments), &ret->decoded);
	if (r < 0) {
		carrier_fail(carrier, -EPROTO, "cannot decode method 0x%x: %s", id,
			amqp_error_string2(r));
	}
	return r >= 0;
}

static void deliver(struct carrier *carrier, uint16_t channel, struct incoming *incoming)
{
	amqp_method_t method;
	void *properties;
	if (!decode(carrier, incoming->method, buf_span(&incoming->arguments), &method)) {
		return;
	}
	int r = amqp_decode_properties(AMQP_BASIC_CLASS, &carrier->pool,
		carrier_bytes(buf_span(&incoming->properties)), &properties);
	if (r < 0) {
		carrier_fail(
			carrier, -EPROTO, "cannot decode properties: %s", amqp_error_string2(r));
		return;
	}
	incoming->method = 0;
	carrier->events->content(
		carrier->arg, channel, &method, properties, buf_span(&incoming->body));
}

static void on_method(struct carrier *carrier, uint16_t channel, struct span payload)
{
	struct incoming *incoming = &carrier->incoming[channel];
	amqp_method_t method;
	if (payload.len < 4) {
		carrier_fail(
			carrier, -EPROTO, "the broker sent a method of %zu bytes", payload.len);
		return;
	}
	amqp_method_number_t id = (amqp_method_number_t)read_number(payload.data, 4);
	payload = span_skip(payload, 4);
	if (amqp_method_has_content(id)) {
		buf_clear(&incoming->arguments);
		buf_clear(&incoming->properties);
		buf_clear(&incoming->body);
		buf_add(&incoming->arguments, payload);
		incoming->method = id;
		incoming->has_header = false;
	} else if (decode(carrier, id, payload, &method)) {
		if (channel == 0) {
			on_connection_method(carrier, &method);
		} else {
			carrier->events->method(carrier->arg, channel, &method);
		}
	}
}

static void on_content(struct carrier *carrier, uint16_t channel, uint8_t type, struct span payload)
{
	struct incoming *incoming = &carrier->incoming[channel];
	bool header = type == AMQP_FRAME_HEADER;
	if (!incoming->method || incoming->has_header == header || (header && payload.len < 12)) {
		carrier_fail(carrier, -EPROTO, "the broker sent content out of place");
		return;
	}
	if (header) {
		incoming->has_header = true;
		incoming->body_bytes = read_number(payload.data + 4, 8);
		buf_add(&incoming->properties, span_skip(payload, 12));
	} else {
		buf_add(&incoming->body, payload);
	}
	if (incoming->body_bytes > CARRIER_BODY_BYTES ||
		incoming->body.len > incoming->body_bytes) {
		carrier_fail(carrier, -EPROTO, "the broker sent a message of %" PRIu64 " bytes",
			incoming->body_bytes);
	} else if (incoming->arguments.failed || incoming->properties.failed ||
		   incoming->body.failed) {
		carrier_fail(carrier, -ENOMEM, "out of memory");
	} else if (incoming->body.len == incoming->body_bytes) {
		deliver(carrier, channel, incoming);
	}
}

static void on_frame(struct carrier *carrier, uint8_t type, uint16_t channel, struct span payload)
{
	if (type == AMQP_FRAME_HEARTBEAT) {
		return;
	}
	if (channel >= CARRIER_CHANNELS) {
		carrier_fail(
			carrier, -EPROTO, "the broker uses channel %u, which is not open", channel);
	} else if (type == AMQP_FRAME_METHOD) {
		on_method(carrier, channel, payload);
	} else if (type == AMQP_FRAME_HEADER || type == AMQP_FRAME_BODY) {
		on_content(carrier, channel, type, payload);
	} else {
		carrier_fail(carrier, -EPROTO, "the broker sent a frame of type %u", type);
	}
	recycle_amqp_pool(&carrier->pool);
}

/* Takes one frame from the front; returns its length, 0: not whole yet. */
static size_t take_frame(struct carrier *carrier, struct span in)
{
	if (in.len >= 4 && memcmp(in.data, "AMQP", 4) == 0) {
		carrier_fail(carrier, -EPROTO,
			"the broker at '%s' port %u does not speak AMQP 0-9-1", carrier->url.host,
			carrier->url.port);
		return 0;
	}
	if (in.len < FRAME_OVERHEAD) {
		return 0;
	}
	size_t size = (size_t)read_number(in.data + 3, 4);
	if (size > CARRIER_FRAME_BYTES ||
		(in.len >= size + FRAME_OVERHEAD &&
			(unsigned char)in.data[size + 7] != AMQP_FRAME_END)) {
		carrier_fail(carrier, -EPROTO, "what answers at '%s' port %u is no AMQP broker",
			carrier->url.host, carrier->url.port);
		return 0;
	}
	if (in.len < size + FRAME_OVERHEAD) {
		return 0;
	}
	on_frame(carrier, (uint8_t)in.data[0], (uint16_t)read_number(in.data + 1, 2),
		span_of(in.data + 7, size));
	return size + FRAME_OVERHEAD;
}

static void on_received(void *arg, struct buf *in)
{
	struct carrier *carrier = arg;
	size_t used = 0, taken = 1;
	carrier->received_ns = clock_now();
	while (taken && !carrier->dead) {
		taken = take_frame(carrier, span_skip(buf_span(in), used));
		used += taken;
	}
	buf_drop(in, used);
}

/* ---- the stream's other events, and time ------------------------------------------------- */

static void on_stream_opened(void *arg)
{
	struct carrier *carrier = arg;
	carrier->phase = "waiting for its greeting";
	stream_write(carrier->stream, SPAN("AMQP\0\0\x09\x01"));
}

static void on_drained(void *arg)
{
	struct carrier *carrier = arg;
	if (carrier->open && !carrier->dead) {
		carrier->events->drained(carrier->arg);
	}
}

static void on_stream_closed(void *arg, int error, const char *words)
{
	struct carrier *carrier = arg;
	if (carrier->phase && !carrier->open) {
		carrier_fail(carrier, error, "%s (%s)", words, carrier->phase);
	} else {
		carrier_fail(carrier, error, "%s", words);
	}
}

static const struct stream_events stream_events = {
	.opened = on_stream_opened,
	.received = on_received,
	.drained = on_drained,
	.closed = on_stream_closed,
};

static void on_time(void *arg)
{
	struct carrier *carrier = arg;
	uint64_t now = clock_now(), silent_ns = now - carrier->received_ns;
	if (!carrier->open) {
		carrier_fail(carrier, -ETIMEDOUT,
			"the broker at '%s' port %u did not answer within %u s (%s)",
			carrier->url.host, carrier->url.port,
			(unsigned)(CARRIER_LOGIN_NS / CLOCK_S),
			carrier->phase ? carrier->phase : "connecting");
		return;
	}
	if (silent_ns > 2 * carrier->heartbeat_ns) {
		carrier_fail(carrier, -ETIMEDOUT,
			"the broker at '%s' port %u has been silent for %u s", carrier->url.host,
			carrier->url.port, (unsigned)(silent_ns / CLOCK_S));
		return;
	}
	if (now - carrier->sent_ns >= carrier->heartbeat_ns / 2 &&
		!carrier_backlog_bytes(carrier)) {
		put_frame(carrier, AMQP_FRAME_HEARTBEAT, 0, SPAN(""));
	}
	(void)loop_timer_set(&carrier->timer, now + carrier->heartbeat_ns / 2);
}

/* ---- life -------------------------------------------------------------------------------- */

DEFINE_CLEANUP(struct carrier *, carrier_destroy)

int carrier_create(struct loop *loop, const struct broker_url *url, const char *name,
	const struct carrier_events *events, void *arg, struct carrier **ret, struct why *why)
{
	struct stream_options options = {.host = url->host,
		.port = url->port,
		.tls = url->tls,
		.ca_file = url->ca_file[0] ? url->ca_file : SYSTEM_CA_FILE,
		.cert_file = url->cert_file[0] ? url->cert_file : NULL,
		.key_file = url->key_file};
	CLEANUP(carrier_destroy_p) struct carrier *carrier = calloc(1, sizeof(*carrier));
	if (!carrier) {
		return why_error(why, -ENOMEM, "out of memory");
	}
	carrier->url = *url;
	(void)snprintf(carrier->name, sizeof(carrier->name), "%s", name);
	carrier->events = events;
	carrier->arg = arg;
	carrier->frame_bytes = CARRIER_FRAME_BYTES;
	init_amqp_pool(&carrier->pool, 4096);
	loop_timer_init(&carrier->timer, loop, on_time, carrier);
	loop_timer_init(&carrier->failed, loop, on_failed, carrier);
	int r = loop_timer_set(&carrier->timer, clock_now() + CARRIER_LOGIN_NS);
	if (r < 0) {
		return why_error(why, r, "out of memory");
	}
	r = stream_create(loop, &options, &stream_events, carrier, &carrier->stream, why);
	if (r < 0) {
		return r;
	}
	*ret = STEAL(carrier);
	return 0;
}

void carrier_destroy(struct carrier *carrier)
{
	if (!carrier) {
		return;
	}
	loop_timer_stop(&carrier->timer);
	loop_timer_stop(&carrier->failed);
	stream_destroy(carrier->stream);
	for (size_t i = 0; i < CARRIER_CHANNELS; i++) {
		buf_finish(&carrier->incoming[i].arguments);
		buf_finish(&carrier->incoming[i].properties);
		buf_finish(&carrier->incoming[i].body);
	}
	empty_amqp_pool(&carrier->pool);
	explicit_bzero(carrier->url.password, sizeof(carrier->url.password));
	free(carrier);
}
