/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks: straight-line code that waits without blocking the loop.
 *
 * A task is a function with a stack of its own (ucontext).  It runs until it waits; whoever has
 * what it waits for wakes it, and it goes on from the loop.  Hundreds of them share one thread,
 * so carrying out an order reads like a list of steps while hundreds of orders are in flight.
 *
 *   in a task:      request(…, task_self()); task_wait();      until the reply's callback does
 *   in a callback:  task_wake(task);
 *
 * Wake-ups are not lost: a wake before the wait makes the wait return at once, so a waiter
 * always checks its condition in a loop.  Tasks must not use more than about half of the stack.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow/loop.h"

struct task;
struct task_pool;

/* At most max tasks at once, each with a stack of stack_bytes (and a guard page). */
int task_pool_create(struct loop *loop, unsigned max, size_t stack_bytes, struct task_pool **ret);
/* No task may be running any more. */
void task_pool_destroy(struct task_pool *pool);
unsigned task_pool_running(const struct task_pool *pool);

#define TASK_FULL 1
/* Starts fn from the loop.  Returns 0, TASK_FULL, or -errno. */
int task_start(struct task_pool *pool, void (*fn)(void *arg), void *arg);

/* The task that runs now; NULL outside of tasks. */
struct task *task_self(void);
/* Whether this task lets others go first wherever they meet (as sftp.h says); at first it does not.
 * Only in a task. */
void task_set_patient(bool patient);
/* Of the task that runs now; false outside of tasks. */
bool task_is_patient(void);
/* Gives the loop a turn until somebody wakes this task.  Only in a task. */
void task_wait(void);
/* Waits until the deadline of clock_now() (others may wake it earlier: then returns early). */
void task_wait_until(uint64_t deadline_ns);
/* Makes a waiting task go on, from the loop, soon.  Never switches at once.  NULL is ignored. */
void task_wake(struct task *task);
