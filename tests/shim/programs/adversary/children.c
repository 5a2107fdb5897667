/* SPDX-License-Identifier: Apache-2.0 */
/* What children do with what they inherit. */
#include "adversary.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

static void writes_late(void)
{
	int fd = again("f"), child = fork();
	if (child == 0) {
		later();
		later();
		put(fd, "x");
		_exit(0);
	}
	close(fd);
	finished(child);
}
static void is_killed(void)
{
	int fd = again("f"), child = fork();
	if (child == 0) {
		later();
		put(fd, "x");
		killed();
	}
	close(fd);
	finished(child);
}
static void outlives(void)
{
	int fd = again("f");
	if (fork() == 0) {
		if (fork() == 0) {
			later();
			later();
			put(fd, "x");
			killed();
		}
		_exit(0);
	}
	_exit(0);
}
static void vfork_writes(void)
{
	int fd = again("f"), child = vfork();
	if (child == 0) {
		put(fd, "x");
		close(fd);
		_exit(0);
	}
	later();
	put(fd, "y");
	_exit(0);
}
static void vfork_redirects(void)
{
	int child = vfork();
	if (child == 0) {
		dup2(again("f"), 1);
		execlp("sh", "sh", "-c", "sleep 0.02; echo x", (char *)NULL);
		_exit(99);
	}
	finished(child);
}
static _Noreturn void run_writer(void)
{
	execl("/proc/self/exe", "adversary", "17", (char *)NULL);
	_exit(99);
}
static void vfork_high_descriptor(void)
{
	int fd = again("f");
	must(dup2(fd, 17) == 17);
	close(fd);
	int child = vfork();
	if (child == 0) {
		run_writer();
	}
	close(17);
	finished(child);
}
static void exec_low_descriptor(void)
{
	must(dup2(again("f"), 9) == 9);
	run_shell("sleep 0.02; echo x >&9; kill -9 $$");
}
static void exec_high_descriptor(void)
{
	must(dup2(again("f"), 17) == 17);
	run_writer();
}
static void by_system(void)
{
	must(system("echo x > n") == 0);
}
static void system_high_descriptor(void)
{
	char self[256] = "", command[300];
	must(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	(void)snprintf(command, sizeof(command), "'%s' 17 &", self);
	must(dup2(again("f"), 17) == 17);
	must(system(command) == 0);
	close(17);
}
static void by_popen(void)
{
	FILE *f = popen("cat > n", "w");
	(void)fputs("x", f);
	(void)pclose(f);
}
static void spawned(const char *number, const posix_spawn_file_actions_t *actions)
{
	char *argv[] = {(char *)"adversary", (char *)number, NULL};
	int child;
	must(posix_spawn(&child, "/proc/self/exe", actions, NULL, argv, environ) == 0);
	close(17);
	finished(child);
}
static void spawn_opens(void)
{
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "n", O_WRONLY | O_CREAT, 0644);
	spawned("1", &actions);
}
static void spawn_opens_high(void)
{
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 17, "n", O_WRONLY | O_CREAT, 0644);
	spawned("17", &actions);
}
static void spawn_inherits(void)
{
	int fd = again("f");
	must(dup2(fd, 17) == 17);
	close(fd);
	spawned("17", NULL);
}
static int clone_body(void *fd)
{
	later();
	put((int)(long)fd, "x");
	killed();
}
static void cloned(void)
{
	static char stack[65536];
	int fd = again("f");
	int child = clone(clone_body, stack + sizeof(stack), SIGCHLD, (void *)(long)fd);
	close(fd);
	finished(child);
}
static void forked_by_syscall(void)
{
	int fd = again("f"), child = (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (child == 0) {
		later();
		put(fd, "x");
		killed();
	}
	close(fd);
	finished(child);
}
static void *write_late(void *fd)
{
	later();
	put((int)(long)fd, "x");
	return NULL;
}
static void thread_goes_on(void)
{
	pthread_t thread;
	int fd = again("f");
	pthread_create(&thread, NULL, write_late, (void *)(long)fd);
	pthread_exit(NULL);
}
static void own_descriptor_table(void)
{
	int fd = again("f");
	must(unshare(CLONE_FILES) == 0);
	later();
	put(fd, "x");
	_exit(0);
}

const struct adverse children[] = {
	{"child-writes-late", have_file, writes_late},
	{"child-is-killed", have_file, is_killed},
	{"child-outlives", have_file, outlives},
	{"vfork-writes", have_file, vfork_writes},
	{"vfork-redirects", have_file, vfork_redirects},
	{"vfork-high-descriptor", have_file, vfork_high_descriptor},
	{"exec-low-descriptor", have_file, exec_low_descriptor},
	{"exec-high-descriptor", have_file, exec_high_descriptor},
	{"by-system", NULL, by_system},
	{"system-high-descriptor", have_file, system_high_descriptor},
	{"by-popen", NULL, by_popen},
	{"spawn-opens", NULL, spawn_opens},
	{"spawn-opens-high", NULL, spawn_opens_high},
	{"spawn-inherits", have_file, spawn_inherits},
	{"cloned", have_file, cloned},
	{"forked-by-syscall", have_file, forked_by_syscall},
	{"thread-goes-on", have_file, thread_goes_on},
	{"own-descriptor-table", have_file, own_descriptor_table},
	{NULL, NULL, NULL},
};
