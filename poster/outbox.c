/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of entries, from the oldest that is not confirmed to the newest:
 *
 *   first … confirmed, unconfirmed …   next … waiting to be sent …   last
 *
 * Entries are freed from the front as they are confirmed, so the number of the first one says
 * what is done.  The broker keeps its own copy of what was sent; an entry gives its change back
 * then.  A repeat stays as an empty entry, so that the numbers have no gaps.
 */
#include "poster/outbox.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "flow/map.h"

struct entry {
	struct entry *next;
	struct outbox *outbox;
	struct change *change; /* NULL: sent, or left out */
	bool confirmed;
};

struct outbox {
	outbox_publish_fn publish;
	void *arg;
	struct entry *first, *last;
	struct entry *unsent;  /* NULL: all are sent */
	uint64_t first_number; /* of first; of what comes next where it is empty */
	uint64_t added;
	struct map batch; /* path -> the unsent entry that is the newest of its path */
	struct outbox_counts counts;
};

int outbox_create(outbox_publish_fn publish, void *arg, struct outbox **ret)
{
	struct outbox *outbox = calloc(1, sizeof(*outbox));
	if (!outbox) {
		return -ENOMEM;
	}
	outbox->publish = publish;
	outbox->arg = arg;
	*ret = outbox;
	return 0;
}

static void drop_first(struct outbox *outbox)
{
	struct entry *entry = outbox->first;
	outbox->first = entry->next;
	if (!outbox->first) {
		outbox->last = NULL;
	}
	outbox->first_number++;
	change_destroy(entry->change);
	free(entry);
}

void outbox_destroy(struct outbox *outbox)
{
	if (!outbox) {
		return;
	}
	while (outbox->first) {
		drop_first(outbox);
	}
	map_finish(&outbox->batch);
	free(outbox);
}

static void drop_confirmed(struct outbox *outbox)
{
	while (outbox->first && outbox->first->confirmed && outbox->first != outbox->unsent) {
		drop_first(outbox);
	}
}

static void confirmed(void *arg)
{
	struct entry *entry = arg;
	entry->confirmed = true;
	entry->outbox->counts.waiting--;
	drop_confirmed(entry->outbox);
}

/* ---- repeats ----------------------------------------------------------------------------- */

static void leave_out(struct outbox *outbox, struct entry *entry)
{
	change_destroy(STEAL(entry->change));
	entry->confirmed = true;
	outbox->counts.repeats++;
	outbox->counts.waiting--;
}

static bool is_repeat(const struct change *later, const struct change *earlier)
{
	return later->op == earlier->op && later->pair_count == 0 && earlier->pair_count == 0 &&
	       change_covers(later, earlier);
}

/* Remembers the entry as the newest of its path and leaves out what it repeats. */
static int compare(struct outbox *outbox, struct entry *entry)
{
	struct change *change = entry->change;
	if (change->pair_count) {
		map_finish(&outbox->batch); /* names have moved: nothing is compared across that */
		return 0;
	}
	struct entry *earlier = map_remove(&outbox->batch, change->path);
	if (earlier && is_repeat(change, earlier->change)) {
		leave_out(outbox, earlier);
	}
	return map_put(&outbox->batch, change->path, entry, NULL);
}

int outbox_add(struct outbox *outbox, struct change *change)
{
	struct entry *entry = calloc(1, sizeof(*entry));
	if (!entry) {
		change_destroy(change);
		return -ENOMEM;
	}
	entry->outbox = outbox;
	entry->change = change;
	if (outbox->last) {
		outbox->last->next = entry;
	} else {
		outbox->first = entry;
	}
	outbox->last = entry;
	if (!outbox->unsent) {
		outbox->unsent = entry;
	}
	outbox->added++;
	outbox->counts.waiting++;
	return compare(outbox, entry);
}

/* ---- sending ----------------------------------------------------------------------------- */

static int send_one(struct outbox *outbox, struct entry *entry)
{
	if (!entry->change) {
		return 0;
	}
	int r = outbox->publish(outbox->arg, entry->change, confirmed, entry);
	if (r == 0) {
		outbox->counts.published++;
		change_destroy(STEAL(entry->change));
	}
	return r;
}

int outbox_send(struct outbox *outbox)
{
	map_finish(&outbox->batch);
	while (outbox->unsent) {
		int r = send_one(outbox, outbox->unsent);
		if (r != 0) {
			return r;
		}
		outbox->unsent = outbox->unsent->next;
		drop_confirmed(outbox);
	}
	return 0;
}

void outbox_seal(struct outbox *outbox)
{
	map_finish(&outbox->batch);
}

uint64_t outbox_mark(const struct outbox *outbox)
{
	return outbox->added;
}

bool outbox_done(const struct outbox *outbox, uint64_t mark)
{
	return outbox->first_number >= mark;
}

struct outbox_counts outbox_counts(const struct outbox *outbox)
{
	return outbox->counts;
}
