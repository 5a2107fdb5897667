/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes on their way out, in order.
 *
 *   outbox_add() each, outbox_send() when a batch is complete and again when there is room
 *
 * Within a batch, a change that a later one of the same path and kind makes needless is left out;
 * never across a rename, and never after outbox_send() began to send it.
 * outbox_mark() numbers what was added so far; outbox_done(mark) tells whether all of that is
 * confirmed by the broker (or was left out).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow/broker.h"
#include "flow/change.h"

/* As topology_publish_change(): 0, BROKER_FULL, or -errno. */
typedef int (*outbox_publish_fn)(
	void *arg, const struct change *change, broker_confirmed_fn fn, void *fn_arg);

struct outbox;

int outbox_create(outbox_publish_fn publish, void *arg, struct outbox **ret);
/* Confirms must not come any more: destroy the broker first. */
void outbox_destroy(struct outbox *outbox);

/* Takes over the change.  Returns 0 or -ENOMEM. */
int outbox_add(struct outbox *outbox, struct change *change);
/* Returns 0 (all sent), BROKER_FULL, or -errno. */
int outbox_send(struct outbox *outbox);

/* What comes makes nothing of what was added before this needless: that is counted for good. */
void outbox_seal(struct outbox *outbox);
uint64_t outbox_mark(const struct outbox *outbox);
bool outbox_done(const struct outbox *outbox, uint64_t mark);

struct outbox_counts {
	uint64_t published; /* given to the broker */
	uint64_t repeats;   /* left out */
	uint64_t waiting;   /* added and neither confirmed nor left out */
};
struct outbox_counts outbox_counts(const struct outbox *outbox);
