/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One order being carried out: what it works on, what it found on its way, what it did.
 *
 * Steps of the reconciler take a job and a path below the tree's root.  They count their work in
 * job->work, note the target directories whose entries they touched, and ask for further changes
 * with job_follow(); these are published before the order's receipt, so that nothing that was
 * found is forgotten.  Returns everywhere: 0, or -errno with words in job->why.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/span.h"
#include "core/why.h"
#include "flow/change.h"
#include "flow/config.h"
#include "flow/task.h"
#include "side/side.h"
#include "throttle.h"

/* A tree and its two sides, shared by all jobs of a copier. */
struct pair {
	const struct config *config;
	const struct tree *tree;
	struct side *source, *target;
	bool source_coherent; /* a local file system, which never shows an old state */
	uint64_t source_epoch, target_epoch; /* for which the guards were last passed */
	uint64_t guarded_ns;                 /* when they were last passed */
	uint64_t source_dev, source_ino;     /* of the source's root, where it has them */
	struct side_attr marker;             /* the target's, as it was read */
	struct throttle throttle;            /* the tree's */
	struct throttle *shared_throttle;    /* of all trees, or NULL */
	struct ident self;                   /* .source: of this copier's idents; .number counts */
};

/* A change that the job asks for. */
struct follow {
	struct change *change;
	uint64_t pause_ns; /* 0: now; else one of the broker's pauses */
};

struct job;
/* Publishes count follows and returns when the broker has them all; owns the changes. */
typedef int (*job_publish_fn)(void *arg, struct follow *follows, size_t count, struct why *why);

struct job {
	struct pair *pair;
	const struct change *order;
	struct span rel; /* of order->path */
	bool again;      /* was begun before, here or elsewhere: believe less */
	bool force;      /* copy content even where size and mtime are equal */
	struct receipt_work work;
	bool blocked;     /* failed for a reason that lies in the tree, not in this path */
	bool moved;       /* its entry was moved here by this very order */
	bool there_known; /* T's entry is `there`, as it was when its parents were checked */
	struct side_attr there;
	int64_t moved_ns; /* wall clock of that, or of an ancestor's move: temporary names made
			   * before have lost their owner, and what was registered is void */
	bool detached;    /* it, or a try before it, may have taken a directory away in whose place
			   * S has another by now: that one is deep */
	bool live;        /* published a prefix of a file that keeps changing */
	bool left;        /* could not remove a temporary name of its own */
	bool directory;   /* is what S has there */
	struct follow *follows;
	size_t follow_count, follow_room;
	char **touched; /* target directories (rel) whose entries changed */
	size_t touched_count;
	struct task_pool *hands; /* for bulk.c; NULL: every file gets an order of its own */
	job_publish_fn publish;
	void *publish_arg;
	void (*idle)(void *arg); /* from now on this job only waits; may be NULL */
	void *idle_arg;
	struct why why;
};

void job_finish(struct job *job);

/*
 * Asks for a change of rel: a look with these facts, after pause_ns.  It carries the order's
 * time (so it is due when the order was), limits, job and host.  Publishes what has gathered
 * when that is much.  Returns 0 or -errno.
 */
int job_follow(struct job *job, struct span rel, unsigned facts, uint64_t pause_ns);
/* The same, forced, as if its writer had told of it. */
int job_follow_written(struct job *job, struct span rel);
/*
 * Asks for a change of rel as if the writer of the order's path had used that name of the file: its
 * content was changed where the order is forced, else its attributes.  Returns 0 or -errno.
 */
int job_follow_group(struct job *job, struct span rel, struct change_group group);
/* The order itself again, with these facts too; without a pause it must be quiet again first. */
int job_follow_order(struct job *job, unsigned facts, unsigned attempt, uint64_t pause_ns);
/*
 * Takes over what the other job did and asks for, except what it touched, and finishes it.
 * Returns 0, or -ENOMEM: what it asks for is lost, the order has to be carried out again.
 */
int job_take(struct job *job, struct job *other);
/* Publishes now what was asked for so far. */
int job_publish(struct job *job);

/* The entries of the target directory that has rel were changed. */
int job_touched(struct job *job, struct span rel);

/* Facts that what is found below a deep order takes over from it. */
unsigned job_inherited(const struct job *job);

/* Whether S may show an old state to this job, so that surprises must be looked at later. */
bool job_doubts(const struct job *job);
