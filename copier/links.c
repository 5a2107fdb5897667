/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hard links stay hard links.  At the target root, each group of names has a directory
 *
 *   .mirror-links/DEV-INO/        device (0: that of S's root) and inode of S, in hex
 *       data                      one more name of T's file: the anchor
 *       HASH -> rel               a symlink per known name of the group (hash of the name)
 *
 * Content is written once, to a temporary name that replaces the anchor; then each name is made
 * by link(anchor, temporary) and rename, so readers see old or new.  A write through one name
 * changes S under all of them, but tells only that one: whoever replaces the anchor therefore
 * asks for a forced look at every other name that is registered.  A name is registered before it
 * is linked, so none is missed.
 *
 * Who writes through a name may take it away before anybody has looked.  So an order says which
 * groups its path has changed; where S is of none of them now, another registered name is asked
 * for.
 *
 * The root's own device is not in the name: a remount or a reboot may number it anew, and a
 * group that is not found again would leave its other names with what they were.
 */
#include "reconcile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <xxhash.h>

#include "core/cleanup.h"
#include "core/path.h"
#include "flow/place.h"

#define LINK_TRIES 3

struct group {
	struct buf directory; /* .mirror-links/DEV-INO */
	struct buf anchor;    /* … /data */
	struct buf record;    /* … /HASH of this name */
};

static void group_finish(struct group *group)
{
	buf_finish(&group->directory);
	buf_finish(&group->anchor);
	buf_finish(&group->record);
}

void links_group(const struct pair *pair, const struct side_attr *s, struct buf *ret)
{
	uint64_t dev = s->dev == pair->source_dev ? 0 : s->dev;
	buf_printf(ret, "%" PRIx64 "-%" PRIx64, dev, s->ino);
}

static void record_of(const struct group *group, struct span rel, struct buf *ret)
{
	buf_printf(ret, "%.*s/%016" PRIx64, SPAN_ARG(buf_span(&group->directory)),
		(uint64_t)XXH3_64bits(rel.data, rel.len));
}

static int group_init(struct group *group, const struct job *job, const struct side_attr *s)
{
	*group = (struct group){0};
	buf_add(&group->directory, SPAN(".mirror-links/"));
	links_group(job->pair, s, &group->directory);
	path_join(&group->anchor, buf_span(&group->directory), SPAN("data"));
	record_of(group, job->rel, &group->record);
	return group->directory.failed || group->anchor.failed || group->record.failed ? -ENOMEM
										       : 0;
}

/* Registers this name; *ret_known: it was registered before. */
static int group_register(struct group *group, struct job *job, bool *ret_known)
{
	struct side *target = job->pair->target;
	int r = side_mkdir(target, buf_span(&group->directory), 0700, &job->why);
	if (r == -ENOENT) {
		r = side_mkdir(target, SPAN(".mirror-links"), 0700, &job->why);
		if (r == 0 || r == -EEXIST) {
			r = side_mkdir(target, buf_span(&group->directory), 0700, &job->why);
		}
	}
	if (r < 0 && r != -EEXIST) {
		return r;
	}
	r = side_symlink(target, job->rel, buf_span(&group->record), &job->why);
	*ret_known = r == -EEXIST;
	return r == -EEXIST ? 0 : r;
}

/* Told each registered name of a group; 1: enough.  Returns that, 0 or -errno. */
typedef int (*name_fn)(struct job *job, struct span name, const void *arg);

static int each_name(struct job *job, struct span directory, name_fn fn, const void *arg)
{
	CLEANUP(side_list_finish) struct side_list list = {0};
	int r = side_list(job->pair->target, directory, &list, &job->why);
	for (size_t i = 0; r == 0 && i < list.count; i++) {
		CLEANUP(buf_finish) struct buf record = BUF_EMPTY;
		CLEANUP(free_p) char *name = NULL;
		size_t len = 0;
		if (list.entries[i].attr.type != SIDE_SYMLINK) {
			continue;
		}
		path_join(&record, directory, list.entries[i].name);
		r = side_readlink(job->pair->target, buf_span(&record), &name, &len, &job->why);
		if (r == -ENOENT) {
			r = 0;
		} else if (r == 0 && path_is_rel(span_of(name, len))) {
			r = fn(job, span_of(name, len), arg);
		}
	}
	return r;
}

static int ask_for_other(struct job *job, struct span name, const void *arg)
{
	(void)arg;
	return span_equal(name, job->rel)
		       ? 0
		       : job_follow(job, name, job_inherited(job) | CHANGE_FORCE, 0);
}

/* Asks for a forced look at all other registered names: their content is an old one now. */
static int group_tell(struct group *group, struct job *job)
{
	return each_name(job, buf_span(&group->directory), ask_for_other, NULL);
}

/* The name that the order's pair number i comes from; empty: none of this tree. */
static struct span link_from(const struct job *job, unsigned i)
{
	struct span from;
	struct span root = span_str(job->pair->tree->source.path);
	const struct change_pair *pair = &job->order->pairs[i];
	return pair->is_link && path_below(pair->from, root, &from) ? from : SPAN("");
}

/* Links the anchor to the order's name, over whatever is there. */
static int group_link(struct group *group, struct job *job)
{
	struct side *target = job->pair->target;
	struct why ignored;
	CLEANUP(buf_finish) struct buf temporary = BUF_EMPTY;
	temporary_name(job->rel, &temporary);
	int r = side_link(target, buf_span(&group->anchor), buf_span(&temporary), &job->why);
	if (r == -EACCES && parent_opened(job, job->rel)) {
		r = side_link(target, buf_span(&group->anchor), buf_span(&temporary), &job->why);
	}
	if (r == 0) {
		r = job_touched(job, job->rel);
	}
	if (r == 0) {
		r = side_rename(target, buf_span(&temporary), job->rel, &job->why);
		/* rename(2) of two names of one file does nothing and leaves both */
		side_unlink(target, buf_span(&temporary), &ignored);
	}
	job->work.links += r == 0;
	return r;
}

static bool same_anchor(const struct side_attr *a, const struct side_attr *b)
{
	return a->has_inode ? a->ino == b->ino && a->dev == b->dev : a->atime_s == b->atime_s;
}

/*
 * The same until the anchor is the one that was linked: an order of this name or another one, given
 * out once more, may have put a new one in its place meanwhile, and told us before we were there.
 */
static int group_link_last(struct group *group, struct job *job, struct side_attr *anchor)
{
	for (unsigned i = 0; i < LINK_TRIES; i++) {
		struct side_attr before = *anchor;
		int r = group_link(group, job);
		r = r == 0 ? look(job, job->pair->target, buf_span(&group->anchor), anchor) : r;
		if (r < 0 || same_anchor(&before, anchor)) {
			return r;
		}
	}
	return job_follow_order(job, 0, job->order->attempt, 0);
}

/* Whether T's name is the anchor, where inodes tell. */
static int is_anchor(struct group *group, struct job *job, struct span name, bool *ret)
{
	struct side_attr anchor, t;
	int r = look(job, job->pair->target, buf_span(&group->anchor), &anchor);
	r = r < 0 ? r : look(job, job->pair->target, name, &t);
	*ret = r == 0 && anchor.type == SIDE_FILE && t.type == SIDE_FILE &&
	       same_anchor(&anchor, &t);
	return r;
}

/*
 * The name that the link was made from must be of the group too: nobody else tells of it, and
 * the group may be there for long, left by a file that had the same inode.  So may the name's
 * record, for while it was the only name it was a file of its own; and where no inode tells, only
 * linking it makes sure.
 */
static int group_join(struct group *group, struct job *job)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < job->order->pair_count; i++) {
		struct span from = link_from(job, i);
		struct side_attr record;
		bool joined = false;
		CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
		if (!from.len) {
			continue;
		}
		record_of(group, from, &path);
		r = path.failed ? -ENOMEM : look(job, job->pair->target, buf_span(&path), &record);
		bool known = r == 0 && record.type != SIDE_NONE;
		bool unsure = known && side_is_remote(job->pair->target);
		if (known && !unsure) {
			r = is_anchor(group, job, from, &joined);
		}
		if (r == 0 && !joined) {
			r = job_follow(
				job, from, job_inherited(job) | (unsure ? CHANGE_FORCE : 0), 0);
		}
	}
	return r;
}

/* A group that is new to the target: its content may be there under the other name. */
static int group_adopt(struct group *group, struct job *job, const struct side_attr *s)
{
	struct pair *pair = job->pair;
	int r = 0;
	for (unsigned i = 0; r == 0 && i < job->order->pair_count; i++) {
		struct span from = link_from(job, i);
		struct side_attr t;
		if (!from.len || job->order->op != CHANGE_LINK || job->force) {
			continue;
		}
		r = look(job, pair->target, from, &t);
		if (r == 0 && same_content(pair, s, &t)) {
			r = side_link(pair->target, from, buf_span(&group->anchor), &job->why);
			r = r == -EEXIST || r == -ENOENT ? 0 : r;
		}
	}
	return r;
}

/* Makes the anchor what S is.  *ret_fresh: it is another file than before. */
static int group_content(
	struct group *group, struct job *job, const struct side_attr *s, bool *ret_fresh)
{
	struct side *target = job->pair->target;
	struct side_attr anchor;
	int r = look(job, target, buf_span(&group->anchor), &anchor);
	if (r == 0 && anchor.type == SIDE_NONE) {
		r = group_adopt(group, job, s);
		if (r == 0) {
			r = look(job, target, buf_span(&group->anchor), &anchor);
		}
	}
	*ret_fresh = false;
	/* a forced look at one name of a group whose anchor is up to date needs only the link,
	 * unless nobody's order led to it: then it is a repair */
	enum change_op op = job->order->op;
	bool link_only =
		op == CHANGE_LINK || (op == CHANGE_LOOK && !ident_is_none(job->order->cause));
	bool forced = !link_only && (job->force || job->again);
	if (r < 0 || (!forced && same_content(job->pair, s, &anchor))) {
		return r;
	}
	/* another file may have the name by now, and that is not this group's content */
	return file_copy(job, buf_span(&group->anchor), s, anchor.type == SIDE_NONE, ret_fresh);
}

int entry_links(struct job *job, const struct side_attr *s, const struct side_attr *t)
{
	CLEANUP(group_finish) struct group group;
	struct side_attr anchor;
	bool known = false, fresh = false;
	int r = group_init(&group, job, s);
	if (r == 0) {
		r = group_register(&group, job, &known);
	}
	if (r == 0 && job->again) {
		r = temporary_sweep(job, buf_span(&group.anchor));
	}
	if (r == 0) {
		r = group_join(&group, job);
	}
	if (r == 0) {
		r = group_content(&group, job, s, &fresh);
	}
	if (r) {
		return r == FILE_CHANGED ? 0 : r;
	}
	r = look(job, job->pair->target, buf_span(&group.anchor), &anchor);
	if (r < 0) {
		return r;
	}
	/* SFTP tells no inode: what is registered counts, but not below what was moved here */
	bool linked = t->has_inode ? t->ino == anchor.ino && t->dev == anchor.dev
				   : known && !job->force && !job->again && !job->order->attempt &&
					     !job->moved_ns && same_content(job->pair, s, t);
	if (fresh) {
		r = group_tell(&group, job);
	}
	if (r == 0 && (fresh || !linked)) {
		r = group_link_last(&group, job, &anchor);
		job->work.bytes_saved += fresh ? 0 : s->size_bytes;
	}
	return r < 0 ? r : file_attributes(job, s, &anchor);
}

/* Other nodes number devices in their own way: theirs is taken for that of the root. */
static uint64_t device_here(const struct job *job, struct change_group group)
{
	bool here = span_equal(job->order->host, span_str(place_host()));
	return here ? group.dev : job->pair->source_dev;
}

/* The name is asked for, and no other, if S has it and it is one of the group. */
static int ask_if_member(struct job *job, struct span name, const void *arg)
{
	const struct change_group *group = arg;
	struct side_attr s;
	int r = look(job, job->pair->source, name, &s);
	bool member = r == 0 && s.type == SIDE_FILE && s.ino == group->ino &&
		      s.dev == device_here(job, *group);
	if (member) {
		r = job_follow_group(job, name, *group);
	}
	return member && r == 0 ? 1 : r;
}

/* One name that the group still has will do: who copies its content tells the others. */
static int ask_for_member(struct job *job, struct change_group group)
{
	CLEANUP(buf_finish) struct buf directory = BUF_EMPTY;
	const struct side_attr file = {.dev = device_here(job, group), .ino = group.ino};
	buf_add(&directory, SPAN(".mirror-links/"));
	links_group(job->pair, &file, &directory);
	int r = each_name(job, buf_span(&directory), ask_if_member, &group);
	/* nothing was ever linked to it */
	return r == -ENOENT || r == -ENOTDIR || r > 0 ? 0 : r;
}

/* Where S is no link any more, the name that it was made from may be all that is left to look at.
 */
static int ask_for_origins(struct job *job, const struct side_attr *s)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < job->order->pair_count; i++) {
		struct span from = link_from(job, i);
		if (from.len && (s->type != SIDE_FILE || !s->has_inode || s->nlink == 1)) {
			r = job_follow(job, from, job_inherited(job), 0);
		}
	}
	return r;
}

int links_elsewhere(struct job *job, const struct side_attr *s)
{
	int r = ask_for_origins(job, s);
	for (unsigned i = 0; r == 0 && i < job->order->group_count; i++) {
		struct change_group group = job->order->groups[i];
		bool still = s->type == SIDE_FILE && (!s->has_inode || s->ino == group.ino);
		if (!still) {
			r = ask_for_member(job, group);
		}
	}
	return r;
}
