/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merged notes in the making: pairs of ids gathered into batches of at most WINDOW_NOTE_MAX, each
 * published when it is full or has waited for WINDOW_NOTE_WAIT.  Part of window.c.
 */
#pragma once

#include "winnow/window.h"

struct parcel;

/* What is to be done when a pair's note is confirmed. */
struct batch_entry {
	struct parcel *parcel;
	bool covered; /* then the delivery may go */
	struct broker_delivery delivery;
};

struct batch {
	struct batch *next;
	uint64_t since_ns;
	size_t count;
	bool taken, dropped;
	struct ident merged[2 * WINDOW_NOTE_MAX];
	struct batch_entry entries[WINDOW_NOTE_MAX];
};

/* Oldest first; only the last can be open. */
struct batches {
	struct batch *first, *last;
};

/* Room for one more pair; then batches_add() cannot fail.  Returns 0 or -ENOMEM. */
int batches_reserve(struct batches *batches);
void batches_add(struct batches *batches, struct ident id, struct ident into,
	struct batch_entry entry, uint64_t now_ns);
/* The oldest that is to be published now, or NULL. */
struct batch *batches_ready(const struct batches *batches, uint64_t now_ns);
uint64_t batches_deadline(const struct batches *batches);
void batches_take(struct batches *batches, struct batch *batch);
/* Its note is confirmed and dealt with. */
void batches_end(struct batches *batches, struct batch *batch);
/* Forgets what is not taken; the rest means nothing when it is confirmed. */
void batches_drop(struct batches *batches);
void batches_finish(struct batches *batches);
