/* SPDX-License-Identifier: Apache-2.0 */
/* Content that changes by stores into memory. */
#include "adversary.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SIZE 4096

static char *map_of(int fd, int protection)
{
	must(ftruncate(fd, SIZE) == 0);
	char *at = mmap(NULL, SIZE, protection, MAP_SHARED, fd, 0);
	must(at != MAP_FAILED);
	return at;
}

static void have_page(void)
{
	int fd = make("f", "a line\n");
	must(ftruncate(fd, SIZE) == 0);
	close(fd);
}

static void stored_and_closed(void)
{
	int fd = again("f");
	char *at = map_of(fd, PROT_READ | PROT_WRITE);
	at[1] = 'X';
	msync(at, SIZE, MS_SYNC);
	munmap(at, SIZE);
	close(fd);
}
static void stored_after_close(void)
{
	int fd = again("f");
	char *at = map_of(fd, PROT_READ | PROT_WRITE);
	close(fd);
	later();
	at[1] = 'X';
}
static void stored_and_killed(void)
{
	int fd = again("f");
	char *at = map_of(fd, PROT_READ | PROT_WRITE);
	close(fd);
	later();
	at[1] = 'X';
	killed();
}
static void made_writable_later(void)
{
	int fd = again("f");
	char *at = map_of(fd, PROT_READ);
	close(fd);
	later();
	must(mprotect(at, SIZE, PROT_READ | PROT_WRITE) == 0);
	at[1] = 'X';
}
static void grown(void)
{
	int fd = again("f");
	char *at = map_of(fd, PROT_READ | PROT_WRITE);
	must(ftruncate(fd, 3L * SIZE) == 0);
	close(fd);
	at = mremap(at, SIZE, 3UL * SIZE, MREMAP_MAYMOVE);
	later();
	at[2 * SIZE] = 'X';
}
static void stored_by_child(void)
{
	int fd = again("f");
	char *at = map_of(fd, PROT_READ | PROT_WRITE);
	close(fd);
	int child = fork();
	if (child == 0) {
		later();
		at[1] = 'X';
		_exit(0);
	}
	finished(child);
}
/* The parent, which mapped, is gone before its child stores. */
static void stored_by_orphan(void)
{
	int fd = again("f");
	char *at = map_of(fd, PROT_READ | PROT_WRITE);
	close(fd);
	if (fork() == 0) {
		later();
		later();
		at[1] = 'X';
		_exit(0);
	}
	_exit(0);
}
static void by_syscall(void)
{
	int fd = again("f");
	must(ftruncate(fd, SIZE) == 0);
	char *at = (char *)syscall(SYS_mmap, NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	later();
	at[1] = 'X';
}
/* A file of one process, opened by another through /proc. */
static void of_another_process(void)
{
	char path[64];
	int fd = again("f");
	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	int child = fork();
	if (child == 0) {
		char *at = map_of(again(path), PROT_READ | PROT_WRITE);
		later();
		at[1] = 'X';
		_exit(0);
	}
	finished(child);
	close(fd);
}

const struct adverse maps[] = {
	{"map-stored-and-closed", have_page, stored_and_closed},
	{"map-stored-after-close", have_page, stored_after_close},
	{"map-stored-and-killed", have_page, stored_and_killed},
	{"map-made-writable-later", have_page, made_writable_later},
	{"map-grown", have_page, grown},
	{"map-stored-by-child", have_page, stored_by_child},
	{"map-stored-by-orphan", have_page, stored_by_orphan},
	{"map-by-syscall", have_page, by_syscall},
	{"map-of-another-process", have_page, of_another_process},
	{NULL, NULL, NULL},
};
