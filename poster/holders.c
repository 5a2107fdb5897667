/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/PID/fd: the links themselves have the mode of the opening (l-wx------), so no more than a
 * look is needed to pass over what is open for reading.  /proc/PID/maps: "rw-s" and a path.
 */
#include "poster/holders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"

struct look {
	holders_fn fn;
	void *arg;
	uint32_t pid;
	char program[16];
};

static int tell(const struct look *look, enum record_kind kind, int fd, struct span path,
	const struct stat *st)
{
	struct record record = {.end = 1, /* not a draft */
		.kind = kind,
		.flags = RECORD_HAS_INODE,
		.time_ns = clock_wall(),
		.pid = look->pid,
		.fd = fd,
		.dev = st->st_dev,
		.ino = st->st_ino,
		.path = path,
		.program = span_str(look->program)};
	return look->fn(look->arg, &record);
}

static bool is_wanted(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_nlink > 0;
}

/* ---- descriptors ------------------------------------------------------------------------- */

static int look_at_descriptor(const struct look *look, int dir, const char *name)
{
	char path[PATH_MAX];
	struct stat st;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(st.st_mode) ||
		!(st.st_mode & S_IWUSR) || fstatat(dir, name, &st, 0) < 0 || !is_wanted(&st)) {
		return 0;
	}
	ssize_t len = readlinkat(dir, name, path, sizeof(path));
	if (len <= 0 || (size_t)len == sizeof(path) || path[0] != '/') {
		return 0;
	}
	return tell(
		look, RECORD_INHERIT, (int)strtol(name, NULL, 10), span_of(path, (size_t)len), &st);
}

static int look_at_descriptors(const struct look *look)
{
	char path[32];
	int r = 0;
	(void)snprintf(path, sizeof(path), "/proc/%" PRIu32 "/fd", look->pid);
	DIR *listing = opendir(path);
	if (!listing) {
		return 0;
	}
	for (struct dirent *entry; r == 0 && (entry = readdir(listing));) {
		r = look_at_descriptor(look, dirfd(listing), entry->d_name);
	}
	closedir(listing);
	return r;
}

/* ---- maps -------------------------------------------------------------------------------- */

/* "address rw-s offset device inode      path" */
static int look_at_map(const struct look *look, const char *line)
{
	uint64_t ino;
	int at = 0;
	struct stat st;
	if (sscanf(line, "%*s rw%*1[-x]s %*s %*s %" SCNu64 " %n", &ino, &at) != 1 || at == 0 ||
		line[at] != '/' || stat(line + at, &st) < 0 || st.st_ino != ino ||
		!is_wanted(&st)) {
		return 0;
	}
	return tell(look, RECORD_MAP, -1, span_str(line + at), &st);
}

static int look_at_maps(const struct look *look)
{
	char path[32];
	char *line = NULL;
	size_t room = 0;
	int r = 0;
	(void)snprintf(path, sizeof(path), "/proc/%" PRIu32 "/maps", look->pid);
	FILE *file = fopen(path, "re");
	while (file && r == 0 && getline(&line, &room, file) > 0) {
		line[strcspn(line, "\n")] = '\0';
		r = look_at_map(look, line);
	}
	free(line);
	if (file) {
		(void)fclose(file);
	}
	return r;
}

/* ---- processes --------------------------------------------------------------------------- */

static void read_program(struct look *look)
{
	char path[32];
	(void)snprintf(path, sizeof(path), "/proc/%" PRIu32 "/comm", look->pid);
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? 0 : read(fd, look->program, sizeof(look->program) - 1);
	look->program[len > 0 ? len : 0] = '\0';
	look->program[strcspn(look->program, "\n")] = '\0';
}

static int look_at_process(struct look *look, int proc, const char *name)
{
	struct stat st;
	look->pid = (uint32_t)strtoul(name, NULL, 10);
	if (look->pid == 0 || look->pid == (uint32_t)getpid() || fstatat(proc, name, &st, 0) < 0 ||
		st.st_uid != geteuid()) {
		return 0;
	}
	read_program(look);
	int r = look_at_descriptors(look);
	return r == 0 ? look_at_maps(look) : r;
}

int holders_each(holders_fn fn, void *arg)
{
	struct look look = {.fn = fn, .arg = arg};
	DIR *proc = opendir("/proc");
	int r = 0;
	if (!proc) {
		return 0;
	}
	for (struct dirent *entry; r == 0 && (entry = readdir(proc));) {
		r = look_at_process(&look, dirfd(proc), entry->d_name);
	}
	closedir(proc);
	return r;
}

int holders_of(uint32_t pid, holders_fn fn, void *arg)
{
	struct look look = {.fn = fn, .arg = arg};
	char name[16];
	CLEANUP(fd_close) int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(name, sizeof(name), "%" PRIu32, pid);
	return proc < 0 ? 0 : look_at_process(&look, proc, name);
}
