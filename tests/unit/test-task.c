/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>

#include "core/clock.h"
#include "flow/loop.h"
#include "flow/task.h"

#define MANY 500

static struct loop *loop;
static struct task_pool *pool;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(task_pool_create(loop, MANY, 64 * 1024, &pool), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(task_pool_running(pool), 0);
	task_pool_destroy(pool);
	loop_destroy(loop);
	return 0;
}

static void turn_until_idle(void)
{
	uint64_t deadline = clock_now() + 20 * CLOCK_S;
	while (task_pool_running(pool) && clock_now() < deadline) {
		assert_int_equal(loop_turn(loop, deadline), 0);
	}
	assert_int_equal(task_pool_running(pool), 0);
}

struct step {
	struct task *task;
	struct step *successor;
	unsigned rounds, token;
};

/* Passes a token round a ring of tasks; the frame must survive all the others' frames. */
static void runner(void *arg)
{
	struct step *step = arg;
	volatile char frame[4096];
	for (size_t i = 0; i < sizeof(frame); i++) {
		frame[i] = (char)(step->rounds + i);
	}
	step->task = task_self();
	for (unsigned round = 0; round < 20; round++) {
		while (!step->token) {
			task_wait();
		}
		step->token = 0;
		step->successor->token = 1;
		task_wake(step->successor->task);
	}
	for (size_t i = 0; i < sizeof(frame); i++) {
		assert_int_equal(frame[i], (char)(step->rounds + i));
	}
}

static void many_tasks(void **state)
{
	static struct step steps[MANY];
	(void)state;
	memset(steps, 0, sizeof(steps));
	for (unsigned i = 0; i < MANY; i++) {
		steps[i].rounds = i;
		steps[i].successor = &steps[(i + 1) % MANY];
		assert_int_equal(task_start(pool, runner, &steps[i]), 0);
	}
	assert_int_equal(task_start(pool, runner, &steps[0]), TASK_FULL);
	steps[0].token = 1;
	turn_until_idle();
	assert_int_equal(steps[0].token, 1); /* it went round and came back */
}

static void on_reply(void *arg)
{
	struct step *step = arg;
	step->token = 1;
	task_wake(step->task);
}

/* The reply is there before the task waits. */
static void early_waker(void *arg)
{
	struct step *step = arg;
	step->task = task_self();
	assert_non_null(step->task);
	on_reply(step);
	task_wait();
	step->rounds++;
	assert_int_equal(loop_defer(loop, on_reply, step), 0);
	step->token = 0;
	while (!step->token) {
		task_wait();
	}
	step->rounds++;
}

static void wake_before_wait(void **state)
{
	struct step step = {0};
	(void)state;
	task_wake(NULL);
	assert_null(task_self());
	assert_int_equal(task_start(pool, early_waker, &step), 0);
	assert_int_equal(step.rounds, 0);
	turn_until_idle();
	assert_int_equal(step.rounds, 2);
	task_wake(step.task); /* late: nothing happens */
	assert_int_equal(loop_turn(loop, 0), 0);
}

static void sleeper(void *arg)
{
	uint64_t deadline = clock_now() + 20 * CLOCK_MS;
	task_wait_until(deadline);
	assert_true(clock_now() >= deadline);
	task_wake(task_self());
	task_wait_until(CLOCK_NEVER); /* woken before: at once */
	task_wait_until(0);           /* past: at once, by the loop */
	++*(unsigned *)arg;
}

static void deadlines(void **state)
{
	unsigned done = 0;
	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(task_start(pool, sleeper, &done), 0);
	}
	turn_until_idle();
	assert_int_equal(done, MANY);
}

static void starter(void *arg)
{
	unsigned *left = arg;
	if (*left) {
		--*left;
		assert_int_equal(task_start(pool, starter, left), 0);
	}
}

/* Far more tasks than stacks, each started by its predecessor. */
static void stacks_are_reused(void **state)
{
	unsigned left = 20000;
	(void)state;
	assert_int_equal(task_start(pool, starter, &left), 0);
	turn_until_idle();
	assert_int_equal(left, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(many_tasks, setup, teardown),
		cmocka_unit_test_setup_teardown(wake_before_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(deadlines, setup, teardown),
		cmocka_unit_test_setup_teardown(stacks_are_reused, setup, teardown),
	};
	return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
