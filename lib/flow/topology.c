/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All objects come from the rows and loops of topology_declare().  Declaring what is there with
 * the same arguments changes nothing; with other arguments the broker refuses, which is told.
 *
 * RabbitMQ keeps its list of quorum queues in a file that it writes every half second.  A broker
 * killed before that comes back with the queue, but empty and without a leader for ever, although
 * messages had been confirmed (seen with 3.10.8).  So after making a queue we let a second pass
 * before anybody publishes.
 *
 * The later queues are named after their pause, so changing `retry` or `settle` in the config
 * makes new ones; the old ones run dry by themselves.
 */
#include "flow/topology.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/message.h"

/* ---- names ------------------------------------------------------------------------------- */

static struct topology_name name_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
static struct topology_name name_of(const char *format, ...)
{
	struct topology_name name;
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(name.text, sizeof(name.text), format, arguments);
	va_end(arguments);
	return name;
}

struct topology_name topology_exchange(const struct config *config, const char *what)
{
	/* What peers may subscribe to begins with xs_, as Sarracenia's exchanges do. */
	bool shared = strcmp(what, "orders") == 0 || strcmp(what, "bulk") == 0;
	return name_of("%s_%s_%s", shared ? "xs" : "x", config->mirror, what);
}

struct topology_name topology_queue(const struct config *config, const char *what)
{
	return name_of("q_%s_%s", config->mirror, what);
}

struct topology_name topology_shard_exchange(
	const struct config *config, const char *what, unsigned shard)
{
	return name_of("xs_%s_%s%02u", config->mirror, what, shard);
}

struct topology_name topology_shard_queue(
	const struct config *config, const char *what, unsigned shard)
{
	return name_of("q_%s_%s%02u", config->mirror, what, shard);
}

/* "60s", or "1500ms" where it is no whole number of seconds. */
static void pause_text(uint64_t pause_ns, char *buffer, size_t size_bytes)
{
	bool whole = pause_ns % CLOCK_S == 0;
	(void)snprintf(buffer, size_bytes, "%" PRIu64 "%s", pause_ns / (whole ? CLOCK_S : CLOCK_MS),
		whole ? "s" : "ms");
}

static struct topology_name later_name(
	const struct config *config, const char *prefix, uint64_t pause_ns)
{
	char text[32];
	pause_text(pause_ns, text, sizeof(text));
	return name_of("%s_%s_later%s", prefix, config->mirror, text);
}

struct topology_name topology_later_exchange(const struct config *config, uint64_t pause_ns)
{
	return later_name(config, "xs", pause_ns);
}

/* ---- declaring --------------------------------------------------------------------------- */

/* What is being declared. */
struct making {
	const struct config *config;
	struct broker_session *session;
	bool new_queues;
	struct why *why;
};

static int declare_exchange(struct making *making, struct topology_name name, const char *type)
{
	int r = broker_declare_exchange(making->session, name.text, type, making->why);
	if (r < 0) {
		why_prefix(making->why, "declare exchange %s", name.text);
	}
	return r;
}

static int declare_queue(struct making *making, struct topology_name name,
	const struct broker_queue_options *options)
{
	uint64_t messages;
	uint32_t consumers;
	int r = broker_queue_depth(making->session, name.text, &messages, &consumers, NULL);
	making->new_queues |= r == -ENOENT;
	r = broker_declare_queue(making->session, name.text, options, making->why);
	if (r < 0) {
		why_prefix(making->why, "declare queue %s", name.text);
	}
	return r;
}

static int bind_queue(struct making *making, struct topology_name queue,
	struct topology_name exchange, const char *key)
{
	int r = broker_bind_queue(making->session, queue.text, exchange.text, key, making->why);
	if (r < 0) {
		why_prefix(making->why, "bind queue %s to %s", queue.text, exchange.text);
	}
	return r;
}

/* The queues and exchanges that are there once; the tally hears those it counts. */
static int declare_common(struct making *making)
{
	static const struct {
		const char *name, *type;
		bool own_queue, tally;
	} rows[] = {
		{"back", "direct", false, false},
		{"orders", "topic", true, false},
		{"bulk", "topic", true, false},
		{"notes", "topic", false, true},
		{"control", "topic", false, true},
	};
	const struct broker_queue_options plain = {.quorum = true};
	const struct broker_queue_options one_reader = {.quorum = true, .single_active = true};
	struct topology_name tally = topology_queue(making->config, "tally");
	int r = declare_queue(making, tally, &one_reader);
	for (size_t i = 0; r == 0 && i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct topology_name exchange = topology_exchange(making->config, rows[i].name);
		struct topology_name queue = topology_queue(making->config, rows[i].name);
		r = declare_exchange(making, exchange, rows[i].type);
		if (r == 0 && rows[i].own_queue) {
			r = declare_queue(making, queue, &plain);
		}
		if (r == 0 && rows[i].own_queue) {
			r = bind_queue(making, queue, exchange, "#");
		}
		if (r == 0 && rows[i].tally) {
			r = bind_queue(making, tally, exchange, "#");
		}
	}
	return r;
}

static int declare_shard(struct making *making, unsigned shard)
{
	const struct broker_queue_options one_reader = {.quorum = true, .single_active = true};
	struct topology_name changes = topology_shard_exchange(making->config, "changes", shard);
	struct topology_name receipts = topology_shard_exchange(making->config, "receipts", shard);
	struct topology_name queue = topology_shard_queue(making->config, "changes", shard);
	struct topology_name tally = topology_queue(making->config, "tally");
	char key[8];
	(void)snprintf(key, sizeof(key), "%02u", shard);
	int r = declare_exchange(making, changes, "topic");
	r = r < 0 ? r : declare_exchange(making, receipts, "topic");
	r = r < 0 ? r : declare_queue(making, queue, &one_reader);
	r = r < 0 ? r : bind_queue(making, queue, changes, "#");
	r = r < 0 ? r : bind_queue(making, queue, topology_exchange(making->config, "back"), key);
	r = r < 0 ? r : bind_queue(making, tally, changes, "#");
	return r < 0 ? r : bind_queue(making, tally, receipts, "#");
}

static int declare_later(struct making *making, uint64_t pause_ns)
{
	struct topology_name back = topology_exchange(making->config, "back");
	const struct broker_queue_options options = {
		.quorum = true,
		.ttl_ms = pause_ns < CLOCK_MS ? 1 : pause_ns / CLOCK_MS,
		.dead_letter_exchange = back.text,
	};
	struct topology_name exchange = topology_later_exchange(making->config, pause_ns);
	struct topology_name queue = later_name(making->config, "q", pause_ns);
	int r = declare_exchange(making, exchange, "topic");
	r = r < 0 ? r : declare_queue(making, queue, &options);
	r = r < 0 ? r : bind_queue(making, queue, exchange, "#");
	return r < 0 ? r
		     : bind_queue(making, topology_queue(making->config, "tally"), exchange, "#");
}

int topology_declare(const struct config *config, struct broker_session *session, struct why *why)
{
	struct making making = {config, session, false, why};
	int r = declare_common(&making);
	for (unsigned shard = 0; r == 0 && shard < config->winnow.shards; shard++) {
		r = declare_shard(&making, shard);
	}
	for (size_t i = 0; r == 0 && i < config->retry_count; i++) {
		r = declare_later(&making, config->retry_ns[i]);
	}
	r = r < 0 ? r : declare_later(&making, config->settle_ns);
	if (r == 0 && making.new_queues) {
		(void)nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
	}
	return r;
}

/* ---- publishing -------------------------------------------------------------------------- */

static int publish(struct broker *broker, struct topology_name exchange, struct span key,
	const struct buf *body, broker_confirmed_fn fn, void *arg)
{
	return body->failed ? -ENOMEM
			    : broker_publish(broker, exchange.text, key, buf_span(body), fn, arg);
}

static unsigned shard_of(const struct config *config, struct span path)
{
	return message_shard(path, (unsigned)config->winnow.shards);
}

/* A change, order or receipt: its key is the topic that v03 peers expect. */
static int publish_path(struct broker *broker, struct topology_name exchange, struct span path,
	const struct buf *body, broker_confirmed_fn fn, void *arg)
{
	CLEANUP(buf_finish) struct buf topic = BUF_EMPTY;
	message_topic(path, &topic);
	return topic.failed ? -ENOMEM : publish(broker, exchange, buf_span(&topic), body, fn, arg);
}

int topology_publish_change(const struct config *config, struct broker *broker,
	const struct change *change, broker_confirmed_fn fn, void *arg)
{
	CLEANUP(buf_finish) struct buf body = BUF_EMPTY;
	unsigned shard = shard_of(config, change->path);
	message_encode_change(change, &body);
	return publish_path(broker, topology_shard_exchange(config, "changes", shard), change->path,
		&body, fn, arg);
}

int topology_publish_later(const struct config *config, struct broker *broker,
	const struct change *change, uint64_t pause_ns, broker_confirmed_fn fn, void *arg)
{
	CLEANUP(buf_finish) struct buf body = BUF_EMPTY;
	char key[8];
	(void)snprintf(key, sizeof(key), "%02u", shard_of(config, change->path));
	message_encode_change(change, &body);
	return publish(
		broker, topology_later_exchange(config, pause_ns), span_str(key), &body, fn, arg);
}

int topology_publish_order(const struct config *config, struct broker *broker,
	const struct change *order, broker_confirmed_fn fn, void *arg)
{
	CLEANUP(buf_finish) struct buf body = BUF_EMPTY;
	const char *what = order->facts & CHANGE_BULK ? "bulk" : "orders";
	message_encode_change(order, &body);
	return publish_path(broker, topology_exchange(config, what), order->path, &body, fn, arg);
}

int topology_publish_receipt(const struct config *config, struct broker *broker,
	const struct receipt *receipt, broker_confirmed_fn fn, void *arg)
{
	CLEANUP(buf_finish) struct buf body = BUF_EMPTY;
	unsigned shard = shard_of(config, receipt->path);
	message_encode_receipt(receipt, &body);
	return publish_path(broker, topology_shard_exchange(config, "receipts", shard),
		receipt->path, &body, fn, arg);
}

int topology_publish_note(const struct config *config, struct broker *broker,
	const struct note *note, broker_confirmed_fn fn, void *arg)
{
	CLEANUP(buf_finish) struct buf body = BUF_EMPTY;
	message_encode_note(note, &body);
	return publish(broker, topology_exchange(config, "notes"), SPAN("note"), &body, fn, arg);
}
