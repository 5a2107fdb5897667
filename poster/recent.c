/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes: a map by path, and a list roughly in the order of time (what was renamed goes to its
 * end), whose front is forgotten when it is older than the horizon or when there are too many.
 * In the latter case blind_ns, the time up to which something may be missing, moves on.
 *
 * Renames: a ring of the last RECENT_RENAMES.
 */
#include "poster/recent.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "flow/map.h"

#define REUSE_NS (3600 * CLOCK_S) /* an order may be late by far more than the horizon */

struct written {
	struct written *next, *previous; /* in the order of time */
	struct span path;                /* the map's */
	uint64_t time_ns;
	bool links;
};

struct renamed {
	char *from, *to;
	size_t from_len, to_len;
	uint64_t time_ns;
	bool reused;    /* something else has had the old name since */
	bool exchanged; /* both ways */
};

struct recent {
	struct map paths;
	struct written *first, *last;
	size_t writes_max;
	uint64_t horizon_ns, blind_ns;
	struct renamed renames[RECENT_RENAMES];
	size_t rename_count; /* ever */
};

struct recent *recent_create(uint64_t horizon_ns, uint64_t blind_ns, size_t writes_max)
{
	struct recent *recent = calloc(1, sizeof(*recent));
	if (recent) {
		recent->horizon_ns = horizon_ns;
		recent->blind_ns = blind_ns;
		recent->writes_max = writes_max;
	}
	return recent;
}

static void unlink_written(struct recent *recent, struct written *written)
{
	if (written->previous) {
		written->previous->next = written->next;
	} else {
		recent->first = written->next;
	}
	if (written->next) {
		written->next->previous = written->previous;
	} else {
		recent->last = written->previous;
	}
}

static void append_written(struct recent *recent, struct written *written)
{
	written->next = NULL;
	written->previous = recent->last;
	if (recent->last) {
		recent->last->next = written;
	} else {
		recent->first = written;
	}
	recent->last = written;
}

static void drop(struct recent *recent, struct written *written)
{
	unlink_written(recent, written);
	map_remove(&recent->paths, written->path);
	free(written);
}

void recent_destroy(struct recent *recent)
{
	if (!recent) {
		return;
	}
	while (recent->first) {
		drop(recent, recent->first);
	}
	map_finish(&recent->paths);
	for (size_t i = 0; i < RECENT_RENAMES; i++) {
		free(recent->renames[i].from);
		free(recent->renames[i].to);
	}
	free(recent);
}

static void forget_old(struct recent *recent, uint64_t time_ns)
{
	struct written *old;
	while ((old = recent->first)) {
		bool expired =
			time_ns > recent->horizon_ns && old->time_ns < time_ns - recent->horizon_ns;
		if (!expired && recent->paths.count <= recent->writes_max) {
			return;
		}
		if (!expired && old->time_ns > recent->blind_ns) {
			recent->blind_ns = old->time_ns;
		}
		drop(recent, old);
	}
}

static int put(struct recent *recent, struct span path, uint64_t time_ns, bool links)
{
	struct written *written = map_get(&recent->paths, path);
	if (written) {
		unlink_written(recent, written);
	} else {
		written = calloc(1, sizeof(*written));
		if (!written || map_put(&recent->paths, path, written, &written->path) < 0) {
			free(written);
			return -ENOMEM;
		}
	}
	written->links = written->links || links;
	written->time_ns = time_ns;
	append_written(recent, written);
	return 0;
}

int recent_wrote(struct recent *recent, struct span path, uint64_t time_ns, bool links)
{
	int r = put(recent, path, time_ns, links);
	if (r == 0) {
		forget_old(recent, time_ns);
	}
	return r;
}

bool recent_covers(const struct recent *recent, struct span path, uint64_t time_ns)
{
	const struct written *written = map_get(&recent->paths, path);
	return written && written->time_ns >= time_ns;
}

bool recent_forget(struct recent *recent, struct span path)
{
	struct written *written = map_get(&recent->paths, path);
	bool links = written && written->links;
	if (written) {
		drop(recent, written);
	}
	return links;
}

static char *copy_of(struct span bytes)
{
	char *copy = malloc(bytes.len + 1);
	if (copy && bytes.len) {
		memcpy(copy, bytes.data, bytes.len);
	}
	return copy;
}

static int remember_rename(
	struct recent *recent, struct span from, struct span to, uint64_t time_ns, bool exchanged)
{
	struct renamed *renamed = &recent->renames[recent->rename_count % RECENT_RENAMES];
	CLEANUP(free_p) char *new_from = copy_of(from);
	CLEANUP(free_p) char *new_to = copy_of(to);
	if (!new_from || !new_to) {
		return -ENOMEM;
	}
	free(renamed->from);
	free(renamed->to);
	*renamed = (struct renamed){
		STEAL(new_from), STEAL(new_to), from.len, to.len, time_ns, exchanged, exchanged};
	recent->rename_count++;
	return 0;
}

/* Gives one entry its new name and tells it. */
static int move_written(struct recent *recent, struct written *written, struct span rel,
	struct span to, recent_moved_fn moved, void *arg)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	uint64_t time_ns = written->time_ns;
	bool links = written->links;
	path_join(&path, to, rel);
	drop(recent, written);
	if (path.failed || put(recent, buf_span(&path), time_ns, links) < 0) {
		return -ENOMEM;
	}
	return moved(arg, buf_span(&path), time_ns);
}

/* Finds first, then moves: moving changes the order of the list, and forgets nothing. */
static int move_all_below(
	struct recent *recent, struct span from, struct span to, recent_moved_fn moved, void *arg)
{
	size_t count = 0;
	CLEANUP(free_p) struct written **found = NULL;
	found = malloc((recent->paths.count + 1) * sizeof(struct written *));
	if (!found) {
		return -ENOMEM;
	}
	for (struct written *w = recent->first; w; w = w->next) {
		struct span rel;
		if (path_below(w->path, from, &rel)) {
			found[count++] = w;
		}
	}
	for (size_t i = 0; i < count; i++) {
		struct span rel;
		(void)path_below(found[i]->path, from, &rel);
		int r = move_written(recent, found[i], rel, to, moved, arg);
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

int recent_renamed(struct recent *recent, struct span from, struct span to, uint64_t time_ns,
	bool deep, recent_moved_fn moved, void *arg)
{
	struct span rel;
	int r = 0;
	if (path_below(to, from, &rel)) {
		return 0; /* no file system does that */
	}
	forget_old(recent, time_ns);
	recent_forget(recent, to);
	struct written *written = map_get(&recent->paths, from);
	if (deep) {
		r = move_all_below(recent, from, to, moved, arg);
	} else if (written) {
		r = move_written(recent, written, SPAN(""), to, moved, arg);
	}
	return r < 0 ? r : remember_rename(recent, from, to, time_ns, false);
}

int recent_exchanged(struct recent *recent, struct span a, struct span b, uint64_t time_ns)
{
	return remember_rename(recent, a, b, time_ns, true);
}

bool recent_is_blind(const struct recent *recent, uint64_t time_ns)
{
	return recent->blind_ns && time_ns < recent->blind_ns + recent->horizon_ns;
}

static size_t oldest_rename(const struct recent *recent)
{
	return recent->rename_count > RECENT_RENAMES ? recent->rename_count - RECENT_RENAMES : 0;
}

static struct span from_of(const struct renamed *renamed)
{
	return span_of(renamed->from, renamed->from_len);
}

static struct span to_of(const struct renamed *renamed)
{
	return span_of(renamed->to, renamed->to_len);
}

bool recent_moved(const struct recent *recent, struct span name, uint64_t time_ns)
{
	for (size_t i = oldest_rename(recent); i < recent->rename_count; i++) {
		const struct renamed *renamed = &recent->renames[i % RECENT_RENAMES];
		struct span rel;
		bool is_new = path_below(name, to_of(renamed), &rel) ||
			      (renamed->exchanged && path_below(name, from_of(renamed), &rel));
		if (is_new && renamed->time_ns + REUSE_NS >= time_ns) {
			return true;
		}
	}
	return false;
}

/* Where path goes with this rename.  Returns whether it goes anywhere. */
static bool goes_to(
	const struct renamed *renamed, struct span path, struct span *ret_to, struct span *ret_rel)
{
	*ret_to = to_of(renamed);
	if (path_below(path, from_of(renamed), ret_rel)) {
		return true;
	}
	*ret_to = from_of(renamed);
	return renamed->exchanged && path_below(path, to_of(renamed), ret_rel);
}

/* What path is called after the renames from number i on.  Returns 0 or -ENOMEM. */
static int name_since(const struct recent *recent, size_t i, struct span path, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf next = BUF_EMPTY;
	buf_add(&name, path);
	for (; i < recent->rename_count; i++) {
		struct span to, rel;
		if (goes_to(&recent->renames[i % RECENT_RENAMES], buf_span(&name), &to, &rel)) {
			buf_clear(&next);
			path_join(&next, to, rel);
			struct buf swap = name;
			name = next;
			next = swap;
		}
	}
	buf_add(ret, buf_span(&name));
	return name.failed || ret->failed ? -ENOMEM : 0;
}

int recent_name(const struct recent *recent, struct span path, size_t *cursor, struct buf *ret)
{
	size_t count = recent->rename_count - oldest_rename(recent);
	while (*cursor < count) {
		size_t i = recent->rename_count - ++*cursor;
		struct span to, rel;
		if (goes_to(&recent->renames[i % RECENT_RENAMES], path, &to, &rel)) {
			return name_since(recent, i, path, ret);
		}
	}
	return -ENOENT;
}

int recent_reused(struct recent *recent, struct span name, uint64_t time_ns, struct buf *ret,
	uint64_t *ret_renamed_ns)
{
	for (size_t i = oldest_rename(recent); i < recent->rename_count; i++) {
		struct renamed *renamed = &recent->renames[i % RECENT_RENAMES];
		if (renamed->reused || renamed->time_ns + REUSE_NS < time_ns ||
			!span_equal(from_of(renamed), name)) {
			continue;
		}
		renamed->reused = true;
		*ret_renamed_ns = renamed->time_ns;
		return name_since(recent, i, name, ret);
	}
	return -ENOENT;
}
