/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: what was asked, what was done, what is still owed.  An SQLite file in the state
 * directory, written by the tally alone and read by mirrorctl at any time.  The only user of
 * <sqlite3.h>.
 *
 * Obligations are idents (flow/change.h): saw() opens one, moved() joins two, settled() closes
 * one.  Each has a rank: the turn in which it came, or the rank of its cause if that is lower and
 * still open, so that "all that was open when the barrier began, and all that came of it" is
 * "rank <= the barrier's".
 *
 * Writing happens between ledger_begin() and ledger_commit(); messages are acknowledged after the
 * commit.  Every entry may come twice: a receipt is counted once by its (id, done_ns), a change
 * that was settled or moved already stays so for as long as that is remembered (an hour).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/why.h"
#include "flow/change.h"
#include "flow/message.h"

struct ledger;

/*
 * writer: makes the file and its tables.  Reader: -ENOENT where there is none yet.
 * -EINVAL: written by another version.
 */
int ledger_open(const char *file, bool writer, struct ledger **ret, struct why *why);
void ledger_close(struct ledger *ledger);

/* --- tally ------------------------------------------------------------------------------- */

/* wall_ns is clock_wall(), the time of all that follows.  When anything up to the commit fails,
 * ledger_rollback() makes it as if nothing had been said since. */
int ledger_begin(struct ledger *ledger, uint64_t wall_ns, struct why *why);
int ledger_commit(struct ledger *ledger, struct why *why);
void ledger_rollback(struct ledger *ledger);

int ledger_saw(struct ledger *ledger, const struct change *change, struct why *why);
int ledger_moved(struct ledger *ledger, struct ident id, struct ident into, struct why *why);
/* into ranks as id does, which stays open; nothing where either is closed already. */
int ledger_shared(struct ledger *ledger, struct ident id, struct ident into, struct why *why);
/* tree: the source of the tree that has the receipt's path, or empty. */
int ledger_settled(
	struct ledger *ledger, const struct receipt *receipt, struct span tree, struct why *why);
int ledger_beat(struct ledger *ledger, const struct note *note, struct why *why);
/* NOTE_UNSEEN: programs that no shim is in. */
int ledger_unseen(struct ledger *ledger, const struct note *note, struct why *why);
int ledger_forget(struct ledger *ledger, struct span host, struct why *why);
/* What a note tells, by the one of these that is for its kind; others say nothing here. */
int ledger_note(struct ledger *ledger, const struct note *note, struct why *why);
/*
 * The clock was set forward, or nobody listened for a while: how long daemons have been silent is
 * not known.  Posters that were known must answer for a minute more before their silence counts.
 */
int ledger_clock_unsure(struct ledger *ledger, struct why *why);

/*
 * A barrier begins with the posters that must answer: all that have beaten in the last hour and
 * did not stop cleanly; one that beats for the first time before all have answered joins them,
 * one that stops cleanly has left nothing behind and counts as having answered.
 * Told the same flush again, it goes on.  answered() is told of each marker.  Only
 * ledger_barrier_end() ends one.
 */
int ledger_barrier_begin(struct ledger *ledger, const struct note *flush, struct why *why);
int ledger_barrier_answered(struct ledger *ledger, const struct note *marker, struct why *why);
/*
 * How far it is at wall_ns, as a barrier note for the asker, who is named in `reply` (caller
 * finishes).  Reached: all posters have answered, everything ranked before that is settled, no
 * order has failed, no rescan is owed.  -ENOENT: no such barrier.
 */
int ledger_barrier_state(struct ledger *ledger, struct ident flush, uint64_t wall_ns,
	struct note *ret, struct why *why);
int ledger_barrier_end(struct ledger *ledger, struct ident flush, struct why *why);
/* Barriers that were not ended, and the wall time when the flush was told last.  fn returns 0 to go
 * on, and must not begin or end any. */
int ledger_each_barrier(struct ledger *ledger,
	int (*fn)(void *arg, struct ident flush, uint64_t asked_ns), void *arg, struct why *why);

/* Forgets what is too old to matter; once a minute is enough.  Between begin and commit. */
int ledger_sweep(struct ledger *ledger, struct why *why);

/* --- readers ----------------------------------------------------------------------------- */

#define LEDGER_LAG_BUCKETS 12                  /* upper bounds: ledger_lag_bound_ns() */
uint64_t ledger_lag_bound_ns(unsigned bucket); /* the last one is UINT64_MAX */

struct ledger_summary {
	uint64_t open;         /* obligations: changes without a receipt */
	uint64_t open_bulk;    /* of these, of bulk passes */
	uint64_t oldest_ns;    /* wall time of the oldest open live change, 0: none */
	char oldest_path[256]; /* escaped */
	uint64_t failed;       /* failed orders */
	/* Each record that posters have read is one of the four that follow, ever. */
	uint64_t captured;
	uint64_t told;      /* became changes */
	uint64_t noted;     /* say which files are open, and nothing else */
	uint64_t outside;   /* of paths in no tree */
	uint64_t unnamed;   /* of files without a name: lost */
	uint64_t lost;      /* records lost: these, overflown and torn ones */
	uint64_t made;      /* changes that posters have made, of records, open files, rescans */
	uint64_t repeats;   /* of these, left out */
	uint64_t coalesced; /* repeats + merged */
	/* Each change, of whomever: merged into another, closed by a receipt, or still open. */
	uint64_t changes;
	uint64_t merged;
	uint64_t closed[RECEIPT_STATUS_COUNT];
	uint64_t again;  /* orders beyond these, carried out once more */
	uint64_t unseen; /* programs run that no shim is in, ever */
	uint64_t found;  /* changes found where they ran, ever */
	uint64_t orders; /* receipts counted, ever: done + retry + failed + dropped */
	uint64_t by_status[RECEIPT_STATUS_COUNT];
	struct receipt_work work;                    /* ever */
	uint64_t lag_count[LEDGER_LAG_BUCKETS];      /* done orders by done_ns - time_ns */
	uint64_t last_done_ns;                       /* wall time of the newest done receipt */
	uint64_t files_per_minute, bytes_per_minute; /* over the last 60 s */
	bool rescan;                                 /* some poster still owes a rescan */
	bool mending; /* what the last one has found is not done yet */
};
/* Whether every record and every change is accounted for. */
bool ledger_balances(const struct ledger_summary *summary);
int ledger_summary(struct ledger *ledger, struct ledger_summary *ret, struct why *why);

struct ledger_failed {
	struct ident id;
	struct span path, why, host, job;
	uint64_t failed_ns; /* wall */
	unsigned attempts;  /* in vain, before the one that this tells of */
	unsigned facts;
	enum change_op op;
};
/* fn returns 0 to go on.  Spans live during the call. */
int ledger_each_failed(struct ledger *ledger,
	int (*fn)(void *arg, const struct ledger_failed *failed), void *arg, struct why *why);

/* Every daemon that has beaten, with its last beat; clean stops included. */
int ledger_each_daemon(struct ledger *ledger, int (*fn)(void *arg, const struct note *beat),
	void *arg, struct why *why);

/* by: "tree", "host" or "job"; key is the tree's source path, the host, the job's id. */
struct ledger_share {
	struct span key;
	uint64_t orders;
	struct receipt_work work;
};
int ledger_each_share(struct ledger *ledger, const char *by,
	int (*fn)(void *arg, const struct ledger_share *share), void *arg, struct why *why);

/* Batch jobs, the one first of which something was done last; at most limit. */
struct ledger_job {
	struct span id;
	uint64_t orders;
	struct receipt_work work;
	uint64_t unseen, found; /* as in the summary */
	uint64_t last_ns;       /* wall time of what was counted last */
};
int ledger_each_job(struct ledger *ledger, unsigned limit,
	int (*fn)(void *arg, const struct ledger_job *job), void *arg, struct why *why);

/* Open obligations, oldest first, at most limit. */
int ledger_each_open(struct ledger *ledger, unsigned limit,
	int (*fn)(void *arg, struct ident id, struct span path, uint64_t time_ns), void *arg,
	struct why *why);
