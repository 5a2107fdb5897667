/* SPDX-License-Identifier: Apache-2.0 */
/* What journal-file.c (files) and journal-reader.c (records) share.  Not for others. */
#pragma once

#include "core/atomic.h"
#include "core/journal-ring.h"
#include "core/why.h"

/* A draft that was handed out. */
struct handed {
	uint64_t after;   /* 1 + the cursor then; 0: none was */
	uint64_t time_ns; /* of the draft */
	bool dead;        /* its owner was gone, else only another one by the clock */
};

struct journal {
	struct journal_ring *ring;
	uint64_t map_bytes;
	uint64_t size_bytes, drafts; /* as when the ring was mapped; the ring's must stay so */
	uint64_t cursor;
	uint64_t last_time_ns; /* of the last record handed out */
	int dir, lock;
	int file; /* the ring's, kept open for a lock on it: see start_reading() */
	bool peeking;
	struct handed *handed; /* for each draft */
	char *copy;            /* peeking: the record last handed out */
	struct {
		uint64_t position;
		uint32_t pid;
		uint64_t started;
		uint64_t since_ns; /* clock_now() when it was first seen, or seen to be stopped */
	} stuck;                   /* the claim that reading waits for, as first seen */
};

/* The living reader's pid, or 0. */
uint32_t journal_reader_pid(const struct journal *journal);
