/* SPDX-License-Identifier: Apache-2.0 */
/* A child of the supervisor: real processes, played by /bin/sh. */
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "flow/loop.h"
#include "mirrorctl/logfile.h"
#include "mirrorctl/process.h"
#include "mirrorctl/procfs.h"

struct world {
	char directory[64];
	struct loop *loop;
	struct process process;
	unsigned changes;
};

static void on_changed(void *arg)
{
	struct world *world = arg;
	world->changes++;
}

static void on_child(void *arg, int signal_number)
{
	struct world *world = arg;
	process_reap(&world->process);
}

static char *argv[] = {(char *)"/bin/sh", (char *)"-c", NULL, NULL};

static struct world *begin(const char *script)
{
	struct world *world = calloc(1, sizeof(*world));
	assert_non_null(world);
	strcpy(world->directory, "/tmp/test-process-XXXXXX");
	assert_non_null(mkdtemp(world->directory));
	assert_int_equal(loop_create(&world->loop), 0);
	assert_int_equal(loop_add_signal(world->loop, SIGCHLD, on_child, world), 0);
	assert_int_equal(process_init(&world->process, world->loop, "copier", 3, world->directory,
				 on_changed, world),
		0);
	argv[2] = (char *)script;
	process_set_program(&world->process, argv, NULL, 5 * CLOCK_S);
	return world;
}

static void end(struct world *world)
{
	char command[128];
	process_finish(&world->process);
	loop_destroy(world->loop);
	(void)snprintf(command, sizeof(command), "rm -rf %s", world->directory);
	assert_int_equal(system(command), 0);
	free(world);
}

static void until(struct world *world, enum process_state state)
{
	uint64_t deadline = clock_now() + 10 * CLOCK_S;
	while (world->process.state != state && clock_now() < deadline) {
		assert_int_equal(loop_turn(world->loop, deadline), 0);
	}
	assert_string_equal(process_state_name(world->process.state), process_state_name(state));
}

static void run(struct world *world)
{
	process_want(&world->process, true);
	process_allow(&world->process, true);
}

static void waits_until_allowed_then_tells_ready(void **state)
{
	struct world *world = begin("echo READY=1 >&3; exec sleep 100");
	process_want(&world->process, true);
	assert_int_equal(world->process.state, PROCESS_WAITING);
	process_allow(&world->process, true);
	assert_int_equal(world->process.state, PROCESS_STARTING);
	until(world, PROCESS_READY);
	pid_t pid = world->process.pid;
	process_want(&world->process, true);
	assert_int_equal(world->process.pid, pid);
	process_want(&world->process, false);
	until(world, PROCESS_OFF);
	assert_int_equal(world->process.pid, 0);
	assert_int_equal(world->process.restarts, 0);
	end(world);
}

static void starts_again_what_dies(void **state)
{
	struct world *world = begin("echo READY=1 >&3; exec sleep 100");
	run(world);
	until(world, PROCESS_READY);
	(void)kill(world->process.pid, SIGKILL);
	until(world, PROCESS_PAUSING);
	assert_string_equal(world->process.last_exit, "signal 9 (Killed)");
	until(world, PROCESS_READY);
	assert_int_equal(world->process.restarts, 1);
	assert_false(process_keeps_dying(&world->process));
	end(world);
}

static void stays_down_when_wrong_and_keeps_the_words(void **state)
{
	struct world *world = begin("echo one >&2; echo '2026-03-01T12:00:00.000Z copier-3 error: "
				    "bad' >&2; exit 100");
	run(world);
	until(world, PROCESS_WRONG);
	assert_string_equal(world->process.last_words, "error: bad");
	assert_string_equal(world->process.last_exit, "exit 100");
	char tail[256];
	logfile_tail(world->process.log, tail, sizeof(tail));
	assert_string_equal(tail, "one\n2026-03-01T12:00:00.000Z copier-3 error: bad");
	argv[2] = (char *)"echo READY=1 >&3; exec sleep 100"; /* mended, asked for anew */
	process_want(&world->process, true);
	until(world, PROCESS_READY);
	end(world);
}

static void keeps_dying_is_told(void **state)
{
	struct world *world = begin("exit 111");
	run(world);
	uint64_t deadline = clock_now() + 15 * CLOCK_S;
	while (!process_keeps_dying(&world->process) && clock_now() < deadline) {
		(void)loop_turn(world->loop, deadline);
	}
	assert_true(process_keeps_dying(&world->process));
	assert_int_equal(world->process.restarts, PROCESS_OFTEN);
	end(world);
}

static void a_missing_program_is_wrong(void **state)
{
	struct world *world = begin("");
	char *missing[] = {(char *)"/no/such/program", NULL};
	process_set_program(&world->process, missing, NULL, CLOCK_S);
	run(world);
	until(world, PROCESS_WRONG);
	assert_string_equal(world->process.last_words,
		"/no/such/program: cannot be run: No such file or directory");
	end(world);
}

static void who_does_not_stop_is_killed(void **state)
{
	struct world *world = begin("trap '' TERM; echo READY=1 >&3; while :; do sleep 0.05; done");
	world->process.stop_ns = 200 * CLOCK_MS;
	run(world);
	until(world, PROCESS_READY);
	process_want(&world->process, false);
	until(world, PROCESS_OFF);
	assert_string_equal(world->process.last_exit, "signal 9 (Killed)");
	end(world);
}

static void signals_are_not_blocked_in_children(void **state)
{
	struct world *world = begin("grep -q 'SigBlk:.0*$' /proc/self/status && echo READY=1 >&3; "
				    "exec sleep 100");
	run(world);
	until(world, PROCESS_READY);
	end(world);
}

static void pauses_grow_to_a_limit(void **state)
{
	assert_true(process_pause_ns(1) < CLOCK_S);
	for (unsigned i = 1; i < 40; i++) {
		assert_true(process_pause_ns(i) <= process_pause_ns(i + 1));
	}
	assert_true(process_pause_ns(1000) == PROCESS_PAUSE_NS);
}

static void a_birth_names_one_process(void **state)
{
	char mine[PROCFS_BIRTH], other[PROCFS_BIRTH], again[PROCFS_BIRTH];
	assert_int_equal(procfs_birth(getpid(), mine), 0);
	assert_int_equal(procfs_birth(getpid(), again), 0);
	assert_string_equal(mine, again);
	assert_int_equal(procfs_birth(1, other), 0);
	assert_string_not_equal(mine, other);
	pid_t pid = fork();
	if (pid == 0) {
		_exit(0);
	}
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_true(procfs_birth(pid, other) < 0); /* a zombie does not live */
	(void)waitpid(pid, NULL, 0);
	assert_true(procfs_birth(pid, other) < 0);
}

static void logs_rotate_under_the_same_number(void **state)
{
	char path[] = "/tmp/test-logfile-XXXXXX", old[64];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, LOGFILE_MAX_BYTES), 0);
	logfile_rotate(path, fd);
	assert_int_equal(write(fd, "new\n", 4), 4);
	char tail[64];
	logfile_tail(path, tail, sizeof(tail));
	assert_string_equal(tail, "new");
	(void)snprintf(old, sizeof(old), "%s.1", path);
	assert_int_equal(access(old, F_OK), 0);
	(void)unlink(old);
	(void)unlink(path);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_until_allowed_then_tells_ready),
		cmocka_unit_test(starts_again_what_dies),
		cmocka_unit_test(stays_down_when_wrong_and_keeps_the_words),
		cmocka_unit_test(keeps_dying_is_told),
		cmocka_unit_test(a_missing_program_is_wrong),
		cmocka_unit_test(who_does_not_stop_is_killed),
		cmocka_unit_test(signals_are_not_blocked_in_children),
		cmocka_unit_test(pauses_grow_to_a_limit),
		cmocka_unit_test(a_birth_names_one_process),
		cmocka_unit_test(logs_rotate_under_the_same_number),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
