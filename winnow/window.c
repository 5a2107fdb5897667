/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One entry per path, with at most two parcels: the one that is open (changes still merge into
 * it) and the one that has left (its order is on its way to a receipt).
 *
 *   feed -> OPEN --due, path and slot free--> NOTING --notes confirmed--> READY --took--> SENT
 *           in the heap                       `------------------- "left" ------------------'
 *
 * Parcels of bulk passes have a heap of their own, and half of what may be in flight: else what is
 * live would wait until a pass is through.
 *
 * An open parcel is out of its heap as long as the path's former one has no receipt.  A parcel
 * that has left is freed when both its confirm and its receipt have come, in whichever order.
 *
 * Merging A into B puts the pair (A, B) into the batch of notes that is open.  If B covers A, the
 * batch takes A's delivery along and lets it go when the note is confirmed; otherwise the parcel
 * keeps it until its order is.  `unnoted` counts the pairs of a parcel that are on their way:
 * only at zero may its order be published.
 *
 * Which of two changes is the later one: what the broker had delivered before is the earlier,
 * then the number decides if one publisher made both, else the one that came last.  So repeats
 * and redeliveries in disorder do not turn round what was noted before, and the receipt of an
 * order from before a crash never answers for a change that came after it.
 *
 * Room for what may have to be stored later (heap, acknowledgements) is reserved when a change is
 * fed, so only window_feed() can fail.
 */
#include "winnow/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "flow/map.h"
#include "winnow/batch.h"
#include "winnow/heap.h"

enum parcel_state { OPEN, NOTING, READY, SENT };

struct kept {
	struct ident id;
	struct broker_delivery delivery;
};

struct parcel {
	struct heap_node node; /* first: the heap gives it back */
	enum parcel_state state;
	struct path *path;               /* NULL: its receipt has come, or it was dropped */
	struct change *last;             /* as delivered; NULL once confirmed */
	struct change *sum;              /* with what last does not cover; NULL: that is nothing */
	struct ident id;                 /* of last */
	struct broker_delivery delivery; /* of last */
	struct kept *kept;               /* deliveries that last does not cover */
	size_t kept_count, kept_room;
	size_t unnoted;
	uint64_t first_ns,
		quiet_ns;  /* of its first and of its newest change; SOON ones are no noise */
	uint64_t again_ns; /* not due before */
	bool flushed;      /* nobody wants to wait for quiet */
	bool bulk;         /* in which heap it is, and what it counts as when it has left */
	bool confirmed, dropped;
	struct parcel *previous, *next; /* among all that have left */
	struct parcel *next_ready;
};

struct path {
	struct span key; /* the map's */
	struct parcel *open, *left;
};

struct window {
	struct window_options options;
	struct map paths;
	struct heap heaps[2]; /* live, bulk */
	size_t bulk_in_flight;
	struct parcel *left;
	struct parcel *ready, **ready_end;
	struct batches batches;
	struct broker_delivery *acks; /* from ack_first on, ack_count of them */
	size_t ack_first, ack_count, ack_room;
	uint64_t flush_until_ns;
	struct window_counts counts;
};

DEFINE_CLEANUP(struct change *, change_destroy)

/* --- acknowledgements --------------------------------------------------------------------- */

static int acks_reserve(struct window *w, size_t count)
{
	if (count <= w->ack_room) {
		return 0;
	}
	size_t room = count * 2 + 64;
	struct broker_delivery *acks = realloc(w->acks, room * sizeof(*acks));
	if (!acks) {
		return -ENOMEM;
	}
	w->acks = acks;
	w->ack_room = room;
	return 0;
}

static void ack_later(struct window *w, struct broker_delivery delivery)
{
	if (w->ack_first + w->ack_count == w->ack_room) {
		memmove(w->acks, w->acks + w->ack_first, w->ack_count * sizeof(*w->acks));
		w->ack_first = 0;
	}
	w->acks[w->ack_first + w->ack_count++] = delivery;
}

/* --- parcels ------------------------------------------------------------------------------ */

static void parcel_destroy(struct parcel *parcel)
{
	change_destroy(parcel->last);
	change_destroy(parcel->sum);
	free(parcel->kept);
	free(parcel);
}

static int parcel_reserve_kept(struct parcel *parcel)
{
	if (parcel->kept_count < parcel->kept_room) {
		return 0;
	}
	size_t room = parcel->kept_room ? parcel->kept_room * 2 : 4;
	struct kept *kept = realloc(parcel->kept, room * sizeof(*kept));
	if (!kept) {
		return -ENOMEM;
	}
	parcel->kept = kept;
	parcel->kept_room = room;
	return 0;
}

/*
 * They are let go in this order, behind that of last.  Repeats of last come first: were one left
 * over when the connection breaks between two acknowledgements, it would be merged once more, by
 * itself, and what the order stands for would be expected of another that does not cover it.
 */
static void parcel_keep(struct parcel *parcel, struct ident id, struct broker_delivery delivery)
{
	size_t at = ident_equal(id, parcel->id) ? 0 : parcel->kept_count;
	memmove(parcel->kept + at + 1, parcel->kept + at,
		(parcel->kept_count - at) * sizeof(*parcel->kept));
	parcel->kept[at] = (struct kept){id, delivery};
	parcel->kept_count++;
}

static const struct change *parcel_order(const struct parcel *parcel)
{
	return parcel->sum ? parcel->sum : parcel->last;
}

/* The delivery that is held for this id, or NULL. */
static struct broker_delivery *parcel_find(struct parcel *parcel, struct ident id)
{
	if (ident_equal(parcel->id, id)) {
		return &parcel->delivery;
	}
	for (size_t i = 0; i < parcel->kept_count; i++) {
		if (ident_equal(parcel->kept[i].id, id)) {
			return &parcel->kept[i].delivery;
		}
	}
	return NULL;
}

static void left_add(struct window *w, struct parcel *parcel)
{
	parcel->next = w->left;
	if (w->left) {
		w->left->previous = parcel;
	}
	w->left = parcel;
}

static void left_end(struct window *w, struct parcel *parcel)
{
	if (parcel->previous) {
		parcel->previous->next = parcel->next;
	} else {
		w->left = parcel->next;
	}
	if (parcel->next) {
		parcel->next->previous = parcel->previous;
	}
	parcel_destroy(parcel);
}

static void make_ready(struct window *w, struct parcel *parcel)
{
	parcel->state = READY;
	*w->ready_end = parcel;
	w->ready_end = &parcel->next_ready;
}

/* --- paths -------------------------------------------------------------------------------- */

static struct path *path_find(struct window *w, struct span key)
{
	struct path *path = map_get(&w->paths, key);
	if (path) {
		return path;
	}
	path = calloc(1, sizeof(*path));
	if (path && map_put(&w->paths, key, path, &path->key) < 0) {
		free(path);
		return NULL;
	}
	return path;
}

static void path_release(struct window *w, struct path *path)
{
	if (!path->open && !path->left) {
		map_remove(&w->paths, path->key);
		free(path);
	}
}

/* When its open parcel is due, as far as the clock decides. */
static void path_schedule(struct window *w, struct path *path, uint64_t now_ns)
{
	struct parcel *parcel = path->open;
	uint64_t quiet = parcel->quiet_ns + w->options.delay_ns;
	uint64_t latest = parcel->first_ns + w->options.max_delay_ns;
	bool soon = parcel->flushed || (parcel_order(parcel)->facts & CHANGE_SOON);
	uint64_t due = soon ? now_ns : (quiet < latest ? quiet : latest);
	parcel->node.due_ns = due > parcel->again_ns ? due : parcel->again_ns;
	bool bulk = parcel_order(parcel)->facts & CHANGE_BULK;
	if (bulk != parcel->bulk) {
		heap_remove(&w->heaps[parcel->bulk], &parcel->node);
		parcel->bulk = bulk;
	}
	if (!path->left) {
		heap_put(&w->heaps[bulk], &parcel->node);
	}
}

/* Its order is on the way from here on: nothing merges into it any more. */
static void path_leave(struct window *w, struct path *path)
{
	struct parcel *parcel = STEAL(path->open);
	heap_remove(&w->heaps[parcel->bulk], &parcel->node);
	path->left = parcel;
	left_add(w, parcel);
	w->counts.held--;
	w->counts.in_flight++;
	w->bulk_in_flight += parcel->bulk;
	if (parcel->unnoted > 0) {
		parcel->state = NOTING;
	} else {
		make_ready(w, parcel);
	}
}

/* --- feeding ------------------------------------------------------------------------------ */

static bool comes_later(
	const struct parcel *parcel, struct ident id, const struct broker_delivery *delivery)
{
	if (parcel->delivery.redelivered != delivery->redelivered) {
		return !delivery->redelivered;
	}
	return parcel->id.source != id.source || id.number > parcel->id.number;
}

/* What both say; NULL in *ret when `later` says it alone. */
static int sum_of(const struct change *later, const struct change *earlier, struct change **ret)
{
	*ret = NULL;
	if (change_covers(later, earlier)) {
		return 0;
	}
	CLEANUP(change_destroy_p) struct change *sum = change_copy(later);
	if (!sum || change_merge(sum, earlier) < 0) {
		return -ENOMEM;
	}
	*ret = STEAL(sum);
	return 0;
}

static void note(struct window *w, struct parcel *parcel, struct ident id, struct ident into,
	bool covered, struct broker_delivery delivery, uint64_t now_ns)
{
	if (!covered) {
		parcel_keep(parcel, id, delivery);
	}
	batches_add(&w->batches, id, into,
		(struct batch_entry){.parcel = parcel, .covered = covered, .delivery = delivery},
		now_ns);
	parcel->unnoted++;
	w->counts.merged++;
}

/* The parcel's changes become part of this one. */
static int merge_later(struct window *w, struct parcel *parcel, struct change **change,
	struct broker_delivery delivery, uint64_t now_ns)
{
	struct change *sum;
	if (sum_of(*change, parcel_order(parcel), &sum) < 0) {
		return -ENOMEM;
	}
	note(w, parcel, parcel->id, (*change)->id, change_covers(*change, parcel->last),
		parcel->delivery, now_ns);
	change_destroy(parcel->last);
	change_destroy(parcel->sum);
	parcel->last = STEAL(*change);
	parcel->sum = sum;
	parcel->id = parcel->last->id;
	parcel->delivery = delivery;
	return 0;
}

/* This one, late, becomes part of the parcel. */
static int merge_earlier(struct window *w, struct parcel *parcel, const struct change *change,
	struct broker_delivery delivery, uint64_t now_ns)
{
	struct change *sum;
	if (sum_of(parcel_order(parcel), change, &sum) < 0) {
		return -ENOMEM;
	}
	if (sum) {
		change_destroy(parcel->sum);
		parcel->sum = sum;
	}
	note(w, parcel, change->id, parcel->id, change_covers(parcel->last, change), delivery,
		now_ns);
	return 0;
}

static int merge(struct window *w, struct parcel *parcel, struct change **change,
	struct broker_delivery delivery, uint64_t now_ns)
{
	if (parcel_reserve_kept(parcel) < 0 || batches_reserve(&w->batches) < 0) {
		return -ENOMEM;
	}
	if (comes_later(parcel, (*change)->id, &delivery)) {
		return merge_later(w, parcel, change, delivery, now_ns);
	}
	return merge_earlier(w, parcel, *change, delivery, now_ns);
}

static int open_parcel(struct window *w, struct path *path, struct change **change,
	struct broker_delivery delivery, uint64_t changed_ns)
{
	struct parcel *parcel = calloc(1, sizeof(*parcel));
	if (!parcel || heap_reserve(&w->heaps[0], w->counts.held + 1) < 0 ||
		heap_reserve(&w->heaps[1], w->counts.held + 1) < 0) {
		free(parcel);
		return -ENOMEM;
	}
	parcel->path = path;
	parcel->last = STEAL(*change);
	parcel->id = parcel->last->id;
	parcel->delivery = delivery;
	parcel->first_ns = parcel->quiet_ns = changed_ns;
	path->open = parcel;
	w->counts.held++;
	return 0;
}

/*
 * The same id once more: delivered again, or published twice.  The broker may hold both, so the
 * former delivery is let go in favour of this one.  Returns whether it was held already.
 */
static int feed_again(struct window *w, struct path *path, struct ident id,
	struct broker_delivery delivery, bool *ret_held)
{
	struct broker_delivery *held = path->open ? parcel_find(path->open, id) : NULL;
	struct parcel *left = path->left;
	*ret_held = true;
	if (held) {
		ack_later(w, *held);
		*held = delivery;
	} else if (left && ident_equal(left->id, id)) {
		if (left->confirmed) {
			ack_later(w, delivery);
		} else if (parcel_reserve_kept(left) < 0) {
			return -ENOMEM;
		} else {
			parcel_keep(left, id, delivery);
		}
	} else {
		*ret_held = false;
	}
	return 0;
}

static int feed_path(struct window *w, struct path *path, struct change **change,
	struct broker_delivery delivery, uint64_t now_ns, uint64_t wall_ns)
{
	bool held, soon = (*change)->facts & CHANGE_SOON;
	uint64_t age = wall_ns > (*change)->time_ns ? wall_ns - (*change)->time_ns : 0;
	uint64_t changed_ns = now_ns - (age < now_ns ? age : now_ns);
	int r = feed_again(w, path, (*change)->id, delivery, &held);
	if (r < 0 || held) {
		return r;
	}
	r = path->open ? merge(w, path->open, change, delivery, now_ns)
		       : open_parcel(w, path, change, delivery, changed_ns);
	if (r < 0) {
		return r;
	}
	struct parcel *parcel = path->open;
	parcel->flushed = parcel->flushed || now_ns < w->flush_until_ns;
	parcel->first_ns = changed_ns < parcel->first_ns ? changed_ns : parcel->first_ns;
	if (!soon && changed_ns > parcel->quiet_ns) {
		parcel->quiet_ns = changed_ns;
	}
	if (delivery.redelivered) {
		parcel->again_ns = now_ns + WINDOW_AGAIN;
	}
	path_schedule(w, path, now_ns);
	return 0;
}

int window_feed(struct window *w, struct change *fed, struct broker_delivery delivery,
	uint64_t now_ns, uint64_t wall_ns)
{
	CLEANUP(change_destroy_p) struct change *change = fed;
	if (acks_reserve(w, w->counts.unacked + 1) < 0) {
		return -ENOMEM;
	}
	struct path *path = path_find(w, change->path);
	if (!path) {
		return -ENOMEM;
	}
	int r = feed_path(w, path, &change, delivery, now_ns, wall_ns);
	if (r < 0) {
		path_release(w, path);
		return r;
	}
	w->counts.unacked++;
	w->counts.taken++;
	return 0;
}

/* --- what comes back ---------------------------------------------------------------------- */

void window_receipt(struct window *w, struct span key, struct ident id)
{
	struct path *path = map_get(&w->paths, key);
	struct parcel *parcel = path ? path->left : NULL;
	if (!parcel || parcel->state != SENT || !ident_equal(parcel->id, id)) {
		return; /* of an order from before the connection broke */
	}
	path->left = NULL;
	parcel->path = NULL;
	w->counts.in_flight--;
	w->bulk_in_flight -= parcel->bulk;
	if (parcel->confirmed) {
		left_end(w, parcel);
	}
	if (path->open) {
		heap_put(&w->heaps[path->open->bulk], &path->open->node);
	}
	path_release(w, path);
}

void window_noted(struct window *w, void *ticket)
{
	struct batch *batch = ticket;
	for (size_t i = 0; i < batch->count && !batch->dropped; i++) {
		struct batch_entry *entry = &batch->entries[i];
		if (entry->covered) {
			ack_later(w, entry->delivery);
		}
		if (--entry->parcel->unnoted == 0 && entry->parcel->state == NOTING) {
			make_ready(w, entry->parcel);
		}
	}
	batches_end(&w->batches, batch);
}

void window_ordered(struct window *w, void *ticket)
{
	struct parcel *parcel = ticket;
	parcel->confirmed = true;
	if (!parcel->dropped) {
		ack_later(w, parcel->delivery);
		for (size_t i = 0; i < parcel->kept_count; i++) {
			ack_later(w, parcel->kept[i].delivery);
		}
		parcel->kept_count = 0;
	}
	if (!parcel->path) {
		left_end(w, parcel);
		return;
	}
	change_destroy(STEAL(parcel->last));
	change_destroy(STEAL(parcel->sum));
}

void window_flush(struct window *w, uint64_t now_ns)
{
	size_t cursor = 0;
	struct path *path;
	w->flush_until_ns = now_ns + w->options.delay_ns;
	while ((path = map_next(&w->paths, &cursor))) {
		if (path->open) {
			path->open->flushed = true;
			path_schedule(w, path, now_ns);
		}
	}
}

/* Of what has left, only orders that are still to be confirmed are remembered. */
static void drop_left(struct window *w)
{
	for (struct parcel *parcel = w->left, *next; parcel; parcel = next) {
		next = parcel->next;
		parcel->path = NULL;
		parcel->dropped = true;
		if (parcel->state != SENT || parcel->confirmed) {
			left_end(w, parcel);
		}
	}
	w->ready = NULL;
	w->ready_end = &w->ready;
	w->counts.in_flight = w->bulk_in_flight = 0;
}

void window_drop(struct window *w)
{
	size_t cursor = 0;
	struct path *path;
	drop_left(w);
	batches_drop(&w->batches);
	while ((path = map_next(&w->paths, &cursor))) {
		if (path->open) {
			parcel_destroy(path->open);
		}
		free(path);
	}
	map_finish(&w->paths);
	heap_finish(&w->heaps[0]);
	heap_finish(&w->heaps[1]);
	free(w->acks);
	w->acks = NULL;
	w->ack_first = w->ack_count = w->ack_room = 0;
	w->counts.held = w->counts.unacked = 0;
}

/* --- what to do --------------------------------------------------------------------------- */

/* What leaves next, if there is room for it. */
static struct heap_node *first_of(const struct window *w, bool bulk)
{
	size_t most = w->options.in_flight_max;
	bool room = w->counts.in_flight < most && (!bulk || w->bulk_in_flight < (most + 1) / 2);
	return room ? heap_first(&w->heaps[bulk]) : NULL;
}

/* All that is due, what is live first. */
static void let_leave(struct window *w, uint64_t now_ns)
{
	struct heap_node *first;
	for (unsigned bulk = 0; bulk < 2; bulk++) {
		while ((first = first_of(w, bulk)) && first->due_ns <= now_ns) {
			path_leave(w, ((struct parcel *)first)->path);
		}
	}
}

int window_next(struct window *w, uint64_t now_ns, struct window_action *ret)
{
	*ret = (struct window_action){0};
	if (w->ack_count > 0) {
		ret->kind = WINDOW_ACK;
		ret->delivery = w->acks[w->ack_first];
		return 0;
	}
	struct batch *batch = batches_ready(&w->batches, now_ns);
	if (batch) {
		ret->kind = WINDOW_NOTE;
		ret->merged = batch->merged;
		ret->merged_count = batch->count;
		ret->ticket = batch;
		return 0;
	}
	let_leave(w, now_ns);
	if (!w->ready) {
		return WINDOW_IDLE;
	}
	ret->kind = WINDOW_ORDER;
	ret->order = parcel_order(w->ready);
	ret->ticket = w->ready;
	return 0;
}

static void took_ready(struct window *w)
{
	struct parcel *parcel = w->ready;
	w->ready = parcel->next_ready;
	if (!w->ready) {
		w->ready_end = &w->ready;
	}
	parcel->state = SENT;
	w->counts.orders++;
}

void window_took(struct window *w, const struct window_action *action)
{
	switch (action->kind) {
	case WINDOW_ACK:
		w->ack_first++;
		w->ack_count--;
		w->counts.unacked--;
		break;
	case WINDOW_NOTE:
		batches_take(&w->batches, action->ticket);
		break;
	case WINDOW_ORDER:
		took_ready(w);
		break;
	}
}

uint64_t window_deadline(const struct window *w)
{
	if (w->ack_count > 0 || w->ready) {
		return 0;
	}
	uint64_t deadline = batches_deadline(&w->batches);
	for (unsigned bulk = 0; bulk < 2; bulk++) {
		struct heap_node *first = first_of(w, bulk);
		deadline = first && first->due_ns < deadline ? first->due_ns : deadline;
	}
	return deadline;
}

struct window_counts window_counts(const struct window *w)
{
	return w->counts;
}

int window_create(const struct window_options *options, struct window **ret)
{
	struct window *w = calloc(1, sizeof(*w));
	if (!w) {
		return -ENOMEM;
	}
	w->options = *options;
	w->ready_end = &w->ready;
	*ret = w;
	return 0;
}

void window_destroy(struct window *w)
{
	if (!w) {
		return;
	}
	window_drop(w);
	while (w->left) {
		left_end(w, w->left);
	}
	batches_finish(&w->batches);
	free(w);
}
