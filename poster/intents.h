/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which process holds which file open for writing: the table (process, descriptor) -> file.
 *
 * A file that is written counts as changed when its descriptor is closed.  What never is closed
 * (killed, exited, kept open for days) must not be forgotten; that is what this table is for.
 * Four things end an intent, or make it speak before its end:
 *
 *   closed     CLOSE of just this (process, descriptor); a CLOSE nobody knows does nothing
 *   replaced   another file appears in the same slot: the old one was closed behind our back
 *   died       the process is gone; the only end of a map
 *   overdue    open for max_delay: look now, and again after each max_delay; clean ones too, for
 *              there are writes that no shim sees (io_uring, a system call of the program's own)
 *
 * A program that is not seen at all may change whatever lies below its places (unseen.h): these
 * are intents too, with INTENT_PLACE for a descriptor and no file.  They end with their process.
 *
 * Pure: time and dead processes are told by the caller, nothing is looked up.  Paths are absolute
 * and canonical.  Intents that a function hands out with `take` in its name belong to the caller,
 * who destroys them; all others stay the table's and are valid until it changes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/journal.h"
#include "core/span.h"
#include "core/why.h"

/*
 * What a file looked like when it was last published, or opened (without ctime); all zero: not
 * known.
 */
struct intent_print {
	uint64_t size_bytes;
	int64_t mtime_ns, ctime_ns;
};

struct intent {
	struct intent *next, *previous; /* of the same process */
	uint32_t pid;
	int32_t fd;    /* -1: a map; INTENT_PLACE */
	bool dirty;    /* written, or it cannot be known */
	bool unlinked; /* its name was removed or taken by another file */
	bool searched; /* was looked for already, as path does not name it */
	uint64_t dev, ino;
	uint64_t opened_ns; /* wall clock */
	uint64_t due_ns;    /* wall clock: overdue from then on */
	struct intent_print print;
	uint32_t session; /* of a place: its program's */
	struct span path, program, job;
};
#define INTENT_PLACE (-2)
void intent_destroy(struct intent *intent);
/* Of no table; NULL when memory ran out. */
struct intent *intent_copy(const struct intent *intent);

DEFINE_CLEANUP(struct intent *, intent_destroy)

struct intents;

struct intents *intents_create(uint64_t max_delay_ns);
void intents_destroy(struct intents *intents);
/* Open files; places. */
size_t intents_count(const struct intents *intents);
size_t intents_places(const struct intents *intents);

/*
 * OPEN, INHERIT and MAP.  *ret_replaced is what was in the slot before and is another file, or
 * NULL; the same file again keeps its path and is dirty.  Returns 0 or -ENOMEM.
 */
int intents_open(struct intents *intents, const struct record *record, struct span path,
	struct intent **ret_replaced);
/* UNSEEN: path is a place of its process, unless it lies in one already.  Returns 0 or -ENOMEM. */
int intents_place(struct intents *intents, const struct record *record, struct span path);
/* WRITTEN: the first write through a descriptor. */
void intents_written(struct intents *intents, const struct record *record);
/* CLOSE.  NULL: not known, or the number is in use again for another file. */
struct intent *intents_take_closed(struct intents *intents, const struct record *record);
/* One intent of a dead process; NULL when none is left. */
struct intent *intents_take_of(struct intents *intents, uint32_t pid);

/* The slot's intent, or NULL. */
struct intent *intents_get(const struct intents *intents, uint32_t pid, int32_t fd);
/* One of this process, or of any (pid 0), with this inode and a path, or NULL. */
const struct intent *intents_find(
	const struct intents *intents, uint32_t pid, uint64_t dev, uint64_t ino);

/* What a process has, linked by next; NULL: nothing. */
const struct intent *intents_first(const struct intents *intents, uint32_t pid);

/* Names move: from itself and all below it.  What had the name `to` is unlinked. */
int intents_rename(struct intents *intents, struct span from, struct span to);
int intents_exchange(struct intents *intents, struct span a, struct span b);
void intents_unlink(struct intents *intents, struct span path);
/* Gives one intent another path.  Returns 0 or -ENOMEM. */
int intent_set_path(struct intent *intent, struct span path);

/* One intent after the other, *cursor beginning at 0. */
struct intent *intents_next(const struct intents *intents, size_t *cursor);
/* Whether it is overdue; if so, it will be again in max_delay. */
bool intents_overdue(const struct intents *intents, struct intent *intent, uint64_t now_ns);

/* Whether a process has intents, and when its oldest one was opened (wall clock). */
bool intents_of(const struct intents *intents, uint32_t pid, uint64_t *ret_oldest_ns);
/* One process after the other, *cursor beginning at 0; 0 at the end. */
uint32_t intents_next_pid(const struct intents *intents, size_t *cursor);

/* All of the table as bytes (intents in no table may follow), and back into an empty one.  Returns
 * 0, -EBADMSG, or -ENOMEM. */
void intents_save(const struct intents *intents, struct buf *ret);
void intent_save(const struct intent *intent, struct buf *ret);
int intents_load(struct intents *intents, struct span bytes, struct why *why);
