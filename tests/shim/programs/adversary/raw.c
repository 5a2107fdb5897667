/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that go around the names of libc: syscall(2), and functions that were looked up. */
#include "adversary.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void opened(void)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, "n", O_WRONLY | O_CREAT, 0644);
	later();
	syscall(SYS_write, fd, "raw", 3);
	killed();
}
static void opened_by_how(void)
{
	unsigned long long how[3] = {O_WRONLY | O_CREAT, 0644, 0};
	int fd = (int)syscall(437 /* openat2 */, AT_FDCWD, "n", how, sizeof(how));
	later();
	put(fd, "x");
	killed();
}
static void named(void)
{
	must(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "n1", 0) == 0);
	must(syscall(SYS_linkat, AT_FDCWD, "n1", AT_FDCWD, "n2", 0) == 0);
	must(syscall(SYS_symlinkat, "text", AT_FDCWD, "n3") == 0);
	must(syscall(SYS_mkdirat, AT_FDCWD, "n4", 0755) == 0);
	must(syscall(SYS_unlinkat, AT_FDCWD, "g", 0) == 0);
}
static void copied(void)
{
	int fd = again("f"), copy = (int)syscall(SYS_dup, fd);
	syscall(SYS_close, fd);
	later();
	put(copy, "x");
	killed();
}
static void copied_by_fcntl(void)
{
	int fd = again("f"), copy = (int)syscall(SYS_fcntl, fd, F_DUPFD, 50);
	syscall(SYS_close, fd);
	later();
	put(copy, "x");
	killed();
}
static void cloned_range(void)
{
	int fd = again("f"), from = open("g", O_RDONLY);
	later();
	must(syscall(SYS_copy_file_range, from, NULL, fd, NULL, 5, 0) == 5);
	killed();
}
/* ---- looked up ---------------------------------------------------------------------------- */

static void write_with(void *open_it, void *close_it)
{
	int (*my_open)(const char *, int, ...) = (int (*)(const char *, int, ...))open_it;
	int (*my_close)(int) = (int (*)(int))close_it;
	must(my_open && my_close);
	int fd = my_open("n", O_WRONLY | O_CREAT, 0644);
	later();
	put(fd, "x");
	my_close(fd);
}
static void looked_up(void)
{
	write_with(dlsym(RTLD_DEFAULT, "open"), dlsym(RTLD_DEFAULT, "close"));
}
static void looked_up_behind(void)
{
	write_with(dlsym(RTLD_NEXT, "open"), dlsym(RTLD_NEXT, "close"));
}
/* As ctypes.CDLL("libc.so.6"), JNA and P/Invoke do it. */
static void looked_up_in_libc(void)
{
	void *libc = dlopen("libc.so.6", RTLD_NOW);
	if (!libc) {
		impossible();
	}
	write_with(dlsym(libc, "open"), dlsym(libc, "close"));
}
static void looked_up_by_version(void)
{
	void *libc = dlopen("libc.so.6", RTLD_NOW);
	if (!libc) {
		impossible();
	}
	int (*my_rename)(const char *, const char *) =
		(int (*)(const char *, const char *))dlvsym(libc, "rename", "GLIBC_2.2.5");
	if (!my_rename) {
		impossible();
	}
	must(my_rename("f", "n") == 0);
}
static void bound_deeply(void)
{
	const char *plugin = getenv("ADVERSARY_PLUGIN");
	void *it = plugin ? dlopen(plugin, RTLD_NOW | RTLD_DEEPBIND) : NULL;
	void (*make_file)(const char *) =
		it ? (void (*)(const char *))dlsym(it, "make_file") : NULL;
	if (!make_file) {
		impossible();
	}
	make_file("n");
}

const struct adverse raw[] = {
	{"raw-opened", NULL, opened},
	{"raw-opened-by-how", NULL, opened_by_how},
	{"raw-named", have_files, named},
	{"raw-copied", have_file, copied},
	{"raw-copied-by-fcntl", have_file, copied_by_fcntl},
	{"raw-cloned-range", have_files, cloned_range},
	{"looked-up", NULL, looked_up},
	{"looked-up-behind", NULL, looked_up_behind},
	{"looked-up-in-libc", NULL, looked_up_in_libc},
	{"looked-up-by-version", have_file, looked_up_by_version},
	{"bound-deeply", NULL, bound_deeply},
	{NULL, NULL, NULL},
};
