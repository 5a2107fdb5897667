/* SPDX-License-Identifier: Apache-2.0 */
/* A list in order of age: taken ones (on their way to a confirm), full ones, and the open one. */
#include "winnow/batch.h"

#include <errno.h>
#include <stdlib.h>

static bool is_open(const struct batch *batch)
{
	return batch && !batch->taken && batch->count < WINDOW_NOTE_MAX;
}

int batches_reserve(struct batches *batches)
{
	if (is_open(batches->last)) {
		return 0;
	}
	struct batch *batch = calloc(1, sizeof(*batch));
	if (!batch) {
		return -ENOMEM;
	}
	if (batches->last) {
		batches->last->next = batch;
	} else {
		batches->first = batch;
	}
	batches->last = batch;
	return 0;
}

void batches_add(struct batches *batches, struct ident id, struct ident into,
	struct batch_entry entry, uint64_t now_ns)
{
	struct batch *batch = batches->last;
	if (batch->count == 0) {
		batch->since_ns = now_ns;
	}
	batch->merged[2 * batch->count] = id;
	batch->merged[2 * batch->count + 1] = into;
	batch->entries[batch->count++] = entry;
}

/* When the oldest that is not taken is to be published. */
static uint64_t ready_ns(const struct batches *batches, struct batch **ret)
{
	struct batch *batch = batches->first;
	while (batch && batch->taken) {
		batch = batch->next;
	}
	*ret = batch;
	if (!batch || batch->count == 0) {
		return CLOCK_NEVER;
	}
	return batch->count == WINDOW_NOTE_MAX ? 0 : batch->since_ns + WINDOW_NOTE_WAIT;
}

struct batch *batches_ready(const struct batches *batches, uint64_t now_ns)
{
	struct batch *batch;
	return ready_ns(batches, &batch) <= now_ns ? batch : NULL;
}

uint64_t batches_deadline(const struct batches *batches)
{
	struct batch *batch;
	return ready_ns(batches, &batch);
}

void batches_take(struct batches *batches, struct batch *batch)
{
	batch->taken = true;
}

void batches_end(struct batches *batches, struct batch *batch)
{
	struct batch *before = NULL;
	for (struct batch *it = batches->first; it != batch; it = it->next) {
		before = it;
	}
	if (before) {
		before->next = batch->next;
	} else {
		batches->first = batch->next;
	}
	if (batches->last == batch) {
		batches->last = before;
	}
	free(batch);
}

void batches_drop(struct batches *batches)
{
	for (struct batch *batch = batches->first, *next; batch; batch = next) {
		next = batch->next;
		batch->dropped = true;
		if (!batch->taken) {
			batches_end(batches, batch);
		}
	}
}

void batches_finish(struct batches *batches)
{
	while (batches->first) {
		batches_end(batches, batches->first);
	}
}
