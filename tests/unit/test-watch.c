/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/clock.h"
#include "poster/state.h"
#include "poster/watch.h"

struct mourner {
	struct loop *loop;
	struct watch *watch;
	uint32_t dead[8];
	unsigned count;
	bool wants_none;
};

static void died(void *arg, uint32_t pid)
{
	struct mourner *m = arg;
	m->dead[m->count++] = pid;
}

static bool wanted(void *arg, uint32_t pid)
{
	struct mourner *m = arg;
	(void)pid;
	return !m->wants_none;
}

static void mourner_open(struct mourner *m, unsigned descriptors)
{
	*m = (struct mourner){0};
	assert_int_equal(loop_create(&m->loop), 0);
	assert_int_equal(watch_create(m->loop, descriptors, died, m, &m->watch), 0);
}

static void mourner_close(struct mourner *m)
{
	watch_destroy(m->watch);
	loop_destroy(m->loop);
}

static uint32_t start(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			pause();
		}
	}
	return (uint32_t)pid;
}

/* Killed, and not yet waited for: a zombie counts as dead. */
static void end(uint32_t pid)
{
	siginfo_t info;
	kill((pid_t)pid, SIGKILL);
	assert_int_equal(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
}

static void a_death_is_told_at_once(void **state)
{
	struct mourner m;
	(void)state;
	mourner_open(&m, 8);
	uint32_t pid = start(), other = start();
	assert_int_equal(watch_add(m.watch, pid, clock_wall()), 0);
	assert_int_equal(watch_add(m.watch, pid, clock_wall()), 0);
	assert_int_equal(watch_add(m.watch, other, clock_wall()), 0);
	assert_int_equal(loop_turn(m.loop, clock_now() + 50 * CLOCK_MS), 0);
	assert_int_equal(m.count, 0);
	end(pid);
	assert_int_equal(loop_turn(m.loop, clock_now() + 5 * CLOCK_S), 0);
	assert_int_equal(m.count, 1);
	assert_int_equal(m.dead[0], pid);
	watch_sweep(m.watch, wanted);
	assert_int_equal(m.count, 1);
	mourner_close(&m);
	end(other);
	waitpid((pid_t)pid, NULL, 0);
	waitpid((pid_t)other, NULL, 0);
}

static void without_descriptors_a_sweep_finds_them(void **state)
{
	struct mourner m;
	(void)state;
	mourner_open(&m, 0);
	uint32_t pid = start();
	assert_int_equal(watch_add(m.watch, pid, clock_wall()), 0);
	watch_sweep(m.watch, wanted);
	assert_int_equal(m.count, 0);
	end(pid);
	watch_sweep(m.watch, wanted);
	assert_int_equal(m.count, 1);
	waitpid((pid_t)pid, NULL, 0);
	mourner_close(&m);
}

/* Before the loop has had its turn, with and without a descriptor. */
static void a_look_finds_them_all(void **state)
{
	struct mourner m;
	(void)state;
	mourner_open(&m, 1);
	uint32_t first = start(), second = start(), living = start();
	assert_int_equal(watch_add(m.watch, first, clock_wall()), 0);
	assert_int_equal(watch_add(m.watch, second, clock_wall()), 0);
	assert_int_equal(watch_add(m.watch, living, clock_wall()), 0);
	assert_int_equal(watch_look(m.watch), 0);
	assert_int_equal(m.count, 0);
	end(first);
	end(second);
	assert_int_equal(watch_look(m.watch), 0);
	assert_int_equal(m.count, 2);
	assert_int_equal(loop_turn(m.loop, clock_now() + 50 * CLOCK_MS), 0);
	assert_int_equal(m.count, 2);
	end(living);
	for (int i = 0; i < 3; i++) {
		wait(NULL);
	}
	mourner_close(&m);
}

/* The number is used again by a younger process: the one that was meant is dead. */
static void a_pid_used_again(void **state)
{
	struct mourner m;
	(void)state;
	mourner_open(&m, 8);
	assert_int_equal(watch_add(m.watch, (uint32_t)getpid(), clock_wall() - 3600 * CLOCK_S), 0);
	assert_int_equal(watch_add(m.watch, 4000000, clock_wall()), 0); /* never was there */
	watch_sweep(m.watch, wanted);
	assert_int_equal(m.count, 2);
	mourner_close(&m);
}

static void the_unwanted_are_forgotten(void **state)
{
	struct mourner m;
	(void)state;
	mourner_open(&m, 8);
	uint32_t pid = start();
	assert_int_equal(watch_add(m.watch, pid, clock_wall()), 0);
	m.wants_none = true;
	watch_sweep(m.watch, wanted);
	end(pid);
	assert_int_equal(loop_turn(m.loop, clock_now() + 50 * CLOCK_MS), 0);
	assert_int_equal(m.count, 0);
	waitpid((pid_t)pid, NULL, 0);
	mourner_close(&m);
}

/* ---- the state file ---------------------------------------------------------------------- */

/* As the version before wrote it, which remembered no symlinks. */
static void write_version_2(const char *file, const char *intents)
{
	struct {
		char magic[8];
		uint32_t version, rescan;
		uint64_t generation, torn, intents_len;
	} header = {"TMPOSTER", 2, 0, 5, 6, strlen(intents)};
	struct buf bytes = BUF_EMPTY;
	buf_add(&bytes, span_of(&header, sizeof(header)));
	buf_add_str(&bytes, intents);
	uint64_t sum = XXH64(bytes.data, bytes.len, 0);
	buf_add(&bytes, span_of(&sum, sizeof(sum)));
	FILE *out = fopen(file, "w");
	assert_non_null(out);
	assert_int_equal(fwrite(bytes.data, 1, bytes.len, out), bytes.len);
	assert_int_equal(fclose(out), 0);
	buf_finish(&bytes);
}

static void state_is_whole_or_refused(void **state)
{
	char directory[] = "/tmp/test-state.XXXXXX", file[64], bytes[256];
	struct state saved = {.generation = 11, .torn = 12, .rescan = true}, loaded;
	struct why why;
	(void)state;
	assert_non_null(mkdtemp(directory));
	(void)snprintf(file, sizeof(file), "%s/state", directory);
	assert_int_equal(state_load(file, &loaded, &why), -ENOENT);
	buf_add_str(&saved.intents, "some\nbytes");
	buf_add_str(&saved.links, "more");
	assert_int_equal(state_save(file, &saved, &why), 0);
	assert_int_equal(state_load(file, &loaded, &why), 0);
	assert_true(loaded.generation == 11 && loaded.torn == 12 && loaded.rescan);
	assert_int_equal(loaded.since_ns, 0);
	assert_in_range(loaded.saved_ns, clock_wall() - 60 * CLOCK_S, clock_wall());
	assert_span(buf_span(&loaded.intents), "some\nbytes");
	assert_span(buf_span(&loaded.links), "more");
	state_finish(&loaded);
	state_finish(&loaded);
	saved.since_ns = 1700000000 * CLOCK_S;
	assert_int_equal(state_save(file, &saved, &why), 0);
	assert_int_equal(state_load(file, &loaded, &why), 0);
	assert_true(loaded.rescan && loaded.since_ns == saved.since_ns);
	state_finish(&loaded);
	int fd = open(file, O_RDWR);
	ssize_t len = read(fd, bytes, sizeof(bytes));
	for (ssize_t i = 0; i < len; i++) { /* any byte that is another one is noticed */
		char other = (char)(bytes[i] ^ 0x10);
		assert_int_equal(pwrite(fd, &other, 1, i), 1);
		assert_int_equal(state_load(file, &loaded, &why), -EBADMSG);
		state_finish(&loaded);
		assert_int_equal(pwrite(fd, &bytes[i], 1, i), 1);
	}
	for (ssize_t i = len - 1; i >= 0; i--) {
		assert_int_equal(ftruncate(fd, i), 0);
		assert_int_equal(state_load(file, &loaded, &why), -EBADMSG);
		state_finish(&loaded);
	}
	close(fd);
	write_version_2(file, "open");
	assert_int_equal(state_load(file, &loaded, &why), 0);
	assert_true(loaded.generation == 5 && loaded.torn == 6 && !loaded.rescan);
	assert_span(buf_span(&loaded.intents), "open");
	assert_int_equal(loaded.links.len, 0);
	state_finish(&loaded);
	assert_int_equal(unlink(file) | rmdir(directory), 0);
	assert_true(state_save(file, &saved, &why) < 0);
	state_finish(&saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_death_is_told_at_once),
		cmocka_unit_test(without_descriptors_a_sweep_finds_them),
		cmocka_unit_test(a_look_finds_them_all),
		cmocka_unit_test(a_pid_used_again),
		cmocka_unit_test(the_unwanted_are_forgotten),
		cmocka_unit_test(state_is_whole_or_refused),
	};
	return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
