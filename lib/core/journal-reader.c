/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader's half: next, release, facts.
 *
 * What is in the ring was written by strangers' processes, which can be killed or can scribble, so
 * nothing read from it is trusted: words must fit the lap and the head, lengths the record, and
 * the sum the bytes.  A record whose structure is good and whose sum is not is lost alone and
 * counted as a drop; a structure that is not ends reading with -EBADMSG.
 *
 * A claimed record is torn only when its owner is dead.  A living owner is waited for: to free what
 * it may still write would damage what comes after.  Pids are used again, so an owner that began
 * after the claim counts as dead too.  But a process can live on and never complete its record: a
 * signal handler jumped out of the append, or another thread called exec.  After a minute, where it
 * is not stopped, the ring is given up as if it were damaged, and whoever still writes into it
 * harms nobody.
 */
#include "core/journal-private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/pid.h"

#define PATIENCE_NS (60 * CLOCK_S)
#define POSITION_F  "position %" PRIu64
#define SLACK_NS    (2 * CLOCK_S) /* of start times by the wall clock */

/* ---- who lives --------------------------------------------------------------------------- */

/* A time at which the claim at position had already been made, or 0. */
static uint64_t claimed_before_ns(const struct journal *journal, uint64_t position, uint64_t units)
{
	struct journal_ring *ring = journal->ring;
	uint64_t next = position + units * RING_UNIT;
	const struct ring_record *it =
		(const struct ring_record *)ring_at(ring, journal->size_bytes, next);
	uint64_t word = LOAD(it->word);
	bool committed = next < LOAD(ring->head) &&
			 word_lap(word) == ring_lap(journal->size_bytes, next) &&
			 word_state(word) == RING_COMMITTED;
	return committed ? it->time_ns : 0;
}

static bool owner_is_dead(struct journal *journal, uint64_t position, uint64_t word)
{
	uint32_t pid = word_pid(word);
	uint64_t started = pid_started_ticks(pid);
	if (pid_is_gone(pid)) {
		return true;
	}
	if (journal->stuck.position != position || journal->stuck.pid != pid ||
		journal->stuck.started == 0) {
		journal->stuck.position = position;
		journal->stuck.pid = pid;
		journal->stuck.started = started;
		journal->stuck.since_ns = clock_now();
	}
	uint64_t before_ns = claimed_before_ns(journal, position, word_units(word));
	return (started != 0 && journal->stuck.started != started) ||
	       (before_ns != 0 && pid_started_ns(pid) > before_ns + SLACK_NS);
}

/* The owner of the claim that reading waits for lives, and will not complete it. */
static bool is_given_up(struct journal *journal)
{
	uint64_t now_ns = clock_now();
	if (now_ns < journal->stuck.since_ns + PATIENCE_NS) {
		return false;
	}
	if (pid_is_stopped(journal->stuck.pid)) {
		journal->stuck.since_ns = now_ns;
		return false;
	}
	return !journal->peeking;
}

/* ---- decoding ---------------------------------------------------------------------------- */

static bool take(struct span *rest, size_t len, struct span *ret)
{
	if (len > rest->len) {
		return false;
	}
	*ret = span_of(rest->data, len);
	*rest = span_skip(*rest, len);
	return true;
}

static bool sum_fits(const struct ring_record *it, uint64_t strings, uint64_t bytes)
{
	uint64_t end = (RING_RECORD_BYTES + strings + 7) & ~UINT64_C(7);
	uint32_t kind = it->kind | (uint32_t)it->flags << 16;
	return end <= bytes &&
	       (ring_sum((const char *)it + RING_SUMMED, end - RING_SUMMED) ^ kind) == it->sum;
}

/* Reads a committed record of `bytes` bytes.  False where it is not what its writer wrote. */
static bool decode(const struct ring_record *it, uint64_t bytes, struct record *ret)
{
	struct ring_record fixed;
	if (bytes < RING_RECORD_BYTES) {
		return false;
	}
	memcpy(&fixed, it, sizeof(fixed));
	struct span rest = {(const char *)it + RING_RECORD_BYTES, bytes - RING_RECORD_BYTES};
	*ret = (struct record){.kind = (enum record_kind)fixed.kind,
		.flags = fixed.flags,
		.time_ns = fixed.time_ns,
		.pid = fixed.pid,
		.writer = fixed.writer,
		.fd = fixed.fd,
		.dev = fixed.dev,
		.ino = fixed.ino,
		.size_bytes = fixed.size_bytes,
		.mtime_ns = fixed.mtime_ns,
		.mode = fixed.mode,
		.nlink = fixed.nlink};
	return fixed.kind > RECORD_NONE && fixed.kind < RECORD_KIND_COUNT &&
	       take(&rest, fixed.program_len, &ret->program) &&
	       take(&rest, fixed.job_len, &ret->job) && take(&rest, fixed.dir_len, &ret->dir) &&
	       take(&rest, fixed.path_len, &ret->path) && take(&rest, fixed.dir2_len, &ret->dir2) &&
	       take(&rest, fixed.path2_len, &ret->path2) &&
	       sum_fits(it, (uint64_t)(rest.data - (const char *)it) - RING_RECORD_BYTES, bytes);
}

/* ---- the dead's drafts ------------------------------------------------------------------- */

/* Its pid may be another's by now; one that is armed says since when its owner has lived. */
static bool is_of_another(const struct journal_draft *draft, uint64_t owner)
{
	return (owner & 3) == DRAFT_ARMED &&
	       pid_started_ns((uint32_t)(owner >> 2)) > draft->time_ns + SLACK_NS;
}

/* Where the clock was set, who seemed to be another one may die with it after all. */
static bool was_handed(const struct handed *handed, const struct journal_draft *draft, bool dead)
{
	return handed->after && handed->time_ns == draft->time_ns && (handed->dead || !dead);
}

/*
 * Whether its owner has died with it, or seems to have, and it was not handed out for that;
 * *ret_dead: died, so that nobody else changes it any more.  The owner may have let go of it before
 * it died, and another may have taken it since; so it is asked for again.
 */
static bool is_left(
	struct journal_draft *draft, uint64_t owner, const struct handed *handed, bool *ret_dead)
{
	if (owner == DRAFT_FREE || was_handed(handed, draft, true)) {
		return false;
	}
	*ret_dead = pid_is_gone((uint32_t)(owner >> 2));
	return (*ret_dead || is_of_another(draft, owner)) && LOAD(draft->owner) == owner &&
	       !was_handed(handed, draft, *ret_dead);
}

/* Hands out a draft that a dead process left armed, once. */
static bool next_left_draft(struct journal *journal, struct record *ret)
{
	for (uint64_t i = 0; i < journal->drafts && !journal->peeking; i++) {
		struct journal_draft *draft = ring_draft(journal->ring, i);
		uint64_t owner = LOAD(draft->owner);
		bool dead = false;
		if (!is_left(draft, owner, &journal->handed[i], &dead)) {
			continue;
		}
		*ret = (struct record){.pid = (uint32_t)(owner >> 2), .fd = -1};
		if ((owner & 3) != DRAFT_ARMED || journal_draft_read(draft, ret) < 0 ||
			ret->kind == RECORD_NONE || ret->kind >= RECORD_KIND_COUNT) {
			if (dead) {
				STORE(draft->owner, DRAFT_FREE);
			}
			continue;
		}
		journal->handed[i] = (struct handed){journal->cursor + 1, draft->time_ns, dead};
		ret->position = ret->end = journal->cursor;
		return true;
	}
	return false;
}

/*
 * Only those that were handed out before something that lies before position: a release at the
 * very position may not know of them yet.  What may have a living owner is the owner's to free.
 */
static void free_handed_drafts(struct journal *journal, uint64_t position)
{
	for (uint64_t i = 0; i < journal->drafts; i++) {
		struct handed *handed = &journal->handed[i];
		if (handed->after && handed->dead && handed->after <= position) {
			handed->after = 0;
			STORE(ring_draft(journal->ring, i)->owner, DRAFT_FREE);
		}
	}
}

/* ---- reading ----------------------------------------------------------------------------- */

static void help_head(struct journal *journal, uint64_t position, uint64_t next)
{
	if (!journal->peeking) {
		atomic_swap(&journal->ring->head, &position, next);
	}
}

/*
 * What lies at the cursor.  Returns 0 with its state (COMMITTED, or CLAIMED: torn) and end,
 * JOURNAL_EMPTY, or -EBADMSG.
 */
static int look(
	struct journal *journal, enum ring_state *ret_state, uint64_t *ret_end, struct why *why)
{
	struct journal_ring *ring = journal->ring;
	uint64_t at = journal->cursor, head = LOAD(ring->head);
	uint64_t word = LOAD(*(uint64_t *)ring_at(ring, journal->size_bytes, at));
	uint64_t units = word_units(word), end = at + units * RING_UNIT;
	if (at - LOAD(ring->tail) == journal->size_bytes) {
		return JOURNAL_EMPTY; /* full to the last unit: here lies what was not released */
	}
	if (word_lap(word) != ring_lap(journal->size_bytes, at)) {
		return why_error(why, -EBADMSG, "journal damaged at " POSITION_F ": lap", at);
	}
	if (word_state(word) == RING_FREE) {
		return head <= at
			       ? JOURNAL_EMPTY
			       : why_error(why, -EBADMSG,
					 "journal damaged at " POSITION_F ": free below the head",
					 at);
	}
	if (word_state(word) > RING_COMMITTED || units == 0 || units > RING_UNITS_MAX ||
		end - LOAD(ring->tail) > journal->size_bytes || (head > at && head < end)) {
		return why_error(why, -EBADMSG, "journal damaged at " POSITION_F ": length", at);
	}
	if (word_state(word) == RING_CLAIMED) {
		if (!owner_is_dead(journal, at, word)) {
			return is_given_up(journal)
				       ? why_error(why, -EBADMSG,
						 "journal damaged at " POSITION_F
						 ": process %" PRIu32
						 " lives and does not complete its record",
						 at, word_pid(word))
				       : JOURNAL_EMPTY;
		}
		word = LOAD(*(uint64_t *)ring_at(
			ring, journal->size_bytes, at)); /* it may have committed before it died */
	}
	help_head(journal, at, end);
	*ret_state = word_state(word);
	*ret_end = end;
	return 0;
}

/* Peeking: the reader may free the record meanwhile, so what is handed out is a copy. */
static const struct ring_record *record_at(struct journal *journal, uint64_t bytes)
{
	const char *at = ring_at(journal->ring, journal->size_bytes, journal->cursor);
	if (!journal->peeking) {
		return (const struct ring_record *)at;
	}
	if (!journal->copy) {
		journal->copy = malloc(RING_SLACK);
	}
	if (journal->copy) {
		memcpy(journal->copy, at, bytes);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	}
	return (const struct ring_record *)journal->copy;
}

/* Peeking: goes on where the reader stands when it has passed us.  Returns whether it had. */
static bool overtaken(struct journal *journal)
{
	uint64_t released = LOAD(journal->ring->releasing);
	if (!journal->peeking || released <= journal->cursor) {
		return false;
	}
	journal->cursor = released;
	return true;
}

static void count_damaged(struct journal *journal)
{
	if (!journal->peeking) {
		ADD(journal->ring->dropped, 1);
		uint64_t none = 0, since_ns = journal->last_time_ns ? journal->last_time_ns : 1;
		atomic_swap(&journal->ring->dropped_since_ns, &none, since_ns);
	}
}

/* One step over the record at the cursor: 1 when it was handed out. */
static int step(struct journal *journal, enum ring_state state, uint64_t end, struct record *ret)
{
	uint64_t at = journal->cursor, bytes = end - at;
	bool good = false;
	if (state == RING_COMMITTED) {
		const struct ring_record *it = record_at(journal, bytes);
		if (!it) {
			return -ENOMEM;
		}
		good = decode(it, bytes, ret);
		if (overtaken(journal)) {
			return 0;
		}
		if (!good) {
			count_damaged(journal);
		}
	} else if (!journal->peeking) {
		ADD(journal->ring->torn, 1);
	}
	journal->cursor = end;
	ret->position = at;
	ret->end = end;
	return good;
}

/* Damaged, or lost: then all is zero. */
static bool has_changed(const struct journal *journal)
{
	const struct journal_ring *ring = journal->ring;
	return LOAD(ring->size_bytes) != journal->size_bytes || ring->drafts != journal->drafts;
}

int journal_next(struct journal *journal, struct record *ret, struct why *why)
{
	for (;;) {
		enum ring_state state = RING_FREE;
		uint64_t end = 0;
		if (has_changed(journal)) {
			return why_error(why, -EBADMSG, "journal damaged: its header has changed");
		}
		overtaken(journal);
		int r = look(journal, &state, &end, why);
		if (r == JOURNAL_EMPTY && has_changed(journal)) {
			continue; /* just now */
		}
		if (r != 0 && overtaken(journal)) {
			continue;
		}
		if (r == JOURNAL_EMPTY && next_left_draft(journal, ret)) {
			return 0;
		}
		if (r != 0) {
			return r;
		}
		r = step(journal, state, end, ret);
		if (r != 0) {
			journal->last_time_ns = r > 0 ? ret->time_ns : journal->last_time_ns;
			return r > 0 ? 0 : r;
		}
	}
}

void journal_release(struct journal *journal, uint64_t position)
{
	struct journal_ring *ring = journal->ring;
	uint64_t tail = LOAD(ring->tail);
	if (position > journal->cursor) {
		position = journal->cursor;
	}
	free_handed_drafts(journal, position);
	if (position <= tail || has_changed(journal)) {
		return;
	}
	STORE(ring->releasing, position);
	for (uint64_t at = tail; at < position; at += RING_UNIT) {
		uint64_t lap = ring_lap(journal->size_bytes, at) + 1;
		uint64_t word = ring_word(lap & 0x3fffffff, 0, 0, RING_FREE);
		STORE(*(uint64_t *)ring_at(ring, journal->size_bytes, at), word);
	}
	STORE(ring->tail, position);
}

/* The older of the two is written, and counts from the last store on. */
void journal_keep(struct journal *journal, uint64_t position, const uint64_t values[JOURNAL_KEPT])
{
	uint64_t other = !(LOAD(journal->ring->kept_newest) & 1);
	struct ring_kept *kept = &journal->ring->kept[other];
	STORE(kept->position, UINT64_MAX);
	for (unsigned i = 0; i < JOURNAL_KEPT; i++) {
		STORE(kept->values[i], values[i]);
	}
	STORE(kept->position, position);
	STORE(journal->ring->kept_newest, other);
}

void journal_kept(const struct journal *journal, uint64_t ret_values[JOURNAL_KEPT])
{
	const struct journal_ring *ring = journal->ring;
	uint64_t tail = LOAD(ring->tail), newest = LOAD(ring->kept_newest) & 1;
	bool fits = LOAD(ring->kept[newest].position) == tail;
	const struct ring_kept *kept = &ring->kept[fits ? newest : !newest];
	for (unsigned i = 0; i < JOURNAL_KEPT; i++) {
		ret_values[i] = LOAD(kept->values[i]);
	}
}

uint64_t journal_head(const struct journal *journal)
{
	uint64_t head = LOAD(journal->ring->head);
	return has_changed(journal) ? UINT64_MAX : head;
}

uint64_t journal_cursor(const struct journal *journal)
{
	return journal->cursor;
}

void journal_set_devices(struct journal *journal, const uint64_t *devices, size_t count)
{
	struct journal_ring *ring = journal->ring;
	ADD(ring->device_changes, 1);
	STORE(ring->device_count, 0); /* all, while the list changes */
	for (size_t i = 0; count <= RING_DEVICES_MAX && i < count; i++) {
		STORE(ring->devices[i], devices[i]);
	}
	STORE(ring->device_count, count <= RING_DEVICES_MAX ? count : 0);
	ADD(ring->device_changes, 1);
}

void journal_facts(const struct journal *journal, struct journal_facts *ret)
{
	const struct journal_ring *ring = journal->ring;
	*ret = (struct journal_facts){.generation = ring->generation,
		.size_bytes = ring->size_bytes,
		.head = LOAD(ring->head),
		.released = LOAD(ring->tail),
		.dropped = LOAD(ring->dropped),
		.dropped_since_ns = LOAD(ring->dropped_since_ns),
		.torn = LOAD(ring->torn),
		.reader_pid = journal_reader_pid(journal)};
}

void journal_acknowledge_drops(struct journal *journal)
{
	STORE(journal->ring->dropped_since_ns, 0);
}
