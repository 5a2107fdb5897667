/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing with linear probing, at most three quarters full.  Removing shifts what
 * follows back into the hole, so there are no tombstones and look-ups stay short for ever.  The
 * whole hash is kept: growing does not read the keys, and nearly all comparisons end there.
 */
#include "flow/map.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

struct map_slot {
	uint64_t hash;
	char *key; /* NULL: free */
	size_t len;
	void *value;
};

#define ROOM_MIN 16

static uint64_t hash_of(struct span key)
{
	return XXH3_64bits(key.len ? key.data : "", key.len);
}

/* Where key is, or the free slot where it would be. */
static struct map_slot *find(const struct map *map, struct span key, uint64_t hash)
{
	size_t i = hash & (map->room - 1);
	for (;; i = (i + 1) & (map->room - 1)) {
		struct map_slot *slot = &map->slots[i];
		if (!slot->key ||
			(slot->hash == hash && span_equal(span_of(slot->key, slot->len), key))) {
			return slot;
		}
	}
}

static int resize(struct map *map, size_t room)
{
	struct map_slot *slots = calloc(room, sizeof(*slots));
	if (!slots) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < map->room; i++) {
		if (map->slots[i].key) {
			size_t j = map->slots[i].hash & (room - 1);
			while (slots[j].key) {
				j = (j + 1) & (room - 1);
			}
			slots[j] = map->slots[i];
		}
	}
	free(map->slots);
	map->slots = slots;
	map->room = room;
	return 0;
}

void map_finish(struct map *map)
{
	for (size_t i = 0; i < map->room; i++) {
		free(map->slots[i].key);
	}
	free(map->slots);
	*map = MAP_EMPTY;
}

void *map_get(const struct map *map, struct span key)
{
	return map->count ? find(map, key, hash_of(key))->value : NULL;
}

int map_put(struct map *map, struct span key, void *value, struct span *ret_key)
{
	if ((map->count + 1) * 4 > map->room * 3) {
		int r = resize(map, map->room ? map->room * 2 : ROOM_MIN);
		if (r < 0) {
			return r;
		}
	}
	uint64_t hash = hash_of(key);
	struct map_slot *slot = find(map, key, hash);
	if (slot->key) {
		return -EEXIST;
	}
	char *copy = malloc(key.len + 1);
	if (!copy) {
		return -ENOMEM;
	}
	if (key.len) {
		memcpy(copy, key.data, key.len);
	}
	copy[key.len] = '\0';
	*slot = (struct map_slot){hash, copy, key.len, value};
	map->count++;
	if (ret_key) {
		*ret_key = span_of(copy, key.len);
	}
	return 0;
}

/* Moves what was pushed past the hole back towards where its hash wants it. */
static void close_hole(struct map *map, size_t hole)
{
	size_t mask = map->room - 1;
	for (size_t i = (hole + 1) & mask; map->slots[i].key; i = (i + 1) & mask) {
		size_t home = map->slots[i].hash & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			map->slots[hole] = map->slots[i];
			hole = i;
		}
	}
	map->slots[hole] = (struct map_slot){0};
}

void *map_remove(struct map *map, struct span key)
{
	struct map_slot *slot = map->count ? find(map, key, hash_of(key)) : NULL;
	if (!slot || !slot->key) {
		return NULL;
	}
	void *value = slot->value;
	free(slot->key);
	close_hole(map, (size_t)(slot - map->slots));
	map->count--;
	if (map->room > ROOM_MIN && map->count * 8 < map->room) {
		(void)resize(map, map->room / 2); /* without memory it stays as large as it is */
	}
	return value;
}

void *map_next(const struct map *map, size_t *cursor)
{
	while (*cursor < map->room) {
		const struct map_slot *slot = &map->slots[(*cursor)++];
		if (slot->key) {
			return slot->value;
		}
	}
	return NULL;
}
