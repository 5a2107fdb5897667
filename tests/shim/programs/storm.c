/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that work on files, a handler that does so too, forks meanwhile, a cancelled open. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures;
static volatile int stop;

static void work(const char *name, const char *other)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int bad = fd < 0;
	bad |= write(fd, "x", 1) != 1;
	bad |= close(fd) != 0;
	bad |= rename(name, other) != 0;
	bad |= unlink(other) != 0;
	__atomic_fetch_add(&failures, bad, __ATOMIC_RELAXED);
}

static void on_signal(int number)
{
	(void)number;
	work("h", "H");
}

static void *on_thread(void *argument)
{
	const char *letter = argument;
	char name[8], other[8];
	(void)snprintf(name, sizeof(name), "%s-a", letter);
	(void)snprintf(other, sizeof(other), "%s-b", letter);
	while (!stop) {
		work(name, other);
		usleep(100);
	}
	return NULL;
}

static void *blocks(void *ignored)
{
	(void)ignored;
	(void)open("fifo", O_WRONLY); /* nobody reads: a cancellation point that waits */
	return NULL;
}

static void cancel_one(void)
{
	pthread_t thread;
	void *result;
	failures += mkfifo("fifo", 0600) != 0;
	failures += pthread_create(&thread, NULL, blocks, NULL) != 0;
	usleep(20000);
	failures += pthread_cancel(thread) != 0;
	failures += pthread_join(thread, &result) != 0 || result != PTHREAD_CANCELED;
	failures += unlink("fifo") != 0;
}

static void fork_some(void)
{
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			char name[16];
			(void)snprintf(name, sizeof(name), "child-%d", i);
			_exit(close(open(name, O_WRONLY | O_CREAT, 0600)) != 0);
		}
		int status;
		while (waitpid(pid, &status, 0) < 0) {
		}
		failures += status != 0;
	}
}

int main(void)
{
	static char letters[4][2] = {"p", "q", "r", "s"};
	pthread_t threads[4];
	sigset_t only_main;
	sigemptyset(&only_main);
	sigaddset(&only_main, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &only_main, NULL);
	for (int i = 0; i < 4; i++) {
		failures += pthread_create(&threads[i], NULL, on_thread, letters[i]) != 0;
	}
	pthread_sigmask(SIG_UNBLOCK, &only_main, NULL);
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &action, NULL);
	struct itimerval timer = {{0, 3000}, {0, 3000}};
	setitimer(ITIMER_REAL, &timer, NULL);
	fork_some();
	for (int i = 0; i < 500; i++) {
		work("m", "M");
	}
	timer = (struct itimerval){{0, 0}, {0, 0}};
	setitimer(ITIMER_REAL, &timer, NULL);
	stop = 1;
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
	}
	cancel_one();
	printf("%d failures\n", failures);
	return failures != 0;
}
