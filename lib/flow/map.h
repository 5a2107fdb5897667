/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map from bytes to pointers, for millions of entries.
 *
 *   struct map map = MAP_EMPTY;
 *   map_put(&map, path, value, &key); map_get(&map, path); map_remove(&map, path);
 *
 * Keys are copied and belong to the map; values belong to the caller (a NULL value means "not
 * there", so it is never stored).  Room grows and shrinks with the entries.  Not for threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/span.h"

struct map_slot;

struct map {
	struct map_slot *slots;
	size_t room; /* a power of two, or 0 */
	size_t count;
};

#define MAP_EMPTY ((struct map){0})

void map_finish(struct map *map);

/* NULL where there is none. */
void *map_get(const struct map *map, struct span key);

/*
 * Adds what is not there yet.  ret_key (may be NULL) is the map's own copy of the key, valid
 * until the entry is removed.  Returns 0, -EEXIST, or -ENOMEM.
 */
int map_put(struct map *map, struct span key, void *value, struct span *ret_key);

/* Returns what was there, or NULL.  key may be the map's own copy. */
void *map_remove(struct map *map, struct span key);

/* One entry after the other, *cursor beginning at 0, while nothing is added or removed.  Returns
 * NULL at the end. */
void *map_next(const struct map *map, size_t *cursor);
