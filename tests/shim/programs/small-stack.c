/* SPDX-License-Identifier: Apache-2.0 */
/* File calls on a thread with the smallest stack, and in a handler on an 8 KiB signal stack. */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int failures;

static void work(const char *name, const char *other)
{
	int fd = open(name, O_WRONLY | O_CREAT, 0600);
	int copy = dup(fd);
	failures += fd < 0 || copy < 0;
	failures += write(fd, "x", 1) != 1;
	failures += close(copy) != 0;
	failures += close(fd) != 0;
	failures += rename(name, other) != 0;
	failures += chmod(other, 0640) != 0;
	failures += link(other, name) != 0;
	failures += unlinkat(AT_FDCWD, name, 0) != 0;
}

static void *on_thread(void *ignored)
{
	(void)ignored;
	work("thread", "thread-renamed");
	return NULL;
}

static void on_signal(int number)
{
	(void)number;
	work("signal", "signal-renamed");
}

int main(void)
{
	static char stack[8192];
	pthread_attr_t attributes;
	pthread_t thread;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN);
	failures += pthread_create(&thread, &attributes, on_thread, NULL) != 0;
	failures += pthread_join(thread, NULL) != 0;
	stack_t alternative = {.ss_sp = stack, .ss_size = sizeof(stack)};
	failures += sigaltstack(&alternative, NULL) != 0;
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
	failures += sigaction(SIGUSR1, &action, NULL) != 0;
	failures += raise(SIGUSR1) != 0;
	printf("%d failures\n", failures);
	return failures != 0;
}
