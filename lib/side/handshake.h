/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handshakes take turns: servers drop connections at random when many have not yet logged in
 * (MaxStartups), and all copiers of a host look like one client to them.
 */
#pragma once

#include "core/why.h"
#include "flow/config.h"

/*
 * In a task: waits until fewer than eight of this mirror's processes on this host shake hands.
 * The turn lasts until *ret_fd is closed; it stays -1 where turns cannot be taken.  Returns 0, or
 * -ETIMEDOUT.
 */
int handshake_turn(const struct config *config, int *ret_fd, struct why *why);
