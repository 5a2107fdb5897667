/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is compared: pairs of sides, and where in them to begin.
 *
 *   pairs_of_config() or pairs_of_two(), then the pairs are constant until pairs_finish()
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"
#include "core/why.h"
#include "flow/config.h"
#include "side/side.h"

struct audit_pair {
	struct side *source, *target;
	const struct tree *tree; /* for what it excludes */
	struct span shown;       /* put before rel when a path is shown: the source's, or "" */
	bool dead;               /* a side cannot be reached: said once, the rest is passed over */
};

struct audit_start {
	struct audit_pair *pair;
	struct buf rel;
};

struct audit_pairs {
	struct audit_pair *pairs;
	struct audit_start *starts;
	size_t pair_count, start_count;
	struct tree two; /* of pairs_of_two() */
};

/* Whether an argument names something below a configured source. */
bool pairs_is_below(const struct config *config, const char *argument);

/* The configured trees, whole where no path is given.  -EINVAL with words: no such tree. */
int pairs_of_config(struct loop *loop, const struct config *config, char **paths, size_t count,
	struct audit_pairs *ret, struct why *why);
/* Two locations. */
int pairs_of_two(struct loop *loop, const struct config *config, char *const *locations,
	struct audit_pairs *ret, struct why *why);
void pairs_finish(struct audit_pairs *pairs);
