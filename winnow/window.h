/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a winnow decides: when a path is quiet, what its order says, and which deliveries may be
 * acknowledged when.  No clock, no broker, no files: time and input are arguments, and what is
 * to be done comes out as actions that the caller carries out and reports back.
 *
 *   window_create(), then in any order, as things happen:
 *     window_feed()       a change was delivered
 *     window_receipt()    an order was answered, whatever its status
 *     window_flush()      nobody wants to wait any more
 *     window_drop()       the connection broke: everything held is delivered again
 *     window_noted(), window_ordered()    the broker has confirmed a note, an order
 *   after each of them, and when window_deadline() has come:
 *     while (window_next(…, &action) == 0) { do it; window_took(…, &action); }
 *
 * A path is held until it has been quiet for delay_ns, or for max_delay_ns since its first
 * change.  Of a path there is one order in flight; the next waits for the receipt.  Changes of a
 * path that is held merge into the last one, whose id the order gets.
 *
 * A delivery is acknowledged when the order that contains it is confirmed; or before, when a
 * later change is held that covers it and the note that it was merged is confirmed.  An order is
 * published after all notes about what was merged into it are confirmed.  What is delivered again
 * waits for a moment: all that had been held with it comes back then, and a note that was on its
 * way when the connection broke ("A is now part of B") stays true.
 *
 * Memory: un-acknowledged deliveries (the broker's prefetch bounds them) plus in_flight_max.
 * Nothing held waits for another path, and receipts come on a queue of their own, so a window
 * full of paths that wait for receipts always goes on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/clock.h"
#include "flow/broker.h"
#include "flow/change.h"

struct window;

struct window_options {
	uint64_t delay_ns, max_delay_ns;
	size_t in_flight_max; /* orders without a receipt */
};

/* Returns 0 or -ENOMEM. */
int window_create(const struct window_options *options, struct window **ret);
/* Tickets are void from here on: confirms must not be told any more. */
void window_destroy(struct window *window);

/*
 * The window owns the change from here on, also when this fails; then the delivery is still the
 * caller's.  now_ns is clock_now(), wall_ns clock_wall().  Returns 0 or -ENOMEM.
 */
int window_feed(struct window *window, struct change *change, struct broker_delivery delivery,
	uint64_t now_ns, uint64_t wall_ns);
void window_receipt(struct window *window, struct span path, struct ident id);
/* What is held is due, and so is what comes within the next delay_ns. */
void window_flush(struct window *window, uint64_t now_ns);
/* Tickets that were taken stay valid. */
void window_drop(struct window *window);

enum window_action_kind {
	WINDOW_ACK,   /* acknowledge delivery */
	WINDOW_NOTE,  /* publish a merged note of merged_count pairs (id, into) */
	WINDOW_ORDER, /* publish order */
};

/* What it points to is the window's, and valid until the next call. */
struct window_action {
	enum window_action_kind kind;
	struct broker_delivery delivery;
	const struct ident *merged;
	size_t merged_count;
	const struct change *order;
	void *ticket; /* NOTE: for window_noted(); ORDER: for window_ordered() */
};

#define WINDOW_IDLE      1
#define WINDOW_NOTE_MAX  200             /* pairs in one note */
#define WINDOW_NOTE_WAIT (50 * CLOCK_MS) /* how long a pair waits for company */
#define WINDOW_AGAIN     (2 * CLOCK_S)   /* how long a redelivery waits for its companions */

/* What is to be done now; the same again until it is taken.  Returns 0 or WINDOW_IDLE. */
int window_next(struct window *window, uint64_t now_ns, struct window_action *ret);
void window_took(struct window *window, const struct window_action *action);
/* Each ticket that was taken is told once. */
void window_noted(struct window *window, void *ticket);
void window_ordered(struct window *window, void *ticket);

/* When window_next() has something to say if nothing else happens; CLOCK_NEVER: not at all. */
uint64_t window_deadline(const struct window *window);

struct window_counts {
	size_t held;                    /* paths that wait */
	size_t in_flight;               /* orders without a receipt */
	size_t unacked;                 /* deliveries */
	uint64_t taken, merged, orders; /* since creation */
};
struct window_counts window_counts(const struct window *window);
