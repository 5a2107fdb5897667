/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far the journal is done with, and what is owed for what it lost.
 *
 *   checkpoint_open() at the start, then checkpoint_step() often
 *
 * A checkpoint notes where reading stands and what is open there; when all that was published
 * until then is confirmed, that goes into the state file, and only then the journal is released up
 * to there.  So a poster killed at any moment finds again all it needs: open files in its state,
 * everything else in the journal.
 *
 * Records that the journal dropped or found torn are a debt: a rescan of all trees, written down
 * before the journal forgets about it and paid when it is confirmed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/journal.h"
#include "poster/counts.h"
#include "poster/intents.h"
#include "poster/outbox.h"
#include "poster/state.h"
#include "poster/translate.h"

struct checkpoint {
	struct journal *journal; /* these eight are the caller's */
	struct intents *intents;
	struct translate *translate;
	struct outbox *outbox;
	struct unseen *unseen;
	const struct counts *counts;
	int (*before_rescan)(void *arg); /* what a loss asks for beside; 0 or -errno */
	void *arg;
	char *file;
	struct state saved; /* what the file says */
	bool exists;        /* the file: somebody has read this journal before */
	/* the one on its way */
	bool open, settled;
	uint64_t position, mark, missing;
	uint64_t kept[JOURNAL_KEPT];
	struct buf intents_then, links_then; /* what was open, and where symlinks led */
	uint64_t next_ns;
	/* the debt */
	bool rescan;  /* owed */
	bool ordered; /* published up to rescan_mark */
	uint64_t rescan_mark, rescan_ns;
	uint64_t torn, unnamed; /* counted into the debt */
	uint64_t since_ns; /* wall clock of the first record that the debt is for; 0: not known */
	uint64_t read_ns;  /* the caller's: wall clock up to which the journal has been read */
	uint64_t clean_ns; /* the same, when no loss had been found yet */
};

/*
 * Reads the state file, and from it the empty table of intents.  A damaged file is a debt.  After
 * this the caller sets the other six.  Returns 0 or -errno with words.
 */
int checkpoint_open(struct checkpoint *checkpoint, struct journal *journal, struct intents *intents,
	const char *file, struct why *why);
void checkpoint_close(struct checkpoint *checkpoint);

/* Goes on as far as it can; begins anew when it is time, or `urgent`.  Returns 0 or -errno with
 * words: the file cannot be written, and nothing is released. */
int checkpoint_step(struct checkpoint *checkpoint, bool urgent, uint64_t now_ns, struct why *why);
/* Everything read is released. */
bool checkpoint_is_complete(const struct checkpoint *checkpoint);

/* Looks for losses and orders the rescan, not more often than once a minute unless urgent. */
int checkpoint_check_losses(struct checkpoint *checkpoint, bool urgent, uint64_t now_ns);
/* Whether a rescan has still to be published. */
bool checkpoint_owes(const struct checkpoint *checkpoint);
/* The journal was renewed: nothing of what was to be released is there any more. */
void checkpoint_renewed(struct checkpoint *checkpoint);
