/* SPDX-License-Identifier: Apache-2.0 */
/* A binary heap in an array; nodes know their slot, so that they can be moved and removed. */
#include "winnow/heap.h"

#include <errno.h>
#include <stdlib.h>

void heap_finish(struct heap *heap)
{
	free(heap->nodes);
	*heap = (struct heap){0};
}

int heap_reserve(struct heap *heap, size_t count)
{
	if (count <= heap->room) {
		return 0;
	}
	size_t room = heap->room ? heap->room * 2 : 64;
	while (room < count) {
		room *= 2;
	}
	struct heap_node **nodes = realloc(heap->nodes, room * sizeof(struct heap_node *));
	if (!nodes) {
		return -ENOMEM;
	}
	heap->nodes = nodes;
	heap->room = room;
	return 0;
}

static void place(struct heap *heap, size_t slot, struct heap_node *node)
{
	heap->nodes[slot - 1] = node;
	node->slot = slot;
}

static void sift_up(struct heap *heap, struct heap_node *node)
{
	size_t slot = node->slot;
	while (slot > 1 && heap->nodes[slot / 2 - 1]->due_ns > node->due_ns) {
		place(heap, slot, heap->nodes[slot / 2 - 1]);
		slot /= 2;
	}
	place(heap, slot, node);
}

static void sift_down(struct heap *heap, struct heap_node *node)
{
	size_t slot = node->slot;
	for (;;) {
		size_t child = slot * 2;
		if (child > heap->count) {
			break;
		}
		if (child < heap->count &&
			heap->nodes[child]->due_ns < heap->nodes[child - 1]->due_ns) {
			child++;
		}
		if (heap->nodes[child - 1]->due_ns >= node->due_ns) {
			break;
		}
		place(heap, slot, heap->nodes[child - 1]);
		slot = child;
	}
	place(heap, slot, node);
}

void heap_put(struct heap *heap, struct heap_node *node)
{
	if (!node->slot) {
		place(heap, ++heap->count, node);
	}
	sift_up(heap, node);
	sift_down(heap, node);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
	size_t slot = node->slot;
	if (!slot) {
		return;
	}
	struct heap_node *last = heap->nodes[--heap->count];
	node->slot = 0;
	if (last != node) {
		place(heap, slot, last);
		sift_up(heap, last);
		sift_down(heap, last);
	}
}

struct heap_node *heap_first(const struct heap *heap)
{
	return heap->count ? heap->nodes[0] : NULL;
}
