/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was found: a line on stdout for each entry that differs, one on stderr for each that could
 * not be looked at, a summary at the end, and the exit status.  What copiers have left behind is
 * no difference: it is told and counted, and the status stays what it is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/span.h"
#include "core/why.h"
#include "side/compare.h"

/* Beyond enum compare_what. */
enum { DIFFERS_CONTENT = 1 << 8, DIFFERS_GROUP = 1 << 9 };

struct digest {
	uint64_t high, low;
};

/* An entry and what differs; an attr of type SIDE_NONE: that side lacks it. */
struct finding {
	struct span path;
	bool left; /* a temporary name at the target that nobody will finish; says nothing else */
	unsigned what;
	struct compare_entry source, target;
	struct digest source_digest, target_digest; /* of DIFFERS_CONTENT */
};

struct report {
	bool json, quiet, sampled;
	uint64_t entries, bytes, skipped; /* looked at */
	uint64_t missing, extra, differing, left, troubles;
};

void report_finding(struct report *report, const struct finding *finding);
/* path SPAN_NONE: not about one. */
void report_trouble(struct report *report, struct span path, const char *words);
/* Prints the summary and returns the exit status. */
int report_end(const struct report *report);
