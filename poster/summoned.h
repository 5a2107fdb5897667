/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A poster that a job's shim has started: `mirror-poster --summoned MIRROR`.
 *
 * It comes from somewhere inside a stranger's program, with that one's limits, pinned to that
 * one's cores, and with no words to say to anybody.
 */
#pragma once

#include "flow/loop.h"

/*
 * Makes the process one of its own: signals, descriptors, limits, cores, and a log of its own
 * (log/poster-HOST.log in the mirror's state directory).  Returns the configuration's path, which
 * `mirrorctl start` has left behind (the caller frees it); NULL where this is not to run: never
 * started, stopped by a person, or the business of a supervisor on this host.
 */
char *summoned_begin(const char *mirror);

/* Ends this process in order, by SIGTERM, when `mirrorctl stop` was called, on whatever host. */
int summoned_watch(struct loop *loop, const char *mirror);
