/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus HOW: what a program sees of SIGBUS; the same lines, and the same end, whoever stands between
 * it and the kernel, and whatever becomes of the journal while it waits for a line on stdin.
 *
 *   shown     what all calls tell that set or tell an action
 *   caught    its own faults, in a handler of each kind
 *   threads   the same in four threads that change files all the while
 *   child     actions set between vfork() and exec, and by posix_spawn()
 *   sent      a signal that is sent, caught
 *   first-by-child  what changes first is changed by the child of vfork()
 *   fault, kill, ignored, blocked, reset      how it dies, or does not
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __GLIBC__
#define SIGSET(handler) sigset(SIGBUS, handler)
#define SYSV(handler)   sysv_signal(SIGBUS, handler)
#else
#define SIGSET(handler) signal(SIGBUS, handler)
#define SYSV(handler)   signal(SIGBUS, handler)
#endif

static char *hole; /* two pages of a file that has none any more */
static __thread sigjmp_buf back;
static __thread volatile int seen_code, seen_where;

static void change(const char *name)
{
	char other[64];
	(void)snprintf(other, sizeof(other), "%s-renamed", name);
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	bool good =
		write(fd, "some text\n", 10) == 10 && close(fd) == 0 && rename(name, other) == 0;
	if (!good) {
		printf("%s: errno %d\n", name, errno);
	}
}

static void *make_hole(void)
{
	int fd = open("hole", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, 8192) < 0) {
		exit(9);
	}
	char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || ftruncate(fd, 0) < 0) {
		exit(9);
	}
	close(fd);
	unlink("hole");
	return map;
}

static void on_info(int number, siginfo_t *info, void *context)
{
	(void)context;
	seen_code = number == SIGBUS ? info->si_code : -99;
	seen_where = (int)((char *)info->si_addr - hole);
	siglongjmp(back, 1);
}

static void on_plain(int number)
{
	seen_code = number == SIGBUS ? 77 : -99;
	siglongjmp(back, 1);
}

static void on_sent(int number, siginfo_t *info, void *context)
{
	(void)context;
	seen_code = number == SIGBUS ? info->si_code : -99;
	seen_where = info->si_pid == getpid();
}

static void fault(const char *what, int offset)
{
	seen_code = seen_where = -1;
	if (sigsetjmp(back, 1) == 0) {
		*(volatile char *)(hole + offset) = 'x';
		printf("%s: no fault\n", what);
	} else {
		printf("%s: code %d at %d\n", what, seen_code, seen_where);
	}
}

/* ---- what is told ------------------------------------------------------------------------ */

static const char *name_of(const void *handler)
{
	return handler == (void *)SIG_DFL    ? "default"
	       : handler == (void *)SIG_IGN  ? "ignored"
	       : handler == (void *)SIG_ERR  ? "error"
	       : handler == (void *)on_info  ? "on_info"
	       : handler == (void *)on_plain ? "on_plain"
					     : "somebody's";
}

static void show(const char *what, const struct sigaction *action)
{
	uint64_t mask = 0;
	for (int number = 1; number < 64; number++) {
		mask |= (uint64_t)(sigismember(&action->sa_mask, number) == 1) << number;
	}
	printf("%s: %s flags %x mask %llx restorer %d\n", what, name_of((void *)action->sa_handler),
		(unsigned)action->sa_flags, (unsigned long long)mask, action->sa_restorer != NULL);
}

static void tell(const char *what)
{
	struct sigaction now;
	struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		unsigned long mask;
	} raw = {0};
	memset(&now, 0, sizeof(now));
	int r = sigaction(SIGBUS, NULL, &now);
	show(what, &now);
	long s = syscall(SYS_rt_sigaction, SIGBUS, NULL, &raw, 8L);
	printf("  %d %ld %s %lx %lx %d\n", r, s, name_of(raw.handler), raw.flags, raw.mask,
		raw.restorer != NULL);
}

static void set(const char *what, int flags, void *handler)
{
	struct sigaction action, old;
	memset(&old, 0, sizeof(old));
	action.sa_handler = (void (*)(int))handler;
	action.sa_flags = flags;
	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGUSR2);
	int r = sigaction(SIGBUS, &action, &old);
	show(r == 0 ? "  old" : "  failed", &old);
	tell(what);
}

static void shown(void)
{
	tell("at first");
	set("plain", 0, (void *)on_plain);
	set("info", SA_SIGINFO | SA_RESTART, (void *)on_info);
	set("ignored", SA_RESTART, (void *)SIG_IGN);
	set("on stack", SA_ONSTACK | SA_NODEFER, (void *)on_plain);
	set("once", (int)SA_RESETHAND, (void *)on_plain);
	set("default", SA_RESTART, (void *)SIG_DFL);
	printf("signal %s\n", name_of((void *)signal(SIGBUS, on_plain)));
	tell("signal");
	printf("sigset %s\n", name_of((void *)SIGSET(SIG_DFL)));
	tell("sigset");
	printf("sysv %s\n", name_of((void *)SYSV(on_plain)));
	tell("sysv");
	printf("siginterrupt %d\n", siginterrupt(SIGBUS, 1));
	tell("siginterrupt");
	printf("signal %s\n", name_of((void *)signal(SIGBUS, SIG_IGN)));
	printf("signal %s\n", name_of((void *)signal(SIGBUS, SIG_DFL)));
	struct sigaction same;
	sigaction(SIGBUS, NULL, &same);
	printf("same %d %d\n", sigaction(SIGBUS, &same, &same), sigaction(SIGBUS, &same, NULL));
	tell("same");
	printf("none %d errno %d\n", sigaction(99, NULL, &same), errno);
}

/* ---- what is caught ---------------------------------------------------------------------- */

static char other_stack[65536];

static void catch (const char *what, int flags, void *handler)
{
	struct sigaction action = {.sa_flags = flags};
	action.sa_handler = (void (*)(int))handler;
	sigaction(SIGBUS, &action, NULL);
	fault(what, 3);
	change(what);
	fault(what, 4097);
}

static void caught(void)
{
	stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof(other_stack)};
	catch ("plain", 0, (void *)on_plain);
	catch ("info", SA_SIGINFO, (void *)on_info);
	sigaltstack(&stack, NULL);
	catch ("stack", SA_SIGINFO | SA_ONSTACK, (void *)on_info);
	catch ("nodefer", SA_NODEFER, (void *)on_plain);
	signal(SIGBUS, on_plain);
	fault("signal", 5);
	SIGSET(on_plain);
	fault("sigset", 6);
	catch ("once", (int)(SA_RESETHAND | SA_SIGINFO), (void *)on_info);
}

static void *work(void *name)
{
	for (int i = 0; i < 200; i++) {
		char file[64];
		(void)snprintf(file, sizeof(file), "%s-%d", (const char *)name, i % 7);
		change(file);
		if (sigsetjmp(back, 1) == 0) {
			*(volatile char *)(hole + i) = 'x';
		}
		if (seen_code != BUS_ADRERR || seen_where != i) {
			printf("%s: code %d at %d\n", file, seen_code, seen_where);
		}
	}
	return NULL;
}

static void threads(void)
{
	static const char *const names[] = {"w", "x", "y", "z"};
	pthread_t all[4];
	struct sigaction action = {.sa_sigaction = on_info, .sa_flags = SA_SIGINFO};
	sigaction(SIGBUS, &action, NULL);
	for (int i = 0; i < 4; i++) {
		pthread_create(&all[i], NULL, work, (void *)names[i]);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(all[i], NULL);
	}
	printf("threads ended\n");
}

static void child(void)
{
	signal(SIGBUS, on_plain);
	pid_t pid = vfork();
	if (pid == 0) {
		signal(SIGBUS, SIG_IGN);
		change("by-child");
		execl("/bin/sh", "sh", "-c", "kill -BUS $$; echo child lives", (char *)NULL);
		_exit(9);
	}
	int status = 0;
	waitpid(pid, &status, 0);
	printf("child %x\n", status);
	tell("parent");
	fault("parent", 9);
	printf("system %x\n", system("kill -BUS $$; echo not reached") & 0x7f7f);
}

/* Nothing else has touched a file before. */
static int first_by_child(void)
{
	pid_t pid = vfork();
	if (pid == 0) {
		change("by-child");
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	(void)!read(0, (char[2]){0}, 1);
	change("by-parent");
	printf("lives\n");
	return 0;
}

static void sent(void)
{
	struct sigaction action = {.sa_sigaction = on_sent, .sa_flags = SA_SIGINFO};
	sigaction(SIGBUS, &action, NULL);
	kill(getpid(), SIGBUS);
	printf("kill: code %d from us %d\n", seen_code, seen_where);
	raise(SIGBUS);
	printf("raise: code %d from us %d\n", seen_code, seen_where);
}

/* ---- how it ends ------------------------------------------------------------------------- */

static void end(const char *how)
{
	sigset_t bus;
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	if (strcmp(how, "kill") == 0) {
		kill(getpid(), SIGBUS);
	} else if (strcmp(how, "ignored") == 0) {
		signal(SIGBUS, SIG_IGN);
		kill(getpid(), SIGBUS);
		printf("lives\n");
	} else if (strcmp(how, "blocked") == 0) {
		sigprocmask(SIG_BLOCK, &bus, NULL);
		kill(getpid(), SIGBUS);
		printf("lives\n");
		sigprocmask(SIG_UNBLOCK, &bus, NULL);
	} else if (strcmp(how, "reset") == 0) {
		signal(SIGBUS, on_plain);
		fault("before", 1);
		signal(SIGBUS, SIG_DFL);
	}
	if (strcmp(how, "ignored") != 0) {
		*(volatile char *)hole = 'x';
		printf("lives\n");
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *how;
		void (*run)(void);
	} all[] = {{"shown", shown}, {"caught", caught}, {"threads", threads}, {"child", child},
		{"sent", sent}};
	if (argc < 2) {
		return 2;
	}
	setvbuf(stdout, NULL, _IONBF, 0);
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	if (strcmp(argv[1], "first-by-child") == 0) {
		return first_by_child();
	}
	hole = make_hole();
	change("before");
	(void)!read(0, (char[2]){0}, 1);
	for (int i = 0; i < 3; i++) {
		change("behind");
	}
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(argv[1], all[i].how) == 0) {
			all[i].run();
			change("last");
			return 0;
		}
	}
	end(argv[1]);
	return 0;
}
