/* SPDX-License-Identifier: Apache-2.0 */
/* The content of one file on one side, as a digest (XXH3, 128 bits).  In a task. */
#pragma once

#include "report.h"
#include "side/side.h"

/* Returns 0 or the side's error with words. */
int content_digest(struct side *side, struct span rel, struct digest *ret, struct why *why);
