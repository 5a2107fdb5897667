/* SPDX-License-Identifier: Apache-2.0 */
/* Put before journal.c and journal-reader.c: the checker comes between their atomic steps. */
#pragma once

void interleave_step(void);
#define ATOMIC_STEP() interleave_step()

/* Time stands still. */
#define clock_now interleave_now
