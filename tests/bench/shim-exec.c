/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim-exec ROUNDS STDOUT PROGRAM ENVIRONMENT...
 *
 * Runs PROGRAM, without arguments and with STDOUT as standard output, ROUNDS times in each
 * environment, in turns, and prints for each the medians of microseconds from vfork() to wait() and
 * of processor time that the child took, which other load disturbs less.
 * An ENVIRONMENT is NAME=VALUE pairs with commas between them, or empty.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ENVIRONMENTS_MAX 8
#define NAMES_MAX        8

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct took {
	uint64_t wall_ns, cpu_ns;
};

static uint64_t time_ns(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_usec * 1000;
}

static struct took run(char *program, char **environment, int nothing, int output)
{
	char *const argv[] = {program, NULL};
	struct rusage used = {0};
	int status = 0;
	uint64_t began_ns = now_ns();
	pid_t child = vfork();
	if (child == 0) {
		if (dup2(nothing, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
			dup2(nothing, STDERR_FILENO) >= 0) {
			execve(program, argv, environment);
		}
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &used) < 0 || status != 0) {
		(void)fprintf(stderr, "shim-exec: %s does not run\n", program);
		exit(1);
	}
	return (struct took){now_ns() - began_ns, time_ns(used.ru_utime) + time_ns(used.ru_stime)};
}

static void split(char *text, char **names)
{
	size_t count = 0;
	for (char *name = strtok(text, ","); name && count < NAMES_MAX; name = strtok(NULL, ",")) {
		names[count++] = name;
	}
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static double median_us(uint64_t *took_ns, size_t count)
{
	qsort(took_ns, count, sizeof(*took_ns), by_size);
	return (double)took_ns[count / 2] / 1000;
}

int main(int argc, char **argv)
{
	char *names[ENVIRONMENTS_MAX][NAMES_MAX + 1] = {{NULL}};
	size_t kinds = argc < 5 ? 0 : (size_t)argc - 4,
	       rounds = argc < 5 ? 0 : strtoul(argv[1], NULL, 10);
	if (kinds == 0 || kinds > ENVIRONMENTS_MAX || rounds == 0) {
		(void)fprintf(stderr, "usage: shim-exec ROUNDS STDOUT PROGRAM ENVIRONMENT...\n");
		return 2;
	}
	uint64_t *wall_ns = calloc(kinds * rounds, sizeof(*wall_ns));
	uint64_t *cpu_ns = calloc(kinds * rounds, sizeof(*cpu_ns));
	bool ready = wall_ns && cpu_ns;
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	int output = open(argv[2], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	for (size_t kind = 0; kind < kinds; kind++) {
		split(argv[4 + kind], names[kind]);
	}
	for (size_t round = 0; ready && round < rounds; round++) {
		for (size_t kind = 0; kind < kinds; kind++) {
			struct took took = run(argv[3], names[kind], nothing, output);
			wall_ns[kind * rounds + round] = took.wall_ns;
			cpu_ns[kind * rounds + round] = took.cpu_ns;
		}
	}
	for (size_t kind = 0; ready && kind < kinds; kind++) {
		(void)printf("%.2f %.2f\n", median_us(wall_ns + kind * rounds, rounds),
			median_us(cpu_ns + kind * rounds, rounds));
	}
	free(wall_ns);
	free(cpu_ns);
	return 0;
}
