/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal-interleavings [--full]: the real journal.c and journal-reader.c, in every order of their
 * atomic steps, with deaths at every step.
 *
 * Two writers append to a ring of a few units, so that it wraps, goes into the slack, is full; a
 * reader takes and releases; one or two of them die anywhere.  A second reader takes over when the
 * first one is dead.  At the end of each order, what has been appended must have been read, once
 * and in its order; what was dropped or torn must not.
 *
 * Sequential consistency is what is explored: all operations of atomic.h are at least acquire or
 * release, and x86 keeps these in order but for a store that is overtaken by a later load.
 */
#include "interleave-step.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/journal-private.h"
#include "core/pid.h"
#include "explore.h"

#define WRITERS    2u
#define RECORDS    3u /* at most, of one writer */
#define SIZE_MAX_  (16 * RING_UNIT)
#define SPILL      (4 * RING_UNIT)
#define PID        100u
#define TOP_LAP    UINT64_C(0x3fffffff)
#define DRAFT_USED 96u
#define DRAFTS     4u /* as small rings have them; one is used */

enum { WRITER_A, WRITER_B, READER, READER_AFTER };

enum fate { NOTHING, BEGUN, DONE, DROPPED };

struct scenario {
	const char *name;
	uint64_t size_units, begin_units, begin_lap;
	unsigned units[WRITERS][RECORDS]; /* of each record; 0: none */
	bool drafted;                     /* A announces its first record */
	unsigned deaths;
	bool full; /* only with --full */
};

/* A record has at least two units; with 56 bytes of path, three.  The front of the list has what a
 * protocol without laps cannot do (mutants in meson.build). */
static const struct scenario scenarios[] = {
	{"short records", 4, 0, 0, {{2, 2}, {2, 2}}, false, 0, false},
	{"drafts", 4, 0, 0, {{2}, {2}}, true, 1, false},
	{"mixed lengths", 8, 0, 0, {{3, 2}, {2, 3}}, false, 0, false},
	{"one dies", 4, 2, 0, {{2}, {2, 3}}, false, 1, false},
	{"over the last lap", 4, 2, TOP_LAP, {{3}, {2, 2}}, false, 1, false},
	{"two die", 4, 2, 0, {{2}, {2, 3}}, false, 2, true},
	{"two die, drafts", 4, 3, TOP_LAP, {{2}, {2, 2}}, true, 2, true},
	{"three each", 4, 0, 0, {{2, 3, 2}, {3, 2, 2}}, false, 0, true},
	{"five, one dies", 4, 1, 0, {{2, 3}, {3, 2, 2}}, false, 1, true},
};

static _Alignas(
	4096) char memory[RING_HEADER + DRAFTS * sizeof(struct journal_draft) + SIZE_MAX_ + SPILL];
static struct journal_ring *ring = (struct journal_ring *)memory;
static const struct scenario *now;

static struct world {
	uint8_t fate[WRITERS][RECORDS];
	uint8_t seen[WRITERS][RECORDS];
	bool called, drafted; /* the announced call took effect; the draft was read */
	uint64_t position;    /* noted before it is released */
	struct journal journals[2];
	struct handed handed[2];
} world;

/* ---- what the journal asks of the system ------------------------------------------------- */

bool pid_is_gone(uint32_t pid)
{
	explore_step();
	return pid < PID || !explore_is_alive(pid - PID);
}

uint64_t pid_started_ticks(uint32_t pid)
{
	return pid;
}

bool pid_is_stopped(uint32_t pid)
{
	(void)pid;
	return true;
}

uint64_t pid_started_ns(uint32_t pid)
{
	(void)pid;
	return 1;
}

uint32_t journal_reader_pid(const struct journal *journal)
{
	(void)journal;
	return 0;
}

uint64_t interleave_now(void)
{
	return 1;
}

void interleave_step(void)
{
	explore_step();
}

/* ---- records ----------------------------------------------------------------------------- */

static struct span path_of(unsigned units)
{
	static const char path[] = "/ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp";
	return span_of(path, units == 2 ? 10 : 50);
}

static struct record record_of(unsigned writer, unsigned n)
{
	return (struct record){.kind = RECORD_UNLINK,
		.time_ns = 1000,
		.pid = PID + writer,
		.fd = -1,
		.ino = n,
		.path = path_of(now->units[writer][n])};
}

static bool is_record(const struct record *got, unsigned writer, unsigned n)
{
	struct record should = record_of(writer, n);
	return got->kind == should.kind && got->time_ns == should.time_ns && got->fd == should.fd &&
	       span_equal(got->path, should.path);
}

/* ---- writers ----------------------------------------------------------------------------- */

static void append(struct journal_writer *writer, unsigned self, unsigned n)
{
	struct record record = record_of(self, n);
	world.fate[self][n] = BEGUN;
	int r = journal_append(writer, &record);
	if (r != 0 && r != JOURNAL_FULL) {
		explore_fault("append: %d", r);
	}
	world.fate[self][n] = r == 0 ? DONE : DROPPED;
}

static void append_drafted(struct journal_writer *writer, unsigned self)
{
	struct journal_draft *draft = journal_draft_take(writer, PID + self);
	struct record record = record_of(self, 0);
	if (draft) {
		draft->kind = (uint16_t)record.kind;
		draft->time_ns = record.time_ns;
		draft->path_len = (uint16_t)record.path.len;
		memcpy(draft->bytes, record.path.data, record.path.len);
		journal_draft_arm(draft);
		world.called = true;
	}
	append(writer, self, 0);
	if (draft) {
		journal_draft_drop(draft);
	}
}

static void run_writer(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;
	struct journal_writer writer = {.ring = ring, .size_bytes = ring->size_bytes};
	for (unsigned n = 0; n < RECORDS && now->units[self][n]; n++) {
		if (now->drafted && self == WRITER_A && n == 0) {
			append_drafted(&writer, self);
		} else {
			append(&writer, self, n);
		}
	}
}

/* ---- readers ----------------------------------------------------------------------------- */

static void take(const struct record *got)
{
	unsigned writer = got->pid - PID, n = (unsigned)got->ino;
	bool is_draft = got->position == got->end;
	if (writer >= WRITERS || n >= RECORDS || !is_record(got, writer, is_draft ? 0 : n)) {
		explore_fault("the record at %" PRIu64 " was written by nobody", got->position);
	}
	if (is_draft) {
		world.drafted = true;
		return;
	}
	if (got->position < world.position) {
		return; /* once more, as the first reader died before it released it */
	}
	if (world.fate[writer][n] != BEGUN && world.fate[writer][n] != DONE) {
		explore_fault("record %u of writer %u is read, and its fate is %d", n, writer,
			world.fate[writer][n]);
	}
	for (unsigned later = n; later < RECORDS; later++) {
		if (world.seen[writer][later]) {
			explore_fault("record %u of writer %u is read behind %u", n, writer, later);
		}
	}
	world.seen[writer][n]++;
}

/* As journal-file.c begins reading. */
static struct journal *begin_reading(unsigned which)
{
	struct journal *journal = &world.journals[which];
	*journal = (struct journal){.ring = ring,
		.size_bytes = ring->size_bytes,
		.drafts = ring->drafts,
		.handed = &world.handed[which]};
	journal->cursor = LOAD(ring->releasing);
	if (journal->cursor > world.position) {
		explore_fault("reading begins behind what was not read");
	}
	journal_release(journal, journal->cursor);
	return journal;
}

static bool read_one(struct journal *journal)
{
	struct record got;
	struct why why = {""};
	int r = journal_next(journal, &got, &why);
	if (r < 0) {
		explore_fault("%s", why.text);
	}
	if (r == 0) {
		take(&got);
	}
	if (journal->cursor > world.position) {
		world.position = journal->cursor;
	}
	if (journal->cursor > ring->tail) {
		journal_release(journal, journal->cursor);
	}
	return r == 0;
}

static void run_reader(void *arg)
{
	(void)arg;
	struct journal *journal = begin_reading(0);
	for (;;) {
		(void)read_one(journal);
	}
}

static void run_reader_after(void *arg)
{
	(void)arg;
	while (explore_is_alive(READER)) {
		explore_step();
	}
	struct journal *journal = begin_reading(1);
	for (;;) {
		(void)read_one(journal);
	}
}

/* ---- the end of an order ----------------------------------------------------------------- */

static void check_record(unsigned writer, unsigned n)
{
	unsigned fate = world.fate[writer][n], seen = world.seen[writer][n];
	if ((fate == DONE && seen != 1) || ((fate == DROPPED || fate == NOTHING) && seen != 0)) {
		explore_fault("record %u of writer %u, fate %u, was read %u times", n, writer, fate,
			seen);
	}
}

static void check(void)
{
	unsigned dropped = 0;
	struct journal *journal = begin_reading(0);
	while (read_one(journal)) {
	}
	for (unsigned writer = 0; writer < WRITERS; writer++) {
		for (unsigned n = 0; n < RECORDS; n++) {
			check_record(writer, n);
			dropped += world.fate[writer][n] == DROPPED;
		}
	}
	if (world.called && !world.drafted && !world.seen[WRITER_A][0] &&
		world.fate[WRITER_A][0] != DROPPED) {
		explore_fault("the announced record is lost");
	}
	if (ring->dropped < dropped || (dropped && !ring->dropped_since_ns)) {
		explore_fault("%u dropped, %" PRIu64 " counted", dropped, ring->dropped);
	}
	if (ring->head != ring->tail || journal->cursor != ring->head) {
		explore_fault("head %" PRIu64 ", tail %" PRIu64 ", read up to %" PRIu64, ring->head,
			ring->tail, journal->cursor);
	}
}

static void died(size_t actor)
{
	(void)actor;
}

/* ---- scenarios --------------------------------------------------------------------------- */

/* Units from begin on are free for its lap, those before it for the next. */
static void begin_ring(const struct scenario *scenario)
{
	uint64_t size = scenario->size_units * RING_UNIT;
	memset(memory, 0, sizeof(memory));
	memset(&world, 0, sizeof(world));
	ring_begin(ring, size, 1);
	ring->drafts = 1;
	uint64_t begin = scenario->begin_lap * size + scenario->begin_units * RING_UNIT;
	for (uint64_t unit = 0; unit < scenario->size_units; unit++) {
		uint64_t lap = scenario->begin_lap + (unit < scenario->begin_units);
		*(uint64_t *)ring_at(ring, size, unit * RING_UNIT) =
			ring_word(lap & TOP_LAP, 0, 0, RING_FREE);
	}
	ring->head = ring->tail = ring->releasing = world.position = begin;
}

static void play(const struct scenario *scenario)
{
	now = scenario;
	begin_ring(scenario);
	struct explore_plan plan = {
		.actors = {[WRITER_A] = {"A", run_writer, (void *)0, false, true},
			[WRITER_B] = {"B", run_writer, (void *)1, false, true},
			[READER] = {"reader", run_reader, NULL, true, true},
			[READER_AFTER] = {"second-reader", run_reader_after, NULL, true, false}},
		.actor_count = scenario->deaths ? 4 : 3,
		.regions = {{ring, offsetof(struct journal_ring, device_count)},
			{ring_draft(ring, 0), DRAFT_USED},
			{ring_at(ring, ring->size_bytes, 0), ring->size_bytes + SPILL},
			{&world, sizeof(world)}},
		.region_count = 4,
		.deaths = scenario->deaths,
		.check = check,
		.died = died};
	uint64_t begun_ns = clock_wall();
	struct explore_figures figures = explore(&plan);
	(void)printf("%-22s %9" PRIu64 " states, %10" PRIu64 " steps, %8" PRIu64 " ends, %4" PRIu64
		     " deep, %6.1f s\n",
		scenario->name, figures.states, figures.steps, figures.ends, figures.deepest,
		(double)(clock_wall() - begun_ns) / (double)CLOCK_S);
	(void)fflush(stdout);
}

int main(int argc, char **argv)
{
	bool full = argc > 1 && strcmp(argv[1], "--full") == 0;
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (full || !scenarios[i].full) {
			play(&scenarios[i]);
		}
	}
	return 0;
}
