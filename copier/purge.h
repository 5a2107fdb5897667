/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The purger: deletes what was detached, once it has been kept for `keep_gone`.
 *
 * When more than `max_delete` entries (all files and directories below count) wait in a tree,
 * nothing is deleted until a person has looked: the problem says so, and everything can be put
 * back with mv.  Runs in a task.
 */
#pragma once

#include "job.h"

/* One round over a tree.  Returns 0, or -errno with words; -EDQUOT: above max_delete. */
int purge_round(struct pair *pair, struct why *why);
