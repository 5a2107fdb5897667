/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One AMQP 0-9-1 connection as an event source.  Internal to the broker module, whose files
 * (broker*.c, broker-carrier.c) are the only users of <amqp.h>.
 *
 *   carrier_create(), then `opened` (logged in), carrier_send() and carrier_publish(), at last
 * `closed`
 *
 * librabbitmq encodes and decodes methods and properties; its own connection is not used,
 * because each of its writes waits without a limit while a broker does not read.
 * Nothing here blocks.  The owner destroys the carrier at any time, also in `closed`, but not in
 * the other callbacks.
 */
#pragma once

#include <amqp.h>
#include <amqp_framing.h>
#include <stdbool.h>

#include "flow/broker.h"
#include "flow/loop.h"

#define CARRIER_CHANNELS 64 /* 0 is the connection's own */

struct carrier;
struct carrier_events {
	void (*opened)(void *arg);
	/* A method of a channel (close is one); decoded content is valid during the call. */
	void (*method)(void *arg, uint16_t channel, const amqp_method_t *method);
	/* A delivery or a returned message, whole. */
	void (*content)(void *arg, uint16_t channel, const amqp_method_t *method,
		const amqp_basic_properties_t *properties, struct span body);
	/* The broker asks publishers to wait (words), or no more (NULL). */
	void (*blocked)(void *arg, const char *words);
	void (*drained)(void *arg);
	void (*closed)(void *arg, int error, const char *words);
};

/* url is copied; events are kept.  Returns 0 or -errno with words. */
int carrier_create(struct loop *loop, const struct broker_url *url, const char *name,
	const struct carrier_events *events, void *arg, struct carrier **ret, struct why *why);
void carrier_destroy(struct carrier *carrier);

/* decoded: the amqp_…_t of the method.  Failures come as `closed`. */
void carrier_send(
	struct carrier *carrier, uint16_t channel, amqp_method_number_t id, void *decoded);
/* Persistent JSON with message_id as given. */
void carrier_publish(struct carrier *carrier, uint16_t channel, struct span exchange,
	struct span routing_key, const char *message_id, struct span body);
size_t carrier_backlog_bytes(const struct carrier *carrier);
/* Reports `closed` with these words, from the loop. */
void carrier_fail(struct carrier *carrier, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The errno for the reply code of a close. */
int carrier_close_error(int reply_code);

static inline amqp_bytes_t carrier_bytes(struct span span)
{
	return (amqp_bytes_t){span.len, (void *)span.data};
}
static inline struct span carrier_span(amqp_bytes_t bytes)
{
	return span_of(bytes.bytes, bytes.len);
}
