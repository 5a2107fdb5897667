/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doing something in a child that shares our memory but not our descriptors, without the program
 * noticing: no SIGCHLD, nothing for its wait().
 *
 *   aside_run(body, argument, stack)      returns when body has, or has called exec
 *
 * stack points to ASIDE_STACK_BYTES, 16-aligned.  Not where the program may be killed for it: see
 * aside_is_safe().
 */
#pragma once

#include <stdbool.h>

#define ASIDE_STACK_BYTES 8192u

bool aside_is_safe(void);

void aside_run(void (*body)(void *), void *argument, char *stack);

/* The same from inside of body; what that starts outlives us. */
void aside_start(void (*body)(void *), void *argument, char *stack);
