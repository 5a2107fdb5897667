/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks the pairs, many directories and files at once, and reports what differs.
 *
 * Depth first, so that what waits to be walked stays small.  What cannot be looked at is reported
 * as trouble and the rest goes on; a side that cannot be reached any more ends its pair.
 */
#pragma once

#include "pairs.h"
#include "repair.h"
#include "report.h"

struct walk_options {
	bool checksum;
	bool progress;
	uint64_t sample;       /* so many random entries only; 0: all */
	struct repair *repair; /* NULL: only report */
};

/* Runs the loop until everything is walked.  Returns 0 or -errno with words. */
int walk_run(struct loop *loop, const struct audit_pairs *pairs, const struct walk_options *options,
	struct report *report, struct why *why);
