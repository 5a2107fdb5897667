/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From records to changes: what a program did becomes "look at these paths".
 *
 *   translate_record() for each record in order, translate_died() for each dead process,
 *   translate_overdue() and translate_settle() now and then; each tells `emit` the changes.
 *
 * Holds the table of open files (intents.h), the names written to lately (recent.h) and the files
 * that are not where they should be (missing.h).  The only outside it asks is the file system.
 *
 *   record                     change(s)
 *   CLOSE dirty, TRUNCATE      WRITE, forced; likewise the other ends of an intent
 *   META MKDIR RMDIR SYMLINK   the same; MKNOD: LOOK; UNLINK: REMOVE
 *   LINK                       LINK at the new name, with the pair
 *   RENAME                     RENAME at the new name and AWAY at the old one, deep, with the pair;
 *                              and WRITE again for what was written lately and moved along,
 *                              forced where its time was set back since
 *     from outside             LOOK at the new name, forced and deep
 *     to outside               REMOVE at the old name, deep
 *   EXCHANGE                   RENAME at both names, forced and deep
 *   UNSEEN                     what is found at its places (unseen.h)
 *
 * A change made directly from a record has an id made from the journal's generation and the
 * record's position, so that a replay after a crash repeats it; all others have fresh ids.
 *
 * A file whose path names another inode than the record says is published by that path all the
 * same, and looked for: by other descriptors, by renames of late, and at last by a deep look at
 * its directory (LOOK, DEEP, BULK), which also finds a second hard link there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/journal.h"
#include "flow/change.h"
#include "flow/config.h"
#include "poster/intents.h"
#include "poster/names.h"

/* Takes over the change.  Returns 0 or -errno. */
typedef int (*translate_emit_fn)(void *arg, struct change *change);

struct translate_options {
	const struct config *config; /* must live as long */
	const struct names *names;   /* likewise */
	struct intents *intents;     /* likewise */
	struct unseen *unseen;       /* likewise */
	const char *host;
	uint64_t generation; /* of the journal */
	uint64_t blind_ns;   /* wall time before which nothing is known of writes; 0: none were */
	translate_emit_fn emit;
	void *arg;
};

struct translate;

int translate_create(const struct translate_options *options, struct translate **ret);
void translate_destroy(struct translate *translate);
/* What is remembered of symlinks, for a state file and from it; see links.h. */
void translate_save_links(const struct translate *translate, struct buf *ret);
int translate_load_links(struct translate *translate, struct span bytes, struct why *why);
/* The journal was renewed. */
void translate_set_generation(struct translate *translate, uint64_t generation);

/* All return 0 or what emit returned, or -ENOMEM. */
int translate_record(struct translate *translate, const struct record *record, uint64_t now_ns);
/* now_ns: monotonic; wall_ns: wall clock. */
int translate_died(struct translate *translate, uint32_t pid, uint64_t now_ns, uint64_t wall_ns);
int translate_overdue(struct translate *translate, uint64_t now_ns, uint64_t wall_ns);
/* All that is open and differs from what was published of it: for a barrier. */
int translate_open_files(struct translate *translate, uint64_t now_ns, uint64_t wall_ns);
/* How many descriptors are open for writing on files of the trees. */
size_t translate_open_count(const struct translate *translate);
/* Looks for what has been missing for too long; for CLOCK_NEVER, for all that is missing. */
int translate_settle(struct translate *translate, uint64_t now_ns, uint64_t wall_ns);
/* Looks at everything: records were lost, the first of them at since_ns (wall clock; 0: not known).
 */
int translate_rescan(struct translate *translate, uint64_t wall_ns, uint64_t since_ns);

/* For unseen.h, whose options name them, with the translate for arg (found.c). */
struct stat;
int translate_place(void *translate, struct span directory, struct buf *ret);
int translate_visit(
	void *translate, const struct intent *place, struct span path, const struct stat *st);

/* How many files were ever found missing; and of these, before which all are settled. */
uint64_t translate_missing(const struct translate *translate);
uint64_t translate_missing_settled(const struct translate *translate);

struct translate_counts {
	uint64_t outside; /* changes outside of the trees, or excluded: dropped */
	uint64_t unnamed; /* records whose file has no name: a rescan is due */
};
const struct translate_counts *translate_counts(const struct translate *translate);
