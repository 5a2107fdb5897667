/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each task has a mapping of its own, guard page lowest, and a context that swapcontext() leaves
 * and enters.  Only two switches exist: the loop enters a task in task_enter(), and a task goes
 * back to where it was entered in task_leave().
 *
 *   free --task_start--> ready --task_enter--> running --task_wait--> waiting
 *     ^                    ^                      |                      |
 *     +--- fn returned ----|----------------------+                      |
 *                          +------------------- task_wake ---------------+
 *
 * Ready tasks stand in a list that one timer of the pool works off.  The timer stays set, far
 * away while idle: setting it again then needs no memory, so a wake-up cannot fail.
 * Tasks are never freed before their pool, so a late wake-up hits at worst a successor, which
 * checks its condition in a loop.
 */
#include "flow/task.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define FAR_AWAY (CLOCK_NEVER - 1)

struct task {
	struct task_pool *pool;
	struct task *next; /* of the ready or the free list */
	struct task *next_all;
	ucontext_t context;
	void (*fn)(void *arg);
	void *arg;
	struct loop_timer timer;
	char *map;
	bool ready, waiting, woken, ended;
	bool patient;
	void *fake_stack; /* the address sanitizer's */
};

struct task_pool {
	struct loop *loop;
	unsigned max, running;
	size_t map_bytes, guard_bytes;
	struct task *all, *free;
	struct task *ready_head, **ready_tail;
	struct loop_timer timer;
	ucontext_t context; /* the loop's, while a task runs */
	void *fake_stack;
	const void *loop_stack;
	size_t loop_stack_bytes;
};

static struct task *current;

/* ---- switching --------------------------------------------------------------------------- */

static void switch_begin(void **fake_stack, const void *bottom, size_t size_bytes)
{
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_start_switch_fiber(fake_stack, bottom, size_bytes);
#else
	(void)fake_stack, (void)bottom, (void)size_bytes;
#endif
}

static void switch_end(void *fake_stack, const void **bottom_old, size_t *size_bytes_old)
{
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_finish_switch_fiber(fake_stack, bottom_old, size_bytes_old);
#else
	(void)fake_stack, (void)bottom_old, (void)size_bytes_old;
#endif
}

static void task_enter(struct task *task)
{
	struct task_pool *pool = task->pool;
	task->waiting = false;
	current = task;
	switch_begin(&pool->fake_stack, task->map + pool->guard_bytes,
		pool->map_bytes - pool->guard_bytes);
	(void)swapcontext(&pool->context, &task->context);
	switch_end(pool->fake_stack, NULL, NULL);
	current = NULL;
	if (task->ended) {
		task->next = pool->free;
		pool->free = task;
		pool->running--;
	}
}

static void task_leave(struct task *task)
{
	struct task_pool *pool = task->pool;
	switch_begin(
		task->ended ? NULL : &task->fake_stack, pool->loop_stack, pool->loop_stack_bytes);
	(void)swapcontext(&task->context, &pool->context);
	switch_end(task->fake_stack, &pool->loop_stack, &pool->loop_stack_bytes);
}

static void task_main(void)
{
	struct task *task = current;
	switch_end(NULL, &task->pool->loop_stack, &task->pool->loop_stack_bytes);
	task->fn(task->arg);
	loop_timer_stop(&task->timer);
	task->ended = true;
	task_leave(task);
}

/* ---- the ready list ---------------------------------------------------------------------- */

static void make_ready(struct task *task)
{
	struct task_pool *pool = task->pool;
	if (task->ready) {
		return;
	}
	task->ready = true;
	task->next = NULL;
	*pool->ready_tail = task;
	pool->ready_tail = &task->next;
	(void)loop_timer_set(&pool->timer, 0); /* it is set: cannot fail */
}

static void run_ready(void *arg)
{
	struct task_pool *pool = arg;
	struct task *task = STEAL(pool->ready_head);
	pool->ready_tail = &pool->ready_head;
	(void)loop_timer_set(&pool->timer, FAR_AWAY); /* the slot just left is free */
	while (task) {
		struct task *next = task->next;
		task->ready = false;
		task_enter(task);
		task = next;
	}
}

/* ---- the pool ---------------------------------------------------------------------------- */

DEFINE_CLEANUP(struct task_pool *, task_pool_destroy)

int task_pool_create(struct loop *loop, unsigned max, size_t stack_bytes, struct task_pool **ret)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	CLEANUP(task_pool_destroy_p) struct task_pool *pool = calloc(1, sizeof(*pool));
	if (!pool) {
		return -ENOMEM;
	}
	pool->loop = loop;
	pool->max = max;
	pool->guard_bytes = page;
	pool->map_bytes = page + (stack_bytes + page - 1) / page * page;
	pool->ready_tail = &pool->ready_head;
	loop_timer_init(&pool->timer, loop, run_ready, pool);
	int r = loop_timer_set(&pool->timer, FAR_AWAY);
	if (r < 0) {
		return r;
	}
	*ret = STEAL(pool);
	return 0;
}

void task_pool_destroy(struct task_pool *pool)
{
	if (!pool) {
		return;
	}
	loop_timer_stop(&pool->timer);
	while (pool->all) {
		struct task *task = pool->all;
		pool->all = task->next_all;
		loop_timer_stop(&task->timer);
		munmap(task->map, pool->map_bytes);
		free(task);
	}
	free(pool);
}

unsigned task_pool_running(const struct task_pool *pool)
{
	return pool->running;
}

static void on_deadline(void *arg)
{
	task_wake(arg);
}

static int task_create(struct task_pool *pool, struct task **ret)
{
	CLEANUP(free_p) struct task *task = calloc(1, sizeof(*task));
	if (!task) {
		return -ENOMEM;
	}
	task->map = mmap(NULL, pool->map_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (task->map == MAP_FAILED) {
		return -errno;
	}
	if (mprotect(task->map, pool->guard_bytes, PROT_NONE) < 0) {
		int error = errno;
		munmap(task->map, pool->map_bytes);
		return -error;
	}
	task->pool = pool;
	loop_timer_init(&task->timer, pool->loop, on_deadline, task);
	task->next_all = pool->all;
	pool->all = task;
	*ret = STEAL(task);
	return 0;
}

/* Makes the context begin in task_main(), on an empty stack. */
static void task_rewind(struct task *task)
{
	(void)getcontext(&task->context);
	task->context.uc_stack.ss_sp = task->map + task->pool->guard_bytes;
	task->context.uc_stack.ss_size = task->pool->map_bytes - task->pool->guard_bytes;
	task->context.uc_link = NULL;
	makecontext(&task->context, task_main, 0);
}

int task_start(struct task_pool *pool, void (*fn)(void *arg), void *arg)
{
	struct task *task = pool->free;
	if (pool->running >= pool->max) {
		return TASK_FULL;
	}
	if (task) {
		pool->free = task->next;
	} else {
		int r = task_create(pool, &task);
		if (r < 0) {
			return r;
		}
	}
	task->fn = fn;
	task->arg = arg;
	task->ended = false;
	task->waiting = false;
	task->woken = false;
	task->patient = false;
	task->fake_stack = NULL;
	task_rewind(task);
	pool->running++;
	make_ready(task);
	return 0;
}

/* ---- in a task, and for it --------------------------------------------------------------- */

struct task *task_self(void)
{
	return current;
}

void task_set_patient(bool patient)
{
	current->patient = patient;
}

bool task_is_patient(void)
{
	return current && current->patient;
}

void task_wait(void)
{
	struct task *task = current;
	if (!task->woken) {
		task->waiting = true;
		task_leave(task);
	}
	task->woken = false;
}

void task_wait_until(uint64_t deadline_ns)
{
	struct task *task = current;
	if (loop_timer_set(&task->timer, deadline_ns) < 0) {
		task_wake(task); /* no memory: early is allowed, never is not */
	}
	task_wait();
	loop_timer_stop(&task->timer);
}

void task_wake(struct task *task)
{
	if (!task || task->ended) {
		return;
	}
	task->woken = true;
	if (task->waiting) {
		make_ready(task);
	}
}
