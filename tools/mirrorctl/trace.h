/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl run --trace: a command whose unseen programs are followed call by call.
 *
 * The shims of the command put mirror-trace in front of such programs; it hands us the listener of
 * a seccomp filter.  Each call that changes files stops until we have noted its paths, goes on as
 * if nothing were, and when it is over a record goes into the journal, as a shim's would.
 */
#pragma once

#include "flow/config.h"

/* Whether this kernel lets an ordinary user do that.  Returns 0 or -errno with words. */
int trace_probe(struct why *why);
/* Runs the command and ends as it does; returns only where it cannot be run: -errno with words. */
int trace_run(const struct config *config, char **arguments, struct why *why);
