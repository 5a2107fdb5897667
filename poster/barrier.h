/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flushes: "everything that had happened on this node before the call is published".
 *
 *   barriers_open() listens to the control exchange; barriers_step() often
 *
 * A flush is answered with a marker when the journal is read up to where it stood when the flush
 * came, who has died by then is buried, what is open and new is published, no loss is left without
 * its rescan, and the broker has confirmed all of that.  Several at once are fine.
 */
#pragma once

#include "core/journal.h"
#include "flow/broker.h"
#include "flow/config.h"
#include "poster/outbox.h"

struct barrier;

struct barriers {
	const struct config *config; /* the caller's, like the next three */
	struct broker *broker;
	struct journal *journal;
	struct outbox *outbox;
	struct barrier *first;
	struct broker_consumer *consumer;
	loop_fn wake; /* a flush came: step soon */
	void *wake_arg;
	/* Finds the dead; they are buried when the journal is read up to its head.  0 or -errno. */
	int (*find_dead)(void *arg);
	void *find_dead_arg;
	/* The next flush is about to be answered: say how things are now, before the answer. */
	void (*answering)(void *arg);
	void *answering_arg;
};

/* The caller has set all but first and consumer.  Returns 0 or -errno. */
int barriers_open(struct barriers *barriers);
void barriers_close(struct barriers *barriers);

/* The journal was renewed: there is nothing left to read in the old one. */
void barriers_renewed(struct barriers *barriers);
/* Whether there are any. */
bool barriers_wait(const struct barriers *barriers);
/*
 * read_out: the journal was found empty since the last call.  ready() is asked once per flush when
 * the journal is read: it adds to the outbox all that is open, and returns 0, 1 where something is
 * still owed (ask again later), or -errno.  *stage is of the flush, 0 at first, for ready() to know
 * how far it had come.
 */
typedef int (*barrier_ready_fn)(void *arg, uint64_t *stage);
int barriers_step(struct barriers *barriers, bool read_out, barrier_ready_fn ready, void *arg);
