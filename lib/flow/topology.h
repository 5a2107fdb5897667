/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's objects of one mirror, and their names.
 *
 *   exchange (topic, durable)     bound to it (quorum queues, key #)
 *   xs_<m>_changes<NN>            q_<m>_changes<NN> (single active consumer), q_<m>_tally
 *   xs_<m>_later<S>s              q_<m>_later<S>s (ttl S, dead-letters to x_<m>_back), q_<m>_tally
 *   x_<m>_back (direct)           q_<m>_changes<NN> by key "<NN>"
 *   xs_<m>_orders                 q_<m>_orders
 *   xs_<m>_bulk                   q_<m>_bulk
 *   xs_<m>_receipts<NN>           q_<m>_tally; each winnow binds a private queue of its own
 *   x_<m>_notes                   q_<m>_tally (single active consumer)
 *   x_<m>_control                 private queues of posters, winnows, copiers; q_<m>_tally
 *
 * A change goes to the shard of its path with the v03 topic as routing key; one that shall come
 * later goes to a later exchange with the shard's two digits as routing key.  The tally sees
 * each change once, when it is published, never again when it comes back from a later queue.
 */
#pragma once

#include "core/why.h"
#include "flow/broker.h"
#include "flow/change.h"
#include "flow/config.h"

#define TOPOLOGY_NAME 128
struct topology_name {
	char text[TOPOLOGY_NAME];
};

/* what: "orders", "bulk", "notes", "control", "tally", "back" */
struct topology_name topology_exchange(const struct config *config, const char *what);
struct topology_name topology_queue(const struct config *config, const char *what);
/* what: "changes", "receipts" */
struct topology_name topology_shard_exchange(
	const struct config *config, const char *what, unsigned shard);
struct topology_name topology_shard_queue(
	const struct config *config, const char *what, unsigned shard);
struct topology_name topology_later_exchange(const struct config *config, uint64_t pause_ns);

/* Makes everything; harmless when it is there.  Returns 0 or -errno with words. */
int topology_declare(const struct config *config, struct broker_session *session, struct why *why);

/* Encodes and publishes; the returns of broker_publish(). */
int topology_publish_change(const struct config *config, struct broker *broker,
	const struct change *change, broker_confirmed_fn fn, void *arg);
/* The same after a pause, one of config->retry_ns or settle_ns. */
int topology_publish_later(const struct config *config, struct broker *broker,
	const struct change *change, uint64_t pause_ns, broker_confirmed_fn fn, void *arg);
int topology_publish_order(const struct config *config, struct broker *broker,
	const struct change *order, broker_confirmed_fn fn, void *arg);
int topology_publish_receipt(const struct config *config, struct broker *broker,
	const struct receipt *receipt, broker_confirmed_fn fn, void *arg);
struct note;
int topology_publish_note(const struct config *config, struct broker *broker,
	const struct note *note, broker_confirmed_fn fn, void *arg);
