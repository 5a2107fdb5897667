/* SPDX-License-Identifier: Apache-2.0 */
#include "poster/summoned.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "flow/place.h"

#define LOOK_NS (5 * CLOCK_S)
#define LOG_MAX (4 << 20)

static struct {
	struct loop_timer timer;
	char *flag;
} watched;

/* ---- whose business it is ---------------------------------------------------------------- */

static ssize_t read_line(const char *path, char *text, size_t size_bytes)
{
	CLEANUP(fd_close) int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t len = fd < 0 ? -1 : read(fd, text, size_bytes - 1);
	text[len > 0 ? len : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return len;
}

/* By the words in its lock, which is left alone: to try it might keep one from starting. */
static bool supervisor_is_here(const char *mirror)
{
	char text[320], path[32], program[PATH_MAX];
	int pid = 0, at = 0;
	CLEANUP(free_p) char *lock = place_state(mirror, "run/supervisor.lock");
	if (read_line(lock, text, sizeof(text)) <= 0 ||
		sscanf(text, "pid %d on %n", &pid, &at) != 1 || at == 0 ||
		strcmp(text + at, place_host()) != 0) {
		return false;
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	ssize_t len = readlink(path, program, sizeof(program)); /* not comm: started as "exe" */
	struct span it = len > 0 ? span_of(program, (size_t)len) : SPAN("");
	return span_equal(path_name(it), SPAN("mirrorctl"));
}

static bool was_stopped(const char *mirror)
{
	CLEANUP(free_p) char *flag = place_state(mirror, "stopped");
	return !flag || access(flag, F_OK) == 0;
}

static char *config_file(const char *mirror)
{
	char path[PATH_MAX];
	CLEANUP(free_p) char *link = place_state(mirror, "config");
	ssize_t len = link ? readlink(link, path, sizeof(path)) : -1;
	return len > 0 && (size_t)len < sizeof(path) ? strndup(path, (size_t)len) : NULL;
}

/* ---- a process of its own ---------------------------------------------------------------- */

static void drop_limits(void)
{
	static const int kinds[] = {
		RLIMIT_AS, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_NOFILE};
	struct rlimit limit;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (getrlimit(kinds[i], &limit) == 0) {
			limit.rlim_cur = limit.rlim_max;
			(void)setrlimit(kinds[i], &limit);
		}
	}
}

static void drop_ties(void)
{
	sigset_t none;
	cpu_set_t cores;
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	closefrom(STDERR_FILENO + 1);
	(void)umask(077);
	memset(&cores, 0xff, sizeof(cores));
	(void)sched_setaffinity(0, sizeof(cores), &cores);
	drop_limits();
}

static void open_log(const char *mirror)
{
	char name[320];
	struct stat st;
	(void)snprintf(name, sizeof(name), "log/poster-%s.log", place_host());
	CLEANUP(free_p) char *path = place_state(mirror, name);
	int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
	if (path && stat(path, &st) == 0 && st.st_size > LOG_MAX) {
		flags |= O_TRUNC;
	}
	CLEANUP(fd_close) int fd = path ? open(path, flags, 0600) : -1;
	if (fd >= 0) {
		(void)dup2(fd, STDERR_FILENO);
	}
}

char *summoned_begin(const char *mirror)
{
	drop_ties();
	CLEANUP(free_p) char *file = config_file(mirror);
	if (!file || was_stopped(mirror) || supervisor_is_here(mirror)) {
		return NULL;
	}
	open_log(mirror);
	return STEAL(file);
}

/* ---- the end ----------------------------------------------------------------------------- */

static void on_look(void *arg)
{
	(void)arg;
	if (access(watched.flag, F_OK) == 0) {
		log_info("the mirror was stopped");
		(void)raise(SIGTERM);
		return;
	}
	(void)loop_timer_set(&watched.timer, clock_now() + LOOK_NS);
}

int summoned_watch(struct loop *loop, const char *mirror)
{
	watched.flag = place_state(mirror, "stopped");
	loop_timer_init(&watched.timer, loop, on_look, NULL);
	return watched.flag ? loop_timer_set(&watched.timer, clock_now() + LOOK_NS) : -ENOMEM;
}
