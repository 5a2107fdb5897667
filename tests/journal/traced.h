/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that runs one piece of code, and is looked at, or killed, at every step of it.
 *
 *   traced_start(body)     a child; stands still where body begins
 *   traced_step()          one instruction (or to the next system call) further; false: body is
 * over traced_kill()          SIGKILL, and waits for the end
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct traced {
	pid_t pid;
	bool by_calls; /* steps are system calls, not instructions */
	bool over;
};

void traced_start(struct traced *traced, void (*prepare)(void), void (*body)(void));
bool traced_step(struct traced *traced);
void traced_kill(struct traced *traced);
