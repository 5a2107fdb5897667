/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three nouns.
 *
 *   change    something happened to a path: look at it      poster, copier, mirrorctl -> winnow
 *   order     make the target's path what the source's is   winnow -> copier
 *   receipt   what was done about it                        copier -> tally, winnow
 *
 * A change is a hint, never an instruction.  An order is a change that has been quiet long
 * enough, with the facts of all changes of its path merged into it; it keeps the id of the last
 * of them.  A receipt answers an order under that id.  So one id follows one obligation from the
 * journal to the target, and whoever counts (tally) compares sets of ids:
 *
 *   seen:     the change itself
 *   moved:    a note that change A is now part of B (winnow, before it forgets A)
 *   settled:  the receipt
 *   begot:    a change whose `cause` is an order still open; seen before that order's receipt
 *
 * Every struct owns its bytes; change_destroy() and receipt_finish() release them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/span.h"

/* Unique for ever: source is random per publisher instance (or journal), number counts. */
struct ident {
	uint64_t source;
	uint64_t number;
};
#define IDENT_NONE ((struct ident){0, 0})
#define IDENT_TEXT 40 /* room for ident_text(), NUL included */

static inline bool ident_equal(struct ident a, struct ident b)
{
	return a.source == b.source && a.number == b.number;
}
static inline bool ident_is_none(struct ident a)
{
	return a.source == 0 && a.number == 0;
}
/* "00c0ffee00c0ffee.17"; returns buffer, which holds IDENT_TEXT bytes. */
char *ident_text(struct ident id, char *buffer);
/* Reads just that form.  Returns 0 or -EINVAL. */
int ident_parse(struct span text, struct ident *ret);
/* A random, never zero, source. */
uint64_t ident_source(void);

/* What the writer did; only a hint, and what v03 peers are told. */
enum change_op {
	CHANGE_WRITE, /* content may differ */
	CHANGE_META,  /* mode, times, owner, attributes */
	CHANGE_MKDIR,
	CHANGE_SYMLINK,
	CHANGE_LINK,   /* a new hard link; pair.from is the other name where known */
	CHANGE_RENAME, /* this path is the new name, pairs[0] */
	CHANGE_AWAY,   /* this path is the old name, pairs[0] */
	CHANGE_REMOVE, /* unlinked */
	CHANGE_RMDIR,
	CHANGE_LOOK, /* nobody wrote: sync, parent, child, second look */
	CHANGE_OP_COUNT
};
/* "write", "meta", …, "look". */
const char *change_op_name(enum change_op op);

/*
 * Facts.  FORCE, DEEP, DELETE, BEGUN and PASS ask for something: merged changes ask for all of it.
 * SOON, BULK and SETTLED give leave to do less: merged changes keep it only where both had it,
 * because a walk that comes by must not hurry a path that is still being written, nor delay it
 * behind bulk work, nor make a fresh change believed too early. Publishers set FORCE on everything
 * that stems from a write (op WRITE does not imply it), so the union alone makes sure that a
 * written file is copied whatever its size and mtime say.
 */
enum change_fact {
	CHANGE_FORCE = 1 << 0,  /* do not trust equal size and mtime: copy the content */
	CHANGE_DEEP = 1 << 1,   /* a directory: everything below it too */
	CHANGE_DELETE = 1 << 2, /* names that only the target has are removed; without DEEP: of this
				   directory alone, and of those that differ what is below */
	CHANGE_SOON = 1 << 3,   /* no need to wait until the path is quiet */
	CHANGE_BULK = 1 << 4,   /* of a bulk pass: behind all live work */
	CHANGE_SETTLED = 1 << 5, /* was already held back for `settle`: believe what S says */
	CHANGE_BEGUN = 1 << 6,   /* a try before this was broken off and may have left something at
				    the target: as if it had been redelivered */
	CHANGE_PASS = 1 << 7 /* what is found below is BULK, even where this is live by now, for it
				met a live change */
};

/* A walk through all that is below, for which nobody waits. */
#define CHANGE_WALK (CHANGE_DEEP | CHANGE_BULK | CHANGE_PASS)

#define CHANGE_PAIRS_MAX 8

/* A rename, or a hard link made from another name; absolute source paths. */
struct change_pair {
	struct span from;
	struct span to;
	bool is_link;
};

/*
 * A file with several names, by device and inode: its content or attributes were changed by this
 * path, which may have ceased to be one of them.  Another of its names is looked at then.
 */
struct change_group {
	uint64_t dev, ino;
};
#define CHANGE_GROUPS_MAX 8

/* What the writer saw; has_inode and has_stat say which halves are known. */
struct change_seen {
	bool has_inode, has_stat;
	uint64_t dev, ino;
	uint64_t size_bytes;
	int64_t mtime_ns;
	uint32_t mode; /* st_mode with type */
	uint32_t nlink;
};

struct change {
	struct ident id;
	struct ident cause; /* the order on whose way this was found, or IDENT_NONE */
	enum change_op op;
	unsigned facts;   /* enum change_fact */
	uint64_t time_ns; /* when it happened, wall clock of the writer's node */
	struct span path; /* absolute source path, canonical */
	struct span link; /* SYMLINK: its text, where known */
	struct change_pair pairs[CHANGE_PAIRS_MAX];
	unsigned pair_count;
	struct change_group groups[CHANGE_GROUPS_MAX];
	unsigned group_count;
	struct change_seen seen;
	unsigned attempt;           /* how often this has been tried and failed */
	int64_t newer_ns, older_ns; /* bulk: only files with mtime in (newer, older]; 0: no limit */
	int64_t suspect_ns; /* records were lost: of files changed since then (ctime; mtime where
			     * the source is SFTP) nobody may have told, so equal size and mtime
			     * prove nothing; 0: of none */
	int64_t moved_ns;   /* a rename at the target brought it here then, or 0 */
	struct span host;   /* where the change was made */
	struct span program;
	struct span job; /* batch job's id, or empty */
	uint32_t pid;
};

/* An empty change; NULL when memory ran out. */
struct change *change_create(void);
/* A deep copy; NULL when memory ran out. */
struct change *change_copy(const struct change *change);
void change_destroy(struct change *change);

/* Sets a span of the change to a copy of bytes.  Returns 0 or -ENOMEM. */
int change_set(struct span *field, struct span bytes);

/*
 * Adds a rename pair.  A pair that is there already is not added again; above CHANGE_PAIRS_MAX
 * the change becomes DEEP, DELETE and FORCE instead, which covers what the pairs would have said.
 * Returns 0 or -ENOMEM.
 */
int change_add_pair(struct change *change, struct span from, struct span to);
/* The same for a hard link: whoever carries it out moves nothing. */
int change_add_link(struct change *change, struct span from, struct span to);

/* Adds a group that is not there yet; above CHANGE_GROUPS_MAX the oldest one is forgotten. */
void change_add_group(struct change *change, struct change_group group);

/*
 * Makes `into` ask for everything that both ask for; it must be the later one.  Identity, cause
 * and time stay those of `into`, and so do op, seen, link and origin, except that a LOOK, which
 * tells nothing of the kind, takes them over from an `earlier` that is not one.  Limits become the
 * wider ones (none, if either has none), attempt and moved_ns the larger ones, suspect_ns the
 * earlier.  Merging twice changes nothing. Returns 0 or -ENOMEM.
 */
int change_merge(struct change *into, const struct change *earlier);

/*
 * Whether whoever carries out `later` alone does all that `earlier` asks for, with no leave that
 * `earlier` did not give: merging would tell them nothing new.
 */
bool change_covers(const struct change *later, const struct change *earlier);

enum receipt_status {
	RECEIPT_DONE,    /* the target's path was made right (or was right already) */
	RECEIPT_RETRY,   /* not done; a change with this order as its cause was published instead */
	RECEIPT_FAILED,  /* not done and not tried again by itself; why has the words */
	RECEIPT_DROPPED, /* not ours: outside of the trees, excluded, a device node … */
	RECEIPT_STATUS_COUNT
};
const char *receipt_status_name(enum receipt_status status);

/* What was done, counted. */
struct receipt_work {
	uint64_t files, directories, links, renames, removals; /* made or changed at the target */
	uint64_t bytes;                                        /* content sent */
	uint64_t bytes_saved; /* content that was right already or moved by a rename */
	uint64_t unchanged;   /* entries looked at and found equal */
	uint64_t skipped;     /* FIFOs, sockets, devices, other file systems */
};

struct receipt {
	struct ident id; /* of the order */
	enum receipt_status status;
	struct span path;             /* of the order */
	uint64_t time_ns;             /* change_time of the order: when it happened */
	uint64_t started_ns, done_ns; /* wall clock of the copier */
	struct receipt_work work;
	unsigned facts; /* of the order */
	enum change_op op;
	bool live; /* published a consistent prefix of a file that keeps changing */
	unsigned attempt;
	struct span why;  /* RETRY, FAILED, DROPPED: words for people */
	struct span host; /* of the change */
	struct span job;
	struct span copier; /* "host/copier-2" */
};
void receipt_finish(struct receipt *receipt);
