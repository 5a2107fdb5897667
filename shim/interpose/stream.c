/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams.  libc opens, writes and closes below them without passing by us, so what is written is
 * not seen, and their descriptors count as written from the start.
 */
#include "calls.h"
#include "observe.h"
#include "resolve.h"

static int descriptor_of(FILE *stream)
{
	static int (*real)(FILE *);
	int (*found)(FILE *) = __atomic_load_n(&real, __ATOMIC_RELAXED);
	if (!found) {
		found = (int (*)(FILE *))resolve("fileno");
		__atomic_store_n(&real, found, __ATOMIC_RELAXED);
	}
	if (!found || !stream) {
		return -1;
	}
	int before = call_errno(),
	    fd = found(stream); /* a stream in memory has none, and says so */
	call_errno_set(before);
	return fd;
}

static bool writes(const char *mode)
{
	bool update = false;
	for (const char *c = mode; *c && *c != ','; c++) {
		update = update || *c == '+';
	}
	return mode[0] != 'r' || update;
}

/* The flags of open(2) that a mode stands for. */
static int flags_of(const char *mode)
{
	if (!mode || !writes(mode)) {
		return O_RDONLY;
	}
	return mode[0] == 'w'   ? O_RDWR | O_CREAT | O_TRUNC
	       : mode[0] == 'a' ? O_RDWR | O_CREAT
				: O_RDWR;
}

#define FOPEN(name)                                                                                \
	FILE *name(const char *path, const char *mode)                                             \
	{                                                                                          \
		struct event event;                                                                \
		int flags = flags_of(mode);                                                        \
		observe_opening(&event, flags, AT_FDCWD, path);                                    \
		FILE *stream = CALL_REAL(name, (path, mode), NONE_AT_ALL);                         \
		observe_opened(&event, recorder_configured ? descriptor_of(stream) : -1, flags,    \
			CHANNEL_STREAM);                                                           \
		return stream;                                                                     \
	}
FOPEN(fopen)
FOPEN(fopen64)
FOPEN(_IO_fopen)

/* Without a path it changes the mode of what is open; that is a close and an open of the same. */
#define FREOPEN(name)                                                                              \
	FILE *name(const char *path, const char *mode, FILE *stream)                               \
	{                                                                                          \
		struct closing closing;                                                            \
		struct event event = {0};                                                          \
		int flags = flags_of(mode);                                                        \
		observe_closing(&closing, recorder_configured ? descriptor_of(stream) : -1,        \
			CHANNEL_STREAM);                                                           \
		if (path) {                                                                        \
			observe_opening(&event, flags, AT_FDCWD, path);                            \
		}                                                                                  \
		FILE *result = CALL_REAL(name, (path, mode, stream), NONE_AT_ALL);                 \
		observe_closed(&closing, true);                                                    \
		int fd = recorder_configured ? descriptor_of(result) : -1;                         \
		if (path) {                                                                        \
			observe_opened(&event, fd, flags, CHANNEL_STREAM);                         \
		} else {                                                                           \
			observe_copied(-1, fd);                                                    \
		}                                                                                  \
		return result;                                                                     \
	}
FREOPEN(freopen)
FREOPEN(freopen64)

#define FDOPEN(name)                                                                               \
	FILE *name(int fd, const char *mode)                                                       \
	{                                                                                          \
		observe_touch(fd);                                                                 \
		return CALL_REAL(name, (fd, mode), NONE_AT_ALL);                                   \
	}
FDOPEN(fdopen)
FDOPEN(_IO_fdopen)

#define FCLOSE(name)                                                                               \
	int name(FILE *stream)                                                                     \
	{                                                                                          \
		struct closing closing;                                                            \
		observe_closing(&closing, recorder_configured ? descriptor_of(stream) : -1,        \
			CHANNEL_STREAM);                                                           \
		int result = CALL_REAL(name, (stream), (int)NONE);                                 \
		observe_closed(&closing, true);                                                    \
		return result;                                                                     \
	}
FCLOSE(fclose)
FCLOSE(_IO_fclose)

int dprintf(int fd, const char *format, ...)
{
	va_list rest;
	va_start(rest, format);
	int result = vdprintf(fd, format, rest);
	va_end(rest);
	return result;
}

int __dprintf_chk(int fd, int level, const char *format, ...)
{
	va_list rest;
	va_start(rest, format);
	int result = __vdprintf_chk(fd, level, format, rest);
	va_end(rest);
	return result;
}
