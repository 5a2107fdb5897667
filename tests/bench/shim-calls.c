/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim-calls WORK BATCHES DIRECTORY    nanoseconds that one piece of work takes, as a line
 * shim-calls                           the kinds of work
 *
 * The median of BATCHES batches, so that what else the machine does meanwhile does not count.  Only
 * the work itself is timed, not what a batch needs before and after.  Names are relative to
 * DIRECTORY, as most programs give them.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NAMES 64

static char names[NAMES][16], others[NAMES][16];
static int file = -1;

static void must(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

static int make(const char *name)
{
	int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	must(fd, name);
	return fd;
}

static void make_all(void)
{
	for (int i = 0; i < NAMES; i++) {
		close(make(names[i]));
	}
}

static void remove_all(void)
{
	for (int i = 0; i < NAMES; i++) {
		unlink(names[i]);
		unlink(others[i]);
	}
}

static void remove_directories(void)
{
	for (int i = 0; i < NAMES; i++) {
		rmdir(names[i]);
	}
}

static void nothing(void)
{
}

static void make_one(void)
{
	file = make("file");
}

static void remove_one(void)
{
	close(file);
	unlink("file");
}

/* ---- the work ---------------------------------------------------------------------------- */

static void work_fcntl(int i)
{
	(void)syscall(SYS_fcntl, file, F_GETFL);
}

static void work_fstat(int i)
{
	struct stat st;
	(void)syscall(SYS_fstat, file, &st);
}

static void work_getcwd(int i)
{
	char path[4096];
	(void)syscall(SYS_getcwd, path, sizeof(path));
}

static void work_read_only(int i)
{
	close(open("file", O_RDONLY));
}

static void work_write(int i)
{
	must(write(file, "x", 1), "write");
}

static void work_create(int i)
{
	int fd = make(names[i]);
	must(write(fd, "x", 1), "write");
	close(fd);
}

static void work_rename(int i)
{
	must(rename(names[i], others[i]), "rename");
}

static void work_unlink(int i)
{
	must(unlink(names[i]), "unlink");
}

static void work_link(int i)
{
	must(link(names[0], others[i]), "link");
}

static void work_mkdir(int i)
{
	must(mkdir(names[i], 0700), "mkdir");
}

/* What bash does for `echo x > NAME`. */
static void work_redirect(int i)
{
	int fd = make(names[i]);
	int saved = fcntl(STDOUT_FILENO, F_DUPFD, 10);
	(void)fcntl(saved, F_SETFD, FD_CLOEXEC);
	(void)dup2(fd, STDOUT_FILENO);
	close(fd);
	must(write(STDOUT_FILENO, "x\n", 2), "write");
	(void)dup2(saved, STDOUT_FILENO);
	(void)fcntl(saved, F_GETFD);
	close(saved);
}

static const struct work {
	const char *name;
	void (*before)(void);
	void (*one)(int);
	void (*after)(void);
	int times; /* each of NAMES, in a batch */
} works[] = {
	{"fcntl", make_one, work_fcntl, remove_one, 8},
	{"fstat", make_one, work_fstat, remove_one, 8},
	{"getcwd", nothing, work_getcwd, nothing, 8},
	{"read-only", make_one, work_read_only, remove_one, 4},
	{"write", make_one, work_write, remove_one, 160},
	{"create", nothing, work_create, remove_all, 1},
	{"rename", make_all, work_rename, remove_all, 1},
	{"unlink", make_all, work_unlink, nothing, 1},
	{"link", make_all, work_link, remove_all, 1},
	{"mkdir", nothing, work_mkdir, remove_directories, 1},
	{"redirect", nothing, work_redirect, remove_all, 1},
};
#define WORKS (sizeof(works) / sizeof(works[0]))

/* ---- timing ------------------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t batch_ns(const struct work *work)
{
	work->before();
	uint64_t began_ns = now_ns();
	for (int time = 0; time < work->times; time++) {
		for (int i = 0; i < NAMES; i++) {
			work->one(i);
		}
	}
	uint64_t took_ns = now_ns() - began_ns;
	work->after();
	return took_ns;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void measure(const struct work *work, size_t batches)
{
	uint64_t *took_ns = calloc(batches, sizeof(*took_ns));
	(void)batch_ns(work); /* warms up */
	for (size_t i = 0; took_ns && i < batches; i++) {
		took_ns[i] = batch_ns(work);
	}
	if (took_ns) {
		qsort(took_ns, batches, sizeof(*took_ns), by_size);
		(void)fprintf(
			stderr, "%.2f\n", (double)took_ns[batches / 2] / (NAMES * work->times));
	}
	free(took_ns);
}

static int list(void)
{
	for (size_t i = 0; i < WORKS; i++) {
		(void)puts(works[i].name);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		return list();
	}
	size_t batches = strtoul(argv[2], NULL, 10);
	must(chdir(argv[3]), argv[3]);
	for (int i = 0; i < NAMES; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "name-%04d", i);
		(void)snprintf(others[i], sizeof(others[i]), "other-%04d", i);
	}
	for (size_t i = 0; i < WORKS; i++) {
		if (strcmp(works[i].name, argv[1]) == 0 && batches > 0) {
			measure(&works[i], batches);
			return 0;
		}
	}
	return 2;
}
