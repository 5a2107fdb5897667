/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything below a directory, in slices, so that a loop can go on in between.
 *
 *   walk_begin(), then walk_step() until it returns 0; walk_finish() at any time
 *
 * `visit` is told each entry with what lstat says, a directory before what is in it, and the
 * directory itself first.  What vanishes meanwhile or may not be read is passed over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/buf.h"

/* Returns 0, WALK_PASS (do not go into this directory), or -errno. */
#define WALK_PASS 1
typedef int (*walk_visit_fn)(void *arg, struct span path, const struct stat *st);

struct walk {
	struct walk_directory *waiting; /* to be gone into */
	struct walk_directory *open;    /* being read */
	bool deep;
};

/* deep: directories below too.  Returns 0 or -errno. */
int walk_begin(struct walk *walk, struct span path, bool deep, walk_visit_fn visit, void *arg);
void walk_finish(struct walk *walk);

/* Goes on until clock_now() is deadline_ns.  Returns 0 (done), 1 (more to do), or -errno. */
int walk_step(struct walk *walk, uint64_t deadline_ns, walk_visit_fn visit, void *arg);
