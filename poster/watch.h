/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When do processes die?  For those that have files open for writing.
 *
 * A process is watched by a descriptor (pidfd), which tells its end at once and by then has
 * released its files; where descriptors are short, it is asked for once a second.  A process that
 * began later than the intent is another one: the first is dead.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "flow/loop.h"

struct watch;

/* Told once per death, from the loop, watch_look() or watch_sweep(). */
typedef void (*watch_died_fn)(void *arg, uint32_t pid);

int watch_create(struct loop *loop, unsigned descriptors_max, watch_died_fn died, void *arg,
	struct watch **ret);
void watch_destroy(struct watch *watch);

/* since_ns: wall time at which the process lived.  Harmless when watched already.  Returns 0 or
 * -ENOMEM. */
int watch_add(struct watch *watch, uint32_t pid, uint64_t since_ns);
/* Finds all who are dead by now, also those of whom the loop has not told yet.  Returns 0 or
 * -ENOMEM. */
int watch_look(struct watch *watch);
/* Once a second: finds the dead among those without a descriptor; forgets those not `wanted`. */
void watch_sweep(struct watch *watch, bool (*wanted)(void *arg, uint32_t pid));
