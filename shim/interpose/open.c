/* SPDX-License-Identifier: Apache-2.0 */
/* Opening by name, with all the spellings that libcs export. */
#include "calls.h"
#include "observe.h"

static bool has_mode(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

#define TAKE_MODE                                                                                  \
	unsigned mode = 0;                                                                         \
	if (has_mode(flags)) {                                                                     \
		va_list rest;                                                                      \
		va_start(rest, flags);                                                             \
		mode = va_arg(rest, unsigned);                                                     \
		va_end(rest);                                                                      \
	}

#define OPENS(name, parameters, arguments, take, dirfd)                                            \
	int name parameters                                                                        \
	{                                                                                          \
		struct event event;                                                                \
		take;                                                                              \
		observe_opening(&event, flags, dirfd, path);                                       \
		int fd = CALL_REAL(name, arguments, (int)RAW(openat, dirfd, path, flags, mode));   \
		observe_opened(&event, fd, flags, CHANNEL_CALLS);                                  \
		return fd;                                                                         \
	}

#define NO_MODE     const unsigned mode = 0
#define CREAT_FLAGS const int flags = O_CREAT | O_WRONLY | O_TRUNC

OPENS(open, (const char *path, int flags, ...), (path, flags, mode), TAKE_MODE, AT_FDCWD)
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode), TAKE_MODE, AT_FDCWD)
OPENS(openat, (int dirfd, const char *path, int flags, ...), (dirfd, path, flags, mode), TAKE_MODE,
	dirfd)
OPENS(openat64, (int dirfd, const char *path, int flags, ...), (dirfd, path, flags, mode),
	TAKE_MODE, dirfd)
OPENS(__open, (const char *path, int flags, ...), (path, flags, mode), TAKE_MODE, AT_FDCWD)
OPENS(__open64, (const char *path, int flags, ...), (path, flags, mode), TAKE_MODE, AT_FDCWD)
OPENS(creat, (const char *path, unsigned mode), (path, mode), CREAT_FLAGS, AT_FDCWD)
OPENS(creat64, (const char *path, unsigned mode), (path, mode), CREAT_FLAGS, AT_FDCWD)
OPENS(__open_2, (const char *path, int flags), (path, flags), NO_MODE, AT_FDCWD)
OPENS(__open64_2, (const char *path, int flags), (path, flags), NO_MODE, AT_FDCWD)
OPENS(__openat_2, (int dirfd, const char *path, int flags), (dirfd, path, flags), NO_MODE, dirfd)
OPENS(__openat64_2, (int dirfd, const char *path, int flags), (dirfd, path, flags), NO_MODE, dirfd)

/* The call makes up the name; should we die in it, the poster looks at the directory's entries. */
#define MAKES_NAME(name, parameters, arguments)                                                    \
	int name parameters                                                                        \
	{                                                                                          \
		struct event event;                                                                \
		const int how = O_RDWR | O_CREAT | O_EXCL;                                         \
		observe_opening(&event, how, AT_FDCWD, path);                                      \
		int fd = CALL_REAL(name, arguments, (int)NONE);                                    \
		if (fd >= 0) {                                                                     \
			event_made_up(&event, path);                                               \
		}                                                                                  \
		observe_opened(&event, fd, how, CHANNEL_CALLS);                                    \
		return fd;                                                                         \
	}

MAKES_NAME(mkstemp, (char *path), (path))
MAKES_NAME(mkstemp64, (char *path), (path))
MAKES_NAME(mkostemp, (char *path, int flags), (path, flags))
MAKES_NAME(mkostemp64, (char *path, int flags), (path, flags))
MAKES_NAME(mkstemps, (char *path, int suffix), (path, suffix))
MAKES_NAME(mkstemps64, (char *path, int suffix), (path, suffix))
MAKES_NAME(mkostemps, (char *path, int suffix, int flags), (path, suffix, flags))
MAKES_NAME(mkostemps64, (char *path, int suffix, int flags), (path, suffix, flags))

/* By handle: the kernel knows the name. */
int open_by_handle_at(int mount, void *handle, int flags)
{
	int fd = CALL_REAL(open_by_handle_at, (mount, handle, flags),
		(int)RAW(open_by_handle_at, mount, handle, flags));
	observe_copied(-1, fd);
	return fd;
}
