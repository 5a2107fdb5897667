/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two maps: slots by (pid, descriptor) or (pid, device, inode) for maps, and processes by pid,
 * each with the list of its intents.  Renames and searches by inode walk all slots: files that
 * are open for writing at one moment are few, even where millions are written in a day.
 *
 * The set is keyed by descriptor and not counted, so that surplus closes do no harm: for
 * `cmd > f` a shell sends OPEN(3) INHERIT(1) CLOSE(3), and the real end is the death of (pid, 1).
 *
 * Saved: one entry after the other, little-endian as in memory: struct saved, then path,
 * program and job.  Who stores it adds version and checksum (state.c).
 */
#include "poster/intents.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "flow/change.h"
#include "flow/map.h"

struct slot_key {
	uint64_t dev, ino; /* zero but for maps */
	uint32_t pid;
	int32_t fd;
};

struct process {
	uint32_t pid;
	struct intent *first;
};

struct intents {
	struct map slots;
	struct map processes;
	size_t places;
	uint64_t place_number; /* in the place of an inode, so that each has a key */
	uint64_t max_delay_ns;
};

static void span_free(struct span *span)
{
	free((void *)span->data);
	*span = SPAN_NONE;
}

void intent_destroy(struct intent *intent)
{
	if (!intent) {
		return;
	}
	span_free(&intent->path);
	span_free(&intent->program);
	span_free(&intent->job);
	free(intent);
}

struct intent *intent_copy(const struct intent *intent)
{
	CLEANUP(intent_destroy_p) struct intent *copy = malloc(sizeof(*copy));
	if (!copy) {
		return NULL;
	}
	*copy = *intent;
	copy->next = copy->previous = NULL;
	copy->path = copy->program = copy->job = SPAN_NONE;
	if (change_set(&copy->path, intent->path) < 0 ||
		change_set(&copy->program, intent->program) < 0 ||
		change_set(&copy->job, intent->job) < 0) {
		return NULL;
	}
	return STEAL(copy);
}

struct intents *intents_create(uint64_t max_delay_ns)
{
	struct intents *intents = calloc(1, sizeof(*intents));
	if (intents) {
		intents->max_delay_ns = max_delay_ns;
	}
	return intents;
}

static struct slot_key key_of(uint32_t pid, int32_t fd, uint64_t dev, uint64_t ino)
{
	struct slot_key key = {.pid = pid, .fd = fd};
	if (fd < 0) {
		key.dev = dev;
		key.ino = ino;
	}
	return key;
}

static struct span key_span(const struct slot_key *key)
{
	return span_of(key, sizeof(*key));
}

static struct process *process_get(const struct intents *intents, uint32_t pid)
{
	return map_get(&intents->processes, span_of(&pid, sizeof(pid)));
}

static struct process *process_make(struct intents *intents, uint32_t pid)
{
	struct process *process = process_get(intents, pid);
	if (process) {
		return process;
	}
	CLEANUP(free_p) struct process *made = calloc(1, sizeof(*made));
	if (!made) {
		return NULL;
	}
	made->pid = pid;
	if (map_put(&intents->processes, span_of(&pid, sizeof(pid)), made, NULL) < 0) {
		return NULL;
	}
	return STEAL(made);
}

static void process_drop_empty(struct intents *intents, struct process *process)
{
	if (process && !process->first) {
		free(map_remove(&intents->processes, span_of(&process->pid, sizeof(process->pid))));
	}
}

/* Takes the intent out of both maps; it belongs to the caller now. */
static struct intent *detach(struct intents *intents, struct intent *intent)
{
	struct slot_key key = key_of(intent->pid, intent->fd, intent->dev, intent->ino);
	struct process *process = process_get(intents, intent->pid);
	map_remove(&intents->slots, key_span(&key));
	intents->places -= intent->fd == INTENT_PLACE;
	if (intent->previous) {
		intent->previous->next = intent->next;
	} else {
		process->first = intent->next;
	}
	if (intent->next) {
		intent->next->previous = intent->previous;
	}
	intent->next = intent->previous = NULL;
	process_drop_empty(intents, process);
	return intent;
}

void intents_destroy(struct intents *intents)
{
	if (!intents) {
		return;
	}
	size_t cursor = 0;
	for (uint32_t pid; (pid = intents_next_pid(intents, &cursor)); cursor = 0) {
		intent_destroy(intents_take_of(intents, pid));
	}
	map_finish(&intents->slots);
	map_finish(&intents->processes);
	free(intents);
}

size_t intents_count(const struct intents *intents)
{
	return intents->slots.count - intents->places;
}

size_t intents_places(const struct intents *intents)
{
	return intents->places;
}

const struct intent *intents_first(const struct intents *intents, uint32_t pid)
{
	const struct process *process = process_get(intents, pid);
	return process ? process->first : NULL;
}

/* Puts a complete intent into the table, which owns it from then on. */
static int attach(struct intents *intents, struct intent *intent)
{
	struct slot_key key = key_of(intent->pid, intent->fd, intent->dev, intent->ino);
	struct process *process = process_make(intents, intent->pid);
	if (!process) {
		return -ENOMEM;
	}
	int r = map_put(&intents->slots, key_span(&key), intent, NULL);
	if (r < 0) {
		process_drop_empty(intents, process);
		return r;
	}
	intents->places += intent->fd == INTENT_PLACE;
	intent->next = process->first;
	if (intent->next) {
		intent->next->previous = intent;
	}
	process->first = intent;
	return 0;
}

static void soil(const struct intents *intents, struct intent *intent, uint64_t now_ns)
{
	if (!intent->dirty) {
		intent->dirty = true;
		intent->due_ns = now_ns + intents->max_delay_ns;
	}
}

static bool opens_dirty(const struct record *record)
{
	return record->kind != RECORD_OPEN || (record->flags & (RECORD_CREATED | RECORD_DIRTY));
}

static struct intent *intent_of(const struct record *record, int32_t fd, struct span path)
{
	CLEANUP(intent_destroy_p) struct intent *intent = calloc(1, sizeof(*intent));
	if (!intent) {
		return NULL;
	}
	intent->pid = record->pid;
	intent->fd = fd;
	intent->dev = record->dev;
	intent->ino = record->ino;
	intent->opened_ns = record->time_ns;
	intent->due_ns = CLOCK_NEVER;
	intent->unlinked = (record->flags & RECORD_HAS_STAT) && record->nlink == 0;
	if (change_set(&intent->path, path) < 0 ||
		change_set(&intent->program, record->program) < 0 ||
		change_set(&intent->job, record->job) < 0) {
		return NULL;
	}
	return STEAL(intent);
}

static int open_new(struct intents *intents, const struct record *record, int32_t fd,
	struct span path, struct intent *old)
{
	CLEANUP(intent_destroy_p) struct intent *intent = intent_of(record, fd, path);
	if (!intent) {
		return -ENOMEM;
	}
	if (old) {
		detach(intents, old);
	}
	int r = attach(intents, intent);
	if (r < 0) {
		return r;
	}
	if (opens_dirty(record)) {
		soil(intents, intent, record->time_ns);
	} else {
		intent->due_ns = record->time_ns + intents->max_delay_ns;
		intent->print = (struct intent_print){record->size_bytes, record->mtime_ns, 0};
	}
	(void)STEAL(intent);
	return 0;
}

int intents_open(struct intents *intents, const struct record *record, struct span path,
	struct intent **ret_replaced)
{
	int32_t fd = record->kind == RECORD_MAP ? -1 : record->fd;
	struct slot_key key = key_of(record->pid, fd, record->dev, record->ino);
	struct intent *old = map_get(&intents->slots, key_span(&key));
	*ret_replaced = NULL;
	if (old && old->dev == record->dev && old->ino == record->ino) {
		soil(intents, old, record->time_ns);
		return 0;
	}
	int r = open_new(intents, record, fd, path, old);
	*ret_replaced = r == 0 ? old : NULL;
	return r;
}

int intents_place(struct intents *intents, const struct record *record, struct span path)
{
	struct span rel;
	for (const struct intent *it = intents_first(intents, record->pid); it; it = it->next) {
		if (it->fd == INTENT_PLACE && path_below(path, it->path, &rel)) {
			return 0;
		}
	}
	CLEANUP(intent_destroy_p) struct intent *intent = intent_of(record, INTENT_PLACE, path);
	if (!intent) {
		return -ENOMEM;
	}
	intent->dev = 0;
	intent->ino = ++intents->place_number;
	intent->session = record->nlink;
	int r = attach(intents, intent);
	if (r == 0) {
		soil(intents, intent, record->time_ns);
		(void)STEAL(intent);
	}
	return r;
}

struct intent *intents_get(const struct intents *intents, uint32_t pid, int32_t fd)
{
	struct slot_key key = key_of(pid, fd, 0, 0);
	return fd < 0 ? NULL : map_get(&intents->slots, key_span(&key));
}

void intents_written(struct intents *intents, const struct record *record)
{
	struct intent *intent = intents_get(intents, record->pid, record->fd);
	if (intent) {
		soil(intents, intent, record->time_ns);
	}
}

struct intent *intents_take_closed(struct intents *intents, const struct record *record)
{
	struct intent *intent = intents_get(intents, record->pid, record->fd);
	bool same = intent && intent->dev == record->dev && intent->ino == record->ino;
	return same ? detach(intents, intent) : NULL;
}

struct intent *intents_take_of(struct intents *intents, uint32_t pid)
{
	struct process *process = process_get(intents, pid);
	return process ? detach(intents, process->first) : NULL;
}

static bool is_file(const struct intent *intent, uint64_t dev, uint64_t ino)
{
	return intent->dev == dev && intent->ino == ino && intent->path.len;
}

const struct intent *intents_find(
	const struct intents *intents, uint32_t pid, uint64_t dev, uint64_t ino)
{
	size_t cursor = 0;
	const struct process *process = pid ? process_get(intents, pid) : NULL;
	for (const struct intent *i = process ? process->first : NULL; i; i = i->next) {
		if (is_file(i, dev, ino)) {
			return i;
		}
	}
	for (const struct intent *i; !pid && (i = intents_next(intents, &cursor));) {
		if (is_file(i, dev, ino)) {
			return i;
		}
	}
	return NULL;
}

int intent_set_path(struct intent *intent, struct span path)
{
	struct span copy = SPAN_NONE;
	if (change_set(&copy, path) < 0) {
		return -ENOMEM;
	}
	span_free(&intent->path);
	intent->path = copy;
	intent->searched = false;
	return 0;
}

/* Gives the intent the name `to` and what it had below `from`. */
static int move_below(struct intent *intent, struct span rel, struct span to)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	path_join(&path, to, rel);
	return path.failed ? -ENOMEM : intent_set_path(intent, buf_span(&path));
}

int intents_rename(struct intents *intents, struct span from, struct span to)
{
	size_t cursor = 0;
	struct intent *intent;
	struct span rel;
	while ((intent = intents_next(intents, &cursor))) {
		if (path_below(intent->path, from, &rel)) {
			int r = move_below(intent, rel, to);
			if (r < 0) {
				return r;
			}
		} else if (span_equal(intent->path, to)) {
			intent->unlinked = true;
		}
	}
	return 0;
}

int intents_exchange(struct intents *intents, struct span a, struct span b)
{
	size_t cursor = 0;
	struct intent *intent;
	struct span rel;
	while ((intent = intents_next(intents, &cursor))) {
		int r = 0;
		if (path_below(intent->path, a, &rel)) {
			r = move_below(intent, rel, b);
		} else if (path_below(intent->path, b, &rel)) {
			r = move_below(intent, rel, a);
		}
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

void intents_unlink(struct intents *intents, struct span path)
{
	size_t cursor = 0;
	struct intent *intent;
	while ((intent = intents_next(intents, &cursor))) {
		if (span_equal(intent->path, path)) {
			intent->unlinked = true;
		}
	}
}

struct intent *intents_next(const struct intents *intents, size_t *cursor)
{
	return map_next(&intents->slots, cursor);
}

bool intents_overdue(const struct intents *intents, struct intent *intent, uint64_t now_ns)
{
	if (intent->due_ns > now_ns) {
		return false;
	}
	intent->due_ns = now_ns + intents->max_delay_ns;
	return true;
}

bool intents_of(const struct intents *intents, uint32_t pid, uint64_t *ret_oldest_ns)
{
	const struct process *process = process_get(intents, pid);
	*ret_oldest_ns = CLOCK_NEVER;
	for (const struct intent *i = process ? process->first : NULL; i; i = i->next) {
		*ret_oldest_ns = i->opened_ns < *ret_oldest_ns ? i->opened_ns : *ret_oldest_ns;
	}
	return process;
}

uint32_t intents_next_pid(const struct intents *intents, size_t *cursor)
{
	const struct process *process = map_next(&intents->processes, cursor);
	return process ? process->pid : 0;
}

/* ---- saving ------------------------------------------------------------------------------ */

enum saved_flag { SAVED_DIRTY = 1 << 0, SAVED_UNLINKED = 1 << 1 };

struct saved {
	uint64_t dev, ino, opened_ns, due_ns;
	uint32_t pid;
	int32_t fd;
	uint32_t path_len;
	uint8_t program_len, job_len, flags, zero;
	uint32_t session, unused;
};

void intent_save(const struct intent *intent, struct buf *ret)
{
	struct saved saved = {intent->dev, intent->ino, intent->opened_ns, intent->due_ns,
		intent->pid, intent->fd, (uint32_t)intent->path.len, (uint8_t)intent->program.len,
		(uint8_t)intent->job.len,
		(uint8_t)((intent->dirty ? SAVED_DIRTY : 0) |
			  (intent->unlinked ? SAVED_UNLINKED : 0)),
		0, intent->session, 0};
	buf_add(ret, span_of(&saved, sizeof(saved)));
	buf_add(ret, intent->path);
	buf_add(ret, span_of(intent->program.data, saved.program_len));
	buf_add(ret, span_of(intent->job.data, saved.job_len));
}

void intents_save(const struct intents *intents, struct buf *ret)
{
	size_t cursor = 0;
	const struct intent *intent;
	while ((intent = intents_next(intents, &cursor))) {
		intent_save(intent, ret);
	}
}

/* A place that is being looked at is saved twice: what it was looked at for stays owed. */
static int load_again(struct intents *intents, const struct intent *again)
{
	struct slot_key key = key_of(again->pid, again->fd, again->dev, again->ino);
	struct intent *first = map_get(&intents->slots, key_span(&key));
	if (again->fd != INTENT_PLACE || !first) {
		return -EEXIST;
	}
	if (again->opened_ns < first->opened_ns) {
		first->opened_ns = again->opened_ns;
	}
	return 0;
}

static int load_one(struct intents *intents, const struct saved *saved, struct span texts)
{
	struct span path = span_cut(&texts, saved->path_len);
	struct record record = {.pid = saved->pid,
		.fd = saved->fd,
		.dev = saved->dev,
		.ino = saved->ino,
		.time_ns = saved->opened_ns};
	record.program = span_cut(&texts, saved->program_len);
	record.job = span_cut(&texts, saved->job_len);
	CLEANUP(intent_destroy_p) struct intent *intent = intent_of(&record, saved->fd, path);
	if (!intent) {
		return -ENOMEM;
	}
	intent->dirty = saved->flags & SAVED_DIRTY;
	intent->unlinked = saved->flags & SAVED_UNLINKED;
	intent->due_ns = saved->due_ns;
	intent->session = saved->session;
	if (saved->fd == INTENT_PLACE && saved->ino > intents->place_number) {
		intents->place_number = saved->ino;
	}
	int r = attach(intents, intent);
	if (r == 0) {
		(void)STEAL(intent);
	}
	return r == -EEXIST ? load_again(intents, intent) : r;
}

int intents_load(struct intents *intents, struct span bytes, struct why *why)
{
	size_t total = bytes.len;
	while (bytes.len) {
		size_t at = total - bytes.len;
		struct saved saved;
		if (bytes.len < sizeof(saved)) {
			return why_error(why, -EBADMSG, "byte %zu: an intent is cut off", at);
		}
		memcpy(&saved, bytes.data, sizeof(saved));
		bytes = span_skip(bytes, sizeof(saved));
		size_t texts = (size_t)saved.path_len + saved.program_len + saved.job_len;
		if (texts > bytes.len || saved.pid == 0) {
			return why_error(why, -EBADMSG, "byte %zu: not an intent", at);
		}
		int r = load_one(intents, &saved, span_cut(&bytes, texts));
		if (r < 0) {
			return r == -EEXIST
				       ? why_error(why, -EBADMSG, "byte %zu: an intent twice", at)
				       : r;
		}
	}
	return 0;
}
