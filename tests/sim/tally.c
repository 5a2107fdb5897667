/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real ledger, in memory, fed as tally/main.c does it: in the order in which messages came into
 * its queue, in batches, some of which come again because the tally died before it could
 * acknowledge them.
 *
 * A flush: the writers hold still, and when the barrier is said to be reached, T has to be S.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/buf.h"
#include "flow/ledger.h"
#include "flow/message.h"
#include "flow/topology.h"
#include "sim.h"

#define BATCH_NS (100 * CLOCK_MS)
#define LOOK_NS  (200 * CLOCK_MS)
#define QUIET_NS (60 * CLOCK_S)
#define AGAIN_NS (5 * CLOCK_S)

struct heard {
	struct heard *next;
	struct buf body;
};

static struct ledger *ledger;
static struct heard *first, **end = &first;
static struct broker *asker;
static bool due;
static uint64_t heard_ns;
static struct ident flush; /* that is under way; none: .number 0 */
static uint64_t told_ns;   /* when it was told last */
static uint64_t flushes;

/* ---- what comes in ------------------------------------------------------------------------- */

static void trace_pair(const struct note *note, size_t i)
{
	char id[IDENT_TEXT], into[IDENT_TEXT];
	trace("tally: %s %s into %s", note->kind == NOTE_SHARED ? "shared" : "merged",
		ident_text(note->merged[2 * i], id), ident_text(note->merged[2 * i + 1], into));
}

static int write_note(const struct note *note)
{
	for (size_t i = 0; i < note->merged_count; i++) {
		trace_pair(note, i);
	}
	return ledger_note(ledger, note, NULL);
}

static int write_body(struct span body)
{
	enum message_kind kind;
	struct change *change;
	struct receipt receipt;
	struct note note;
	int r = message_kind(body, &kind, NULL);
	must(r == 0);
	switch (kind) {
	case MESSAGE_CHANGE:
		must(message_decode_change(body, &change, NULL) == 0);
		r = ledger_saw(ledger, change, NULL);
		change_destroy(change);
		break;
	case MESSAGE_RECEIPT:
		must(message_decode_receipt(body, &receipt, NULL) == 0);
		r = ledger_settled(ledger, &receipt, SPAN("/tree"), NULL);
		receipt_finish(&receipt);
		break;
	case MESSAGE_NOTE:
		must(message_decode_note(body, &note, NULL) == 0);
		r = write_note(&note);
		note_finish(&note);
		break;
	}
	return r;
}

static void on_batch(void *arg)
{
	due = false;
	must(ledger_begin(ledger, clock_wall(), NULL) == 0);
	for (struct heard *it = first; it; it = it->next) {
		must(write_body(buf_span(&it->body)) == 0);
	}
	must(ledger_commit(ledger, NULL) == 0);
	if (sim.options.faults && once_in(20)) { /* dies before it acknowledges */
		due = true;
		sim_after(CLOCK_S, on_batch, NULL);
		return;
	}
	while (first) {
		struct heard *it = first;
		first = it->next;
		buf_finish(&it->body);
		free(it);
	}
	end = &first;
}

void tally_hear(struct span body)
{
	struct heard *it = calloc(1, sizeof(*it));
	must(it);
	buf_add(&it->body, body);
	must(!it->body.failed);
	heard_ns = clock_now();
	*end = it;
	end = &it->next;
	if (!due) {
		due = true;
		sim_after(BATCH_NS, on_batch, NULL);
	}
}

bool tally_idle(void)
{
	return !first && !due && !flush.number;
}

static int show_open(void *arg, struct ident id, struct span path, uint64_t time_ns)
{
	char text[IDENT_TEXT];
	printf("open: %s %.*s\n", ident_text(id, text), SPAN_ARG(path));
	return 0;
}

unsigned tally_check(void)
{
	struct ledger_summary sum;
	must(ledger_summary(ledger, &sum, NULL) == 0);
	if (sum.open || !ledger_balances(&sum)) {
		printf("differs: the ledger has %llu open of %llu changes, %llu merged\n",
			(unsigned long long)sum.open, (unsigned long long)sum.changes,
			(unsigned long long)sum.merged);
		(void)ledger_each_open(ledger, 20, show_open, NULL, NULL);
		return 1;
	}
	return 0;
}

/* ---- flushes ------------------------------------------------------------------------------- */

static const struct note beat = {.kind = NOTE_BEAT,
	.stage = {"poster", 6},
	.host = {"elsewhere", 9},
	.pid = 1,
	.id = {1, 1}};

static void on_flush_due(void *arg);

/* As tally/main.c does when nothing moves any more. */
static int remind(void *arg, struct ident id, struct span path, uint64_t time_ns)
{
	struct change *change = change_create();
	must(change && change_set(&change->path, path) == 0);
	change->id = id;
	change->op = CHANGE_LOOK;
	change->facts = CHANGE_DEEP | CHANGE_DELETE | CHANGE_SOON;
	change->time_ns = time_ns;
	must(topology_publish_change(&sim.config, asker, change, NULL, NULL) == 0);
	change_destroy(change);
	return 0;
}

static void remind_if_quiet(void)
{
	if (!due && clock_now() > heard_ns + QUIET_NS) {
		must(ledger_each_open(ledger, 100, remind, NULL, NULL) == 0);
		heard_ns = clock_now();
	}
}

static void tell(const struct note *note)
{
	must(topology_publish_note(&sim.config, asker, note, NULL, NULL) == 0);
}

static void tell_flush(void)
{
	struct note note = {.kind = NOTE_FLUSH,
		.host = SPAN("elsewhere"),
		.reply = SPAN("asker"),
		.flush = flush};
	told_ns = clock_now();
	tell(&note);
	poster_flush(flush);
}

static void on_look(void *arg)
{
	struct note note;
	bool begun = ledger_barrier_state(ledger, flush, clock_wall(), &note, NULL) == 0;
	bool reached = begun && note.reached;
	if (begun) {
		note_finish(&note);
	}
	if (!reached) {
		if (clock_now() >= told_ns + AGAIN_NS) {
			tell_flush(); /* a poster may have died before its answer was out */
		}
		remind_if_quiet();
		sim_after(LOOK_NS, on_look, NULL);
		return;
	}
	trace("the flush is over");
	unsigned count = sim_compare(sim.options.faults);
	if (count) {
		printf("flush %llu was early: %u differences\n", (unsigned long long)flush.number,
			count);
	}
	sim.early += count;
	must(ledger_begin(ledger, clock_wall(), NULL) == 0);
	must(ledger_barrier_end(ledger, flush, NULL) == 0);
	must(ledger_commit(ledger, NULL) == 0);
	flush.number = 0;
	sim.held_still = false;
	sim_after(dice(20 * CLOCK_S), on_flush_due, NULL);
}

/* Everything that was done by now has been noted. */
static void on_still(void *arg)
{
	trace("a flush");
	flush = (struct ident){99, ++flushes};
	tell_flush();
	sim_after(LOOK_NS, on_look, NULL);
}

static void on_flush_due(void *arg)
{
	if (sim.writing) {
		tell(&beat);
		sim.held_still = true;
		sim_after(CLOCK_S, on_still, NULL);
	}
}

void tally_start(void)
{
	must(ledger_open(":memory:", true, &ledger, NULL) == 0);
	asker = client_create();
	must(ledger_begin(ledger, clock_wall(), NULL) == 0);
	must(ledger_beat(ledger, &beat, NULL) == 0);
	must(ledger_commit(ledger, NULL) == 0);
	sim_after(dice(20 * CLOCK_S), on_flush_due, NULL);
}
