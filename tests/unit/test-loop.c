/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "flow/loop.h"

struct world {
	struct loop *loop;
	int fds[2];
	unsigned calls;
	int order[64];
	struct loop_timer timers[64];
	unsigned deferred;
};

static int setup(void **state)
{
	static struct world world;
	memset(&world, 0, sizeof(world));
	assert_int_equal(loop_create(&world.loop), 0);
	*state = &world;
	return 0;
}

static int teardown(void **state)
{
	loop_destroy(((struct world *)*state)->loop);
	return 0;
}

/* Whichever of the two is served first takes the other away. */
static void on_fd_removes_both(void *arg, uint32_t events)
{
	struct world *world = arg;
	assert_true(events & EPOLLIN);
	world->calls++;
	loop_remove_fd(world->loop, world->fds[0]);
	loop_remove_fd(world->loop, world->fds[1]);
}

static void removed_within_a_batch(void **state)
{
	struct world *world = *state;
	for (int i = 0; i < 2; i++) {
		world->fds[i] = eventfd(1, EFD_CLOEXEC);
		assert_int_equal(
			loop_add_fd(world->loop, world->fds[i], EPOLLIN, on_fd_removes_both, world),
			0);
	}
	assert_int_equal(loop_turn(world->loop, 0), 0);
	assert_int_equal(loop_turn(world->loop, 0), 0);
	assert_int_equal(world->calls, 1);
	close(world->fds[0]);
	close(world->fds[1]);
}

static void on_never(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
	fail_msg("an old event reached a new registration");
}

/* The other descriptor is closed and its number used again, while its event is in the batch. */
static void on_fd_replaces_other(void *arg, uint32_t events)
{
	struct world *world = arg;
	(void)events;
	if (world->calls++) {
		return;
	}
	uint64_t value;
	int mine = read(world->fds[0], &value, sizeof(value)) == sizeof(value) ? 0 : 1;
	int other = world->fds[!mine];
	(void)!read(world->fds[1], &value, sizeof(value));
	loop_remove_fd(world->loop, other);
	close(other);
	world->fds[!mine] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(world->fds[!mine], other);
	assert_int_equal(loop_add_fd(world->loop, other, EPOLLIN, on_never, world), 0);
}

static void replaced_within_a_batch(void **state)
{
	struct world *world = *state;
	for (int i = 0; i < 2; i++) {
		world->fds[i] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_int_equal(loop_add_fd(world->loop, world->fds[i], EPOLLIN,
					 on_fd_replaces_other, world),
			0);
	}
	assert_int_equal(
		loop_add_fd(world->loop, world->fds[0], EPOLLIN, on_never, world), -EEXIST);
	assert_int_equal(loop_turn(world->loop, 0), 0);
	assert_int_equal(loop_turn(world->loop, 0), 0);
	assert_int_equal(world->calls, 1);
	close(world->fds[0]);
	close(world->fds[1]);
}

struct shot {
	struct world *world;
	int number;
};

static void on_shot(void *arg)
{
	struct shot *shot = arg;
	shot->world->order[shot->world->calls++] = shot->number;
}

static void timers_in_order(void **state)
{
	struct world *world = *state;
	struct shot shots[64];
	uint64_t now = clock_now();
	for (int i = 0; i < 64; i++) {
		shots[i] = (struct shot){world, i};
		loop_timer_init(&world->timers[i], world->loop, on_shot, &shots[i]);
		assert_int_equal(loop_timer_set(&world->timers[i], now + CLOCK_S), 0);
	}
	for (int i = 0; i < 64; i++) { /* 37 and 64 share no factor: a permutation */
		int rank = i * 37 % 64;
		assert_int_equal(loop_timer_set(&world->timers[i], now + (unsigned)rank * 1000), 0);
	}
	loop_timer_stop(&world->timers[5]);
	loop_timer_stop(&world->timers[5]);
	while (world->calls < 63) {
		assert_int_equal(loop_turn(world->loop, CLOCK_NEVER), 0);
	}
	for (unsigned i = 1; i < 63; i++) {
		assert_true(world->order[i - 1] * 37 % 64 < world->order[i] * 37 % 64);
	}
}

static void on_again(void *arg)
{
	struct world *world = arg;
	world->calls++;
	assert_int_equal(loop_timer_set(&world->timers[0], 0), 0);
}

static void timer_never_starves(void **state)
{
	struct world *world = *state;
	loop_timer_init(&world->timers[0], world->loop, on_again, world);
	assert_int_equal(loop_timer_set(&world->timers[0], 0), 0);
	assert_int_equal(loop_turn(world->loop, CLOCK_NEVER), 0);
	assert_int_equal(world->calls, 1);
	assert_int_equal(loop_turn(world->loop, CLOCK_NEVER), 0);
	assert_int_equal(world->calls, 2);
	loop_timer_stop(&world->timers[0]);
}

static void turn_waits_and_returns(void **state)
{
	struct world *world = *state;
	uint64_t deadline = clock_now() + 30 * CLOCK_MS;
	assert_int_equal(loop_turn(world->loop, deadline), 0);
	assert_true(clock_now() >= deadline);
}

static void on_deferred(void *arg)
{
	struct world *world = arg;
	if (++world->deferred < 40) {
		assert_int_equal(loop_defer(world->loop, on_deferred, world), 0);
	} else {
		loop_stop(world->loop);
	}
}

static void deferred_calls(void **state)
{
	struct world *world = *state;
	assert_int_equal(loop_defer(world->loop, on_deferred, world), 0);
	assert_int_equal(world->deferred, 0);
	assert_int_equal(loop_turn(world->loop, CLOCK_NEVER), 0);
	assert_int_equal(world->deferred, 1);
	assert_int_equal(loop_run(world->loop), 0);
	assert_int_equal(world->deferred, 40);
}

static void on_sig(void *arg, int signal_number)
{
	struct world *world = arg;
	world->order[world->calls++] = signal_number;
}

static void signals_are_events(void **state)
{
	struct world *world = *state;
	assert_int_equal(loop_add_signal(world->loop, SIGUSR1, on_sig, world), 0);
	assert_int_equal(loop_add_signal(world->loop, SIGUSR2, on_sig, world), 0);
	raise(SIGUSR2);
	raise(SIGUSR1);
	assert_int_equal(world->calls, 0);
	assert_int_equal(loop_turn(world->loop, CLOCK_NEVER), 0);
	assert_int_equal(world->calls, 2);
	assert_int_equal(world->order[0] + world->order[1], SIGUSR1 + SIGUSR2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(removed_within_a_batch, setup, teardown),
		cmocka_unit_test_setup_teardown(replaced_within_a_batch, setup, teardown),
		cmocka_unit_test_setup_teardown(timers_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(timer_never_starves, setup, teardown),
		cmocka_unit_test_setup_teardown(turn_waits_and_returns, setup, teardown),
		cmocka_unit_test_setup_teardown(deferred_calls, setup, teardown),
		cmocka_unit_test_setup_teardown(signals_are_events, setup, teardown),
	};
	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
