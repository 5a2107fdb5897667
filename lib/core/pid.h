/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether another process lives, and since when: pids are used again.
 *
 * Nothing here keeps a process from dying right after the answer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* It executes nothing any more: gone, or a zombie.  Where /proc tells nothing, kill() decides. */
bool pid_is_gone(uint32_t pid);
/* Stopped by a signal or a debugger: it may go on one day. */
bool pid_is_stopped(uint32_t pid);
/* Began at this tick since boot, to be compared; 0: gone, or not known. */
uint64_t pid_started_ticks(uint32_t pid);
/* The same by the wall clock, exact to some hundredths of a second; 0: gone, or not known. */
uint64_t pid_started_ns(uint32_t pid);
/*
 * Who started it, and its session: 0 where that was begun outside of our namespace of pids.
 * false: gone, a zombie, or a thread of the kernel (which has no memory of its own).
 */
bool pid_origin(uint32_t pid, uint32_t *ret_parent, uint32_t *ret_session);
