/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal-storm [--seed N] [--seconds S]: many writers, each killed at a random moment and followed
 * by another; a reader that is killed and begins again; a ring that is small and often full.
 *
 *   supervisor ── starts, stops, kills ──▶ writers ──append──▶ ring ──▶ reader
 *        └────────── shared memory: what each has begun and done, what was read ──────┘
 *
 * Writers number their records and say before and after each append how far they are, so it is
 * known which records must come (done), which may (begun) and which must not.  A dead writer is
 * settled when reading has come to where the ring stood at its death; then its place is free for
 * the next.  Some records are announced in a draft: these must come once their "call" has happened.
 *
 * The reader notes what it has seen together with the position up to which it releases, before it
 * releases: the next reader checks that it begins not behind that, and goes on exactly there.
 *
 * Three parts of equal length: from position 0; over position 2^32; over the wrap of the laps.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/why.h"
#include "marked.h"
#include "rings.h"

#define PLACES      12u
#define WRITERS_MAX (1u << 23)
#define LAPS        (UINT64_C(1) << 30)

enum place_state { EMPTY, RUNNING, DEAD };

struct place {
	uint32_t state;
	uint32_t writer; /* number of this one: place + PLACES x generation */
	uint32_t pid;
	uint64_t begun, done; /* by the writer, around each append */
	uint64_t called;      /* the call of this drafted record has taken effect */
	uint64_t refused;     /* found the ring full */
	uint64_t dead_head;   /* the ring's head when it was dead */
};

struct seen {
	uint32_t writer;
	uint64_t sequence; /* of the last record */
	uint64_t drafted;  /* of the draft, which may come before the last records */
};

/* What the reader knows, as of position. */
struct reading {
	uint64_t position;
	struct seen seen[PLACES];
	uint64_t records, drafts;
};

struct stage {
	struct place places[PLACES];
	struct reading readings[2];
	uint32_t valid;             /* which of the two */
	uint64_t refused;           /* of the dead */
	uint64_t last[WRITERS_MAX]; /* the last that each writer began, of the dead */
};

struct figures {
	uint64_t records, drafts, writers_killed, readers_killed, torn, dropped, laps;
};

static struct rings rings;
static struct stage *stage;

#define LOAD(place)         __atomic_load_n(&(place), __ATOMIC_SEQ_CST)
#define STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_SEQ_CST)

static void nap(uint64_t microseconds)
{
	usleep((useconds_t)microseconds);
}

/* ---- writers ----------------------------------------------------------------------------- */

static void append_until_taken(
	struct journal_writer *writer, struct place *place, const struct record *record)
{
	int r;
	while ((r = journal_append(writer, record)) == JOURNAL_FULL) {
		STORE(place->refused, place->refused + 1);
		nap(50);
	}
	REQUIRE(r == 0, "append: %d", r);
}

static void write_drafted(
	struct journal_writer *writer, struct place *place, const struct marked *marked, uint64_t n)
{
	struct journal_draft *draft = journal_draft_take(writer, marked->record.pid);
	if (draft) {
		marked_draft(marked, draft);
		STORE(place->begun, n);
		journal_draft_arm(draft);
		STORE(place->called, n);
	}
	STORE(place->begun, n);
	append_until_taken(writer, place, &marked->record);
	STORE(place->done, n);
	if (draft) {
		journal_draft_drop(draft);
	}
}

static void write_for_ever(struct place *place)
{
	struct journal_writer writer = {0};
	struct marked marked;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	REQUIRE(journal_attach(&writer, rings.directory) == 0, "attach");
	for (uint64_t n = 1;; n++) {
		marked_make(&marked, place->writer, n);
		if (n % 4 == 0) {
			write_drafted(&writer, place, &marked, n);
			continue;
		}
		STORE(place->begun, n);
		append_until_taken(&writer, place, &marked.record);
		STORE(place->done, n);
	}
}

static void start_writer(struct place *place)
{
	place->writer += PLACES;
	REQUIRE(place->writer < WRITERS_MAX, "too many writers for this long a run");
	place->begun = place->done = place->called = place->refused = 0;
	pid_t pid = fork();
	if (pid == 0) {
		write_for_ever(place);
	}
	REQUIRE(pid > 0, "fork: %s", strerror(errno));
	place->pid = (uint32_t)pid;
	STORE(place->state, RUNNING);
}

static void end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	REQUIRE(waitpid(pid, NULL, 0) == pid, "waitpid: %s", strerror(errno));
}

static void kill_writer(struct place *place)
{
	end((pid_t)place->pid);
	stage->refused += place->refused;
	stage->last[place->writer] = place->begun;
	place->dead_head = LOAD(rings.ring->head);
	STORE(place->state, DEAD);
}

/* ---- reader ------------------------------------------------------------------------------ */

static struct seen *seen_of(struct reading *reading, uint32_t writer)
{
	struct seen *seen = &reading->seen[writer % PLACES];
	if (seen->writer != writer) {
		*seen = (struct seen){.writer = writer};
	}
	return seen;
}

/* A draft comes when its writer is dead, and again when a reader died before it released it. */
static void take_draft(struct reading *reading, const struct record *got)
{
	uint32_t writer;
	uint64_t sequence;
	REQUIRE(marked_read_names(got, &writer, &sequence), "a draft that nobody wrote");
	struct place *place = &stage->places[writer % PLACES];
	reading->drafts++;
	if (writer < place->writer) { /* settled already */
		REQUIRE(sequence == stage->last[writer], "an old draft comes late");
		return;
	}
	struct seen *seen = seen_of(reading, writer);
	REQUIRE(writer == place->writer && sequence == LOAD(place->begun),
		"draft %" PRIu64 " of writer %" PRIu32 " that began %" PRIu64, sequence, writer,
		place->begun);
	REQUIRE(sequence >= seen->sequence, "draft %" PRIu64 " behind %" PRIu64, sequence,
		seen->sequence);
	seen->drafted = sequence;
}

static void take_record(struct reading *reading, const struct record *got)
{
	uint32_t writer;
	uint64_t sequence;
	REQUIRE(marked_read(got, &writer, &sequence),
		"the record at %" PRIu64 " is not what its writer wrote", got->position);
	if (got->position < reading->position) {
		return; /* seen by a reader that died before it released it */
	}
	struct place *place = &stage->places[writer % PLACES];
	REQUIRE(writer == place->writer, "writer %" PRIu32 " is settled", writer);
	struct seen *seen = seen_of(reading, writer);
	REQUIRE(sequence == seen->sequence + 1,
		"writer %" PRIu32 ": %" PRIu64 " comes behind %" PRIu64, writer, sequence,
		seen->sequence);
	REQUIRE(sequence <= LOAD(place->begun), "a record from the future");
	seen->sequence = sequence;
	reading->records++;
}

/* First what was seen, then the release. */
static void release(struct journal *journal, struct reading *reading, uint64_t position)
{
	uint32_t other = !stage->valid;
	reading->position = position;
	stage->readings[other] = *reading;
	STORE(stage->valid, other);
	journal_release(journal, position);
}

static void drain(struct journal *journal, struct reading *reading, uint64_t *seed)
{
	struct record got;
	struct why why = {""};
	int r;
	while ((r = journal_next(journal, &got, &why)) == 0) {
		if (got.position == got.end) {
			take_draft(reading, &got);
		} else {
			take_record(reading, &got);
		}
		if (marked_noise(seed, 32) == 0 && got.end > reading->position) {
			release(journal, reading, got.end);
		}
	}
	REQUIRE(r == JOURNAL_EMPTY, "journal_next: %d %s", r, why.text);
	if (journal_cursor(journal) >= reading->position) {
		release(journal, reading, journal_cursor(journal));
	}
}

/* Everything that it said has been read, or never will be. */
static void settle(struct place *place, struct reading *reading)
{
	const struct seen *seen = seen_of(reading, place->writer);
	REQUIRE(seen->sequence == place->done || seen->sequence == place->begun,
		"writer %" PRIu32 " did %" PRIu64 ", began %" PRIu64 "; seen are %" PRIu64,
		place->writer, place->done, place->begun, seen->sequence);
	REQUIRE(seen->sequence >= place->called || seen->drafted == place->called,
		"writer %" PRIu32 ": drafted %" PRIu64 " is lost", place->writer, place->called);
	STORE(place->state, EMPTY);
}

static void read_for_ever(uint64_t seed)
{
	struct journal *journal = NULL;
	struct why why = {""};
	struct reading reading = stage->readings[stage->valid];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int r = journal_create(rings.directory, RINGS_SIZE, &journal, &why);
	REQUIRE(r == 0, "journal_create: %d %s", r, why.text);
	REQUIRE(journal_cursor(journal) <= reading.position,
		"reading begins at %" PRIu64 ", %" PRIu64 " was not read yet",
		journal_cursor(journal), reading.position);
	for (;;) {
		bool dead[PLACES];
		for (size_t i = 0; i < PLACES; i++) {
			dead[i] = LOAD(stage->places[i].state) == DEAD;
		}
		drain(journal, &reading, &seed);
		for (size_t i = 0; i < PLACES; i++) {
			if (dead[i] && stage->places[i].dead_head <= reading.position) {
				settle(&stage->places[i], &reading);
			}
		}
		nap(marked_noise(&seed, 20) ? marked_noise(&seed, 300) : 20000);
	}
}

static pid_t start_reader(uint64_t seed)
{
	pid_t pid = fork();
	if (pid == 0) {
		read_for_ever(seed);
	}
	REQUIRE(pid > 0, "fork: %s", strerror(errno));
	return pid;
}

/* ---- supervisor -------------------------------------------------------------------------- */

static void check_alive(pid_t pid)
{
	int status;
	REQUIRE(waitpid(pid, &status, WNOHANG) == 0, "a process ended by itself: %d", status);
}

static void start_in_empty_places(void)
{
	for (size_t i = 0; i < PLACES; i++) {
		if (LOAD(stage->places[i].state) == EMPTY) {
			start_writer(&stage->places[i]);
		}
	}
}

/* One that sleeps with an old head, or inside a claim that all others wait behind. */
static void stop_for_a_while(struct place *place, uint64_t *seed)
{
	(void)kill((pid_t)place->pid, SIGSTOP);
	nap(marked_noise(seed, 3000));
	(void)kill((pid_t)place->pid, SIGCONT);
}

static void one_fault(pid_t *reader, uint64_t *seed, struct figures *figures)
{
	struct place *place = &stage->places[marked_noise(seed, PLACES)];
	uint64_t kind = marked_noise(seed, 32);
	check_alive(*reader);
	if (kind == 0) {
		end(*reader);
		figures->readers_killed++;
		*reader = start_reader(*seed);
	} else if (LOAD(place->state) == RUNNING) {
		check_alive((pid_t)place->pid);
		if (kind == 1) {
			stop_for_a_while(place, seed);
		} else {
			kill_writer(place);
			figures->writers_killed++;
		}
	}
}

static bool all_settled(void)
{
	bool settled = true;
	for (size_t i = 0; i < PLACES; i++) {
		settled = settled && LOAD(stage->places[i].state) == EMPTY;
	}
	return settled;
}

static void end_all(pid_t reader, struct figures *figures)
{
	uint64_t deadline_ns = clock_now() + 60 * CLOCK_S;
	for (size_t i = 0; i < PLACES; i++) {
		if (LOAD(stage->places[i].state) == RUNNING) {
			kill_writer(&stage->places[i]);
			figures->writers_killed++;
		}
	}
	while (!all_settled()) {
		check_alive(reader);
		REQUIRE(clock_now() < deadline_ns, "what the dead have written does not come");
		nap(1000);
	}
	end(reader);
}

/* Drafts that were handed out are free once something behind them is released. */
static void append_last(struct reading *reading)
{
	struct journal_writer writer = {.ring = rings.ring, .size_bytes = RINGS_SIZE};
	struct place *place = &stage->places[0];
	struct marked marked;
	place->writer += PLACES;
	place->begun = 1;
	marked_make(&marked, place->writer, 1);
	REQUIRE(journal_append(&writer, &marked.record) == 0, "no room in an empty ring");
	reading->records--;
}

/* The last reader may have been ended before it released. */
static void check_end(uint64_t begin, struct figures *figures)
{
	struct journal *journal = NULL;
	struct journal_facts facts;
	struct reading *reading = &stage->readings[stage->valid];
	REQUIRE(journal_create(rings.directory, RINGS_SIZE, &journal, NULL) == 0, "reader");
	uint64_t seed = 1;
	drain(journal, reading, &seed);
	append_last(reading);
	drain(journal, reading, &seed);
	journal_facts(journal, &facts);
	journal_destroy(journal);
	REQUIRE(rings_is_clean(&rings), "something is left in the ring");
	REQUIRE(facts.dropped >= stage->refused &&
			facts.dropped <= stage->refused + figures->writers_killed,
		"%" PRIu64 " drops counted, %" PRIu64 " refused", facts.dropped, stage->refused);
	REQUIRE((facts.dropped > 0) == (facts.dropped_since_ns > 0), "since when is not told");
	REQUIRE(facts.torn <= figures->writers_killed, "%" PRIu64 " torn", facts.torn);
	figures->records += reading->records;
	figures->drafts += reading->drafts;
	figures->torn += facts.torn;
	figures->dropped += facts.dropped;
	figures->laps += (facts.head - begin) / RINGS_SIZE;
	REQUIRE(reading->records > 1000, "only %" PRIu64 " records", reading->records);
}

static void part(uint64_t begin, uint64_t length_ns, uint64_t *seed, struct figures *figures)
{
	memset(stage, 0, sizeof(*stage));
	rings_make(&rings);
	rings_begin_at(&rings, begin);
	stage->readings[0].position = begin;
	for (uint32_t i = 0; i < PLACES; i++) {
		stage->places[i].writer = i;
	}
	uint64_t until_ns = clock_now() + length_ns;
	pid_t reader = start_reader(*seed);
	while (clock_now() < until_ns) {
		start_in_empty_places();
		nap(marked_noise(seed, 1500));
		one_fault(&reader, seed, figures);
	}
	end_all(reader, figures);
	check_end(begin, figures);
	REQUIRE(begin == 0 || figures->laps > 4, "the wrap was not reached");
	rings_remove(&rings);
}

static uint64_t option(int argc, char **argv, const char *name, uint64_t otherwise)
{
	for (int i = 1; i + 1 < argc; i++) {
		if (strcmp(argv[i], name) == 0) {
			return strtoull(argv[i + 1], NULL, 10);
		}
	}
	return otherwise;
}

int main(int argc, char **argv)
{
	static const uint64_t begins[] = {
		0, (UINT64_C(1) << 32) - 2 * RINGS_SIZE, (LAPS - 2) * RINGS_SIZE};
	uint64_t seed = option(argc, argv, "--seed", clock_now() % 1000000);
	uint64_t seconds = option(argc, argv, "--seconds", 24);
	struct figures figures = {0};
	(void)printf("%s --seed %" PRIu64 " --seconds %" PRIu64 "\n", argv[0], seed, seconds);
	(void)fflush(stdout);
	stage = mmap(
		NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(stage != MAP_FAILED, "mmap");
	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
		part(begins[i], seconds * CLOCK_S / 3, &seed, &figures);
	}
	(void)printf("%" PRIu64 " records, %" PRIu64 " drafts of the dead, %" PRIu64
		     " writers and %" PRIu64 " readers killed, %" PRIu64 " torn, %" PRIu64
		     " dropped and counted, %" PRIu64 " laps\n",
		figures.records, figures.drafts, figures.writers_killed, figures.readers_killed,
		figures.torn, figures.dropped, figures.laps);
	return 0;
}
