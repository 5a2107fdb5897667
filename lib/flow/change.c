/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts add up, hints do not.
 *
 * What a change asks for (facts, pairs, groups, limits) is a union, so that merging in any order
 * asks for everything.  What it merely tells (operation, what the writer saw, who it was) is of use
 * only whole and only when it is the newest: it is taken from one change, never mixed.
 *
 * Three facts give leave rather than ask: SOON (need not wait), BULK (may wait behind all others)
 * and SETTLED (may be believed).  A leave holds for both changes only if both have it; a path
 * that is still being written must not go early because a walk came by.
 */
#include "flow/change.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "core/cleanup.h"
#include "core/clock.h"

#define CHANGE_LEAVES (CHANGE_SOON | CHANGE_BULK | CHANGE_SETTLED)
#define CHANGE_WHOLE  (CHANGE_DEEP | CHANGE_DELETE | CHANGE_FORCE)

char *ident_text(struct ident id, char *buffer)
{
	(void)snprintf(buffer, IDENT_TEXT, "%016" PRIx64 ".%" PRIu64, id.source, id.number);
	return buffer;
}

/* All of text as a number, digits only. */
static int number_parse(struct span text, unsigned base, uint64_t *ret)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t value = 0;
	for (size_t i = 0; i < text.len; i++) {
		const char *digit = text.data[i] ? strchr(digits, text.data[i]) : NULL;
		if (!digit || digit - digits >= base ||
			__builtin_mul_overflow(value, (uint64_t)base, &value) ||
			__builtin_add_overflow(value, (uint64_t)(digit - digits), &value)) {
			return -EINVAL;
		}
	}
	*ret = value;
	return text.len ? 0 : -EINVAL;
}

int ident_parse(struct span text, struct ident *ret)
{
	struct ident id;
	if (text.len < 18 || text.data[16] != '.' ||
		number_parse(span_of(text.data, 16), 16, &id.source) < 0 ||
		number_parse(span_skip(text, 17), 10, &id.number) < 0) {
		return -EINVAL;
	}
	*ret = id;
	return 0;
}

uint64_t ident_source(void)
{
	uint64_t source = 0;
	while (source == 0) {
		if (getrandom(&source, sizeof(source), 0) != sizeof(source)) {
			/* No entropy source at all: time and process are unique enough here. */
			source = clock_wall() ^ (uint64_t)getpid() << 40;
		}
	}
	return source;
}

const char *change_op_name(enum change_op op)
{
	static const char *const names[CHANGE_OP_COUNT] = {
		[CHANGE_WRITE] = "write",
		[CHANGE_META] = "meta",
		[CHANGE_MKDIR] = "mkdir",
		[CHANGE_SYMLINK] = "symlink",
		[CHANGE_LINK] = "link",
		[CHANGE_RENAME] = "rename",
		[CHANGE_AWAY] = "away",
		[CHANGE_REMOVE] = "remove",
		[CHANGE_RMDIR] = "rmdir",
		[CHANGE_LOOK] = "look",
	};
	return (unsigned)op < CHANGE_OP_COUNT ? names[op] : "?";
}

const char *receipt_status_name(enum receipt_status status)
{
	static const char *const names[RECEIPT_STATUS_COUNT] = {
		[RECEIPT_DONE] = "done",
		[RECEIPT_RETRY] = "retry",
		[RECEIPT_FAILED] = "failed",
		[RECEIPT_DROPPED] = "dropped",
	};
	return (unsigned)status < RECEIPT_STATUS_COUNT ? names[status] : "?";
}

static void span_free(struct span *field)
{
	free((void *)field->data);
	*field = SPAN_NONE;
}

int change_set(struct span *field, struct span bytes)
{
	char *copy = malloc(bytes.len + 1);
	if (!copy) {
		return -ENOMEM;
	}
	if (bytes.len) {
		memcpy(copy, bytes.data, bytes.len);
	}
	copy[bytes.len] = '\0';
	span_free(field);
	*field = span_of(copy, bytes.len);
	return 0;
}

struct change *change_create(void)
{
	return calloc(1, sizeof(struct change));
}

void change_destroy(struct change *change)
{
	if (!change) {
		return;
	}
	for (unsigned i = 0; i < change->pair_count; i++) {
		span_free(&change->pairs[i].from);
		span_free(&change->pairs[i].to);
	}
	span_free(&change->path);
	span_free(&change->link);
	span_free(&change->host);
	span_free(&change->program);
	span_free(&change->job);
	free(change);
}
DEFINE_CLEANUP(struct change *, change_destroy)

/* What is merely told: taken whole. */
static int copy_hints(struct change *into, const struct change *from)
{
	into->op = from->op;
	into->seen = from->seen;
	into->pid = from->pid;
	if (change_set(&into->link, from->link) < 0 || change_set(&into->host, from->host) < 0 ||
		change_set(&into->program, from->program) < 0 ||
		change_set(&into->job, from->job) < 0) {
		return -ENOMEM;
	}
	return 0;
}

static bool has_pair(const struct change *change, const struct change_pair *pair)
{
	for (unsigned i = 0; i < change->pair_count; i++) {
		const struct change_pair *it = &change->pairs[i];
		if (it->is_link == pair->is_link && span_equal(it->from, pair->from) &&
			span_equal(it->to, pair->to)) {
			return true;
		}
	}
	return false;
}

static int add_pair(struct change *change, struct change_pair pair)
{
	struct change_pair copy = {.is_link = pair.is_link};
	if (has_pair(change, &pair)) {
		return 0;
	}
	if (change->pair_count == CHANGE_PAIRS_MAX) {
		change->facts |= CHANGE_WHOLE;
		return 0;
	}
	if (change_set(&copy.from, pair.from) < 0 || change_set(&copy.to, pair.to) < 0) {
		span_free(&copy.from);
		return -ENOMEM;
	}
	change->pairs[change->pair_count++] = copy;
	return 0;
}

int change_add_pair(struct change *change, struct span from, struct span to)
{
	return add_pair(change, (struct change_pair){from, to, false});
}

int change_add_link(struct change *change, struct span from, struct span to)
{
	return add_pair(change, (struct change_pair){from, to, true});
}

static int copy_pairs(struct change *into, const struct change *from)
{
	for (unsigned i = 0; i < from->pair_count; i++) {
		if (add_pair(into, from->pairs[i]) < 0) {
			return -ENOMEM;
		}
	}
	return 0;
}

static void copy_groups(struct change *into, const struct change *from)
{
	for (unsigned i = 0; i < from->group_count; i++) {
		change_add_group(into, from->groups[i]);
	}
}

struct change *change_copy(const struct change *change)
{
	CLEANUP(change_destroy_p) struct change *copy = change_create();
	if (!copy || change_set(&copy->path, change->path) < 0 || copy_hints(copy, change) < 0 ||
		copy_pairs(copy, change) < 0) {
		return NULL;
	}
	copy_groups(copy, change);
	copy->id = change->id;
	copy->cause = change->cause;
	copy->facts = change->facts;
	copy->time_ns = change->time_ns;
	copy->attempt = change->attempt;
	copy->newer_ns = change->newer_ns;
	copy->older_ns = change->older_ns;
	copy->suspect_ns = change->suspect_ns;
	copy->moved_ns = change->moved_ns;
	return STEAL(copy);
}

static bool has_group(const struct change *change, struct change_group group)
{
	for (unsigned i = 0; i < change->group_count; i++) {
		if (change->groups[i].dev == group.dev && change->groups[i].ino == group.ino) {
			return true;
		}
	}
	return false;
}

void change_add_group(struct change *change, struct change_group group)
{
	if (has_group(change, group)) {
		return;
	}
	if (change->group_count == CHANGE_GROUPS_MAX) {
		change->group_count--;
		memmove(change->groups, change->groups + 1,
			change->group_count * sizeof(change->groups[0]));
	}
	change->groups[change->group_count++] = group;
}

static unsigned merged_facts(unsigned a, unsigned b)
{
	return ((a | b) & ~(unsigned)CHANGE_LEAVES) | (a & b & CHANGE_LEAVES);
}

/* The wider one of two limits, 0 being none at all. */
static int64_t wider(int64_t a, int64_t b, bool larger_is_wider)
{
	if (a == 0 || b == 0) {
		return 0;
	}
	return (a > b) == larger_is_wider ? a : b;
}

/* The earlier one of two, 0 being never. */
static int64_t earlier_of(int64_t a, int64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

int change_merge(struct change *into, const struct change *earlier)
{
	if (into->op == CHANGE_LOOK && earlier->op != CHANGE_LOOK &&
		copy_hints(into, earlier) < 0) {
		return -ENOMEM;
	}
	into->facts = merged_facts(into->facts, earlier->facts);
	into->newer_ns = wider(into->newer_ns, earlier->newer_ns, false);
	into->older_ns = wider(into->older_ns, earlier->older_ns, true);
	into->suspect_ns = earlier_of(into->suspect_ns, earlier->suspect_ns);
	if (into->attempt < earlier->attempt) {
		into->attempt = earlier->attempt;
	}
	if (into->moved_ns < earlier->moved_ns) {
		into->moved_ns = earlier->moved_ns;
	}
	copy_groups(into, earlier);
	return copy_pairs(into, earlier);
}

/* A pair that found no room is covered by the facts; one that would find room saves a copy. */
static bool covers_pairs(const struct change *later, const struct change *earlier)
{
	bool full = later->pair_count == CHANGE_PAIRS_MAX;
	if (full && (later->facts & CHANGE_WHOLE) == CHANGE_WHOLE) {
		return true;
	}
	for (unsigned i = 0; i < earlier->pair_count; i++) {
		if (!has_pair(later, &earlier->pairs[i])) {
			return false;
		}
	}
	return true;
}

static bool covers_groups(const struct change *later, const struct change *earlier)
{
	for (unsigned i = 0; i < earlier->group_count; i++) {
		if (!has_group(later, earlier->groups[i])) {
			return false;
		}
	}
	return true;
}

bool change_covers(const struct change *later, const struct change *earlier)
{
	return span_equal(later->path, earlier->path) &&
	       merged_facts(later->facts, earlier->facts) == later->facts &&
	       wider(later->newer_ns, earlier->newer_ns, false) == later->newer_ns &&
	       wider(later->older_ns, earlier->older_ns, true) == later->older_ns &&
	       later->moved_ns >= earlier->moved_ns &&
	       earlier_of(later->suspect_ns, earlier->suspect_ns) == later->suspect_ns &&
	       (later->op != CHANGE_LOOK || earlier->op == CHANGE_LOOK) &&
	       covers_pairs(later, earlier) && covers_groups(later, earlier);
}

void receipt_finish(struct receipt *receipt)
{
	span_free(&receipt->path);
	span_free(&receipt->why);
	span_free(&receipt->host);
	span_free(&receipt->job);
	span_free(&receipt->copier);
	*receipt = (struct receipt){0};
}
