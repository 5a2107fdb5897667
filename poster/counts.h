/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What became of the journal's records, so that nobody has to believe that all were told.
 *
 *   counts_open(), then counts_record() for each record read; counts_at() with each checkpoint
 *
 * Every record counts once, as told, noted, outside or unnamed.  The counts live in the journal
 * beside the position at which they held: a poster that is started anew reads again what had not
 * been released, and counts it again, from what the counts were there.  Pure.
 */
#pragma once

#include "core/journal.h"
#include "flow/message.h"

enum count {
	COUNT_SERIES,  /* random: another ring, other counts */
	COUNT_TOLD,    /* records that became changes */
	COUNT_NOTED,   /* records that say which files are open, and nothing else */
	COUNT_OUTSIDE, /* records of paths in no tree, or excluded */
	COUNT_UNNAMED, /* records whose file has no name: a rescan is due */
	COUNT_MADE,    /* changes */
	COUNT_REPEATS, /* changes left out, as a later one says the same */
	COUNT_TORN,    /* records torn in rings before this one */
	COUNT_COUNT
};
_Static_assert(COUNT_COUNT <= JOURNAL_KEPT, "the journal keeps them");

struct counts {
	uint64_t values[JOURNAL_KEPT];
	uint64_t repeats; /* those of former processes */
	/* What the dead announced is read again with what follows it, so it does not count yet at
	 * the position where it was handed out. */
	uint64_t drafts[JOURNAL_KEPT], drafts_position;
};

/* What a translation has counted, before and after a record. */
struct counts_moment {
	uint64_t made, outside, unnamed;
};

void counts_open(struct counts *counts, const struct journal *journal);
/* A new ring has taken the place of one that had counted so many torn records. */
void counts_renewed(struct counts *counts, uint64_t torn);
void counts_record(struct counts *counts, const struct record *record, struct counts_moment before,
	struct counts_moment after);
/* As they will be read again where reading begins at position.  repeats: of this process. */
void counts_at(const struct counts *counts, uint64_t position, uint64_t repeats,
	uint64_t ret_values[JOURNAL_KEPT]);
uint64_t counts_read(const struct counts *counts);
void counts_tell(const struct counts *counts, uint64_t repeats, struct note *note);
