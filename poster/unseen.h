/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that no shim is in: what they change is looked for.
 *
 * Such a program is known by its places, which are intents without a descriptor (INTENT_PLACE): the
 * working directory and the paths among its arguments, as far as they lie in trees.  They are
 * looked at for what is newer than the program when it has ended, every max_delay before that, and
 * for a barrier.
 *
 *   unseen_run()      a record says that one was run
 *   unseen_ended()    its process died; the place is handed over
 *   unseen_look()     it runs on: look now
 *   unseen_sweep()    once a second: what it has started and left behind is watched too
 *   unseen_step()     often: a slice of looking; the visitor is told each entry
 *
 * What is asked for survives the poster: unseen_save() adds it to the intents.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/buf.h"
#include "flow/message.h"
#include "poster/intents.h"

/* One entry at or below a place.  Returns as walk_visit_fn. */
typedef int (*unseen_visit_fn)(
	void *arg, const struct intent *place, struct span path, const struct stat *st);

struct unseen_options {
	struct intents *intents; /* must live as long */
	unseen_visit_fn visit;
	/* A process to be watched from now on; 0 or -errno. */
	int (*watch)(void *arg, uint32_t pid, uint64_t since_ns);
	/* Where a working directory is as the trees have it; 0, -ENOENT (outside), or -errno. */
	int (*place)(void *arg, struct span directory, struct buf *ret);
	void *arg;
};

struct unseen;

int unseen_create(const struct unseen_options *options, struct unseen **ret);
void unseen_destroy(struct unseen *unseen);

/* Counts it; its places are the caller's to add, intents_place().  Returns 0 or -ENOMEM. */
int unseen_run(struct unseen *unseen, struct span job);
/* A change was found for a place of this job.  Returns 0 or -ENOMEM. */
int unseen_found(struct unseen *unseen, struct span job);

/* Takes over the place.  Returns 0 or -ENOMEM. */
int unseen_ended(struct unseen *unseen, struct intent *place);
/* Looks from the place's opened_ns on, which becomes wall_ns.  Returns 0 or -ENOMEM. */
int unseen_look(struct unseen *unseen, struct intent *place, uint64_t wall_ns);

/* Returns 0 or -errno. */
int unseen_sweep(struct unseen *unseen);
/* Returns 0 or what the visitor returned. */
int unseen_step(struct unseen *unseen, uint64_t now_ns);

/* Looks are numbered in the order in which they were asked for: the next one's number, and the
 * number below which all are done. */
uint64_t unseen_asked(const struct unseen *unseen);
uint64_t unseen_done(const struct unseen *unseen);
/* How many are yet to be done. */
uint64_t unseen_waiting(const struct unseen *unseen);

void unseen_save(const struct unseen *unseen, struct buf *ret);

/* What was counted since the last call and not told yet, one job at a time: fills job, programs and
 * found of a note.  The spans live until the next call.  Returns whether there was anything. */
bool unseen_next_share(struct unseen *unseen, struct note *note);
