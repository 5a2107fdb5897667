/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A journal: what happened to files on this node, as told by many processes to one reader.
 *
 *   writers (shim):   journal_attach() once, then journal_append() for each record
 *   reader (poster):  journal_create(), then journal_next() and journal_release() in turn
 *   tools:            journal_peek_*(): look without taking
 *
 * One directory per node, user and mirror, mode 0700, owned by the user; in it a ring of fixed
 * size that all map.  Appending takes no lock, no heap and, once attached, no system call; it is
 * safe in signal handlers, threads and after fork().  A writer killed at any instruction never
 * blocks others and never damages what follows.  A full ring drops the record, counts it and
 * marks since when: never the job waits.
 *
 * A record's number is its position in the ring, counted since the ring was made; a gap between
 * one record's end and the next one's number is a record that was torn (its writer died).
 *
 * A process can be killed after a call by name took effect and before its record is appended.
 * Such calls are announced in a draft first; journal_next() hands out what dead processes left
 * there as if they had appended it (position and end are then where reading stands), perhaps before
 * the last that they did append, and perhaps beside it.
 *
 * journal.c, journal-first.c and journal-lost.c (writer) compile without libc, for the shim;
 * journal-reader.c and journal-file.c have the rest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/span.h"

enum record_kind {
	RECORD_NONE,
	RECORD_OPEN,     /* intent: this pid holds fd open for writing on (dev, ino) */
	RECORD_INHERIT,  /* the same, for a descriptor that came by fork, exec, dup or a socket */
	RECORD_MAP,      /* intent: a writable shared map of (dev, ino); ends with the process */
	RECORD_CLOSE,    /* pid's fd is closed; RECORD_DIRTY in flags: content may differ */
	RECORD_TRUNCATE, /* by name */
	RECORD_META,     /* mode, times, owner, attributes, by name or descriptor */
	RECORD_MKDIR,
	RECORD_SYMLINK,  /* path2 is its text */
	RECORD_LINK,     /* path -> path2, the new name */
	RECORD_RENAME,   /* path -> path2 */
	RECORD_EXCHANGE, /* path <-> path2 */
	RECORD_UNLINK,
	RECORD_RMDIR,
	RECORD_MKNOD,
	RECORD_UNSEEN,  /* pid runs a program that no preload can see, see below */
	RECORD_WRITTEN, /* an intent became dirty (first write); only a hint for `dirty` counts */
	RECORD_KIND_COUNT
};

enum record_flag {
	RECORD_DIRTY = 1 << 0,   /* CLOSE: written, or unknown (stdio, map, inherited); OPEN: cannot
				    be known */
	RECORD_CREATED = 1 << 1, /* OPEN with O_CREAT or O_TRUNC: changed by the open itself */
	RECORD_HAS_STAT = 1 << 2,  /* size, mtime, mode, nlink are what the writer saw */
	RECORD_HAS_INODE = 1 << 3, /* dev, ino of the file (of the new name for renames) */
	RECORD_NOFOLLOW = 1 << 4,  /* META: of the symlink itself */
	RECORD_CONTINUED = 1 << 5, /* UNSEEN: more arguments of the same program */
};

/* Why a program is not seen: `mode` of RECORD_UNSEEN. */
enum unseen_reason {
	UNSEEN_STATIC = 1,  /* loads no library */
	UNSEEN_GO,          /* calls the kernel past them */
	UNSEEN_PRIVILEGED,  /* set-user-id and the like: may not load ours */
	UNSEEN_ENVIRONMENT, /* is not told of ours */
	UNSEEN_MACHINE,     /* 32 bits, or of another processor */
	UNSEEN_REASON_COUNT
};

/*
 * One record.  dir is the absolute directory that a relative path starts from (working directory
 * or dirfd), empty for absolute paths; dir2 likewise for path2.  Spans of a record that was read
 * point into the ring and are valid until journal_release(); they hold no NUL.  (While peeking
 * they are valid until the next journal_next().)
 *
 * Intents are known by (pid, fd).  OPEN or INHERIT on a descriptor that already has one replaces
 * it (the old file is closed, and dirty).  CLOSE ends the intent of (pid, fd) only where (dev, ino)
 * agree: another thread may have the number again already.  CLOSE or INHERIT with an empty path
 * names the file by an outstanding intent of the same pid with the same (dev, ino); a CLOSE
 * without a path and without such an intent says nothing.  CLOSE with a path is a change by itself.
 * The file of MAP is named by path; fd is -1, several maps of one file are one intent.
 * INHERIT, MAP, and OPEN with CREATED or DIRTY are dirty from the start.  When a process dies with
 * another intent, that may be dirty too (writes can pass unseen): it is where size or mtime are no
 * longer those of the OPEN.
 *
 * UNSEEN: what pid does from now on is not told.  path is the program, dir its working directory
 * (always), path2 its arguments with a slash, each followed by NUL; mode has the reason, nlink the
 * session.  Arguments that do not fit follow in further records, CONTINUED.
 */
struct record {
	uint64_t position; /* number: bytes since the ring was made; reader only */
	uint64_t end;      /* position of what follows; reader only */
	enum record_kind kind;
	unsigned flags;   /* enum record_flag */
	uint64_t time_ns; /* wall clock */
	uint32_t pid;
	uint32_t writer; /* the process that appends, where that is not pid; else 0 */
	int32_t fd;      /* -1: none */
	uint64_t dev, ino;
	uint64_t size_bytes;
	int64_t mtime_ns;
	uint32_t mode, nlink;
	struct span dir, path;
	struct span dir2, path2;
	struct span program; /* at most 15 bytes, as the kernel's comm */
	struct span job;     /* batch job's id, at most 63 bytes, or empty */
};

#define JOURNAL_FULL  1
#define JOURNAL_EMPTY 1

/* ---- writer: no libc, no heap, no errno -------------------------------------------------- */

struct journal_writer {
	struct journal_ring *ring; /* mapped, or NULL: not attached */
	size_t map_bytes;
	uint64_t size_bytes; /* of the ring's data, as it was when it was mapped */
	bool settled;        /* the caller has appended much: takes drafts from all over the ring */
	bool reader_seen;    /* when the ring was mapped */
};

/*
 * Maps the ring in directory (absolute, NUL-terminated, below 500 bytes).  Refuses a directory or
 * ring of another owner, or one that others may write (-EPERM), and one whose reader lives in
 * another namespace of pids (-EXDEV; counted as dropped, for nothing will be recorded).  Keeps no
 * descriptor. Returns 0 or -errno.
 */
int journal_attach(struct journal_writer *writer, const char *directory);
/* The same; mapped hears of each map before it is looked at, and with 0 bytes that it is gone. */
int journal_attach_guarded(struct journal_writer *writer, const char *directory,
	void (*mapped)(void *map, uint64_t bytes));

/*
 * For a handler of SIGBUS: the file behind map, bytes long, has been made shorter.  Puts memory of
 * this process there; what is appended to it is lost, and -ESTALE says so.  System calls only.
 */
int journal_lose(void *map, uint64_t bytes);

/*
 * Such a handler for programs with libc, as `mapped` of journal_attach_guarded(); what is read is
 * guarded by itself.  One thread at a time.
 */
void journal_guard(void *map, uint64_t bytes);

#define JOURNAL_SIZE_DEFAULT (UINT64_C(64) << 20)

/*
 * Makes directory, those above it that are missing, and an empty ring in it, unless there is one;
 * size_bytes as for journal_create().  All writers and the reader may try at once.  Takes no
 * longer than reserving the blocks does; one that is killed meanwhile leaves a file that the next
 * reader removes.
 * Returns 0 (attach now), -ENOENT, -EACCES, -EROFS, -ENOTDIR or -EPERM where the directory is of
 * no use (so the reader takes the next place too), or another -errno.
 */
int journal_first(const char *directory, uint64_t size_bytes);

/*
 * Right behind journal_attach(): whether no reader lives and it is the caller's turn to start one:
 * true for one caller in 30 s.  No system call where attaching has seen the reader; else one, and
 * for one caller in 30 s a few more, as a pid may be another's by now, or of a zombie.
 */
bool journal_calls_reader(struct journal_writer *writer, const char *directory, uint64_t time_ns);

/*
 * Returns 0, JOURNAL_FULL (dropped and counted), -EINVAL (too long; counted as dropped),
 * -EBADMSG (the ring is damaged; counted as dropped) or -ESTALE (the reader has put a new ring in
 * its place: attach again).
 */
int journal_append(struct journal_writer *writer, const struct record *record);

/* Whether a file on this device can be of interest to the reader. */
bool journal_wants_device(const struct journal_writer *writer, uint64_t dev);
/* As long as this is the same, so is the answer; never 0.  Read it first, then ask. */
uint64_t journal_devices_stamp(const struct journal_writer *writer);

/*
 * What was found out about something, 1 to 7, kept for all processes of the node in a small table;
 * key is a hash of all that it depends on.  0: not known (any more).
 */
unsigned journal_verdict(const struct journal_writer *writer, uint64_t key);
void journal_keep_verdict(struct journal_writer *writer, uint64_t key, unsigned verdict);

/*
 * A change could not be recorded at all: counts it as dropped, so that a rescan follows.
 * Returns 0, or -ESTALE: nobody will read it there, attach again.
 */
int journal_count_loss(struct journal_writer *writer, uint64_t time_ns);

/*
 * A draft: room for the names of one record, in the ring's own memory, and the announcement of it.
 * journal_draft_take() returns NULL when all are taken.  Fill bytes and the lengths, arm, do the
 * call, append, drop.  An armed draft of a process that has died becomes a record.
 */
#define JOURNAL_DRAFT_BYTES 16384
struct journal_draft {
	uint64_t owner; /* pid and state; not for callers */
	uint64_t time_ns;
	uint16_t kind, flags;
	uint16_t dir_len, path_len, dir2_len, path2_len;
	uint8_t program_len, job_len;
	uint16_t unused;
	char bytes[JOURNAL_DRAFT_BYTES -
		   32]; /* program, job, dir, path, dir2, path2, in this order */
};
struct journal_draft *journal_draft_take(struct journal_writer *writer, uint32_t pid);
void journal_draft_arm(struct journal_draft *draft);
void journal_draft_drop(struct journal_draft *draft);
/* Sets kind, flags, time and the spans of ret from the draft; the rest is left alone. */
int journal_draft_read(const struct journal_draft *draft, struct record *ret);

/* Grows by one with every rename on this node: what was learnt about paths may be stale. */
uint64_t journal_rename_count(const struct journal_writer *writer);

/* ---- reader ------------------------------------------------------------------------------ */

struct why;
struct journal;

/*
 * Opens or makes the journal for reading and taking.  The directory and its parents below an
 * existing place are made with mode 0700.  size_bytes applies to a new ring (power of two,
 * 64 KiB to 4 GiB).  Only one reader at a time (a lock file).
 * Returns 0, -EBUSY (another reader lives), -EPERM (not safe, words say what), or -errno.
 */
int journal_create(
	const char *directory, uint64_t size_bytes, struct journal **ret, struct why *why);
/* Opens an existing journal only to look: never blocks or disturbs the reader. */
int journal_peek(const char *directory, struct journal **ret, struct why *why);
void journal_destroy(struct journal *journal);
/*
 * Whether journal_create() would refuse this directory for what others can do there; one that is
 * not there yet is good.  Returns 0, -EPERM, -ENOTDIR, -ELOOP, or -errno, with words.
 */
int journal_check_place(const char *directory, struct why *why);

/*
 * The next record behind the last one returned.  Torn records of dead writers are passed over
 * (and counted); one that a live writer is still filling ends the reading for now.
 * Returns 0, JOURNAL_EMPTY, or -EBADMSG (the ring is damaged, or a living writer has not completed
 * its record for a minute; words say where).
 */
int journal_next(struct journal *journal, struct record *ret, struct why *why);
/*
 * Where nothing is left to read, a ring that was made shorter shows only in its file.
 * Returns 0 or -EBADMSG.
 */
int journal_check_file(const struct journal *journal, struct why *why);
/*
 * After -EBADMSG: puts a new, empty ring in the place of the damaged one.  What was not read is
 * lost and counted as dropped since the last record that was read, so a rescan is due.
 */
int journal_renew(struct journal *journal, struct why *why);
/* Everything before position may be overwritten.  Survives the reader's death. */
void journal_release(struct journal *journal, uint64_t position);
/*
 * What the reader wants to know again when it is started anew: values that hold at position, which
 * is released next.  A reader killed at any instruction gets those of where reading then begins.
 * All zero in a new ring.
 */
#define JOURNAL_KEPT 9
void journal_keep(struct journal *journal, uint64_t position, const uint64_t values[JOURNAL_KEPT]);
void journal_kept(const struct journal *journal, uint64_t ret_values[JOURNAL_KEPT]);
/*
 * Where appending goes on now; what was appended before this call lies before it.  Beyond all
 * positions where the ring is lost: until journal_renew(), nothing can be said to be read.
 */
uint64_t journal_head(const struct journal *journal);
/* Where reading goes on (the released position at start). */
uint64_t journal_cursor(const struct journal *journal);

/* The devices that writers shall report, at most 64; an empty list reports all. */
void journal_set_devices(struct journal *journal, const uint64_t *devices, size_t count);

struct journal_facts {
	uint64_t generation; /* random, of this ring; the source of idents made from it */
	uint64_t size_bytes;
	uint64_t head, released;   /* positions */
	uint64_t dropped;          /* records that found the ring full, ever */
	uint64_t dropped_since_ns; /* wall time of the first one not yet acknowledged, or 0 */
	uint64_t torn;             /* records whose writer died while writing, ever */
	uint32_t reader_pid;       /* 0: none alive */
};
void journal_facts(const struct journal *journal, struct journal_facts *ret);
/* The reader has ordered a rescan for all drops before: forgets dropped_since_ns. */
void journal_acknowledge_drops(struct journal *journal);
