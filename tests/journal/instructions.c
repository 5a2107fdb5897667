/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal-instructions [--seed N] [--kills N]: death at every instruction.
 *
 * A victim is stepped through an append, through a drafted append, through reading and releasing.
 * After each instruction the shared memory is put aside: it is what a SIGKILL at this point leaves,
 * for a process changes nothing else that others see.  When the victim is dead, each of these
 * memories is put back in turn, and others go on with it: one appends, a reader reads all.
 * A sample, at random instructions, is killed in truth.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/why.h"
#include "marked.h"
#include "rings.h"
#include "traced.h"

#define STEPS_MAX  20000u
#define DRAFT_USED 2048u
#define WINDOW     4096u
#define VICTIM     7u
#define OTHER      9u
#define RELEASES   5u
#define LAST_LAP   ((UINT64_C(1) << 30) - 1)
#define PIECES_MAX 16u

/* What the victim says of itself. */
struct marks {
	bool begun, called, done;
	uint64_t released; /* noted before it is released */
};

struct scene {
	const char *name;
	uint64_t begin;
	uint64_t sequence; /* the marked record, for its length */
	void (*before)(void);
	void (*prepare)(void);
	void (*body)(void);
	void (*check)(const struct marks *marks);
};

struct piece {
	void *data;
	size_t len;
};

static struct rings rings;
static struct marks *marks; /* shared */
static const struct scene *scene;
static struct journal_writer writer;
static struct marked marked;
static struct journal *journal;

/* ---- the victims ------------------------------------------------------------------------- */

static void attach(void)
{
	writer = (struct journal_writer){.ring = rings.ring, .size_bytes = RINGS_SIZE};
	marked_make(&marked, VICTIM, scene->sequence);
}

static void append(void)
{
	marks->begun = true;
	marks->done = journal_append(&writer, &marked.record) == 0;
}

static void append_drafted(void)
{
	struct journal_draft *draft = journal_draft_take(&writer, marked.record.pid);
	marked_draft(&marked, draft);
	journal_draft_arm(draft);
	marks->called = true;
	append();
	journal_draft_drop(draft);
}

static void open_journal(void)
{
	REQUIRE(journal_create(rings.directory, RINGS_SIZE, &journal, NULL) == 0, "reader");
}

/* In two parts, so that the second release finds freed units behind it. */
static void read_and_release(void)
{
	struct record got;
	for (unsigned i = 0; i < RELEASES; i++) {
		REQUIRE(journal_next(journal, &got, NULL) == 0, "next");
		if (i == 2 || i == RELEASES - 1) {
			marks->released = got.end;
			journal_release(journal, got.end);
		}
	}
}

/* ---- before ------------------------------------------------------------------------------ */

static void append_other(uint64_t sequence)
{
	struct journal_writer other = {.ring = rings.ring, .size_bytes = RINGS_SIZE};
	struct marked record;
	marked_make(&record, OTHER, sequence);
	int r = journal_append(&other, &record.record);
	REQUIRE(r == 0, "%s: another's append: %d", scene->name, r);
}

static void append_five(void)
{
	for (uint64_t i = 1; i <= RELEASES; i++) {
		append_other(i);
	}
}

/* A claim of a dead process, whose head was not moved on. */
static void leave_claim(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		_exit(0);
	}
	REQUIRE(pid > 0 && waitpid(pid, NULL, 0) == pid, "fork");
	uint64_t head = rings.ring->head;
	*(uint64_t *)ring_at(rings.ring, RINGS_SIZE, head) =
		ring_word(ring_lap(RINGS_SIZE, head), (uint64_t)pid, 3, RING_CLAIMED);
}

/* ---- after ------------------------------------------------------------------------------- */

struct found {
	unsigned records, drafts, others;
	uint64_t first, cursor;
};

static void take(struct found *found, const struct record *got)
{
	uint32_t by;
	uint64_t sequence;
	bool draft = got->position == got->end;
	REQUIRE(draft ? marked_read_names(got, &by, &sequence) : marked_read(got, &by, &sequence),
		"%s: a record that nobody wrote", scene->name);
	REQUIRE(by == OTHER || (by == VICTIM && sequence == scene->sequence),
		"%s: a record that nobody wrote", scene->name);
	REQUIRE(by == VICTIM || !draft, "%s: a draft that nobody wrote", scene->name);
	found->first = found->others == 0 && by == OTHER ? sequence : found->first;
	found->others += by == OTHER;
	found->drafts += draft;
	found->records += by == VICTIM && !draft;
}

static void read_all(struct found *found)
{
	struct record got;
	struct why why = {""};
	int r;
	while ((r = journal_next(journal, &got, &why)) == 0) {
		take(found, &got);
	}
	REQUIRE(r == JOURNAL_EMPTY, "%s: reading: %d %s", scene->name, r, why.text);
	journal_release(journal, journal_cursor(journal));
}

/* And everything goes on as if nothing had happened; sometimes twice around the ring. */
static void go_on(void)
{
	static unsigned checks;
	struct found found = {0};
	unsigned count = checks++ % 32 ? 50 : 1000;
	for (unsigned i = 0; i < count; i++) {
		append_other(i + 1);
		if (i % 50 == 49) {
			read_all(&found);
		}
	}
	REQUIRE(found.others == count && found.records == 0 && found.drafts == 0,
		"%s: %u, %u, %u records afterwards", scene->name, found.others, found.records,
		found.drafts);
	REQUIRE(rings_is_clean(&rings), "%s: something is left", scene->name);
}

static void check_append(const struct marks *m)
{
	struct found found = {0};
	struct journal_facts facts;
	append_other(1);
	open_journal();
	read_all(&found);
	journal_facts(journal, &facts);
	unsigned torn = (unsigned)facts.torn - (scene->before == leave_claim);
	REQUIRE(found.others == 1, "%s: another's record is read %u times", scene->name,
		found.others);
	REQUIRE(found.records <= m->begun && found.records >= m->done,
		"%s: begun %d, done %d, read %u", scene->name, m->begun, m->done, found.records);
	REQUIRE(!m->called || found.records + found.drafts > 0, "%s: what was announced is lost",
		scene->name);
	REQUIRE(torn + found.records <= 1, "%s: %u torn, %u read", scene->name, torn,
		found.records);
	go_on();
	journal_destroy(journal);
}

static void check_reading(const struct marks *m)
{
	struct found found = {0};
	open_journal();
	REQUIRE(journal_cursor(journal) <= m->released || journal_cursor(journal) == scene->begin,
		"%s: begins behind what was released", scene->name);
	append_other(RELEASES + 1);
	read_all(&found);
	REQUIRE(found.first + found.others == RELEASES + 2 && found.others > 0,
		"%s: %u records from %" PRIu64 " on", scene->name, found.others, found.first);
	go_on();
	journal_destroy(journal);
}

/* ---- memories ---------------------------------------------------------------------------- */

static size_t pieces(struct piece ret[PIECES_MAX])
{
	struct journal_ring *ring = rings.ring;
	size_t count = 0;
	ret[count++] = (struct piece){marks, sizeof(*marks)};
	ret[count++] = (struct piece){ring, RING_HEADER};
	for (uint64_t i = 0; i < ring->drafts; i++) {
		ret[count++] = (struct piece){ring_draft(ring, i), DRAFT_USED};
	}
	ret[count++] = (struct piece){ring_at(ring, RINGS_SIZE, 0), ring->size_bytes + RING_SLACK};
	return count;
}

/* Of the data, what lies around the place where the scene begins, and the front. */
static size_t pieces_of_step(struct piece ret[PIECES_MAX])
{
	size_t count = pieces(ret);
	ret[count - 1] = (struct piece){ring_at(rings.ring, RINGS_SIZE, scene->begin), WINDOW};
	ret[count++] = (struct piece){ring_at(rings.ring, RINGS_SIZE, 0), WINDOW};
	return count;
}

static char *put_aside(const struct piece *piece, size_t count)
{
	size_t len = 0;
	for (size_t i = 0; i < count; i++) {
		len += piece[i].len;
	}
	char *copy = malloc(len), *to = copy;
	REQUIRE(copy, "no memory");
	for (size_t i = 0; i < count; i++) {
		memcpy(to, piece[i].data, piece[i].len);
		to += piece[i].len;
	}
	return copy;
}

static void put_back(const struct piece *piece, size_t count, const char *from)
{
	for (size_t i = 0; i < count; i++) {
		memcpy(piece[i].data, from, piece[i].len);
		from += piece[i].len;
	}
}

/* ---- a scene ----------------------------------------------------------------------------- */

static unsigned step_through(char **memories)
{
	struct traced traced = {0};
	struct piece piece[PIECES_MAX];
	unsigned steps = 0;
	size_t count = pieces_of_step(piece);
	traced_start(&traced, scene->prepare, scene->body);
	do {
		REQUIRE(steps < STEPS_MAX, "%s: more than %u steps", scene->name, STEPS_MAX);
		memories[steps++] = put_aside(piece, count);
	} while (traced_step(&traced));
	traced_kill(&traced);
	return steps;
}

static void check_at(const char *beginning, const char *memory)
{
	struct piece piece[PIECES_MAX];
	put_back(piece, pieces(piece), beginning);
	put_back(piece, pieces_of_step(piece), memory);
	struct marks m = *marks;
	scene->check(&m);
}

static void kill_at(const char *beginning, unsigned step)
{
	struct traced traced = {0};
	struct piece piece[PIECES_MAX];
	put_back(piece, pieces(piece), beginning);
	traced_start(&traced, scene->prepare, scene->body);
	for (unsigned i = 0; i < step; i++) {
		(void)traced_step(&traced);
	}
	traced_kill(&traced);
	struct marks m = *marks;
	scene->check(&m);
}

static unsigned play(const struct scene *it, uint64_t *seed, uint64_t kills)
{
	static char *memories[STEPS_MAX];
	struct piece piece[PIECES_MAX];
	scene = it;
	memset(marks, 0, sizeof(*marks));
	rings_make(&rings);
	rings_begin_at(&rings, it->begin);
	if (it->before) {
		it->before();
	}
	char *beginning = put_aside(piece, pieces(piece));
	unsigned steps = step_through(memories);
	for (unsigned i = 0; i < steps; i++) {
		check_at(beginning, memories[i]);
		free(memories[i]);
	}
	for (uint64_t i = 0; i < kills; i++) {
		kill_at(beginning, (unsigned)marked_noise(seed, steps));
	}
	free(beginning);
	rings_remove(&rings);
	return steps;
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
	static const struct scene scenes[] = {
		{"append", 0, 1, NULL, attach, append, check_append},
		{"append into the slack", RINGS_SIZE - RING_UNIT, 2, NULL, attach, append,
			check_append},
		{"append over the last lap", LAST_LAP * RINGS_SIZE - RING_UNIT + RINGS_SIZE, 3,
			NULL, attach, append, check_append},
		{"append behind a dead claim", RING_UNIT, 4, leave_claim, attach, append,
			check_append},
		{"drafted append", 0, 5, NULL, attach, append_drafted, check_append},
		{"read and release", RINGS_SIZE - 6 * RING_UNIT, 6, append_five, open_journal,
			read_and_release, check_reading},
	};
	uint64_t seed = option(argc, argv, "--seed", clock_now() % 1000000);
	uint64_t kills = option(argc, argv, "--kills", 5);
	(void)printf("%s --seed %" PRIu64 " --kills %" PRIu64 "\n", argv[0], seed, kills);
	marks = mmap(
		NULL, sizeof(*marks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(marks != MAP_FAILED, "mmap");
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		unsigned steps = play(&scenes[i], &seed, kills);
		(void)printf("%-28s %5u instructions, %" PRIu64 " killed in truth\n",
			scenes[i].name, steps, kills);
		(void)fflush(stdout);
	}
	return 0;
}
