/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile broker.  Whatever frames, methods and properties it sends, both connections come to an
 * end or go on; what we send is well-formed, what is delivered is whole, and no message is
 * confirmed twice.
 *
 * The input is a list of steps, each a byte that says which (its low half) and on which of the two
 * connections (its highest bit), and what belongs to it; lengths have two bytes, little-endian:
 *
 *   0 raw      len, bytes                        goes out as it is
 *   1 method   channel, which, len, arguments    which: of the list below
 *   2 header   channel, len of a body, len, properties
 *   3 body     channel, len, bytes
 *   4 usual    what a broker says until messages can flow
 *   5 ours     one byte: something that a daemon does
 *   6 end      the connection breaks
 */
#include "fuzz.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <errno.h>
#include <string.h>

#include "core/cleanup.h"
#include "flow/broker.h"
#include "flow/stream.h"

#define STREAMS     2
#define PUBLISHED   8
#define DELIVERIES  4
#define FRAME_BYTES 131072

struct stream {
	const struct stream_events *events;
	void *arg;
	struct buf in, sent;
	bool opened, closed, greeted;
};

static struct loop *loop;
static struct broker *broker;
static struct broker_consumer *consumers[2];
static struct stream *streams[STREAMS]; /* in the order in which they are made: publish, consume */
static struct broker_delivery deliveries[DELIVERIES];
static unsigned delivery_count, published_count, confirmed[PUBLISHED];

/* --- in place of the library's streams ---------------------------------------------------- */

int stream_create(struct loop *its_loop, const struct stream_options *options,
	const struct stream_events *events, void *arg, struct stream **ret, struct why *why)
{
	size_t i = streams[0] ? 1 : 0;
	(void)its_loop, (void)options;
	if (streams[i]) {
		return why_error(why, -EMFILE, "too many streams");
	}
	streams[i] = *ret = calloc(1, sizeof(**ret));
	fuzz_require(*ret);
	(*ret)->events = events;
	(*ret)->arg = arg;
	return 0;
}

void stream_destroy(struct stream *stream)
{
	for (size_t i = 0; stream && i < STREAMS; i++) {
		streams[i] = streams[i] == stream ? NULL : streams[i];
	}
	if (stream) {
		buf_finish(&stream->in);
		buf_finish(&stream->sent);
		free(stream);
	}
}

/* The greeting, then frames, each with its end. */
static void check_sent(struct stream *stream)
{
	const unsigned char *at = (const unsigned char *)stream->sent.data;
	if (!stream->greeted && stream->sent.len >= 8) {
		fuzz_require(memcmp(at, "AMQP\0\0\x09\x01", 8) == 0);
		buf_drop(&stream->sent, 8);
		stream->greeted = true;
	}
	while (stream->greeted && stream->sent.len >= 8) {
		at = (const unsigned char *)stream->sent.data;
		size_t len = (size_t)at[3] << 24 | (size_t)at[4] << 16 | (size_t)at[5] << 8 | at[6];
		fuzz_require((at[0] >= 1 && at[0] <= 3) || at[0] == AMQP_FRAME_HEARTBEAT);
		fuzz_require(len <= FRAME_BYTES);
		if (stream->sent.len < len + 8) {
			return;
		}
		fuzz_require(at[len + 7] == AMQP_FRAME_END);
		buf_drop(&stream->sent, len + 8);
	}
}

void stream_write(struct stream *stream, struct span bytes)
{
	fuzz_require(stream->opened);
	buf_add(&stream->sent, bytes);
	check_sent(stream);
}

size_t stream_backlog_bytes(const struct stream *stream)
{
	return stream->sent.len;
}

/* --- what the daemon does ----------------------------------------------------------------- */

static void on_confirmed(void *arg)
{
	unsigned *times = arg;
	fuzz_require(++*times == 1);
}

static void on_delivery(void *arg, struct broker_delivery delivery, struct span body)
{
	volatile char sum = 0;
	(void)arg;
	for (size_t i = 0; i < body.len; i++) {
		sum = (char)(sum ^ body.data[i]);
	}
	if (delivery_count < DELIVERIES) {
		deliveries[delivery_count++] = delivery;
	}
}

static void publish(void)
{
	char body[3000] = "{}";
	if (published_count < PUBLISHED) {
		(void)broker_publish(broker, "x", SPAN("key"), span_of(body, sizeof(body)),
			on_confirmed, &confirmed[published_count]);
		published_count++;
	}
}

static void do_ours(uint8_t what)
{
	struct broker_delivery delivery = deliveries[what / 8 % DELIVERIES];
	struct broker_consumer *consumer = consumers[what / 8 % 2];
	switch (what % 8) {
	case 0:
	case 1:
		publish();
		break;
	case 2:
		broker_ack(broker, delivery);
		break;
	case 3:
		broker_requeue(broker, delivery);
		break;
	case 4:
		broker_consumer_pause(consumer);
		break;
	case 5:
		broker_consumer_resume(consumer);
		break;
	default:
		break;
	}
}

/* --- what the broker says ----------------------------------------------------------------- */

static uint8_t take_byte(struct span *input)
{
	uint8_t byte = input->len ? (uint8_t)input->data[0] : 0;
	*input = span_skip(*input, 1);
	return byte;
}

static size_t take_length(struct span *input)
{
	size_t low = take_byte(input);
	return low | (size_t)take_byte(input) << 8;
}

static struct span take_bytes(struct span *input)
{
	size_t len = take_length(input);
	struct span bytes = span_of(input->data, len < input->len ? len : input->len);
	*input = span_skip(*input, bytes.len);
	return bytes;
}

static void say(struct stream *stream, struct span bytes)
{
	if (stream && !stream->closed) {
		buf_add(&stream->in, bytes);
	}
}

static void say_frame(struct stream *stream, uint8_t type, uint8_t channel, struct span payload)
{
	const char head[7] = {(char)type, 0, (char)channel, 0, (char)(payload.len >> 16),
		(char)(payload.len >> 8), (char)payload.len};
	say(stream, span_of(head, sizeof(head)));
	say(stream, payload);
	say(stream, SPAN("\xce"));
}

static void say_method(struct stream *stream, uint8_t channel, uint32_t id, struct span arguments)
{
	CLEANUP(buf_finish) struct buf payload = BUF_EMPTY;
	const char number[4] = {(char)(id >> 24), (char)(id >> 16), (char)(id >> 8), (char)id};
	buf_add(&payload, span_of(number, sizeof(number)));
	buf_add(&payload, arguments);
	say_frame(stream, AMQP_FRAME_METHOD, channel, buf_span(&payload));
}

static const uint32_t methods[] = {
	AMQP_CONNECTION_START_METHOD,
	AMQP_CONNECTION_SECURE_METHOD,
	AMQP_CONNECTION_TUNE_METHOD,
	AMQP_CONNECTION_OPEN_OK_METHOD,
	AMQP_CONNECTION_CLOSE_METHOD,
	AMQP_CONNECTION_CLOSE_OK_METHOD,
	AMQP_CONNECTION_BLOCKED_METHOD,
	AMQP_CONNECTION_UNBLOCKED_METHOD,
	AMQP_CHANNEL_OPEN_OK_METHOD,
	AMQP_CHANNEL_FLOW_METHOD,
	AMQP_CHANNEL_CLOSE_METHOD,
	AMQP_CHANNEL_CLOSE_OK_METHOD,
	AMQP_QUEUE_DECLARE_OK_METHOD,
	AMQP_QUEUE_BIND_OK_METHOD,
	AMQP_BASIC_QOS_OK_METHOD,
	AMQP_BASIC_CONSUME_OK_METHOD,
	AMQP_BASIC_CANCEL_METHOD,
	AMQP_BASIC_CANCEL_OK_METHOD,
	AMQP_BASIC_RETURN_METHOD,
	AMQP_BASIC_DELIVER_METHOD,
	AMQP_BASIC_GET_OK_METHOD,
	AMQP_BASIC_ACK_METHOD,
	AMQP_BASIC_NACK_METHOD,
	AMQP_CONFIRM_SELECT_OK_METHOD,
	AMQP_CONNECTION_START_OK_METHOD,
	0,
};

static void say_header(struct stream *stream, uint8_t channel, size_t len, struct span properties)
{
	CLEANUP(buf_finish) struct buf payload = BUF_EMPTY;
	const char head[12] = {
		0, AMQP_BASIC_CLASS, 0, 0, 0, 0, 0, 0, 0, 0, (char)(len >> 8), (char)len};
	buf_add(&payload, span_of(head, sizeof(head)));
	buf_add(&payload, properties);
	say_frame(stream, AMQP_FRAME_HEADER, channel, buf_span(&payload));
}

static void say_usual(struct stream *stream)
{
	/* version 0-9, no properties; mechanisms, locales */
	say_method(stream, 0, AMQP_CONNECTION_START_METHOD,
		SPAN("\0\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05"
		     "en_US"));
	say_method(stream, 0, AMQP_CONNECTION_TUNE_METHOD, SPAN("\x07\xff\0\x02\0\0\0\x3c"));
	say_method(stream, 0, AMQP_CONNECTION_OPEN_OK_METHOD, SPAN("\0"));
	for (uint8_t channel = 1; channel <= 2; channel++) {
		say_method(stream, channel, AMQP_CHANNEL_OPEN_OK_METHOD, SPAN("\0\0\0\0"));
		say_method(stream, channel, AMQP_CONFIRM_SELECT_OK_METHOD, SPAN(""));
		say_method(stream, channel, AMQP_BASIC_QOS_OK_METHOD, SPAN(""));
		say_method(stream, channel, AMQP_BASIC_CONSUME_OK_METHOD, SPAN("\x01t"));
	}
}

static void end_stream(struct stream *stream)
{
	if (stream && !stream->closed) {
		stream->closed = true;
		stream->events->closed(stream->arg, -ECONNRESET, "the end");
	}
}

static void do_step(struct span *input)
{
	uint8_t step = take_byte(input), channel;
	struct stream *stream = streams[step >> 7];
	size_t len;
	switch (step & 7) {
	case 0:
		say(stream, take_bytes(input));
		break;
	case 1:
		channel = take_byte(input);
		len = take_byte(input) % (sizeof(methods) / sizeof(methods[0]));
		say_method(stream, channel, methods[len], take_bytes(input));
		break;
	case 2:
		channel = take_byte(input);
		len = take_length(input);
		say_header(stream, channel, len, take_bytes(input));
		break;
	case 3:
		channel = take_byte(input);
		say_frame(stream, AMQP_FRAME_BODY, channel, take_bytes(input));
		break;
	case 4:
		say_usual(stream);
		break;
	case 5:
		do_ours(take_byte(input));
		break;
	default:
		end_stream(stream);
		break;
	}
}

/* --- one life of a daemon ----------------------------------------------------------------- */

static void events_of(struct stream *stream)
{
	if (stream && !stream->closed && !stream->opened) {
		stream->opened = true;
		stream->events->opened(stream->arg);
	}
	if (stream && !stream->closed && stream->in.len) {
		stream->events->received(stream->arg, &stream->in);
	}
}

/* What a turn of the loop begins another one ends: acknowledgements, closing, words. */
static void turns(void)
{
	for (size_t i = 0; i < STREAMS; i++) {
		events_of(streams[i]);
	}
	fuzz_require(loop_turn(loop, 0) == 0);
	fuzz_require(loop_turn(loop, 0) == 0);
}

static void begin(void)
{
	struct broker_options options = {.name = "fuzz",
		.nodes = {.urls = {{.host = "h",
				  .port = 5672,
				  .user = "u",
				  .password = "p",
				  .vhost = "/"}},
			.count = 1}};
	const char *const exchanges[] = {"x"};
	memset(streams, 0, sizeof(streams));
	memset(deliveries, 0, sizeof(deliveries));
	memset(confirmed, 0, sizeof(confirmed));
	delivery_count = published_count = 0;
	fuzz_require(loop_create(&loop) == 0);
	fuzz_require(broker_create(loop, &options, &broker) == 0);
	fuzz_require(broker_consume(broker, NULL, exchanges, 1, 2, on_delivery, NULL, NULL,
			     &consumers[0]) == 0);
	fuzz_require(broker_consume(
			     broker, "q", NULL, 0, 3, on_delivery, NULL, NULL, &consumers[1]) == 0);
	publish();
	turns();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span input = span_of(data, size);
	begin();
	turns();
	while (input.len) {
		do_step(&input);
		turns();
	}
	broker_destroy(broker);
	fuzz_require(!streams[0] && !streams[1]);
	loop_destroy(loop);
	return 0;
}
