/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's figures in the OpenMetrics text format, for a collector that reads a file (the
 * textfile collector of a node exporter, for one).
 */
#pragma once

#include "core/buf.h"
#include "flow/ledger.h"

/* Appends the whole text, "# EOF" included.  Returns 0 or -errno with words. */
int metrics_print(struct ledger *ledger, const char *mirror, struct buf *ret, struct why *why);

/* Puts it into file, whole or not at all: readers see the old text or the new one. */
int metrics_write(struct ledger *ledger, const char *mirror, const char *file, struct why *why);
