/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether an entry is the same on both sides, as far as both can tell.
 *
 * Pure.  What is compared is what a mirror can bring about: size and time of files, time and mode
 * of directories, text of symlinks and their time where both sides can set it; of other types
 * only the type.  Times count in whole seconds modulo 2^32 unless both sides know nanoseconds.
 */
#pragma once

#include <stdbool.h>

#include "side/side.h"

enum compare_what {
	COMPARE_TYPE = 1 << 0, /* and nothing else: the rest says nothing then */
	COMPARE_SIZE = 1 << 1,
	COMPARE_MTIME = 1 << 2,
	COMPARE_MODE = 1 << 3,
	COMPARE_OWNER = 1 << 4,
	COMPARE_LINK = 1 << 5, /* the text of a symlink */
};

struct compare_entry {
	struct side_attr attr;
	struct span link; /* symlinks */
};

/* can: what both sides can (enum side_can).  Returns what differs; 0: equal. */
unsigned compare(const struct compare_entry *source, const struct compare_entry *target,
	unsigned can, bool owner);

/* The times alone. */
bool compare_same_mtime(int64_t source_ns, int64_t target_ns, unsigned can);
