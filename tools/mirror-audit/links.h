/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether hard links group the same names on both sides, where both tell inodes.
 *
 * Counts are not compared: the target has a further name for each group (.mirror-links).
 */
#pragma once

#include <stdbool.h>

#include "flow/map.h"
#include "side/side.h"

struct links {
	struct map by_source, by_target; /* inode -> what stands for the pair */
};

/* Whether source and target, one name of both sides, belong to groups that go together. */
bool links_same(
	struct links *links, const struct side_attr *source, const struct side_attr *target);
void links_finish(struct links *links);
