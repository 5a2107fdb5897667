/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest FILE: prints everything that starting a process could disturb, before and after the first
 * event of this process, and what the event itself returned.  The same lines with and without the
 * shim, whatever the shim does meanwhile.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t deaths;
static volatile int over;

static void on_death(int number)
{
	(void)number;
	deaths++;
}

/* Another thread that waits for whatever there is, all the time. */
static void *wait_for_all(void *seen)
{
	while (!over) {
		if (waitpid(-1, NULL, WNOHANG) > 0) {
			++*(int *)seen;
		}
	}
	return NULL;
}

static void print_descriptors(void)
{
	char path[300], target[300];
	DIR *listing = opendir("/proc/self/fd");
	for (struct dirent *entry; (entry = readdir(listing));) {
		int fd = atoi(entry->d_name);
		if (entry->d_name[0] == '.' || fd == dirfd(listing)) {
			continue;
		}
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		ssize_t len = readlink(path, target, sizeof(target) - 1);
		target[len > 0 ? len : 0] = '\0';
		printf(" fd %d %.5s flags %d", fd, target, fcntl(fd, F_GETFD));
	}
	closedir(listing);
}

static void print_all(const char *when)
{
	sigset_t mask;
	char directory[4096];
	unsigned long bits = 0;
	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (int number = 1; number < 64; number++) {
		bits |= (unsigned long)sigismember(&mask, number) << number;
	}
	int waited = waitpid(-1, NULL, WNOHANG), waited_errno = errno;
	int cloned = waitpid(-1, NULL, WNOHANG | __WALL), cloned_errno = errno;
	printf("%s: deaths %d wait %d %d clones %d %d mask %lx group %d session %d cwd %s", when,
		(int)deaths, waited, waited_errno, cloned, cloned_errno, bits,
		getpgrp() == getpgid(0), getsid(0) == getsid(getppid()),
		getcwd(directory, sizeof(directory)) ? "known" : "unknown");
	print_descriptors();
	printf(" handler %d\n", signal(SIGUSR1, SIG_IGN) == SIG_DFL);
	signal(SIGUSR1, SIG_DFL);
}

int main(int argc, char **argv)
{
	int seen = 0, one;
	pthread_t thread;
	sigset_t some;
	if (argc < 2) {
		return 2;
	}
	setvbuf(stdout, NULL, _IONBF, 0);
	signal(SIGCHLD, on_death);
	sigemptyset(&some);
	sigaddset(&some, SIGUSR2);
	sigaddset(&some, SIGHUP);
	sigprocmask(SIG_SETMASK, &some, NULL);
	pthread_create(&thread, NULL, wait_for_all, &seen);
	print_all("before");
	errno = 4321;
	one = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	printf("open %d errno %d\n", one > 2, errno);
	errno = 4321;
	one = close(one);
	printf("close %d errno %d\n", one, errno);
	print_all("after");
	if (argc > 2) {
		usleep((unsigned)atoi(argv[2]) * 1000);
	}
	over = 1;
	pthread_join(thread, NULL);
	printf("thread saw %d, children of its own: ", seen);
	if (fork() == 0) {
		_exit(7);
	}
	int status = 0;
	pid_t child = wait(&status);
	printf("%d status %d then %d\n", child > 0, WEXITSTATUS(status), wait(NULL));
	return 0;
}
