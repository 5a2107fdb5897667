/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that tell of themselves, so that whoever reads one knows whether somebody wrote just
 * that: all of it follows from (writer, sequence), and its path holds these two and a sum.
 *
 *   struct marked marked;
 *   marked_make(&marked, writer, sequence);   then append marked.record
 *   marked_read(&got, &writer, &sequence);    false: torn or invented
 *
 * Lengths run from one unit to dozens.  Drafts carry the names only; marked_read_names() is for
 * these.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/journal.h"

#define MARKED_PATH_MAX 1500u

struct marked {
	struct record record; /* its spans point into this struct */
	char path[MARKED_PATH_MAX];
};

/* pid and time are the caller's and now. */
void marked_make(struct marked *marked, uint32_t writer, uint64_t sequence);
bool marked_read(const struct record *record, uint32_t *ret_writer, uint64_t *ret_sequence);
bool marked_read_names(const struct record *record, uint32_t *ret_writer, uint64_t *ret_sequence);
/* Puts the names into a draft, not yet armed. */
void marked_draft(const struct marked *marked, struct journal_draft *draft);

/* A generator: the next of seed, evenly below limit. */
uint64_t marked_noise(uint64_t *seed, uint64_t limit);
