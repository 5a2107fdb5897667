/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: closing and copying them, and the maps and controls that change content. */
#include "calls.h"

#include <linux/mman.h>
#include <linux/close_range.h>
#include <linux/sched.h>

#include "directory.h"
#include "observe.h"

/* Linux frees the number whatever else goes wrong. */
#define CLOSE(name, parameters, arguments)                                                         \
	int name parameters                                                                        \
	{                                                                                          \
		struct closing closing;                                                            \
		observe_closing(&closing, fd, CHANNEL_CALLS);                                      \
		int result = CALL_REAL(name, arguments, (int)RAW(close, fd));                      \
		observe_closed(&closing, true);                                                    \
		return result;                                                                     \
	}
CLOSE(close, (int fd), (fd))
CLOSE(__close, (int fd), (fd))
CLOSE(posix_close, (int fd, int flags), (fd, flags))

int close_range(unsigned first, unsigned last, int flags)
{
	int result = CALL_REAL(
		close_range, (first, last, flags), (int)RAW(close_range, first, last, flags));
	if (flags & CLOSE_RANGE_UNSHARE) {
		directory_unshared(CLONE_FILES);
	}
	if (result == 0 && !(flags & CLOSE_RANGE_CLOEXEC)) {
		observe_range_closed(first, last);
	}
	return result;
}

void closefrom(int first)
{
	void (*real)(int) = REAL(closefrom);
	if (real) {
		real(first);
	} else {
		RAW_VOID(close_range, first < 0 ? 0 : first, ~0u, 0);
	}
	observe_range_closed(first < 0 ? 0 : (unsigned)first, ~0u);
}

int dup(int fd)
{
	int copy = CALL_REAL(dup, (fd), (int)RAW(dup, fd));
	observe_copied(fd, copy);
	return copy;
}

/* What `to` was is closed without a word. */
#define DUP2(name)                                                                                 \
	int name(int fd, int to)                                                                   \
	{                                                                                          \
		struct closing closing;                                                            \
		observe_closing(&closing, fd == to ? -1 : to, CHANNEL_CALLS);                      \
		int result = CALL_REAL(name, (fd, to),                                             \
			fd == to ? (RAW(fcntl, fd, F_GETFD) < 0 ? -1 : to)                         \
				 : (int)RAW(dup3, fd, to, 0));                                     \
		observe_closed(&closing, result >= 0);                                             \
		observe_copied(fd, result);                                                        \
		return result;                                                                     \
	}
DUP2(dup2)
DUP2(__dup2)

int dup3(int fd, int to, int flags)
{
	struct closing closing;
	observe_closing(&closing, fd == to ? -1 : to, CHANNEL_CALLS);
	int result = CALL_REAL(dup3, (fd, to, flags), (int)RAW(dup3, fd, to, flags));
	observe_closed(&closing, result >= 0);
	observe_copied(fd, result);
	return result;
}

#define FCNTL(name)                                                                                \
	int name(int fd, int command, ...)                                                         \
	{                                                                                          \
		va_list rest;                                                                      \
		va_start(rest, command);                                                           \
		long value = va_arg(rest, long);                                                   \
		va_end(rest);                                                                      \
		int result = CALL_REAL(                                                            \
			name, (fd, command, value), (int)RAW(fcntl, fd, command, value));          \
		if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {                            \
			observe_copied(fd, result);                                                \
		}                                                                                  \
		return result;                                                                     \
	}
FCNTL(fcntl)
FCNTL(fcntl64)
FCNTL(__fcntl)

int pidfd_getfd(int process, int fd, unsigned flags)
{
	int got = CALL_REAL(
		pidfd_getfd, (process, fd, flags), (int)RAW(pidfd_getfd, process, fd, flags));
	observe_copied(-1, got);
	return got;
}

/* What struct aiocb begins with. */
struct block {
	int fd, what;
};
#define TO_WRITE 1

static void touch_blocks(void *const *blocks, int count)
{
	for (int i = 0; i < count; i++) {
		const struct block *block = blocks[i];
		if (block && block->what == TO_WRITE) {
			observe_touch(block->fd);
		}
	}
}

#define LIO_LISTIO(name)                                                                           \
	int name(int mode, void *const *blocks, int count, void *signal)                           \
	{                                                                                          \
		touch_blocks(blocks, count);                                                       \
		return CALL_REAL(name, (mode, blocks, count, signal), (int)NONE);                  \
	}
LIO_LISTIO(lio_listio)
LIO_LISTIO(lio_listio64)

/* Cloning content into fd is a write. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list rest;
	va_start(rest, request);
	long value = va_arg(rest, long);
	va_end(rest);
	if (request == FICLONE || request == FICLONERANGE) {
		observe_touch(fd);
	}
	return CALL_REAL(ioctl, (fd, request, value), (int)RAW(ioctl, fd, request, value));
}

#define MMAP(name)                                                                                 \
	void *name(void *address, size_t size, int protection, int flags, int fd, long offset)     \
	{                                                                                          \
		void *result = CALL_REAL(name, (address, size, protection, flags, fd, offset),     \
			RAW_POINTER(mmap, address, size, protection, flags, fd, offset));          \
		bool shared = (flags & MAP_TYPE) != MAP_PRIVATE && !(flags & MAP_ANONYMOUS);       \
		if (shared && result != (void *)-1) {                                              \
			observe_mapped(fd);                                                        \
		}                                                                                  \
		return result;                                                                     \
	}
MMAP(mmap)
MMAP(mmap64)
