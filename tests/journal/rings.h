/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A journal in a directory of its own, for tests that look into the ring itself.
 *
 *   rings_make(), rings_begin_at() before anybody has appended, rings_remove() at the end
 */
#pragma once

#include <stdint.h>

#include "core/journal-ring.h"

#define RINGS_SIZE RING_SIZE_MIN

struct rings {
	char directory[64];
	struct journal_ring *ring; /* mapped for the tests themselves */
};

void rings_make(struct rings *rings);
void rings_remove(struct rings *rings);

/* Makes the empty ring one that has come to position already, as if all before were released. */
void rings_begin_at(struct rings *rings, uint64_t position);

/* Whether nothing is in it: every unit free for its lap, no draft taken. */
bool rings_is_clean(const struct rings *rings);

/* Ends the program with words when condition is false. */
#define REQUIRE(condition, ...)                                                                    \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			rings_fail(__FILE__, __LINE__, __VA_ARGS__);                               \
		}                                                                                  \
	} while (0)
__attribute__((noreturn, format(printf, 3, 4))) void rings_fail(
	const char *file, int line, const char *format, ...);
