/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotation renames, opens the name anew, and puts the new file under the old number (dup3), so
 * that whoever writes to the descriptor need not know.
 */
#include "logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"

int logfile_open(const char *path, int *ret_fd, struct why *why)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		return why_error(why, -errno, "open the log %s: %s", path, strerror(errno));
	}
	*ret_fd = fd;
	return 0;
}

static void shift(const char *path)
{
	char from[PATH_MAX], to[PATH_MAX];
	for (int i = LOGFILE_KEPT; i > 0; i--) {
		int a = i == 1 ? snprintf(from, sizeof(from), "%s", path)
			       : snprintf(from, sizeof(from), "%s.%d", path, i - 1);
		int b = snprintf(to, sizeof(to), "%s.%d", path, i);
		if (a < (int)sizeof(from) && b < (int)sizeof(to)) {
			(void)rename(from, to); /* an older one need not be there */
		}
	}
}

void logfile_rotate(const char *path, int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || st.st_size < LOGFILE_MAX_BYTES) {
		return;
	}
	shift(path);
	CLEANUP(fd_close) int fresh = -1;
	if (logfile_open(path, &fresh, NULL) == 0) {
		(void)dup3(fresh, fd, fcntl(fd, F_GETFD) & FD_CLOEXEC ? O_CLOEXEC : 0);
	}
}

void logfile_tail(const char *path, char *ret, size_t size_bytes)
{
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ret[0] = '\0';
	if (fd < 0 || fstat(fd, &st) < 0) {
		return;
	}
	off_t from = st.st_size > (off_t)size_bytes - 1 ? st.st_size - (off_t)size_bytes + 1 : 0;
	ssize_t len = pread(fd, ret, size_bytes - 1, from);
	if (len <= 0) {
		ret[0] = '\0';
		return;
	}
	ret[len] = '\0';
	while (len > 0 && ret[len - 1] == '\n') {
		ret[--len] = '\0';
	}
	char *line = from > 0 ? strchr(ret, '\n') : NULL;
	if (line) {
		memmove(ret, line + 1, strlen(line));
	}
}
