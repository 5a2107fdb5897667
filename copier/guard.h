/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guards against the mirror doing harm: nothing is done to a tree before both sides are what
 * they should be, and again whenever something looks missing.
 *
 *   target   its root holds a file named .mirror.  An empty root that this mirror has never used
 *            is given one; a root without it is not our target or not mounted: we stop.
 *   source   its root is a directory, and (local) the very one that the marker remembers, by
 *            inode.  A vanished source never means "delete all".
 *
 * The marker's text: lines `treemirror 1`, `mirror NAME`, `source LOCATION`, `root INODE`; an
 * empty one, made by a person, means "yes, this is the target".
 */
#pragma once

#include "job.h"

/* Opens both sides (not yet connected).  Returns 0 or -errno with words. */
int pair_open(struct pair *pair, struct loop *loop, const struct config *config,
	const struct tree *tree, struct why *why);
void pair_close(struct pair *pair);

/* Passes when connected and guarded within the last seconds.  Returns 0 or -errno with words. */
int guard_pass(struct pair *pair, struct why *why);
/* The same, looking now. */
int guard_look(struct pair *pair, struct why *why);
