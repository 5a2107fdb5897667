/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a poster must not forget when it dies: one small file.
 *
 * The intents and the symlinks as of the released position of the journal, and whether a rescan is
 * owed for records that were lost.  Replaced as a whole and synced, before the journal is released
 * any further.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/why.h"

struct state {
	uint64_t generation; /* of the journal */
	uint64_t torn;      /* the journal's count of torn records for which a rescan was ordered */
	bool rescan;        /* one is owed */
	uint64_t since_ns;  /* for records lost since then (wall clock, whole seconds; 0: not known)
			     */
	uint64_t saved_ns;  /* when the file was written; of a loaded one */
	struct buf intents; /* intents_save() */
	struct buf links;   /* links_save() */
};
#define STATE_EMPTY ((struct state){0})
void state_finish(struct state *state);

/* Returns 0, -ENOENT, -EBADMSG (damaged, or of another version), or -errno with words. */
int state_load(const char *file, struct state *ret, struct why *why);
/* Returns 0 or -errno with words. */
int state_save(const char *file, const struct state *state, struct why *why);
