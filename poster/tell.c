/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids: number = position * 4 + role.  The role is that of the change in its record (new name, old
 * name), not a count, so that it does not depend on what the file system says at a replay.  What
 * dead writers left in a draft has no position of its own and gets fresh ids.
 *
 * tell_file() is for all the ways in which a file itself comes to be published.
 */
#include "poster/tell.h"

#include <errno.h>

#include "core/clock.h"

/* A rename at the target may bring what is older than the rename: of what has changed since, or
 * lately where the old name has been used again, equal size and time prove nothing. */
#define SUSPECT_SLACK_NS ((int64_t)(2 * CLOCK_S))
#define SUSPECT_AGE_NS   ((int64_t)(3600 * CLOCK_S))

struct cause cause_of_record(const struct record *record)
{
	return (struct cause){.record = record,
		.time_ns = record->time_ns,
		.pid = record->pid,
		.program = record->program,
		.job = record->job,
		.has_inode = record->flags & RECORD_HAS_INODE,
		.dev = record->dev,
		.ino = record->ino,
		.gone = (record->flags & RECORD_HAS_STAT) && record->nlink == 0};
}

struct cause cause_of_intent(const struct intent *intent, uint64_t wall_ns)
{
	return (struct cause){.time_ns = wall_ns,
		.pid = intent->pid,
		.program = intent->program,
		.job = intent->job,
		.has_inode = true,
		.dev = intent->dev,
		.ino = intent->ino,
		.gone = intent->unlinked};
}

bool cause_is_file(const struct stat *st, const struct cause *cause)
{
	return st->st_dev == cause->dev && st->st_ino == cause->ino;
}

int64_t stat_mtime(const struct stat *st)
{
	return st->st_mtim.tv_sec * (int64_t)CLOCK_S + st->st_mtim.tv_nsec;
}

int64_t stat_ctime(const struct stat *st)
{
	return st->st_ctim.tv_sec * (int64_t)CLOCK_S + st->st_ctim.tv_nsec;
}

bool record_is_draft(const struct record *record)
{
	return record->end == record->position;
}

/* ---- making changes ---------------------------------------------------------------------- */

static struct ident ident_for(struct translate *t, const struct cause *cause, enum role role)
{
	const struct record *record = cause->record;
	if (record && role != ROLE_FRESH && !record_is_draft(record)) {
		return (struct ident){t->options.generation, record->position * 4 + role};
	}
	return (struct ident){t->source, ++t->number};
}

/* st: what the name is now, or NULL. */
static void fill_seen(struct change_seen *seen, const struct cause *cause, const struct stat *st)
{
	const struct record *record = cause->record;
	if (record && (record->flags & RECORD_HAS_STAT)) {
		*seen = (struct change_seen){.has_stat = true,
			.size_bytes = record->size_bytes,
			.mtime_ns = record->mtime_ns,
			.mode = record->mode,
			.nlink = record->nlink};
	} else if (st && cause_is_file(st, cause)) {
		*seen = (struct change_seen){.has_stat = true,
			.size_bytes = (uint64_t)st->st_size,
			.mtime_ns = stat_mtime(st),
			.mode = st->st_mode,
			.nlink = (uint32_t)st->st_nlink};
	}
	seen->has_inode = cause->has_inode;
	seen->dev = cause->dev;
	seen->ino = cause->ino;
}

struct change *tell_make(struct translate *t, const struct cause *cause, enum role role,
	enum change_op op, unsigned facts, struct span path)
{
	CLEANUP(change_destroy_p) struct change *change = change_create();
	if (!change || change_set(&change->path, path) < 0 ||
		change_set(&change->host, span_str(t->options.host)) < 0 ||
		change_set(&change->program, cause->program) < 0 ||
		change_set(&change->job, cause->job) < 0) {
		return NULL;
	}
	change->id = ident_for(t, cause, role);
	change->op = op;
	change->facts = facts;
	change->time_ns = cause->time_ns;
	change->pid = cause->pid;
	return STEAL(change);
}

int tell_change(struct translate *t, const struct cause *cause, enum role role, enum change_op op,
	unsigned facts, struct span path, struct change_pair pair)
{
	if (!names_tree(t->options.names, path)) {
		t->counts.outside++;
		return 0;
	}
	int (*add)(struct change *, struct span, struct span) =
		pair.is_link ? change_add_link : change_add_pair;
	CLEANUP(change_destroy_p)
	struct change *change = tell_make(t, cause, role, op, facts, path);
	if (!change || (pair.from.len && add(change, pair.from, pair.to) < 0)) {
		return -ENOMEM;
	}
	if (op == CHANGE_RENAME) {
		change->suspect_ns = (int64_t)cause->time_ns - SUSPECT_SLACK_NS;
	}
	fill_seen(&change->seen, cause, NULL);
	return t->options.emit(t->options.arg, STEAL(change));
}

/* ---- names that are used again ---------------------------------------------------------- */

/* Whether a copy of what has the name now could pass for one of the file that had it before. */
static bool may_pass_for(struct span name, const struct stat *before, uint64_t renamed_ns)
{
	struct stat now;
	bool alike = names_stat(name, &now) == 0 && now.st_size == before->st_size &&
		     now.st_mtim.tv_sec == before->st_mtim.tv_sec;
	return alike || stat_mtime(before) + SUSPECT_SLACK_NS >= (int64_t)renamed_ns;
}

int tell_taken(struct translate *t, const struct cause *cause, struct span name)
{
	CLEANUP(buf_finish) struct buf now = BUF_EMPTY;
	uint64_t renamed_ns;
	struct stat st;
	links_gone(t->links, name);
	int r = recent_reused(t->recent, name, cause->time_ns, &now, &renamed_ns);
	if (r < 0) {
		return r == -ENOENT ? 0 : r;
	}
	bool there = names_stat(buf_span(&now), &st) == 0 &&
		     names_tree(t->options.names, buf_span(&now));
	bool deep = there && S_ISDIR(st.st_mode);
	if (!there || !(deep || (S_ISREG(st.st_mode) && may_pass_for(name, &st, renamed_ns)))) {
		return 0;
	}
	CLEANUP(change_destroy_p)
	struct change *change = tell_make(t, cause, ROLE_FRESH, CHANGE_LOOK,
		deep ? CHANGE_DEEP : CHANGE_FORCE, buf_span(&now));
	if (!change) {
		return -ENOMEM;
	}
	change->suspect_ns = deep ? (int64_t)renamed_ns - SUSPECT_AGE_NS : 0;
	return t->options.emit(t->options.arg, STEAL(change));
}

/* ---- content, and where it went ---------------------------------------------------------- */

/* truncate(2), chmod(2) and their kin tell no inode: what has the name now has to do. */
static bool has_links(const struct stat *st)
{
	return st && S_ISREG(st->st_mode) && st->st_nlink > 1;
}

/* The file may lose this name before anybody has looked, and has others, or may have. */
static void add_group(struct change *change, const struct cause *cause, const struct stat *st)
{
	const struct change_seen *seen = &change->seen;
	if (cause->has_inode && (!seen->has_stat || seen->nlink > 1)) {
		change_add_group(change, (struct change_group){cause->dev, cause->ino});
	} else if (!cause->has_inode && has_links(st)) {
		change_add_group(change, (struct change_group){st->st_dev, st->st_ino});
	}
}

static int publish_file(struct translate *t, const struct cause *cause, enum role role,
	enum change_op op, struct span path, const struct stat *st)
{
	unsigned facts = op == CHANGE_WRITE ? CHANGE_FORCE : 0;
	CLEANUP(change_destroy_p)
	struct change *change = tell_make(t, cause, role, op, facts, path);
	if (!change) {
		return -ENOMEM;
	}
	fill_seen(&change->seen, cause, st);
	add_group(change, cause, st);
	bool links = change->seen.has_stat ? change->seen.nlink > 1 : has_links(st);
	bool remember = op == CHANGE_WRITE || links;
	int r = remember ? recent_wrote(t->recent, path, cause->time_ns, links) : 0;
	return r < 0 ? r : t->options.emit(t->options.arg, STEAL(change));
}

/* Publishes the file by this name if it has it.  Returns 0, -ENOENT, or another error. */
static int try_name(
	struct translate *t, const struct cause *cause, enum change_op op, struct span name)
{
	struct stat st;
	if (names_stat(name, &st) < 0 || !cause_is_file(&st, cause)) {
		return -ENOENT;
	}
	if (!names_tree(t->options.names, name)) {
		t->counts.outside++;
		return 0;
	}
	return publish_file(t, cause, ROLE_FRESH, op, name, &st);
}

/* The same by what became of path; another file of that name may have been renamed, too. */
static int try_renamed(
	struct translate *t, const struct cause *cause, enum change_op op, struct span path)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	size_t cursor = 0;
	int r;
	while ((r = recent_name(t->recent, path, &cursor, &name)) == 0) {
		r = try_name(t, cause, op, buf_span(&name));
		if (r != -ENOENT) {
			return r;
		}
		buf_clear(&name);
	}
	return r;
}

/* path does not name the file. */
static int look_for(
	struct translate *t, const struct cause *cause, enum change_op op, struct span path)
{
	const struct intent *other = intents_find(t->options.intents, 0, cause->dev, cause->ino);
	int r = other ? try_name(t, cause, op, other->path) : -ENOENT;
	r = r == -ENOENT ? try_renamed(t, cause, op, path) : r;
	return r == -ENOENT ? missing_add(&t->missing, path, false, t->now_ns) : r;
}

int tell_file(struct translate *t, const struct cause *cause, enum change_op op, struct span path)
{
	struct stat st;
	bool there = names_stat(path, &st) == 0;
	bool found = there && (!cause->has_inode || cause_is_file(&st, cause));
	bool content = op == CHANGE_WRITE;
	if (!names_tree(t->options.names, path) || (content && found && !S_ISREG(st.st_mode))) {
		t->counts.outside++;
		return 0;
	}
	int r = publish_file(t, cause, ROLE_MAIN, op, path, there ? &st : NULL);
	if (r < 0 || found || !cause->has_inode || cause->gone) {
		return r;
	}
	return look_for(t, cause, op, path);
}

int tell_intent(struct translate *t, const struct intent *intent, uint64_t wall_ns)
{
	struct cause cause = cause_of_intent(intent, wall_ns);
	return intent->path.len ? tell_file(t, &cause, CHANGE_WRITE, intent->path) : 0;
}
