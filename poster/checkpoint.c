/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Losses, in the order that makes none of them silent:
 *
 *   1. the journal says since when it dropped, or its count of torn records has grown, or it is
 *      not the one that the state file tells of
 *   2. rescan = true goes into the state file
 *   3. the journal forgets; a drop from now on is a new loss
 *   4. the rescan is published, once the ring has room again
 *   5. confirmed: rescan = false goes into the state file with the next checkpoint
 *
 * Killed between any two steps, the next poster begins at the step before.
 */
#include "poster/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "poster/unseen.h"

#define CHECKPOINT_NS (1 * CLOCK_S)
#define RESCAN_NS     (60 * CLOCK_S)
#define SPARE_NS      (10 * CLOCK_S) /* a writer may be held up before it records */

/*
 * The ring that the file tells of is gone, with the node's memory most often, and what it held and
 * was still to hold is not known.  (One that was renewed says itself since when it lacks records.)
 */
static void miss_ring(struct checkpoint *c, const struct journal_facts *facts)
{
	if (c->saved.generation == facts->generation || facts->dropped_since_ns) {
		return;
	}
	log_warning("another journal is here than before: all trees are looked at again");
	if (!c->rescan || c->since_ns > c->saved.saved_ns) {
		c->since_ns = c->saved.saved_ns - SPARE_NS;
	}
	c->rescan = true;
}

static int load(struct checkpoint *c, struct why *why)
{
	struct journal_facts facts;
	int r = state_load(c->file, &c->saved, why);
	journal_facts(c->journal, &facts);
	c->torn = facts.torn;
	if (r == -ENOENT) {
		return 0;
	}
	c->exists = true;
	if (r == 0) {
		c->rescan = c->saved.rescan;
		c->since_ns = c->saved.since_ns;
		c->clean_ns = c->saved.saved_ns;
		c->torn = c->saved.generation == facts.generation ? c->saved.torn : 0;
		miss_ring(c, &facts);
		r = intents_load(c->intents, buf_span(&c->saved.intents), why);
	}
	if (r == -EBADMSG) {
		log_error("%s; what was open is not known, so all is looked at again", why->text);
		c->rescan = true;
		r = 0;
	}
	return r;
}

int checkpoint_open(struct checkpoint *c, struct journal *journal, struct intents *intents,
	const char *file, struct why *why)
{
	*c = (struct checkpoint){.journal = journal, .intents = intents, .file = strdup(file)};
	return c->file ? load(c, why) : -ENOMEM;
}

void checkpoint_close(struct checkpoint *c)
{
	state_finish(&c->saved);
	buf_finish(&c->intents_then);
	buf_finish(&c->links_then);
	free(c->file);
	c->file = NULL;
}

/* ---- the state file ---------------------------------------------------------------------- */

/* Writes what is given, unless the file says all of it already. */
static int save(struct checkpoint *c, struct span intents, struct span links, struct why *why)
{
	struct journal_facts facts;
	journal_facts(c->journal, &facts);
	bool rescan = c->rescan || c->ordered;
	if (c->exists && c->saved.generation == facts.generation && c->saved.rescan == rescan &&
		(!rescan || c->saved.since_ns == c->since_ns) && c->saved.torn == c->torn &&
		span_equal(buf_span(&c->saved.intents), intents) &&
		span_equal(buf_span(&c->saved.links), links)) {
		return 0;
	}
	struct state state = {.generation = facts.generation,
		.torn = c->torn,
		.rescan = rescan,
		.since_ns = rescan ? c->since_ns : 0};
	buf_add(&state.intents, intents);
	buf_add(&state.links, links);
	bool failed = state.intents.failed || state.links.failed;
	int r = failed ? -ENOMEM : state_save(c->file, &state, why);
	if (r < 0) {
		state_finish(&state);
		return r;
	}
	state_finish(&c->saved);
	c->saved = state;
	c->exists = true;
	return 0;
}

/* ---- the checkpoint ---------------------------------------------------------------------- */

static void begin(struct checkpoint *c, uint64_t now_ns)
{
	c->open = true;
	c->settled = false;
	c->position = journal_cursor(c->journal);
	c->missing = translate_missing(c->translate);
	c->next_ns = now_ns + CHECKPOINT_NS;
	outbox_seal(c->outbox);
	counts_at(c->counts, c->position, outbox_counts(c->outbox).repeats, c->kept);
	buf_clear(&c->intents_then);
	intents_save(c->intents, &c->intents_then);
	unseen_save(c->unseen, &c->intents_then);
	buf_clear(&c->links_then);
	translate_save_links(c->translate, &c->links_then);
}

/* What is settled may just have been published, so the mark is taken after that. */
static bool is_confirmed(struct checkpoint *c)
{
	if (!c->settled) {
		c->settled = translate_missing_settled(c->translate) >= c->missing;
		c->mark = outbox_mark(c->outbox);
	}
	return c->settled && outbox_done(c->outbox, c->mark);
}

static int end(struct checkpoint *c, struct why *why)
{
	if (c->intents_then.failed || c->links_then.failed) {
		c->open = false;
		return -ENOMEM;
	}
	int r = save(c, buf_span(&c->intents_then), buf_span(&c->links_then), why);
	if (r == 0) {
		journal_keep(c->journal, c->position, c->kept);
		journal_release(c->journal, c->position);
	}
	c->open = r < 0; /* the file is tried again */
	return r;
}

int checkpoint_step(struct checkpoint *c, bool urgent, uint64_t now_ns, struct why *why)
{
	if (c->ordered && outbox_done(c->outbox, c->rescan_mark)) {
		c->ordered = false;
		log_info("the rescan is ordered");
	}
	if (!c->open && (urgent || now_ns >= c->next_ns)) {
		begin(c, now_ns);
	}
	return c->open && is_confirmed(c) ? end(c, why) : 0;
}

bool checkpoint_is_complete(const struct checkpoint *c)
{
	struct journal_facts facts;
	journal_facts(c->journal, &facts);
	return !c->open && facts.released == journal_cursor(c->journal) && !c->ordered;
}

void checkpoint_renewed(struct checkpoint *c)
{
	c->open = false;
	c->torn = 0;
}

/* ---- losses ------------------------------------------------------------------------------ */

static bool is_crowded(const struct journal_facts *facts)
{
	return facts->head - facts->released > facts->size_bytes / 2;
}

/* When what is lost was recorded first, in whole seconds. */
static uint64_t lost_since(const struct checkpoint *c, const struct journal_facts *facts)
{
	uint64_t since = facts->dropped_since_ns;
	if ((facts->torn != c->torn || !since) && c->clean_ns && (!since || c->clean_ns < since)) {
		since = c->clean_ns;
	}
	if ((c->rescan || c->ordered) && c->since_ns < since) {
		return c->since_ns;
	}
	return since > SPARE_NS ? (since - SPARE_NS) / CLOCK_S * CLOCK_S : 0;
}

/* Takes a new loss into the debt; the file knows before the journal forgets. */
static void take_losses(struct checkpoint *c, const struct journal_facts *facts)
{
	uint64_t unnamed = translate_counts(c->translate)->unnamed;
	if (!facts->dropped_since_ns && facts->torn == c->torn && unnamed == c->unnamed) {
		c->clean_ns = c->read_ns ? c->read_ns : c->clean_ns;
		return;
	}
	c->since_ns = lost_since(c, facts);
	log_warning("records were lost, all trees are looked at again dropped=%llu torn=%llu "
		    "unnamed=%llu",
		(unsigned long long)facts->dropped, (unsigned long long)facts->torn,
		(unsigned long long)unnamed);
	c->rescan = true;
	c->torn = facts->torn;
	c->unnamed = unnamed;
	int r = save(c, buf_span(&c->saved.intents), buf_span(&c->saved.links), NULL);
	if (r == 0 && facts->dropped_since_ns) {
		journal_acknowledge_drops(c->journal);
	}
}

int checkpoint_check_losses(struct checkpoint *c, bool urgent, uint64_t now_ns)
{
	struct journal_facts facts;
	journal_facts(c->journal, &facts);
	take_losses(c, &facts);
	bool soon = c->rescan_ns && now_ns < c->rescan_ns + RESCAN_NS;
	if (!c->rescan || is_crowded(&facts) || (soon && !urgent)) {
		return 0;
	}
	int r = c->before_rescan(c->arg);
	r = r < 0 ? r : translate_rescan(c->translate, clock_wall(), c->since_ns);
	if (r == 0) {
		c->rescan = false;
		c->ordered = true;
		c->rescan_mark = outbox_mark(c->outbox);
		c->rescan_ns = now_ns;
	}
	return r;
}

bool checkpoint_owes(const struct checkpoint *c)
{
	struct journal_facts facts;
	journal_facts(c->journal, &facts);
	return c->rescan || c->ordered || facts.dropped_since_ns || facts.torn != c->torn ||
	       translate_counts(c->translate)->unnamed != c->unnamed;
}
