/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting and ending everything of a mirror on this host: what start, stop and restart share.
 * Both return an exit status, with words said.
 */
#pragma once

#include <stdint.h>

#include "flow/config.h"

/* stages NULL-terminated; none: all. */
int lifecycle_start(const struct config *config, char *const *stages, uint64_t timeout_ns);
int lifecycle_stop(const struct config *config, char *const *stages, uint64_t timeout_ns);
