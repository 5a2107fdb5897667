/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A poster of this host that no supervisor started (a shim did, or a person): it serves the
 * journal, so the supervisor's own could not.  It is asked to stop, which loses nothing, before
 * `start` starts one and when `stop` stops everything.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "flow/config.h"

/* Sends SIGTERM to such posters; supervisor: whose children are left alone, 0: nobody's.
 * Returns how many there are. */
unsigned stray_stop(const struct config *config, pid_t supervisor);
/* The same, and waits until they are gone.  0, or -ETIMEDOUT with words. */
int stray_end(const struct config *config, pid_t supervisor, uint64_t deadline_ns, struct why *why);
