/* SPDX-License-Identifier: Apache-2.0 */
/* What journal-file.c (files) and journal-reader.c (records) share.  Not for others. */
#pragma once

#include "core/atomic.h"
#include "core/journal-ring.h"
#include "core/why.h"

struct journal {
	struct journal_ring *ring;
	uint64_t map_bytes;
	uint64_t size_bytes, drafts; /* as when the ring was mapped; the ring's must stay so */
	uint64_t cursor;
	uint64_t last_time_ns; /* of the last record handed out */
	int dir, lock;
	int file; /* the ring's, kept open for a lock on it: see start_reading() */
	bool peeking;
	uint64_t *handed; /* for each draft: 1 + the cursor when it was handed out, or 0 */
	char *copy;       /* peeking: the record last handed out */
	struct {
		uint64_t position;
		uint32_t pid;
		uint64_t started;
		uint64_t since_ns; /* clock_now() when it was first seen, or seen to be stopped */
	} stuck;                   /* the claim that reading waits for, as first seen */
};

/* The living reader's pid, or 0. */
uint32_t journal_reader_pid(const struct journal *journal);
