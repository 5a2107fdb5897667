/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A heap of deadlines, earliest first, embedded in their owners.
 *
 *   heap_reserve() makes room; then heap_put() cannot fail.  heap_finish() forgets all.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	uint64_t due_ns;
	size_t slot; /* the heap's; counted from 1, 0: not in it */
};

struct heap {
	struct heap_node **nodes;
	size_t count, room;
};

void heap_finish(struct heap *heap);
/* Returns 0 or -ENOMEM. */
int heap_reserve(struct heap *heap, size_t count);
/* Puts a node in, or moves it to where its due_ns belongs now. */
void heap_put(struct heap *heap, struct heap_node *node);
/* Takes a node out; harmless when it is not in. */
void heap_remove(struct heap *heap, struct heap_node *node);
/* NULL: empty. */
struct heap_node *heap_first(const struct heap *heap);
