/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that were written to and are not where the record says.
 *
 * Most of them are explained by a record that comes a moment later: the name was removed, renamed
 * or taken by another file.  One that stays unexplained was moved by somebody we do not see, and
 * its directory has to be looked through.  So a missing file waits here for a while.
 *
 * Pure.  In the order of time; bounded: when full, the oldest one is due at once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/span.h"

#define MISSING_MAX     1024
#define MISSING_WAIT_NS (2 * UINT64_C(1000000000))

struct missing_file {
	struct missing_file *next;
	struct span path;
	uint64_t deadline_ns; /* of clock_now() */
	uint64_t number;      /* counts up */
	bool links;           /* has another name: nothing explains where */
};
void missing_file_destroy(struct missing_file *file);

struct missing {
	struct missing_file *first, *last;
	uint64_t count, number;
};

void missing_finish(struct missing *missing);
/* links: its name is gone, another is left.  Returns 0 or -ENOMEM. */
int missing_add(struct missing *missing, struct span path, bool links, uint64_t now_ns);
/* A record says what became of this name and all below it. */
void missing_explained(struct missing *missing, struct span path);
/* The next one that has waited long enough, for the caller to destroy; NULL: none. */
struct missing_file *missing_take_due(struct missing *missing, uint64_t now_ns);
/* All with a smaller number than this are settled. */
uint64_t missing_settled(const struct missing *missing);
