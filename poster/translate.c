/* SPDX-License-Identifier: Apache-2.0 */
/* One function per kind of record: takers[].  How changes are made stands in tell.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "poster/tell.h"
#include "poster/unseen.h"

#define HORIZON_SPARE_NS (10 * CLOCK_S)
#define DEEP_ALL         (CHANGE_DEEP | CHANGE_DELETE)
#define RESCAN           (CHANGE_WALK | CHANGE_DELETE | CHANGE_SOON)

/* ---- records ----------------------------------------------------------------------------- */

static bool is_there(const struct cause *cause, struct span name)
{
	struct stat st;
	return cause->has_inode && names_stat(name, &st) == 0 && cause_is_file(&st, cause);
}

/*
 * What is remembered leads elsewhere than the kernel does today.  It may be wrong where two renamed
 * at once, as records need not come in the order of the deeds: so a file that is where the kernel
 * leads settles it, and else that place is looked at, too.
 */
static int name_remembered(struct translate *t, const struct record *record, struct span dir,
	struct span path, bool follow, struct span then, struct buf *ret)
{
	const struct names *names = t->options.names;
	const struct cause cause = cause_of_record(record);
	CLEANUP(buf_finish) struct buf now = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf found = BUF_EMPTY;
	int r = names_find(names, dir, path, follow, record->pid, &now);
	if (r == 0 && is_there(&cause, buf_span(&now))) {
		buf_add(ret, buf_span(&now));
		return ret->failed ? -ENOMEM : 0;
	}
	r = r == -ENOMEM ? r : names_find(names, SPAN_NONE, then, follow, 0, &found);
	if (r == 0 && !is_there(&cause, buf_span(&found)) && now.len &&
		!span_equal(buf_span(&now), buf_span(&found))) {
		r = tell_change(
			t, &cause, ROLE_FRESH, CHANGE_LOOK, DEEP_ALL, buf_span(&now), NO_PAIR);
	}
	buf_add(ret, buf_span(&found));
	return r == 0 && ret->failed ? -ENOMEM : r;
}

/*
 * What dir and path named when the record was made; symlinks on the way may be others by now.
 * *ret_known: it is remembered which there were.
 */
static int name_at(struct translate *t, const struct record *record, struct span dir,
	struct span path, bool follow, bool *ret_known, struct buf *ret)
{
	const struct names *names = t->options.names;
	CLEANUP(buf_finish) struct buf then = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	int r = links_way(t->links, names, dir, path, follow, record->time_ns, &then);
	*ret_known = r > 0;
	if (r < 0 || r == LINKS_OTHER) {
		return r < 0 ? r
			     : name_remembered(t, record, dir, path, follow, buf_span(&then), ret);
	}
	size_t before = ret->len;
	r = names_find(names, dir, path, follow, record->pid, ret);
	if (r == 0 && names_text(names, dir, path, &text) == 0 &&
		!span_equal(buf_span(&text), span_skip(buf_span(ret), before))) {
		r = links_learn(t->links, names, dir, path, record->time_ns);
	}
	return r;
}

/* The name that the record gives, or -EINVAL. */
static int name_of(struct translate *t, const struct record *record, bool follow, struct buf *ret)
{
	bool ignored;
	return name_at(t, record, record->dir, record->path, follow, &ignored, ret);
}

static int second_name_of(struct translate *t, const struct record *record, struct buf *ret)
{
	bool ignored;
	return name_at(t, record, record->dir2, record->path2, false, &ignored, ret);
}

/* Whether something that is written, or was lately, has this name or one below it. */
static bool remembers(struct translate *t, struct span name)
{
	size_t cursor = 0;
	const struct intent *intent;
	while ((intent = intents_next(t->options.intents, &cursor))) {
		struct span rel;
		if (path_below(intent->path, name, &rel)) {
			return true;
		}
	}
	return recent_covers(t->recent, name, 0);
}

/* Whether the first symlink on the way came there after the record: then it did not lead to what
 * was meant. */
static bool passes_newer_link(const struct record *record, struct span name, int64_t slack_ns)
{
	struct stat st = {0};
	for (size_t len = 1; len <= name.len; len++) {
		bool is_whole = len == name.len || name.data[len] == '/';
		if (is_whole && names_stat(span_of(name.data, len), &st) < 0) {
			return false;
		}
		if (is_whole && S_ISLNK(st.st_mode)) {
			return stat_ctime(&st) + slack_ns > (int64_t)record->time_ns;
		}
	}
	return false;
}

/*
 * An entry's name at the time of the record.  A directory on its way may be a symlink by now; but
 * what is remembered goes by the names of that time, and a symlink that is younger than the record
 * led nowhere.  Where a name was given away, or this is not certain, both readings are looked at:
 * the target may still have what was there.
 */
static int name_then(struct translate *t, const struct record *record, const struct cause *cause,
	bool second, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	struct span dir = second ? record->dir2 : record->dir;
	struct span path = second ? record->path2 : record->path;
	bool known;
	int r = name_at(t, record, dir, path, false, &known, ret);
	if (r == 0) {
		r = names_text(t->options.names, dir, path, &text);
	}
	if (r < 0 || span_equal(buf_span(&text), buf_span(ret))) {
		return r;
	}
	bool literal = !known && (remembers(t, buf_span(&text)) ||
					 passes_newer_link(record, buf_span(&text), 0));
	if (literal) {
		struct buf swap = *ret;
		*ret = text;
		text = swap;
	}
	return literal || !second ? tell_change(t, cause, ROLE_FRESH, CHANGE_LOOK, DEEP_ALL,
					    buf_span(&text), NO_PAIR)
				  : 0;
}

/* A record that names nothing: the change is lost, unless everything is looked at. */
static int unnamed(struct translate *t, int r)
{
	if (r == -EINVAL || r == -ENOENT) {
		t->counts.unnamed++;
		return 0;
	}
	return r;
}

/* The name that a file was opened by; symlinks are followed as the program did. */
static int name_opened(struct translate *t, const struct record *record, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf literal = BUF_EMPTY;
	const struct cause cause = cause_of_record(record);
	int r = name_of(t, record, true, ret);
	if (r < 0 || !cause.has_inode || is_there(&cause, buf_span(ret))) {
		return r;
	}
	r = names_text(t->options.names, record->dir, record->path, &literal);
	if (r == 0 && passes_newer_link(record, buf_span(&literal), LINKS_SLACK_NS)) {
		buf_clear(ret);
		buf_add(ret, buf_span(&literal));
		r = ret->failed ? -ENOMEM : 0;
	}
	return r;
}

/*
 * The name of a file known by descriptor: that of an intent, which renames have kept right; else
 * what the record says; else what the process has there now.  -ENOENT: none.
 */
static int name_of_descriptor(struct translate *t, const struct record *record, struct buf *ret)
{
	bool inode = record->flags & RECORD_HAS_INODE;
	const struct intent *known =
		inode ? intents_find(t->options.intents, record->pid, record->dev, record->ino)
		      : NULL;
	if (!known && record->path.len) {
		int r = record->flags & RECORD_NOFOLLOW ? name_of(t, record, false, ret)
							: name_opened(t, record, ret);
		if (r < 0 || !inode || !span_starts(buf_span(ret), SPAN("/proc/"))) {
			return r;
		}
		buf_clear(ret);
	}
	if (!known && inode) {
		known = intents_find(t->options.intents, 0, record->dev, record->ino);
	}
	if (known) {
		buf_add(ret, known->path);
		return ret->failed ? -ENOMEM : 0;
	}
	return -ENOENT;
}

/* An inherited descriptor nobody has told of: what the process has there, if it still lives. */
static int name_of_inherited(struct translate *t, const struct record *record, struct buf *ret)
{
	char link[64];
	int r = name_of_descriptor(t, record, ret);
	if (r != -ENOENT) {
		return r;
	}
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", record->fd);
	return names_find(t->options.names, SPAN_NONE, span_str(link), true, record->pid, ret);
}

/*
 * Announced by a process that died, and not there: mkstemp() and its kin may have put another name
 * in the place of their template, which nobody but libc knows.
 */
static int tell_made_up(struct translate *t, const struct record *record, struct span name)
{
	struct cause cause = cause_of_record(record);
	struct stat st;
	if (!record_is_draft(record) || names_stat(name, &st) == 0) {
		return 0;
	}
	return tell_change(
		t, &cause, ROLE_FRESH, CHANGE_LOOK, CHANGE_DELETE, path_parent(name), NO_PAIR);
}

/*
 * Content known by name alone: truncate(2), and what a process announced that died in the middle of
 * opening or closing.
 */
static int take_by_name(struct translate *t, const struct record *record)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	struct cause cause = cause_of_record(record);
	int r = name_of(t, record, true, &name);
	if (r < 0) {
		return unnamed(t, r);
	}
	r = tell_made_up(t, record, buf_span(&name));
	return r < 0 ? r : tell_file(t, &cause, CHANGE_WRITE, buf_span(&name));
}

static int take_open(struct translate *t, const struct record *record)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	CLEANUP(intent_destroy_p) struct intent *replaced = NULL;
	bool opened = record->kind == RECORD_OPEN && record->path.len;
	if (record_is_draft(record)) {
		return take_by_name(t, record);
	}
	int r = opened ? name_opened(t, record, &name) : name_of_inherited(t, record, &name);
	if (opened && r == 0 && span_starts(buf_span(&name), SPAN("/proc/"))) {
		buf_clear(&name);
		r = name_of_inherited(t, record, &name);
	}
	if (r < 0) {
		return unnamed(t, r);
	}
	if (record->flags & RECORD_CREATED) {
		struct cause cause = cause_of_record(record);
		r = tell_taken(t, &cause, buf_span(&name));
	}
	r = r < 0 ? r : intents_open(t->options.intents, record, buf_span(&name), &replaced);
	return r == 0 && replaced ? tell_intent(t, replaced, record->time_ns) : r;
}

static int take_written(struct translate *t, const struct record *record)
{
	intents_written(t->options.intents, record);
	return 0;
}

static int take_close(struct translate *t, const struct record *record)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	struct cause cause = cause_of_record(record);
	if (record_is_draft(record)) {
		return take_by_name(t, record);
	}
	CLEANUP(intent_destroy_p)
	struct intent *intent = intents_take_closed(t->options.intents, record);
	if (!(record->flags & RECORD_DIRTY) && !(intent && intent->dirty)) {
		return 0; /* merely open */
	}
	if (intent) {
		cause.gone = cause.gone || (intent->unlinked && !(record->flags & RECORD_HAS_STAT));
		return tell_file(t, &cause, CHANGE_WRITE, intent->path);
	}
	int r = name_of_descriptor(t, record, &name);
	if (r == -ENOENT) {
		return 0; /* of a file nobody told of: it says nothing */
	}
	return r < 0 ? unnamed(t, r) : tell_file(t, &cause, CHANGE_WRITE, buf_span(&name));
}

static int take_meta(struct translate *t, const struct record *record)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	struct cause cause = cause_of_record(record);
	int r = name_of_descriptor(t, record, &name);
	return r < 0 ? unnamed(t, r) : tell_file(t, &cause, CHANGE_META, buf_span(&name));
}

/* MKDIR and MKNOD: an entry appeared. */
static int take_made(struct translate *t, const struct record *record)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	struct cause cause = cause_of_record(record);
	enum change_op op = record->kind == RECORD_MKDIR ? CHANGE_MKDIR : CHANGE_LOOK;
	int r = name_of(t, record, false, &name);
	if (r < 0) {
		return unnamed(t, r);
	}
	r = tell_made_up(t, record, buf_span(&name));
	r = r < 0 ? r : tell_taken(t, &cause, buf_span(&name));
	return r < 0 ? r : tell_change(t, &cause, ROLE_MAIN, op, 0, buf_span(&name), NO_PAIR);
}

/* What has this name is a symlink with this text from now on. */
static int remember_link(struct translate *t, struct span name, struct span text)
{
	CLEANUP(buf_finish) struct buf to = BUF_EMPTY;
	struct stat st;
	int r = names_find(t->options.names, path_parent(name), text, true, 0, &to);
	bool to_file = r == 0 && names_stat(buf_span(&to), &st) == 0 && !S_ISDIR(st.st_mode);
	return r == -ENOMEM ? r : links_made(t->links, name, text, to_file);
}

static int take_symlink(struct translate *t, const struct record *record)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	struct cause cause = cause_of_record(record);
	int r = name_of(t, record, false, &name);
	if (r < 0) {
		return unnamed(t, r);
	}
	if (!names_tree(t->options.names, buf_span(&name))) {
		t->counts.outside++;
		return 0;
	}
	links_gone(t->links, buf_span(&name));
	if (!record_is_draft(record)) { /* else it was perhaps never made */
		r = remember_link(t, buf_span(&name), record->path2);
	}
	if (r < 0) {
		return r;
	}
	CLEANUP(change_destroy_p)
	struct change *change = tell_make(t, &cause, ROLE_MAIN, CHANGE_SYMLINK, 0, buf_span(&name));
	if (!change || change_set(&change->link, record->path2) < 0) {
		return -ENOMEM;
	}
	return t->options.emit(t->options.arg, STEAL(change));
}

/* The name is gone or taken.  A second name of what was written there may hide the content. */
static int name_freed(struct translate *t, struct span name)
{
	missing_explained(&t->missing, name);
	return recent_forget(t->recent, name) ? missing_add(&t->missing, name, true, t->now_ns) : 0;
}

static int take_removed(struct translate *t, const struct record *record)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	struct cause cause = cause_of_record(record);
	enum change_op op = record->kind == RECORD_UNLINK ? CHANGE_REMOVE : CHANGE_RMDIR;
	int r = name_then(t, record, &cause, false, &name);
	if (r < 0) {
		return unnamed(t, r);
	}
	intents_unlink(t->options.intents, buf_span(&name));
	links_gone(t->links, buf_span(&name));
	r = name_freed(t, buf_span(&name));
	return r < 0 ? r : tell_change(t, &cause, ROLE_MAIN, op, 0, buf_span(&name), NO_PAIR);
}

/* A file that had no name (O_TMPFILE), or whose name was removed, is known by the new one. */
static int name_nameless(struct translate *t, const struct cause *cause, struct span name)
{
	size_t cursor = 0;
	struct intent *intent;
	while (cause->has_inode && (intent = intents_next(t->options.intents, &cursor))) {
		struct stat st;
		if (intent->dev != cause->dev || intent->ino != cause->ino ||
			(names_stat(intent->path, &st) == 0 && cause_is_file(&st, cause))) {
			continue;
		}
		intent->unlinked = false;
		int r = intent_set_path(intent, name);
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

/* A second name of a symlink leads where the first one does. */
static int remember_second_link(struct translate *t, struct span from, struct span to)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	int r = names_readlink(to, &text);
	if (r == -EINVAL) {
		return 0; /* it is there, and none */
	}
	r = r == 0 ? 0 : links_text(t->links, from, &text);
	return r == 0 ? remember_link(t, to, buf_span(&text)) : r == -ENOMEM ? r : 0;
}

static int take_link(struct translate *t, const struct record *record)
{
	CLEANUP(buf_finish) struct buf from = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf to = BUF_EMPTY;
	struct cause cause = cause_of_record(record);
	struct change_pair pair = NO_PAIR;
	int r = second_name_of(t, record, &to);
	if (r < 0) {
		return unnamed(t, r);
	}
	bool named = record->path.len && name_of(t, record, false, &from) == 0;
	if (named && names_tree(t->options.names, buf_span(&from)) ==
			     names_tree(t->options.names, buf_span(&to))) {
		pair = (struct change_pair){buf_span(&from), buf_span(&to), true};
	}
	/* what the target has by the old name may still be another file, of this one's size and
	 * time */
	bool force = pair.from.len && recent_moved(t->recent, pair.from, record->time_ns);
	r = name_nameless(t, &cause, buf_span(&to));
	r = r < 0 ? r : tell_taken(t, &cause, buf_span(&to));
	if (r == 0 && named && !record_is_draft(record)) {
		r = remember_second_link(t, buf_span(&from), buf_span(&to));
	}
	return r < 0 ? r
		     : tell_change(t, &cause, ROLE_MAIN, CHANGE_LINK, force ? CHANGE_FORCE : 0,
			       buf_span(&to), pair);
}

/* ---- renames ----------------------------------------------------------------------------- */

struct move {
	struct translate *t;
	const struct cause *cause;
	struct span from, to;
	bool force; /* to itself was written to lately, or what the target has as from is another
		       file */
};

static int moved_along(void *arg, struct span name, uint64_t written_ns)
{
	struct move *move = arg;
	/* What the target has from before the write may be of the same size and second. */
	if (span_equal(name, move->to)) {
		move->force = true;
		return 0;
	}
	return tell_change(
		move->t, move->cause, ROLE_FRESH, CHANGE_WRITE, CHANGE_FORCE, name, NO_PAIR);
}

static bool may_be_directory(const struct record *record, struct span name)
{
	struct stat st;
	if (record->flags & RECORD_HAS_STAT) {
		return S_ISDIR(record->mode);
	}
	return names_stat(name, &st) < 0 || S_ISDIR(st.st_mode);
}

/* What is remembered goes by its new names. */
static int move_memories(struct translate *t, const struct record *record, struct move *move)
{
	bool deep = may_be_directory(record, move->to);
	struct stat st;
	if (record_is_draft(record) && names_stat(move->from, &st) == 0) {
		return 0; /* its process died before the call */
	}
	/* as for a link: where from got its name lately, the target may have what had it before, of
	 * the same size and time; below a directory all would have to be read, too much for so
	 * little */
	move->force = !deep && recent_moved(t->recent, move->from, record->time_ns);
	missing_explained(&t->missing, move->from);
	int r = name_freed(t, move->to);
	r = r < 0 ? r : intents_rename(t->options.intents, move->from, move->to);
	return r < 0 ? r
		     : recent_renamed(t->recent, move->from, move->to, record->time_ns, deep,
			       moved_along, move);
}

/* rename(2) does nothing where both are names of one file. */
static bool same_file(const struct move *move)
{
	struct stat from, to;
	if (span_equal(move->from, move->to)) {
		return true;
	}
	return names_stat(move->from, &from) == 0 && names_stat(move->to, &to) == 0 &&
	       from.st_dev == to.st_dev && from.st_ino == to.st_ino;
}

static int tell_rename(struct translate *t, const struct record *record, const struct move *move)
{
	const struct tree *old = names_tree(t->options.names, move->from);
	const struct tree *new = names_tree(t->options.names, move->to);
	struct change_pair pair = {move->from, move->to, false};
	bool force = move->force || recent_is_blind(t->recent, record->time_ns);
	unsigned facts = DEEP_ALL | (force ? CHANGE_FORCE : 0);
	if (old && old == new) {
		int r = tell_change(
			t, move->cause, ROLE_MAIN, CHANGE_RENAME, facts, move->to, pair);
		return r < 0 ? r
			     : tell_change(t, move->cause, ROLE_OLD, CHANGE_AWAY, DEEP_ALL,
				       move->from, pair);
	}
	int r = tell_change(
		t, move->cause, ROLE_MAIN, CHANGE_LOOK, DEEP_ALL | CHANGE_FORCE, move->to, NO_PAIR);
	return r < 0 ? r
		     : tell_change(t, move->cause, ROLE_OLD, CHANGE_REMOVE, DEEP_ALL, move->from,
			       NO_PAIR);
}

static int both_names(struct translate *t, const struct record *record, const struct cause *cause,
	struct buf *from, struct buf *to)
{
	int r = name_then(t, record, cause, false, from);
	return r < 0 ? r : name_then(t, record, cause, true, to);
}

/* What a process announced that died may not have happened: then nothing is known. */
static int move_links(struct translate *t, const struct record *record, const struct move *move)
{
	if (record_is_draft(record)) {
		links_gone(t->links, move->from);
		return 0;
	}
	return links_moved(t->links, move->from, move->to);
}

static int take_rename(struct translate *t, const struct record *record)
{
	CLEANUP(buf_finish) struct buf from = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf to = BUF_EMPTY;
	struct cause cause = cause_of_record(record);
	int r = both_names(t, record, &cause, &from, &to);
	if (r < 0) {
		return unnamed(t, r);
	}
	struct move move = {t, &cause, buf_span(&from), buf_span(&to), false};
	if (!same_file(&move)) {
		r = move_memories(t, record, &move);
		r = r < 0 ? r : tell_taken(t, &cause, buf_span(&to));
		r = r < 0 ? r : move_links(t, record, &move);
	}
	return r < 0 ? r : tell_rename(t, record, &move);
}

static int exchange_links(
	struct translate *t, const struct record *record, struct span a, struct span b)
{
	if (record_is_draft(record)) {
		links_gone(t->links, a);
		links_gone(t->links, b);
		return 0;
	}
	return links_exchanged(t->links, a, b);
}

/* Both names are forced as a whole, so what was written lately need not be told again. */
static int take_exchange(struct translate *t, const struct record *record)
{
	CLEANUP(buf_finish) struct buf a = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf b = BUF_EMPTY;
	struct cause cause = cause_of_record(record);
	int r = both_names(t, record, &cause, &a, &b);
	if (r < 0) {
		return unnamed(t, r);
	}
	missing_explained(&t->missing, buf_span(&a));
	missing_explained(&t->missing, buf_span(&b));
	r = intents_exchange(t->options.intents, buf_span(&a), buf_span(&b));
	r = r < 0 ? r : recent_exchanged(t->recent, buf_span(&a), buf_span(&b), record->time_ns);
	r = r < 0 ? r : exchange_links(t, record, buf_span(&a), buf_span(&b));
	if (r < 0) {
		return r;
	}
	bool same = names_tree(t->options.names, buf_span(&a)) ==
		    names_tree(t->options.names, buf_span(&b));
	enum change_op op = same ? CHANGE_RENAME : CHANGE_LOOK;
	struct change_pair there = {buf_span(&a), buf_span(&b), false},
			   back = {buf_span(&b), buf_span(&a), false};
	r = tell_change(t, &cause, ROLE_MAIN, op, DEEP_ALL | CHANGE_FORCE, buf_span(&b),
		same ? there : NO_PAIR);
	return r < 0 ? r
		     : tell_change(t, &cause, ROLE_OLD, op, DEEP_ALL | CHANGE_FORCE, buf_span(&a),
			       same ? back : NO_PAIR);
}

static int (*const takers[RECORD_KIND_COUNT])(struct translate *, const struct record *) = {
	[RECORD_OPEN] = take_open,
	[RECORD_INHERIT] = take_open,
	[RECORD_MAP] = take_open,
	[RECORD_CLOSE] = take_close,
	[RECORD_TRUNCATE] = take_by_name,
	[RECORD_META] = take_meta,
	[RECORD_MKDIR] = take_made,
	[RECORD_SYMLINK] = take_symlink,
	[RECORD_LINK] = take_link,
	[RECORD_RENAME] = take_rename,
	[RECORD_EXCHANGE] = take_exchange,
	[RECORD_UNLINK] = take_removed,
	[RECORD_RMDIR] = take_removed,
	[RECORD_MKNOD] = take_made,
	[RECORD_UNSEEN] = tell_unseen,
	[RECORD_WRITTEN] = take_written,
};

int translate_record(struct translate *t, const struct record *record, uint64_t now_ns)
{
	t->now_ns = now_ns;
	if ((unsigned)record->kind >= RECORD_KIND_COUNT || !takers[record->kind]) {
		return unnamed(t, -EINVAL);
	}
	return takers[record->kind](t, record);
}

/* ---- without a record -------------------------------------------------------------------- */

int translate_died(struct translate *t, uint32_t pid, uint64_t now_ns, uint64_t wall_ns)
{
	t->now_ns = now_ns;
	for (;;) {
		CLEANUP(intent_destroy_p)
		struct intent *intent = intents_take_of(t->options.intents, pid);
		bool place = intent && intent->fd == INTENT_PLACE;
		int r = place    ? unseen_ended(t->options.unseen, STEAL(intent))
			: intent ? tell_intent(t, intent, wall_ns)
				 : 0;
		if (r < 0 || !(place || intent)) {
			return r;
		}
	}
}

/*
 * Whether an open file differs from what was published of it, or, while it is clean, from what was
 * opened.  A map's times tell nothing.  One
 * that is not where its path says is published, and looked for, once.
 */
static bool looks_new(struct intent *intent)
{
	struct stat st;
	struct intent_print was = intent->print;
	if (names_stat(intent->path, &st) < 0 || st.st_dev != intent->dev ||
		st.st_ino != intent->ino) {
		bool first = !intent->searched;
		intent->searched = true;
		return first;
	}
	intent->print =
		(struct intent_print){(uint64_t)st.st_size, stat_mtime(&st), stat_ctime(&st)};
	bool times = intent->dirty || was.ctime_ns != 0;
	return intent->fd < 0 || was.size_bytes != intent->print.size_bytes ||
	       was.mtime_ns != intent->print.mtime_ns ||
	       (times && was.ctime_ns != intent->print.ctime_ns);
}

/* Publishes what is open and new; overdue: only where it is time to. */
static int publish_open(struct translate *t, bool overdue, uint64_t wall_ns)
{
	size_t cursor = 0;
	struct intent *intent;
	while ((intent = intents_next(t->options.intents, &cursor))) {
		if (overdue && !intents_overdue(t->options.intents, intent, wall_ns)) {
			continue;
		}
		int r = intent->fd == INTENT_PLACE ? unseen_look(t->options.unseen, intent, wall_ns)
			: looks_new(intent)        ? tell_intent(t, intent, wall_ns)
						   : 0;
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

int translate_overdue(struct translate *t, uint64_t now_ns, uint64_t wall_ns)
{
	t->now_ns = now_ns;
	return publish_open(t, true, wall_ns);
}

int translate_open_files(struct translate *t, uint64_t now_ns, uint64_t wall_ns)
{
	t->now_ns = now_ns;
	return publish_open(t, false, wall_ns);
}

size_t translate_open_count(const struct translate *t)
{
	size_t cursor = 0, count = 0;
	const struct intent *intent;
	while ((intent = intents_next(t->options.intents, &cursor))) {
		count += intent->fd != INTENT_PLACE && names_tree(t->options.names, intent->path);
	}
	return count;
}

int translate_settle(struct translate *t, uint64_t now_ns, uint64_t wall_ns)
{
	struct cause cause = {.time_ns = wall_ns};
	for (;;) {
		struct missing_file *file = missing_take_due(&t->missing, now_ns);
		if (!file) {
			return 0;
		}
		struct span parent = path_parent(file->path);
		struct stat st;
		int r = 0;
		if (names_stat(parent, &st) == 0 && S_ISDIR(st.st_mode)) {
			r = tell_change(
				t, &cause, ROLE_FRESH, CHANGE_LOOK, CHANGE_WALK, parent, NO_PAIR);
		}
		missing_file_destroy(file);
		if (r < 0) {
			return r;
		}
	}
}

static int rescan_tree(
	struct translate *t, const struct cause *cause, const struct tree *tree, uint64_t since_ns)
{
	struct span root = span_str(tree->source.path);
	if (!names_tree(t->options.names, root)) {
		t->counts.outside++;
		return 0;
	}
	struct change *change = tell_make(t, cause, ROLE_FRESH, CHANGE_LOOK, RESCAN, root);
	if (!change) {
		return -ENOMEM;
	}
	change->suspect_ns = (int64_t)since_ns;
	return t->options.emit(t->options.arg, change);
}

int translate_rescan(struct translate *t, uint64_t wall_ns, uint64_t since_ns)
{
	struct cause cause = {.time_ns = wall_ns};
	const struct config *config = t->options.config;
	int r = 0;
	for (size_t i = 0; i < config->tree_count && r == 0; i++) {
		r = rescan_tree(t, &cause, &config->trees[i], since_ns);
	}
	return r;
}

uint64_t translate_missing(const struct translate *t)
{
	return t->missing.number;
}

uint64_t translate_missing_settled(const struct translate *t)
{
	return missing_settled(&t->missing);
}

const struct translate_counts *translate_counts(const struct translate *t)
{
	return &t->counts;
}

void translate_save_links(const struct translate *t, struct buf *ret)
{
	links_save(t->links, ret);
}

int translate_load_links(struct translate *t, struct span bytes, struct why *why)
{
	return links_load(t->links, bytes, why);
}

void translate_set_generation(struct translate *t, uint64_t generation)
{
	t->options.generation = generation;
}

int translate_create(const struct translate_options *options, struct translate **ret)
{
	struct translate *t = calloc(1, sizeof(*t));
	uint64_t horizon_ns = options->config->delay_ns + HORIZON_SPARE_NS;
	if (!t) {
		return -ENOMEM;
	}
	t->options = *options;
	t->source = ident_source();
	t->recent = recent_create(horizon_ns, options->blind_ns, RECENT_WRITES);
	t->links = links_create();
	if (!t->recent || !t->links) {
		links_destroy(t->links);
		recent_destroy(t->recent);
		free(t);
		return -ENOMEM;
	}
	*ret = t;
	return 0;
}

void translate_destroy(struct translate *t)
{
	if (!t) {
		return;
	}
	missing_finish(&t->missing);
	recent_destroy(t->recent);
	links_destroy(t->links);
	free(t);
}
