/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "poster/holders.h"

static char directory[] = "/tmp/test-holders-XXXXXX";

struct told {
	uint32_t pid;
	unsigned count, maps;
	int fd;
	char path[PATH_MAX];
	uint64_t ino;
};

static int tell(void *arg, const struct record *record)
{
	struct told *told = arg;
	if (record->pid == told->pid) {
		told->count += span_starts(record->path, span_str(directory));
		told->maps += record->kind == RECORD_MAP;
		told->fd = record->kind == RECORD_MAP ? told->fd : record->fd;
		told->ino = record->ino;
		(void)snprintf(told->path, sizeof(told->path), "%.*s", SPAN_ARG(record->path));
	}
	return 0;
}

static const char *path_of(const char *name)
{
	static char path[PATH_MAX];
	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

/* A child that has opened what body opens, and stands still. */
static pid_t start(void (*body)(void))
{
	int ready[2];
	char byte;
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		body();
		(void)!write(ready[1], "", 1);
		for (;;) {
			pause();
		}
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static struct told look(void (*body)(void))
{
	struct told told = {.pid = (uint32_t)start(body), .fd = -1};
	assert_int_equal(holders_each(tell, &told), 0);
	(void)kill((pid_t)told.pid, SIGKILL);
	(void)waitpid((pid_t)told.pid, NULL, 0);
	return told;
}

static void open_for_writing(void)
{
	int fd = open(path_of("a file"), O_WRONLY | O_CREAT, 0600);
	(void)dup2(fd, 77);
	close(fd);
	close(open(path_of("closed"), O_WRONLY | O_CREAT, 0600));
	(void)open(path_of("closed"), O_RDONLY);
	(void)open(path_of("."), O_RDONLY | O_DIRECTORY);
}

static void map_and_close(void)
{
	int fd = open(path_of("a file"), O_RDWR);
	(void)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	(void)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
}

static void open_and_unlink(void)
{
	(void)open(path_of("gone"), O_RDWR | O_CREAT, 0600);
	unlink(path_of("gone"));
}

static void descriptors(void **state)
{
	struct told told = look(open_for_writing);
	struct stat st;
	(void)state;
	assert_int_equal(told.count, 1);
	assert_int_equal(told.fd, 77);
	assert_string_equal(told.path, path_of("a file"));
	assert_int_equal(stat(path_of("a file"), &st), 0);
	assert_int_equal(told.ino, st.st_ino);
}

static void maps(void **state)
{
	struct told told = look(map_and_close);
	(void)state;
	assert_int_equal(told.count, 1);
	assert_int_equal(told.maps, 1);
	assert_string_equal(told.path, path_of("a file"));
}

static void without_a_name(void **state)
{
	(void)state;
	assert_int_equal(look(open_and_unlink).count, 0);
}

static int set_up(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(path_of("a file"));
	unlink(path_of("closed"));
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptors),
		cmocka_unit_test(maps),
		cmocka_unit_test(without_a_name),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
