/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger against a model: random posts, merges, orders, children, retries and barriers, told
 * twice, late, and once more after a tally that was killed.  A barrier must be reached exactly
 * when everything that it stands for is settled: never early, and never hanging.
 *
 * What is promised to the ledger: children are seen before their parent's receipt, a merged note
 * comes before the receipt of what it was merged into, and what posters published before their
 * marker is seen before the barrier has its rank.  Anything else may be overtaken; only what is
 * seen before its cause may keep a barrier waiting that does not stand for it.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "flow/ledger.h"

enum { CHANGES = 300, BARRIERS = 12, MESSAGES = 8192 };

enum state { WAITING, ORDERED, CLOSED };

struct model {
	enum state state;
	int cause;  /* an order, or -1 */
	int into;   /* CLOSED by merging, or -1 */
	bool seen;  /* by the ledger */
	bool first; /* all barriers wait for it */
	bool owed[BARRIERS];
};

enum kind { SAW, MOVED, SETTLED, FLUSH, MARKER };

struct message {
	enum kind kind;
	unsigned a, b;
	uint64_t done_ns;
};

struct world {
	char file[96];
	struct ledger *ledger;
	uint64_t now;
	struct model changes[CHANGES];
	unsigned count;
	bool fixed[BARRIERS];
	unsigned barriers;
	struct message told[MESSAGES]; /* since the last commit */
	unsigned told_count;
};

static unsigned pick(unsigned n)
{
	return (unsigned)random() % n;
}

static struct ident id(unsigned number)
{
	return (struct ident){5 + number % 3, number + 1};
}

static struct ident flush_id(unsigned number)
{
	return (struct ident){99, number + 1};
}

/* --- telling ------------------------------------------------------------------------------ */

static int apply_saw(struct world *w, unsigned c)
{
	const struct model *m = &w->changes[c];
	struct change change = {.id = id(c),
		.cause = m->cause < 0 ? IDENT_NONE : id((unsigned)m->cause),
		.path = SPAN("/a"),
		.time_ns = w->now};
	return ledger_saw(w->ledger, &change, NULL);
}

static int apply(struct world *w, const struct message *m)
{
	struct receipt receipt = {.id = id(m->a),
		.path = SPAN("/a"),
		.done_ns = m->done_ns,
		.status = m->b ? RECEIPT_RETRY : RECEIPT_DONE};
	struct note note = {.flush = flush_id(m->a), .host = SPAN("h"), .reply = SPAN("q")};
	switch (m->kind) {
	case SAW:
		return apply_saw(w, m->a);
	case MOVED:
		return ledger_moved(w->ledger, id(m->a), id(m->b), NULL);
	case SETTLED:
		return ledger_settled(w->ledger, &receipt, SPAN_NONE, NULL);
	case FLUSH:
		return ledger_barrier_begin(w->ledger, &note, NULL);
	case MARKER:
		return ledger_barrier_answered(w->ledger, &note, NULL);
	}
	return -1;
}

static void tell(struct world *w, struct message m)
{
	for (unsigned n = pick(6) ? 1 : 2; n > 0; n--) {
		assert_true(w->told_count < MESSAGES);
		assert_int_equal(apply(w, &m), 0);
		w->told[w->told_count++] = m;
	}
}

static unsigned heir(const struct world *w, unsigned c)
{
	while (w->changes[c].into >= 0) {
		c = (unsigned)w->changes[c].into;
	}
	return c;
}

static void see(struct world *w, unsigned c)
{
	if (!w->changes[c].seen) {
		int cause = w->changes[c].cause;
		w->changes[c].seen = true;
		if (cause >= 0 && w->changes[cause].state != CLOSED &&
			(!w->changes[cause].seen || w->changes[cause].first)) {
			w->changes[heir(w, c)].first = true;
		}
		tell(w, (struct message){.kind = SAW, .a = c});
	}
}

static void commit(struct world *w)
{
	struct ledger_summary sum;
	assert_int_equal(ledger_commit(w->ledger, NULL), 0);
	assert_int_equal(ledger_summary(w->ledger, &sum, NULL), 0);
	assert_true(ledger_balances(&sum));
	assert_int_equal(ledger_begin(w->ledger, w->now, NULL), 0);
	w->told_count = 0;
}

/* Killed: what was not committed is delivered again.  Or only a commit that failed. */
static void kill_tally(struct world *w)
{
	if (pick(2)) {
		ledger_close(w->ledger);
		assert_int_equal(ledger_open(w->file, true, &w->ledger, NULL), 0);
	} else {
		ledger_rollback(w->ledger);
	}
	assert_int_equal(ledger_begin(w->ledger, w->now, NULL), 0);
	for (unsigned i = 0; i < w->told_count; i++) {
		assert_int_equal(apply(w, &w->told[i]), 0);
	}
}

/* --- what happens ------------------------------------------------------------------------- */

static void post(struct world *w, int cause)
{
	if (w->count == CHANGES) {
		return;
	}
	unsigned c = w->count++;
	w->changes[c] = (struct model){.state = WAITING, .cause = cause, .into = -1};
	for (unsigned b = 0; cause >= 0 && b < w->barriers; b++) {
		w->changes[c].owed[b] = w->changes[cause].owed[b];
	}
	if (pick(4)) {
		see(w, c);
	}
}

static int any(const struct world *w, enum state state)
{
	for (unsigned i = 0; i < 20 && w->count > 0; i++) {
		unsigned c = w->count > 30 && pick(2) ? w->count - 1 - pick(30) : pick(w->count);
		if (w->changes[c].state == state) {
			return (int)c;
		}
	}
	return -1;
}

static void merge(struct world *w)
{
	int a = any(w, WAITING), b = any(w, WAITING);
	if (a < 0 || b < 0 || a == b) {
		return;
	}
	for (unsigned i = 0; i < BARRIERS; i++) {
		w->changes[b].owed[i] = w->changes[b].owed[i] || w->changes[a].owed[i];
	}
	w->changes[b].first = w->changes[b].first || w->changes[a].first;
	w->changes[a].state = CLOSED;
	w->changes[a].into = b;
	tell(w, (struct message){.kind = MOVED, .a = (unsigned)a, .b = (unsigned)b});
}

static void settle(struct world *w)
{
	int c = any(w, ORDERED);
	bool retry = !pick(4);
	if (c < 0) {
		return;
	}
	if (retry) {
		post(w, c);
	}
	for (unsigned i = 0; i < w->count; i++) {
		if (w->changes[i].cause == c) {
			see(w, i);
		}
	}
	w->changes[c].state = CLOSED;
	tell(w, (struct message){
			.kind = SETTLED, .a = (unsigned)c, .b = retry, .done_ns = ++w->now});
}

static void begin_barrier(struct world *w)
{
	if (w->barriers < BARRIERS) {
		tell(w, (struct message){.kind = FLUSH, .a = w->barriers++});
	}
}

/* The poster publishes what it has, and then its marker. */
static void fix_barrier(struct world *w)
{
	unsigned b = w->barriers ? pick(w->barriers) : 0;
	if (w->barriers == 0 || w->fixed[b]) {
		return;
	}
	for (unsigned c = 0; c < w->count; c++) {
		if (w->changes[c].cause < 0) {
			see(w, c);
		}
	}
	for (unsigned c = 0; c < w->count; c++) {
		w->changes[c].owed[b] = w->changes[c].state != CLOSED;
	}
	w->fixed[b] = true;
	tell(w, (struct message){.kind = MARKER, .a = b});
}

static void check(struct world *w)
{
	for (unsigned b = 0; b < w->barriers; b++) {
		struct note note;
		bool owed = !w->fixed[b];
		for (unsigned c = 0; c < w->count; c++) {
			owed = owed || (w->changes[c].state != CLOSED &&
					       (w->changes[c].owed[b] || w->changes[c].first));
		}
		assert_int_equal(
			ledger_barrier_state(w->ledger, flush_id(b), w->now, &note, NULL), 0);
		assert_int_equal(note.reached, !owed);
		note_finish(&note);
	}
}

static void step(struct world *w)
{
	int c;
	switch (pick(12)) {
	case 0:
	case 1:
		post(w, -1);
		break;
	case 2:
		if ((c = any(w, ORDERED)) >= 0) {
			post(w, c);
		}
		break;
	case 3:
	case 4:
		merge(w);
		break;
	case 5:
	case 6:
		if ((c = any(w, WAITING)) >= 0) {
			w->changes[c].state = ORDERED;
		}
		break;
	case 7:
	case 8:
		settle(w);
		break;
	case 9:
		if (w->count) {
			see(w, pick(w->count));
		}
		break;
	case 10:
		pick(3) ? fix_barrier(w) : begin_barrier(w);
		break;
	default:
		pick(3) ? commit(w) : kill_tally(w);
	}
}

static void run(unsigned seed)
{
	static struct world world;
	struct world *w = &world;
	struct note beat = {.kind = NOTE_BEAT, .stage = SPAN("poster"), .host = SPAN("h")};
	char directory[] = "/tmp/test-ledger-XXXXXX", command[64];
	memset(w, 0, sizeof(*w));
	srandom(seed);
	assert_non_null(mkdtemp(directory));
	snprintf(w->file, sizeof(w->file), "%s/l", directory);
	w->now = clock_wall();
	assert_int_equal(ledger_open(w->file, true, &w->ledger, NULL), 0);
	assert_int_equal(ledger_begin(w->ledger, w->now, NULL), 0);
	assert_int_equal(ledger_beat(w->ledger, &beat, NULL), 0);
	commit(w);
	for (unsigned i = 0; i < 1200; i++) {
		step(w);
		check(w);
	}
	ledger_close(w->ledger);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	assert_int_equal(system(command), 0);
}

static void barriers_are_exact(void **state)
{
	const char *seed = getenv("SEED");
	(void)state;
	if (seed) {
		run((unsigned)atoi(seed));
		return;
	}
	for (unsigned i = 1; i <= 12; i++) {
		print_message("# seed %u\n", i);
		run(i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(barriers_are_exact)};
	return cmocka_run_group_tests_name("ledger-random", tests, NULL, NULL);
}
