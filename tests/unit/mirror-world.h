/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world for tests of the reconciler: two real trees, without broker and daemons.  Orders go
 * straight in, what a job asks for becomes orders again, in any sequence.
 *
 *   CASE(fn) in the list of tests; in fn: change the source below at("s", …), hint() what a
 *   program would have told, carry_out_all(), assert_mirrored().
 *
 * Either side may be behind sftp-server: what stands in for ssh runs it at once, so it is the
 * same engine without network.
 */
#pragma once

#include "check.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

#include "flow/change.h"
#include "flow/config.h"
#include "flow/loop.h"
#include "flow/task.h"
#include "job.h"

struct world {
	char base[64];
	struct config config;
	struct tree tree;
	struct loop *loop;
	struct task_pool *pool;
	struct pair pair;
	struct change **queue;
	size_t count, room;
	/* the job that runs */
	struct change *order;
	int result;
	struct why why;
	struct receipt_work work;
	bool busy, again, blocked;
	unsigned turns;        /* of the loop that it took */
	uint64_t bytes, saved; /* of all jobs so far */
};

extern struct world w;
extern bool push;        /* the target is behind sftp-server */
extern bool pull;        /* the source is */
extern const char *race; /* a file of T that appears when next something is told */
extern const char *server_command;

#define PATH_ROOM 8192

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
int set_up(void **state);
int tear_down(void **state);
/* What another process has to do for itself: loop, tasks, connections. */
void world_open(void);
void world_close(void);
/* Reads "local", "sftp", "pull" or "afar"; gives up root, to whom permissions mean nothing. */
bool world_begin(const char *sides);

/* A path of side "s" or "t"; good until the fourth call after it. */
char *at(const char *side, const char *rel);
void put(const char *rel, const char *text);
void set_mtime(const char *side, const char *rel, time_t second);
struct stat stat_of(const char *side, const char *rel);

void queue_add(struct change *change);
struct change *hint(enum change_op op, const char *rel, unsigned facts);
void hint_pair(
	enum change_op op, const char *rel, const char *from, const char *to, unsigned force);
/* One order of the queue, another one takes its place; returns what the job does. */
int carry_out(size_t i);
void carry_out_all(void);
/* The whole tree, deep. */
void mirror_all(void);

/* One round of the purger; returns what it does. */
int purge(void);

/* How many entries differ, each told. */
int differences(const char *rel);
void assert_mirrored(void);
