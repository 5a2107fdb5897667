/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a ring: what journal.c writes and journal-reader.c reads.  Private to these.
 *
 *   header | drafts | data (size_bytes) | slack
 *
 * Data is an array of 64-byte units.  A position counts bytes since the ring was made; its lap is
 * position / size_bytes, its place position % size_bytes.  A record takes whole units in a row and
 * goes on into the slack rather than wrapping; the next record then begins behind the units that
 * it would have filled at the front.  The first word of a record's first unit is its state:
 *
 *   63           34 33      12 11    2 1   0
 *  |     lap      |   pid    | units | state |
 *
 * A writer claims with one compare-and-swap, FREE of this lap -> CLAIMED with owner and length,
 * then moves head (anybody may do that for it: the length is known), fills, and stores COMMITTED.
 * The reader frees by storing FREE of the next lap into the first word of every unit, then moves
 * tail.  So a SIGKILL leaves nothing, or a claimed record of known owner and length, or a whole
 * one.
 *
 * Why the lap: a writer that slept with an old head must not find the word it expects.  It cannot:
 * a word of an older lap never comes back, and inside a record no unit begins with four zero
 * bytes, as FREE does (the second begins with a pid, the others with bytes of names).
 */
#pragma once

#include <stdint.h>

#include "core/journal.h"

#define RING_FILE        "ring"
#define RING_LOCK        "lock"
#define RING_FIRST       "ring.first-" /* and 16 hex digits: a writer is making the first one */
#define RING_MAGIC       UINT64_C(0x31304c4e52554f4a) /* "JOURNL01" */
#define RING_UNIT        64u
#define RING_UNITS_MAX   512u
#define RING_SLACK       (RING_UNITS_MAX * RING_UNIT)
#define RING_SIZE_MIN    (UINT64_C(64) << 10)
#define RING_SIZE_MAX    (UINT64_C(4) << 30)
#define RING_DEVICES_MAX 64u
#define RING_HEADER      4096u
#define RING_VERDICTS    256u
#define RING_VERDICT     7u /* the bits of a word that are the verdict */

enum ring_state { RING_FREE = 0, RING_CLAIMED = 1, RING_COMMITTED = 2 };

enum draft_state { DRAFT_FREE = 0, DRAFT_TAKEN = 1, DRAFT_ARMED = 2 };

#define CACHE_LINE _Alignas(64)

struct journal_ring {
	uint64_t magic;
	uint64_t generation;
	uint64_t size_bytes;
	uint64_t drafts;        /* how many */
	uint64_t pid_namespace; /* inode of the reader's, where known */
	uint64_t retired;       /* not 0: a new ring has taken this one's place */
	uint64_t reader_pid;
	CACHE_LINE uint64_t head;
	CACHE_LINE uint64_t tail;
	uint64_t releasing; /* beyond tail: units up to here are being freed */
	CACHE_LINE uint64_t dropped;
	uint64_t dropped_since_ns;
	uint64_t device_changes; /* grows before and behind each change of the list of devices */
	uint64_t renames;
	CACHE_LINE uint64_t torn;
	uint64_t called_ns;  /* wall time when a writer last took it on itself to start a reader */
	uint64_t checked_ns; /* the same for looking closely whether the reader lives */
	CACHE_LINE uint64_t device_count;
	uint64_t devices[RING_DEVICES_MAX];
	CACHE_LINE uint64_t verdicts[RING_VERDICTS]; /* key, and the verdict in its low bits; 0 */
	/* the reader's own: what it wants to know again, and the position at which that held */
	CACHE_LINE struct ring_kept {
		uint64_t position;
		uint64_t values[JOURNAL_KEPT];
	} kept[2];
	uint64_t kept_newest; /* which of the two was written last */
};

_Static_assert(sizeof(struct journal_ring) <= RING_HEADER, "the header has one page");

/* A record as it lies in the ring; its strings follow, see record_strings. */
struct ring_record {
	uint64_t word;
	uint32_t sum; /* of everything behind it */
	uint16_t kind;
	uint16_t flags;
	uint64_t time_ns;
	uint64_t dev;
	uint64_t ino;
	uint64_t size_bytes;
	int64_t mtime_ns;
	uint32_t mode;
	uint32_t nlink;
	uint32_t pid; /* offset 64, never 0: see above */
	int32_t fd;
	uint16_t dir_len, path_len, dir2_len, path2_len;
	uint8_t program_len, job_len;
	uint16_t unused;
	uint32_t writer;
};

#define RING_RECORD_BYTES sizeof(struct ring_record)
_Static_assert(RING_RECORD_BYTES == 88, "88 bytes before the strings");
_Static_assert(__builtin_offsetof(struct ring_record, pid) == 64, "pid opens the second unit");

/*
 * size_bytes is what was found right when the ring was mapped, never read from the ring again: all
 * programs of the user have it mapped, and what one of them scribbles over it must not make
 * another one reach outside of its map.
 */
static inline uint64_t ring_lap(uint64_t size_bytes, uint64_t position)
{
	return position >> __builtin_ctzll(size_bytes) & 0x3fffffff;
}

static inline uint64_t ring_word(uint64_t lap, uint64_t pid, uint64_t units, enum ring_state state)
{
	return lap << 34 | (pid & 0x3fffff) << 12 | units << 2 | state;
}

static inline enum ring_state word_state(uint64_t word)
{
	return (enum ring_state)(word & 3);
}

static inline uint64_t word_units(uint64_t word)
{
	return word >> 2 & 0x3ff;
}

static inline uint32_t word_pid(uint64_t word)
{
	return (uint32_t)(word >> 12 & 0x3fffff);
}

static inline uint64_t word_lap(uint64_t word)
{
	return word >> 34;
}

static inline struct journal_draft *ring_draft(struct journal_ring *ring, uint64_t index)
{
	return (struct journal_draft *)((char *)ring + RING_HEADER) + index;
}

static inline uint64_t ring_file_bytes(uint64_t size_bytes, uint64_t drafts)
{
	return RING_HEADER + drafts * sizeof(struct journal_draft) + size_bytes + RING_SLACK;
}

static inline bool ring_size_is_valid(uint64_t size_bytes)
{
	return size_bytes >= RING_SIZE_MIN && size_bytes <= RING_SIZE_MAX &&
	       (size_bytes & (size_bytes - 1)) == 0;
}

/* One draft for each 128 KiB of ring, so that drafts are an eighth of it. */
static inline uint64_t ring_drafts_for(uint64_t size_bytes)
{
	uint64_t drafts = size_bytes >> 17;
	return drafts < 4 ? 4 : drafts > 512 ? 512 : drafts;
}

static inline char *ring_at(struct journal_ring *ring, uint64_t size_bytes, uint64_t position)
{
	return (char *)ring_draft(ring, ring_drafts_for(size_bytes)) +
	       (position & (size_bytes - 1));
}

/* All zero is an empty ring of lap 0 already; only the header needs words. */
static inline void ring_begin(struct journal_ring *ring, uint64_t size_bytes, uint64_t generation)
{
	ring->size_bytes = size_bytes;
	ring->drafts = ring_drafts_for(size_bytes);
	ring->generation = generation;
	__atomic_store_n(&ring->magic, RING_MAGIC, __ATOMIC_RELEASE);
}

/* Over count bytes, a multiple of eight, 8-aligned.  Not against malice. */
static inline uint32_t ring_sum(const void *bytes, uint64_t count)
{
	const uint64_t *word = (const uint64_t *)bytes;
	uint64_t sum = UINT64_C(0x9e3779b97f4a7c15) ^ count;
	for (uint64_t i = 0; i < count / 8; i++) {
		sum = (sum ^ word[i]) * UINT64_C(0xff51afd7ed558ccd);
		sum ^= sum >> 32;
	}
	return (uint32_t)(sum ^ sum >> 29);
}
/* Writers: 0 where path (empty: fd itself) is of that type, ours, and not for others to write. */
__attribute__((visibility("hidden"))) int journal_safe(
	int fd, const char *path, uint32_t type, uint64_t *ret_size_bytes);
/*
 * Before anything is made in it: 0 where nobody else can put another directory in this one's place.
 * What it lies in belongs to us or to root, and others may not write there, or only to their own.
 */
__attribute__((visibility("hidden"))) int journal_safe_above(const char *directory);

#define RING_SUMMED 16u /* offset of the first summed byte; kind and flags are added apart */
