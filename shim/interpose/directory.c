/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing here changes a file; it changes what relative names start from, which is remembered. */
#include "../directory.h"

#include "../resolve.h"
#include "calls.h"
#include "observe.h"

static int descriptor_of(void *stream)
{
	static int (*real)(void *);
	int (*found)(void *) = __atomic_load_n(&real, __ATOMIC_RELAXED);
	if (!found) {
		found = (int (*)(void *))resolve("dirfd");
		__atomic_store_n(&real, found, __ATOMIC_RELAXED);
	}
	return found && stream ? found(stream) : -1;
}

/* libc closes the descriptor without a word. */
int closedir(void *stream)
{
	if (recorder_configured) {
		observe_directory_closing(descriptor_of(stream));
	}
	return CALL_REAL(closedir, (stream), (int)NONE);
}

#define MOVES(name, parameters, arguments, fallback)                                               \
	int name parameters                                                                        \
	{                                                                                          \
		directory_moving();                                                                \
		int result = CALL_REAL(name, arguments, (int)(fallback));                          \
		directory_moved();                                                                 \
		return result;                                                                     \
	}
MOVES(chdir, (const char *path), (path), RAW(chdir, path))
MOVES(fchdir, (int fd), (fd), RAW(fchdir, fd))
MOVES(chroot, (const char *path), (path), RAW(chroot, path))
MOVES(setns, (int fd, int type), (fd, type), RAW(setns, fd, type))
MOVES(pivot_root, (const char *to, const char *old), (to, old), RAW(pivot_root, to, old))

int unshare(int flags)
{
	directory_unshared(flags);
	return CALL_REAL(unshare, (flags), (int)RAW(unshare, flags));
}

/* libc changes the working directory inside of these, and calls back. */
#define STRAYS(returns, name, parameters, arguments, fallback)                                     \
	returns name parameters                                                                    \
	{                                                                                          \
		directory_strays();                                                                \
		return CALL_REAL(name, arguments, (returns)(fallback));                            \
	}
#define P (const char *path, void *each, int depth, int flags)
STRAYS(int, nftw, P, (path, each, depth, flags), NONE)
STRAYS(int, nftw64, P, (path, each, depth, flags), NONE)
#undef P
#define P (char *const *paths, int flags, void *order)
STRAYS(void *, fts_open, P, (paths, flags, order), NONE_AT_ALL)
STRAYS(void *, fts64_open, P, (paths, flags, order), NONE_AT_ALL)
