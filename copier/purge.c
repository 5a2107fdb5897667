/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks .mirror-gone twice: once to count what waits (not further than max_delete), once to
 * delete what is due.  Then .mirror-links: groups of which S has no name left, and files there that
 * nobody will finish.
 *
 * Below an entry both go without recursion, by a stack of directories: a tree may be deeper than
 * a task's stack has room for.
 */
#include "purge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "guard.h"
#include "reconcile.h"

struct purge {
	struct pair *pair;
	struct why *why;
	uint64_t count; /* entries that wait */
	bool due;       /* some are due */
	char **stack;   /* directories to go into */
	size_t depth, room;
};

static int stack_push(struct purge *purge, struct span rel)
{
	if (purge->depth == purge->room) {
		size_t room = purge->room ? purge->room * 2 : 32;
		char **stack = realloc(purge->stack, room * sizeof(*stack));
		if (!stack) {
			return -ENOMEM;
		}
		purge->stack = stack;
		purge->room = room;
	}
	char *path = strndup(rel.data, rel.len);
	if (!path) {
		return -ENOMEM;
	}
	purge->stack[purge->depth++] = path;
	return 0;
}

static void stack_clear(struct purge *purge)
{
	while (purge->depth) {
		free(purge->stack[--purge->depth]);
	}
}

typedef int (*purge_fn)(struct purge *purge, struct span rel, const struct side_attr *attr);

/* Calls fn for each entry of a directory; a directory that is gone has none. */
static int each_entry(struct purge *purge, struct span rel, purge_fn fn)
{
	CLEANUP(side_list_finish) struct side_list list = {0};
	int r = side_list(purge->pair->target, rel, &list, purge->why);
	if (r == -ENOENT) {
		return 0;
	}
	for (size_t i = 0; r == 0 && i < list.count; i++) {
		CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
		path_join(&path, rel, list.entries[i].name);
		r = path.failed ? -ENOMEM : fn(purge, buf_span(&path), &list.entries[i].attr);
	}
	return r;
}

static bool is_former_name(struct span rel)
{
	return rel.len > 5 && memcmp(rel.data + rel.len - 5, ".from", 5) == 0;
}

/* Names begin with the second in which they were detached. */
static bool is_due(const struct purge *purge, struct span rel)
{
	uint64_t then_s = strtoull(path_name(rel).data, NULL, 10);
	return then_s + purge->pair->config->keep_gone_ns / CLOCK_S <= clock_wall() / CLOCK_S;
}

static int count_one(struct purge *purge, struct span rel, const struct side_attr *attr)
{
	purge->count++;
	return attr->type == SIDE_DIRECTORY ? stack_push(purge, rel) : 0;
}

static int count_below(struct purge *purge, struct span rel, const struct side_attr *attr)
{
	int r = count_one(purge, rel, attr);
	while (r == 0 && purge->depth && purge->count <= purge->pair->config->max_delete) {
		CLEANUP(free_p) char *path = purge->stack[--purge->depth];
		r = each_entry(purge, span_str(path), count_one);
	}
	stack_clear(purge);
	return r;
}

static int count_entry(struct purge *purge, struct span rel, const struct side_attr *attr)
{
	purge->due = purge->due || is_due(purge, rel);
	if (is_former_name(rel)) {
		return 0;
	}
	return count_below(purge, rel, attr);
}

static int count_group(struct purge *purge, struct span rel, const struct side_attr *attr)
{
	return attr->type == SIDE_DIRECTORY ? each_entry(purge, rel, count_entry) : 0;
}

/* A directory only comes onto the stack, ready to be emptied. */
static int remove_one(struct purge *purge, struct span rel, const struct side_attr *attr)
{
	struct side *target = purge->pair->target;
	struct side_attr open = *attr;
	int r = 0;
	if (attr->type != SIDE_DIRECTORY) {
		r = side_unlink(target, rel, purge->why);
		return r == -ENOENT ? 0 : r;
	}
	open.mode |= 0700;
	if (open.mode != attr->mode) {
		r = side_set(target, rel, &open, SIDE_SET_MODE, purge->why);
	}
	return r == 0 ? stack_push(purge, rel) : r == -ENOENT ? 0 : r;
}

/* Bottom up: a directory that has none below itself any more goes, others are seen again. */
static int remove_below(struct purge *purge, struct span rel, const struct side_attr *attr)
{
	int r = remove_one(purge, rel, attr);
	while (r == 0 && purge->depth) {
		size_t depth = purge->depth;
		struct span top = span_str(purge->stack[depth - 1]);
		r = each_entry(purge, top, remove_one);
		if (r == 0 && purge->depth == depth) {
			r = side_rmdir(purge->pair->target, top, purge->why);
			r = r == -ENOENT ? 0 : r;
			free(purge->stack[--purge->depth]);
		}
	}
	stack_clear(purge);
	return r;
}

/* A former name whose entry never came, because who wrote it down died, or was taken back. */
static int remove_former_name(struct purge *purge, struct span rel)
{
	struct side *target = purge->pair->target;
	struct side_attr attr;
	int r = side_lstat(target, span_of(rel.data, rel.len - 5), &attr, purge->why);
	r = r == -ENOENT ? side_unlink(target, rel, purge->why) : r;
	return r == -ENOENT ? 0 : r;
}

static int remove_entry(struct purge *purge, struct span rel, const struct side_attr *attr)
{
	CLEANUP(buf_finish) struct buf from = BUF_EMPTY;
	if (!is_due(purge, rel)) {
		return 0;
	}
	if (is_former_name(rel)) {
		return remove_former_name(purge, rel);
	}
	int r = remove_below(purge, rel, attr);
	if (r == 0) {
		buf_printf(&from, "%.*s.from", SPAN_ARG(rel));
		r = side_unlink(purge->pair->target, buf_span(&from), purge->why);
	}
	return r == -ENOENT ? 0 : r;
}

static int remove_group(struct purge *purge, struct span rel, const struct side_attr *attr)
{
	struct why ignored;
	if (attr->type != SIDE_DIRECTORY) {
		return 0;
	}
	int r = each_entry(purge, rel, remove_entry);
	side_rmdir(purge->pair->target, rel, &ignored); /* when empty */
	return r;
}

/* Whether S still has a name of the group that the symlink at rel records. */
static int name_lives(struct purge *purge, struct span rel, const char *group, bool *ret)
{
	CLEANUP(free_p) char *name = NULL;
	size_t len = 0;
	struct side_attr s;
	CLEANUP(buf_finish) struct buf here = BUF_EMPTY;
	int r = side_readlink(purge->pair->target, rel, &name, &len, purge->why);
	if (r < 0 || !path_is_rel(span_of(name, len))) {
		return r;
	}
	r = side_lstat(purge->pair->source, span_of(name, len), &s, purge->why);
	if (r == 0) {
		links_group(purge->pair, &s, &here);
		*ret = *ret || here.failed ||
		       (s.nlink > 1 && span_equal(buf_span(&here), span_str(group)));
	}
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
}

static int purge_links(struct purge *purge, struct span rel, const struct side_attr *attr)
{
	CLEANUP(side_list_finish) struct side_list list = {0};
	CLEANUP(free_p) char *group = strndup(path_name(rel).data, path_name(rel).len);
	bool lives = false;
	if (attr->type != SIDE_DIRECTORY ||
		(int64_t)(clock_wall() - purge->pair->config->keep_gone_ns) < attr->mtime_ns) {
		return 0;
	}
	int r = group ? side_list(purge->pair->target, rel, &list, purge->why) : -ENOMEM;
	for (size_t i = 0; r == 0 && i < list.count; i++) {
		CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
		path_join(&path, rel, list.entries[i].name);
		if (tree_temporary_is_left(list.entries[i].name, list.entries[i].attr.mtime_ns,
			    (int64_t)clock_wall())) {
			r = side_unlink(purge->pair->target, buf_span(&path), purge->why);
			r = r == -ENOENT ? 0 : r;
		} else if (!lives && list.entries[i].attr.type == SIDE_SYMLINK) {
			r = name_lives(purge, buf_span(&path), group, &lives);
		}
	}
	return r == 0 && !lives ? remove_below(purge, rel, attr) : r == -ENOENT ? 0 : r;
}

static int purge_gone(struct purge *purge)
{
	const struct pair *pair = purge->pair;
	int r = each_entry(purge, SPAN(".mirror-gone"), count_group);
	if (r == 0 && purge->count > pair->config->max_delete) {
		return why_error(purge->why, -EDQUOT,
			"more than max_delete (%" PRIu64 ") removed entries wait in "
			"%s/.mirror-gone: nothing is deleted until they are put back, removed by "
			"hand, or "
			"max_delete is raised",
			pair->config->max_delete, pair->tree->target.text);
	}
	return r == 0 && purge->due ? each_entry(purge, SPAN(".mirror-gone"), remove_group) : r;
}

int purge_round(struct pair *pair, struct why *why)
{
	struct purge purge = {.pair = pair, .why = why};
	int r = guard_look(pair, why);
	if (r == 0) {
		r = purge_gone(&purge);
	}
	if (r == 0 && (side_can(pair->source) & SIDE_CAN_INODE)) {
		r = each_entry(&purge, SPAN(".mirror-links"), purge_links);
	}
	free(purge.stack);
	return r;
}
