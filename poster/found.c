/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that no shim is in, at both ends: the record of it becomes places to look at, and what
 * is found there to have changed since becomes changes.
 *
 *   regular file     WRITE, forced
 *   directory        LOOK, DELETE: its entries are compared.  Where its ctime alone is new, it may
 *                    have come here by a rename with all that is in it: DEEP and BULK, too
 *   anything else    LOOK
 *
 * The ctime decides: no program can set it, and every change of content, name and mode moves it.
 */
#include <errno.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "poster/tell.h"
#include "poster/unseen.h"
#include "poster/walk.h"

/* Times of files are those of a tick, and of another machine's clock on network file systems. */
#define SLACK_NS ((int64_t)(2 * CLOCK_S))
#define TICK_NS  (20 * CLOCK_MS)

/* ---- places ------------------------------------------------------------------------------ */

int translate_place(void *arg, struct span directory, struct buf *ret)
{
	struct translate *t = arg;
	int r = names_find(t->options.names, SPAN_NONE, directory, true, 0, ret);
	if (r == -EINVAL || (r == 0 && !names_tree(t->options.names, buf_span(ret)))) {
		return -ENOENT;
	}
	return r;
}

static int add_place(struct translate *t, const struct record *record, struct span path)
{
	CLEANUP(buf_finish) struct buf whole = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	if (!path.len || path.data[0] != '/') {
		path_join(&whole, record->dir, path);
	} else {
		buf_add(&whole, path);
	}
	int r = whole.failed ? -ENOMEM : translate_place(t, buf_span(&whole), &name);
	r = r == 0 ? intents_place(t->options.intents, record, buf_span(&name)) : r;
	return r == -ENOENT ? 0 : r;
}

static size_t find_any(struct span text, const char *set)
{
	size_t i = 0;
	while (i < text.len && !strchr(set, text.data[i])) {
		i++;
	}
	return i;
}

/*
 * Where an argument may have a path: the whole, what stands between "=", ":" and ",", and what
 * begins with the first slash of an option ("of=/a/b", "host:/a/b", "-C/a/b").
 */
static int add_argument(struct translate *t, const struct record *record, struct span argument)
{
	struct span rest = argument;
	int r = add_place(t, record, argument);
	while (r == 0 && rest.len) {
		struct span piece = span_of(rest.data, find_any(rest, "=:,"));
		rest = span_skip(rest, piece.len + 1);
		if (piece.len && piece.data[0] == '-') {
			piece = span_skip(piece, find_any(piece, "/"));
		}
		if (piece.len && piece.len < argument.len && memchr(piece.data, '/', piece.len)) {
			r = add_place(t, record, piece);
		}
	}
	return r;
}

int tell_unseen(struct translate *t, const struct record *record)
{
	struct record named = *record;
	struct span rest = record->path2;
	named.program = path_name(record->path);
	if (named.program.len > 15) { /* as the kernel does */
		named.program.len = 15;
	}
	int r = add_place(t, &named, SPAN_NONE);
	while (r == 0 && rest.len) {
		struct span argument = span_of(rest.data, strnlen(rest.data, rest.len));
		rest = span_skip(rest, argument.len + 1);
		r = add_argument(t, &named, argument);
	}
	if (r < 0 || (record->flags & RECORD_CONTINUED)) {
		return r;
	}
	return unseen_run(t->options.unseen, record->job);
}

/* ---- what is found ----------------------------------------------------------------------- */

static int found_file(
	struct translate *t, struct cause *cause, struct span path, const struct stat *st)
{
	cause->has_inode = cause->gone = true; /* if it goes now, nobody needs to look for it */
	cause->dev = st->st_dev;
	cause->ino = st->st_ino;
	if (recent_covers(t->recent, path, (uint64_t)stat_ctime(st) + TICK_NS)) {
		return 0; /* told by somebody else, later than it was changed */
	}
	int r = tell_file(t, cause, CHANGE_WRITE, path);
	return r < 0 ? r : unseen_found(t->options.unseen, cause->job);
}

static int found_directory(struct translate *t, const struct cause *cause, struct span path,
	const struct stat *st, int64_t since_ns)
{
	bool came = stat_mtime(st) < since_ns;
	unsigned facts = CHANGE_DELETE | (came ? CHANGE_WALK : 0);
	return tell_change(t, cause, ROLE_FRESH, CHANGE_LOOK, facts, path, NO_PAIR);
}

int translate_visit(void *arg, const struct intent *place, struct span path, const struct stat *st)
{
	struct translate *t = arg;
	int64_t since_ns = (int64_t)place->opened_ns - SLACK_NS;
	struct cause cause = {.time_ns = clock_wall(),
		.pid = place->pid,
		.program = place->program,
		.job = place->job};
	if (!names_tree(t->options.names, path)) {
		return WALK_PASS;
	}
	if (stat_ctime(st) < since_ns) {
		return 0;
	}
	if (S_ISREG(st->st_mode)) {
		return found_file(t, &cause, path, st);
	}
	if (S_ISDIR(st->st_mode)) {
		return found_directory(t, &cause, path, st, since_ns);
	}
	int r = tell_change(t, &cause, ROLE_FRESH, CHANGE_LOOK, 0, path, NO_PAIR);
	return r < 0 ? r : unseen_found(t->options.unseen, place->job);
}
