/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: closing and copying them, and the maps and controls that change content. */
#include "calls.h"

#include <linux/mman.h>
#include <linux/close_range.h>

#include "observe.h"

/* Linux frees the number whatever else goes wrong. */
int close(int fd)
{
	struct closing closing;
	observe_closing(&closing, fd, CHANNEL_CALLS);
	int result = CALL_REAL(close, (fd), (int)RAW(close, fd));
	observe_closed(&closing, true);
	return result;
}

int close_range(unsigned first, unsigned last, int flags)
{
	int result = CALL_REAL(
		close_range, (first, last, flags), (int)RAW(close_range, first, last, flags));
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
int dup2(int fd, int to)
{
	struct closing closing;
	observe_closing(&closing, fd == to ? -1 : to, CHANNEL_CALLS);
	int result = CALL_REAL(dup2, (fd, to),
		fd == to ? (RAW(fcntl, fd, F_GETFD) < 0 ? -1 : to) : (int)RAW(dup3, fd, to, 0));
	observe_closed(&closing, result >= 0);
	observe_copied(fd, result);
	return result;
}

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

/* Descriptors that another process sent: the part of struct msghdr and cmsghdr that tells them. */
struct message {
	void *name;
	unsigned name_len;
	void *parts;
	size_t part_count;
	void *control;
	size_t control_len;
};
struct control {
	size_t len;
	int level, type;
	int data[];
};
#define LEVEL_SOCKET 1
#define TYPE_RIGHTS  1

ssize_t recvmsg(int socket, void *message, int flags)
{
	ssize_t result =
		CALL_REAL(recvmsg, (socket, message, flags), RAW(recvmsg, socket, message, flags));
	const struct message *it = message;
	if (result < 0 || !recorder_configured || !it->control) {
		return result;
	}
	for (size_t at = 0; at + sizeof(struct control) <= it->control_len;) {
		const struct control *part =
			(const struct control *)((const char *)it->control + at);
		if (part->len < sizeof(*part) || part->len > it->control_len - at) {
			break;
		}
		size_t count = (part->len - sizeof(*part)) / sizeof(int);
		bool rights = part->level == LEVEL_SOCKET && part->type == TYPE_RIGHTS;
		for (size_t i = 0; rights && i < count; i++) {
			observe_copied(-1, part->data[i]);
		}
		at += (part->len + 7) & ~(size_t)7;
	}
	return result;
}

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
