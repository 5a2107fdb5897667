/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer: whether the copy is complete, and if not, why not.  Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum answer {
	ANSWER_IN_SYNC,
	ANSWER_LAGGING,
	ANSWER_FAILED,
	ANSWER_STALLED,
	ANSWER_UNKNOWN, /* all is up here, but the tally is elsewhere */
	ANSWER_STOPPED,
};

struct facts {
	uint64_t now_ns;          /* wall clock, as all times here */
	bool runs;                /* a supervisor, or anything of ours */
	bool tally_here;          /* the ledger can be read and the tally is alive */
	bool tally_wanted;        /* on this host */
	const char *down;         /* what is down, in words; NULL: nothing */
	const char *problem;      /* the first one, in words; NULL: none */
	uint64_t open, open_bulk; /* obligations */
	uint64_t open_since_ns;   /* the oldest of them, 0: none */
	uint64_t oldest_ns;       /* the oldest live change anywhere, 0: none */
	uint64_t last_done_ns;
	uint64_t failed;
	uint64_t queued;         /* messages in all queues */
	uint64_t later;          /* of these, waiting for another try */
	uint64_t held;           /* paths that winnows wait for to be quiet */
	uint64_t journal;        /* bytes not read yet */
	uint64_t backlog, dirty; /* of all posters */
	bool rescan;             /* owed by a poster */
	bool mending;            /* ordered, and under way */
	uint64_t delay_ns, max_delay_ns;
};

struct verdict {
	enum answer answer;
	uint64_t lag_ns; /* LAGGING, STALLED: age of the oldest; 0: not known */
	char words[512]; /* why; "" where there is nothing to add */
	int exit_status;
};

void judge(const struct facts *facts, struct verdict *ret);
/* "IN SYNC", … */
const char *judge_name(enum answer answer);
