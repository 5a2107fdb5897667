/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker as an event source: publishing with confirms, consuming with acknowledgements,
 * reconnecting by itself.
 *
 * Two connections, one to publish and one to consume (a broker that is short of memory blocks
 * publishers; consumers must go on).  Both reconnect for ever, with growing pauses and jitter, each
 * to the next node where the broker has several; each change of state is told once through `state`.
 *
 * Publishing: a copy of each message is kept until the broker has confirmed it, and is sent
 * again after a reconnect; so `confirmed` comes at least once for what was accepted, possibly
 * after the broker has seen it twice.  A message that no queue takes, or that the broker refuses
 * (nack), is published again after a pause, and the state says so.
 *
 * Consuming: a delivery is settled exactly once, with broker_ack() or broker_requeue().  When the
 * connection breaks, open deliveries are void (the broker delivers them again); settling a void
 * one does nothing.  `lost` tells a consumer that this happened.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/span.h"
#include "core/why.h"
#include "flow/loop.h"

struct broker;

#define BROKER_FILE_MAX 512

/* Where and as whom.  amqp:// and amqps:// */
struct broker_url {
	bool tls;
	char host[256];
	unsigned port;
	char user[128];
	char password[256];
	char vhost[128];
	char ca_file[BROKER_FILE_MAX];   /* amqps: trusted certificates; empty: the system's */
	char cert_file[BROKER_FILE_MAX]; /* amqps: the certificate that is shown; empty: none */
	char key_file[BROKER_FILE_MAX];  /* and its key */
};
/* Reads a URL (user and password percent-decoded).  Returns 0 or -EINVAL with words. */
int broker_url_parse(struct span text, struct broker_url *ret, struct why *why);

/* The nodes of one broker, a cluster: any of them will do. */
#define BROKER_NODES_MAX 8
struct broker_nodes {
	struct broker_url urls[BROKER_NODES_MAX];
	size_t count; /* at least one */
};

struct broker_options {
	struct broker_nodes nodes;
	const char *name; /* of this client, shown by the broker's tools */
	/* up: both connections work.  words: why not, or what keeps messages from being taken
	 * although they do; "" when all is well.  Only on changes, only from the loop. */
	void (*state)(void *arg, bool up, const char *words);
	void *arg;
};

/* Begins to connect; never waits.  Returns 0 or -errno. */
int broker_create(struct loop *loop, const struct broker_options *options, struct broker **ret);
/* Drops both connections at once; not from within a callback of the broker. */
void broker_destroy(struct broker *broker);
bool broker_is_up(const struct broker *broker);
/* The node that deliveries come from, or would. */
const struct broker_url *broker_node(const struct broker *broker);

/* --- publishing ------------------------------------------------------------------------- */

#define BROKER_FULL 1 /* too much is unconfirmed: wait for `room` */

typedef void (*broker_confirmed_fn)(void *arg);

/*
 * Persistent, content type JSON.  Accepted while disconnected too, until the window
 * (BROKER_WINDOW messages or BROKER_WINDOW_BYTES) is full.  fn may be NULL.  exchange "" sends to
 * the queue named by the key; if that is gone, so is the message.
 * Returns 0, BROKER_FULL, or -ENOMEM.
 */
int broker_publish(struct broker *broker, const char *exchange, struct span routing_key,
	struct span body, broker_confirmed_fn fn, void *arg);
#define BROKER_WINDOW       2048
#define BROKER_WINDOW_BYTES (1024 * 1024)
size_t broker_unconfirmed(const struct broker *broker);
/* fn is called from the loop each time there is room again after BROKER_FULL. */
void broker_on_room(struct broker *broker, loop_fn fn, void *arg);

/* --- consuming -------------------------------------------------------------------------- */

struct broker_delivery {
	uint64_t tag;
	uint32_t channel; /* the broker module's: which consumer, which slot */
	uint32_t epoch;   /* of the connection */
	bool redelivered;
};

typedef void (*broker_deliver_fn)(void *arg, struct broker_delivery delivery, struct span body);

struct broker_consumer;
/*
 * Takes messages from a queue, at most `prefetch` unsettled at once.  queue NULL: a queue of our
 * own (exclusive, gone with the connection) bound to each of the exchanges with key "#" (declared
 * again at each reconnect).  The queue and exchanges must exist.  Consumers begin in the order in
 * which they were made, each when the broker has agreed to the one before: nothing is delivered
 * to a later one that an earlier one could miss the answer to.  `lost` may be NULL.
 */
int broker_consume(struct broker *broker, const char *queue, const char *const *exchanges,
	size_t exchange_count, unsigned prefetch, broker_deliver_fn deliver, loop_fn lost,
	void *arg, struct broker_consumer **ret);
/*
 * No new deliveries (basic.cancel); open ones stay valid.  What is on its way still comes: at once
 * handed back, it would look to others as if somebody had begun with it.  And back again.
 */
void broker_consumer_pause(struct broker_consumer *consumer);
/*
 * Acknowledgements wait until it is paused, so the broker sends no more for them.  What it is about
 * to send when it is told to stop it hands back to itself, as if somebody had begun with that, too:
 * so who can wait holds first, and pauses when it is full or nothing has come for a while.
 */
void broker_consumer_hold(struct broker_consumer *consumer);
/* The broker has sent as much as it may. */
bool broker_consumer_is_full(const struct broker_consumer *consumer);
void broker_consumer_resume(struct broker_consumer *consumer);
/* Paused, nothing is on its way any more, and the broker has what was settled: a connection that
 * ends before would make it deliver that again. */
bool broker_consumer_rests(const struct broker_consumer *consumer);

void broker_ack(struct broker *broker, struct broker_delivery delivery);
void broker_requeue(struct broker *broker, struct broker_delivery delivery);

/* --- blocking helpers for commands and for declaring objects ------------------------------ */

struct broker_session; /* one blocking connection */
int broker_session_open(const struct broker_url *url, uint64_t deadline_ns,
	struct broker_session **ret, struct why *why);
/* To whichever node answers; each gets its share of the time. */
int broker_session_open_any(const struct broker_nodes *nodes, uint64_t deadline_ns,
	struct broker_session **ret, struct why *why);
const struct broker_url *broker_session_node(const struct broker_session *session);
void broker_session_close(struct broker_session *session);
int broker_declare_exchange(
	struct broker_session *session, const char *name, const char *type, struct why *why);
/* Arguments of a durable queue; zero or NULL leaves one out. */
struct broker_queue_options {
	bool quorum;
	bool single_active;
	uint64_t ttl_ms;
	const char *dead_letter_exchange; /* with at-least-once dead-lettering on quorum queues */
};
int broker_declare_queue(struct broker_session *session, const char *name,
	const struct broker_queue_options *options, struct why *why);
int broker_bind_queue(struct broker_session *session, const char *queue, const char *exchange,
	const char *key, struct why *why);
int broker_delete_queue(struct broker_session *session, const char *name, struct why *why);
/* Ready messages and consumers.  Returns 0, -ENOENT, or -errno with words. */
int broker_queue_depth(struct broker_session *session, const char *name, uint64_t *ret_messages,
	uint32_t *ret_consumers, struct why *why);
/* Publishes one message and waits for its confirm. */
int broker_session_publish(struct broker_session *session, const char *exchange,
	struct span routing_key, struct span body, uint64_t deadline_ns, struct why *why);
/* A private queue (exclusive, auto-delete) with a name chosen by the broker. */
int broker_session_private_queue(
	struct broker_session *session, char *ret_name, size_t size_bytes, struct why *why);
/* Next message of that queue (automatic acknowledgement) into a heap buffer that the caller
 * frees.  Returns 0, -ETIMEDOUT, or -errno with words. */
int broker_session_receive(struct broker_session *session, uint64_t deadline_ns, char **ret_body,
	size_t *ret_len, struct why *why);
