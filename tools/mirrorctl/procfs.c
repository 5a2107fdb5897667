/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/PID/stat: "pid (comm) state …"; comm may hold anything, so fields count from the last
 * ')'.  Field 14 and 15 are CPU ticks, 22 is the start time, 24 the resident pages (proc(5)).
 */
#include "procfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"

struct stat_fields {
	char name[PROCFS_NAME];
	char state;
	int parent;
	uint64_t utime, stime, start, rss_pages;
};

static int read_text(const char *path, char *ret, size_t size_bytes)
{
	FILE *file = fopen(path, "re");
	if (!file) {
		return -errno;
	}
	size_t len = fread(ret, 1, size_bytes - 1, file);
	(void)fclose(file);
	ret[len] = '\0';
	return len ? 0 : -ENOENT;
}

static int read_stat(pid_t pid, struct stat_fields *ret)
{
	char path[64], text[1024];
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int r = read_text(path, text, sizeof(text));
	const char *begin = r < 0 ? NULL : strchr(text, '('),
		   *at = r < 0 ? NULL : strrchr(text, ')');
	if (!begin || !at) {
		return r < 0 ? r : -EIO;
	}
	(void)snprintf(ret->name, sizeof(ret->name), "%.*s", (int)(at - begin - 1), begin + 1);
	int count = sscanf(at + 1,
		" %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
		" %*d %*d %*d %*d %*d %*d %" SCNu64 " %*u %" SCNu64,
		&ret->state, &ret->parent, &ret->utime, &ret->stime, &ret->start, &ret->rss_pages);
	return count == 6 ? 0 : -EIO;
}

int procfs_birth(pid_t pid, char ret[PROCFS_BIRTH])
{
	char boot[64];
	struct stat_fields stat;
	int r = read_stat(pid, &stat);
	if (r < 0) {
		return r;
	}
	if (stat.state == 'Z' || stat.state == 'X') {
		return -ENOENT;
	}
	if (read_text("/proc/sys/kernel/random/boot_id", boot, sizeof(boot)) < 0) {
		(void)snprintf(boot, sizeof(boot), "?");
	}
	boot[strcspn(boot, "\n")] = '\0';
	(void)snprintf(ret, PROCFS_BIRTH, "%s:%" PRIu64, boot, stat.start);
	return 0;
}

int procfs_name(pid_t pid, char ret[PROCFS_NAME], pid_t *ret_parent)
{
	struct stat_fields stat;
	int r = read_stat(pid, &stat);
	if (r < 0) {
		return r;
	}
	if (stat.state == 'Z' || stat.state == 'X') {
		return -ENOENT;
	}
	(void)snprintf(ret, PROCFS_NAME, "%s", stat.name);
	*ret_parent = stat.parent;
	return 0;
}

int procfs_add_use(pid_t pid, struct procfs_use *use)
{
	struct stat_fields stat;
	int r = read_stat(pid, &stat);
	if (r == 0) {
		use->cpu_ns +=
			(stat.utime + stat.stime) * (CLOCK_S / (uint64_t)sysconf(_SC_CLK_TCK));
		use->rss_bytes += stat.rss_pages * (uint64_t)sysconf(_SC_PAGESIZE);
	}
	return r;
}
