/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library for LD_PRELOAD into whoever writes at the target (sftp-server, or a copier where the
 * target is local) and into daemons: while it is told so, calls that concern the target fail, and
 * the wall clock is another one.
 *
 * What it is told stands in the file $MIRROR_SICK (sick.py writes it), mapped by all:
 *
 *   i32 error       what fails fails with this errno; 0: nothing does
 *   u32 per_mille   of the calls that concern the target, so many fail before anything is done
 *   u32 late        so many are carried out, and fail all the same
 *   i64 offset_ns   added to CLOCK_REALTIME
 *   char root[]     the target
 *
 * A disk quota hits only what takes room; EIO hits all but readdir(), whose failure an sftp-server
 * takes for the end of the directory.
 */
#undef _FILE_OFFSET_BITS /* else open() were open64() here, and both are wanted */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct orders {
	int32_t error;
	uint32_t per_mille, late, unused;
	int64_t offset_ns;
	char root[PATH_MAX];
};

enum mood { WELL, FAILS, FAILS_LATE };

static volatile struct orders *orders;

static __attribute__((constructor)) void begin(void)
{
	const char *file = getenv("MIRROR_SICK");
	int fd = file ? (int)syscall(SYS_open, file, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		void *map = mmap(NULL, sizeof(struct orders), PROT_READ, MAP_SHARED, fd, 0);
		orders = map == MAP_FAILED ? NULL : map;
		(void)syscall(SYS_close, fd);
	}
}

static bool is_below(const char *path)
{
	const char *root = (const char *)orders->root;
	size_t len = strlen(root);
	return strncmp(path, root, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static bool is_fd_below(int fd)
{
	char link[40], path[PATH_MAX];
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	long len = syscall(SYS_readlink, link, path, sizeof(path) - 1);
	path[len > 0 ? len : 0] = '\0';
	return is_below(path);
}

static bool concerned(int fd, const char *path)
{
	return path && path[0] == '/' ? is_below(path) : fd >= 0 && is_fd_below(fd);
}

static uint32_t dice(void)
{
	static __thread uint64_t state;
	struct timespec now;
	if (state == 0) {
		(void)syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
		state = (uint64_t)now.tv_nsec | 1;
	}
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % 1000;
}

/* takes_room: what a quota may forbid. */
static enum mood mood(bool takes_room, int fd, const char *path)
{
	int before = errno, error = orders ? orders->error : 0;
	enum mood it = WELL;
	if (error && (takes_room || error == EIO) && concerned(fd, path)) {
		uint32_t thrown = dice();
		it = thrown < orders->per_mille                  ? FAILS
		     : thrown < orders->per_mille + orders->late ? FAILS_LATE
								 : WELL;
	}
	errno = before;
	return it;
}

static int refuse(void)
{
	errno = orders->error ? orders->error : EIO;
	return -1;
}

static void *next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

#define CALL(type, name, parameters, arguments, room, fd, path)                                    \
	type name parameters;                                                                      \
	type name parameters                                                                       \
	{                                                                                          \
		static type(*real) parameters;                                                     \
		if (!real) {                                                                       \
			*(void **)&real = next(#name);                                             \
		}                                                                                  \
		enum mood it = mood(room, fd, path);                                               \
		if (it == FAILS) {                                                                 \
			return refuse();                                                           \
		}                                                                                  \
		type result = real arguments;                                                      \
		return it == FAILS_LATE && result >= 0 ? refuse() : result;                        \
	}

#define ROOM true

CALL(ssize_t, write, (int fd, const void *data, size_t len), (fd, data, len), ROOM, fd, NULL)
CALL(ssize_t, pwrite64, (int fd, const void *data, size_t len, off_t at), (fd, data, len, at), ROOM,
	fd, NULL)
CALL(ssize_t, copy_file_range,
	(int from, off_t *from_at, int to, off_t *to_at, size_t len, unsigned flags),
	(from, from_at, to, to_at, len, flags), ROOM, to, NULL)
CALL(ssize_t, read, (int fd, void *data, size_t len), (fd, data, len), false, fd, NULL)
CALL(ssize_t, pread64, (int fd, void *data, size_t len, off_t at), (fd, data, len, at), false, fd,
	NULL)
CALL(int, ftruncate, (int fd, off_t len), (fd, len), ROOM, fd, NULL)
CALL(int, ftruncate64, (int fd, off_t len), (fd, len), ROOM, fd, NULL)
CALL(int, fsync, (int fd), (fd), ROOM, fd, NULL)
CALL(int, fchmod, (int fd, mode_t mode), (fd, mode), false, fd, NULL)
CALL(int, futimens, (int fd, const struct timespec times[2]), (fd, times), false, fd, NULL)
CALL(int, futimes, (int fd, const struct timeval times[2]), (fd, times), false, fd, NULL)
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), ROOM, -1, path)
CALL(int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode), ROOM, fd, path)
CALL(int, symlink, (const char *text, const char *path), (text, path), ROOM, -1, path)
CALL(int, symlinkat, (const char *text, int fd, const char *path), (text, fd, path), ROOM, fd, path)
CALL(int, link, (const char *old, const char *path), (old, path), ROOM, -1, path)
CALL(int, linkat, (int from, const char *old, int fd, const char *path, int flags),
	(from, old, fd, path, flags), ROOM, fd, path)
CALL(int, rename, (const char *old, const char *path), (old, path), ROOM, -1, path)
CALL(int, renameat, (int from, const char *old, int fd, const char *path), (from, old, fd, path),
	ROOM, fd, path)
CALL(int, renameat2, (int from, const char *old, int fd, const char *path, unsigned flags),
	(from, old, fd, path, flags), ROOM, fd, path)
CALL(int, unlink, (const char *path), (path), false, -1, path)
CALL(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags), false, fd, path)
CALL(int, rmdir, (const char *path), (path), false, -1, path)
CALL(int, chmod, (const char *path, mode_t mode), (path, mode), false, -1, path)
CALL(int, fchmodat, (int fd, const char *path, mode_t mode, int flags), (fd, path, mode, flags),
	false, fd, path)
CALL(int, utimes, (const char *path, const struct timeval times[2]), (path, times), false, -1, path)
CALL(int, utimensat, (int fd, const char *path, const struct timespec times[2], int flags),
	(fd, path, times, flags), false, fd, path)
CALL(int, lstat, (const char *path, struct stat *st), (path, st), false, -1, path)
CALL(int, fstatat64, (int fd, const char *path, struct stat64 *st, int flags),
	(fd, path, st, flags), false, fd, path)
CALL(ssize_t, readlink, (const char *path, char *text, size_t len), (path, text, len), false, -1,
	path)
CALL(ssize_t, readlinkat, (int fd, const char *path, char *text, size_t len), (fd, path, text, len),
	false, fd, path)

/* What was written may be lost with it; but closed it is. */
int close(int fd)
{
	static int (*real)(int fd);
	if (!real) {
		*(void **)&real = next("close");
	}
	bool fails = mood(ROOM, fd, NULL) != WELL;
	int result = real(fd);
	return fails ? refuse() : result;
}

/* The mode stands there only for a new file; to read one that is not there is harmless. */
#define OPEN(name, parameters, arguments, fd)                                                      \
	int name parameters;                                                                       \
	int name parameters                                                                        \
	{                                                                                          \
		static int(*real) parameters;                                                      \
		mode_t mode = 0;                                                                   \
		va_list list;                                                                      \
		if (!real) {                                                                       \
			*(void **)&real = next(#name);                                             \
		}                                                                                  \
		if (flags & (O_CREAT | O_TMPFILE)) {                                               \
			va_start(list, flags);                                                     \
			mode = va_arg(list, mode_t);                                               \
			va_end(list);                                                              \
		}                                                                                  \
		return mood(flags & O_CREAT, fd, path) != WELL ? refuse() : real arguments;        \
	}

OPEN(open, (const char *path, int flags, ...), (path, flags, mode), -1)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), -1)
OPEN(openat64, (int fd, const char *path, int flags, ...), (fd, path, flags, mode), fd)

int clock_gettime(clockid_t id, struct timespec *now)
{
	static int (*real)(clockid_t id, struct timespec * now);
	if (!real) {
		*(void **)&real = next("clock_gettime");
	}
	int result = real(id, now);
	int64_t offset_ns = orders ? orders->offset_ns : 0;
	if (result == 0 && offset_ns && id == CLOCK_REALTIME) {
		int64_t ns = now->tv_nsec + offset_ns % 1000000000;
		now->tv_sec += offset_ns / 1000000000 + (ns >= 1000000000) - (ns < 0);
		now->tv_nsec = ns + (ns < 0) * 1000000000L - (ns >= 1000000000) * 1000000000L;
	}
	return result;
}
