/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reconciler: makes the target's path what the source's path is now.
 *
 *   reconcile(job)        one order: guards, parents, renames, then the entry itself
 *
 * The entry_*() functions make T (the target's entry) what S (the source's, as attr says) is.
 * Doing any of it twice, late, or beside another copier does no harm: see ARCHITECTURE.md for
 * the interleaving that each step closes.
 */
#pragma once

#include "core/buf.h"
#include "job.h"

/* job->pair, order, rel, publish are set, the rest is zero.  Returns 0 or -errno with words. */
int reconcile(struct job *job);

/* entry.c */
int entry_gone(struct job *job);
int entry_symlink(struct job *job, const struct side_attr *s);
/* directory.c */
int entry_directory(struct job *job, const struct side_attr *s);
/* file.c */
int entry_file(struct job *job, const struct side_attr *s);
/*
 * Copies S to the target's name `to` by way of a temporary name beside it.  only: this file and no
 * other that has taken its name, where not NULL.  exclusive: only where the name `to` is free,
 * *ret_made says so.  FILE_CHANGED: S did not hold still, a change for it was
 * asked for.
 */
#define FILE_CHANGED 1
int file_copy(struct job *job, struct span to, const struct side_attr *only, bool exclusive,
	bool *ret_made);
/* Sets mode, mtime and owner where they differ (t NULL: it was made just now, all of them);
 * counts the entry as unchanged where none does. */
int file_attributes(struct job *job, const struct side_attr *s, const struct side_attr *t);
/* owner.c: whether T gets S's owner and group, which of them as far as this account can; and
 * whether that would change T. */
bool owner_is_shared(struct job *job, const struct side_attr *s);
bool owner_differs(struct job *job, const struct side_attr *s, const struct side_attr *t);
/* links.c: a file with several names */
int entry_links(struct job *job, const struct side_attr *s, const struct side_attr *t);
/* Whatever links and groups the order speaks of and S is none of: their other names are asked for.
 */
int links_elsewhere(struct job *job, const struct side_attr *s);
/* The name of S's group below .mirror-links. */
void links_group(const struct pair *pair, const struct side_attr *s, struct buf *ret);
/* rename.c: moves T's old name here where the order says so and T agrees */
int rename_pairs(struct job *job);
/* A try before may have moved, or may still move, what has an old name by then: asks for these. */
int rename_ask_old(struct job *job, uint64_t pause_ns);
/* gone.c: moves T's entry away, where it can be fetched back from until it is purged */
int detach(struct job *job, struct span rel);
/* After -EACCES: T's directory rel itself may be written now; true: try again. */
bool entry_opened(struct job *job, struct span rel);
/* The newest detached entry that was called rel; -ENOENT. Appends its present path to *ret. */
int detached_find(struct job *job, struct span rel, struct buf *ret);
/* After a detached entry at path was moved back: forgets its former name. */
void detached_taken(struct job *job, struct span path);

/* As exact as both sides know it. */
bool same_mtime(const struct pair *pair, const struct side_attr *s, const struct side_attr *t);
/* Both sides local: carries what no stat shows; what may not be read stays as it is. */
int copy_xattrs(struct job *job);
/* Whether T may be taken for S without reading: size, and mtime as exact as both sides know. */
bool same_content(const struct pair *pair, const struct side_attr *s, const struct side_attr *t);
/* temporary.c: a name beside rel that nobody else uses */
void temporary_name(struct span rel, struct buf *ret);
/* Whether T's temporary name of the order's directory will not be finished by anybody. */
bool temporary_is_left(const struct job *job, struct span name, const struct side_attr *t);
/* Removes what an interrupted try of making `of` has left. */
int temporary_sweep(struct job *job, struct span of);
/* guard_look() in the middle of a job: what fails is the tree, not this path. */
int guarded(struct job *job);
/* After -EACCES: gives the target directory of rel to its owner for now; true: try again. */
bool parent_opened(struct job *job, struct span rel);
/* lstat that says SIDE_NONE where no real path leads: -ENOENT, -ENOTDIR, -ELOOP. */
int look(struct job *job, struct side *side, struct span rel, struct side_attr *ret);
/* The same of T's entry, which may be known from the check of its parents: once, and as long as
 * nothing was done to it. */
int look_there(struct job *job, struct side_attr *ret);
