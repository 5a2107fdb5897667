/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two halves of translate.h share: translate.c decides what a record says, tell.c makes
 * the changes and looks for files that are not where they should be.
 */
#pragma once

#include "core/cleanup.h"
#include "poster/links.h"
#include "poster/missing.h"
#include "poster/recent.h"
#include "poster/translate.h"

enum role { ROLE_MAIN, ROLE_OLD, ROLE_FRESH };

struct translate {
	struct translate_options options;
	struct recent *recent;
	struct links *links;
	struct missing missing;
	struct translate_counts counts;
	uint64_t source, number; /* of fresh ids */
	uint64_t now_ns;         /* monotonic, of the call */
};

/* On whose behalf a change is published, and what is known of the file. */
struct cause {
	const struct record *record; /* NULL: not directly from one */
	uint64_t time_ns;
	uint32_t pid;
	struct span program, job;
	bool has_inode;
	bool gone; /* no name leads to the file any more */
	uint64_t dev, ino;
};

struct cause cause_of_record(const struct record *record);
struct cause cause_of_intent(const struct intent *intent, uint64_t wall_ns);

/* Announced by a process that died: it may not have happened. */
bool record_is_draft(const struct record *record);

int64_t stat_mtime(const struct stat *st);
int64_t stat_ctime(const struct stat *st);
bool cause_is_file(const struct stat *st, const struct cause *cause);

DEFINE_CLEANUP(struct change *, change_destroy)

/* A change of path without particulars; NULL when memory ran out. */
struct change *tell_make(struct translate *t, const struct cause *cause, enum role role,
	enum change_op op, unsigned facts, struct span path);

#define NO_PAIR ((struct change_pair){SPAN_NONE, SPAN_NONE, false})
/* Where the path is inside of a tree, publishes a change of it; from empty: no pair. */
int tell_change(struct translate *t, const struct cause *cause, enum role role, enum change_op op,
	unsigned facts, struct span path, struct change_pair pair);

/* Something new has this name: what was renamed away from it lately is looked at closely. */
int tell_taken(struct translate *t, const struct cause *cause, struct span name);

/* Content (WRITE) or attributes (META) of a file changed. */
int tell_file(struct translate *t, const struct cause *cause, enum change_op op, struct span path);
int tell_intent(struct translate *t, const struct intent *intent, uint64_t wall_ns);

/* found.c: RECORD_UNSEEN. */
int tell_unseen(struct translate *t, const struct record *record);
