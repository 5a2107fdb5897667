/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to open, write, and end, most of them without closing. */
#include "adversary.h"

#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

static void closed(void)
{
	close(make("n", "x"));
}
static void created(void)
{
	close(creat("n", 0644));
}
static void below_descriptor(void)
{
	int d = open("d", O_RDONLY | O_DIRECTORY), fd = openat(d, "n", O_WRONLY | O_CREAT, 0644);
	close(d);
	put(fd, "x");
	close(fd);
}
static void appended(void)
{
	int fd = open("f", O_WRONLY | O_APPEND);
	later();
	put(fd, "x");
	close(fd);
}
static void cut(void)
{
	close(open("f", O_WRONLY | O_TRUNC));
}
static void cut_for_reading(void)
{
	close(open("f", O_RDONLY | O_TRUNC));
}
static void created_for_reading(void)
{
	close(open("n", O_RDONLY | O_CREAT, 0644));
}
static void at_once_after_a_change(void)
{
	/* Nothing tells size and time of this write from those before it. */
	int fd = again("f");
	syscall(SYS_pwrite64, fd, "A", 1, 0);
	close(fd);
}
static void exited(void)
{
	put(again("f"), "x");
	later();
	_exit(0);
}
static void late_write_exit(void)
{
	int fd = again("f");
	later();
	put(fd, "x");
	_exit(0);
}
static void *leave(void *ignored)
{
	put(again("f"), "thread");
	syscall(SYS_exit_group, 0);
	return ignored;
}
static void exited_from_thread(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, leave, NULL);
	pthread_join(thread, NULL);
}
static void exited_quickly(void)
{
	make("n", "x");
	quick_exit(0);
}
static void aborted(void)
{
	int fd = again("f");
	later();
	put(fd, "x");
	signal(SIGABRT, SIG_DFL);
	abort();
}
static void crashed(void)
{
	put(again("f"), "x");
	raise(SIGSEGV);
}
static void killed_between_writes(void)
{
	int fd = make("n", "x");
	later();
	put(fd, "y");
	killed();
}
static void unflushed(void)
{
	FILE *f = fopen("n", "w");
	(void)fputs("text", f);
	later();
}
static FILE *kept;
static void write_at_exit(void)
{
	(void)fputs("at exit", kept);
}
static void handler_at_exit(void)
{
	kept = fopen("n", "w");
	atexit(write_at_exit);
	later();
}
static int fd_of_handler;
static void write_raw_at_exit(void)
{
	put(fd_of_handler, "at exit");
}
static void descriptor_at_exit(void)
{
	fd_of_handler = again("f");
	atexit(write_raw_at_exit);
	later();
}
static bool armed;
__attribute__((destructor)) static void at_the_very_end(void)
{
	if (armed) {
		have("n");
	}
}
static void destructor(void)
{
	armed = true;
}
static void stream_updated(void)
{
	FILE *f = fopen("f", "r+");
	(void)fgetc(f);
	(void)fseek(f, 0, SEEK_SET);
	(void)fputc('X', f);
	(void)fclose(f);
}
static void stream_killed(void)
{
	FILE *f = fopen("f", "a");
	later();
	(void)fputs("x", f);
	(void)fflush(f);
	killed();
}
static void reopened(void)
{
	FILE *f = fopen("n1", "w");
	(void)fputs("one", f);
	f = freopen("n2", "w", f);
	later();
	(void)fputs("two", f);
	(void)fclose(f);
}
static void stdout_reopened(void)
{
	if (freopen("n", "w", stdout)) {
		(void)puts("text");
	}
	later();
}
static void from_descriptor(void)
{
	FILE *f = fdopen(again("f"), "r+");
	later();
	(void)fputs("X", f);
	(void)fclose(f);
}
static void all_closed(void)
{
	FILE *f = fopen("n", "w");
	(void)fputs("x", f);
	later();
	fcloseall();
}
static void large_buffer(void)
{
	static char buffer[1 << 16];
	FILE *f = fopen("n", "w");
	(void)setvbuf(f, buffer, _IOFBF, sizeof(buffer));
	for (int i = 0; i < 1000; i++) {
		(void)fprintf(f, "line %d\n", i);
	}
	later();
	exit(3);
}
static void printed(void)
{
	int fd = again("f");
	later();
	(void)dprintf(fd, "%d", 5);
	_exit(0);
}
static void record_put(void)
{
	struct passwd entry = {.pw_name = (char *)"n",
		.pw_passwd = (char *)"",
		.pw_gecos = (char *)"",
		.pw_dir = (char *)"/",
		.pw_shell = (char *)"/bin/sh"};
	FILE *f = fopen("n", "w");
	(void)putpwent(&entry, f);
	(void)fclose(f);
}
static void in_signal_handler(int number)
{
	(void)number;
	have("n");
}
static void handler_of_signal(void)
{
	signal(SIGUSR1, in_signal_handler);
	raise(SIGUSR1);
}

const struct adverse ends[] = {
	{"closed", NULL, closed},
	{"created", NULL, created},
	{"below-descriptor", have_directory, below_descriptor},
	{"appended", have_file, appended},
	{"cut", have_file, cut},
	{"cut-for-reading", have_file, cut_for_reading},
	{"created-for-reading", NULL, created_for_reading},
	{"at-once-after-a-change", have_file, at_once_after_a_change},
	{"exited", have_file, exited},
	{"late-write-exit", have_file, late_write_exit},
	{"exited-from-thread", have_file, exited_from_thread},
	{"exited-quickly", NULL, exited_quickly},
	{"aborted", have_file, aborted},
	{"crashed", have_file, crashed},
	{"killed-between-writes", NULL, killed_between_writes},
	{"unflushed", NULL, unflushed},
	{"handler-at-exit", NULL, handler_at_exit},
	{"descriptor-at-exit", have_file, descriptor_at_exit},
	{"destructor", NULL, destructor},
	{"stream-updated", have_file, stream_updated},
	{"stream-killed", have_file, stream_killed},
	{"reopened", NULL, reopened},
	{"stdout-reopened", NULL, stdout_reopened},
	{"from-descriptor", have_file, from_descriptor},
	{"all-closed", NULL, all_closed},
	{"large-buffer", NULL, large_buffer},
	{"printed", have_file, printed},
	{"record-put", NULL, record_put},
	{"signal-handler", NULL, handler_of_signal},
	{NULL, NULL, NULL},
};
