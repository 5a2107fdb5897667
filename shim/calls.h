/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of calls.def as C: prototypes of what the shim exports, and the way to what it hides.
 *
 *   long r = REAL(close) ? REAL(close)(fd) : RAW(close, fd);
 *   int r = CALL_REAL(close, (fd), RAW(close, fd));              the same
 *
 * No header of libc is included beside this one: its declarations rename (large files), forbid
 * NULL, and differ between libcs.  Types are those of the 64-bit ABI that all of them share.
 */
#pragma once

#include <asm/fcntl.h>
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <asm/errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/raw.h"

typedef long ssize_t;
typedef struct stream FILE;
struct action; /* sigaction's */

#define EXPORT __attribute__((visibility("default")))

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wredundant-decls"
#define CALL(returns, name, parameters, ...) EXPORT returns name parameters;
#include "calls.def"
#pragma GCC diagnostic pop

enum call {
#define CALL(returns, name, ...) CALL_##name,
#include "calls.def"
	CALL_COUNT
};

/* The next function of that name behind the shim, or NULL.  No lock, no heap, no errno. */
void *call_real(enum call call);
#define REAL(name) ((__typeof__(&name))call_real(CALL_##name))

#define CALL_REAL(name, arguments, fallback)                                                       \
	__extension__({                                                                            \
		__typeof__(&name) real_ = REAL(name);                                              \
		real_ ? real_ arguments : (fallback);                                              \
	})

/* What was looked up so far; NULL: not yet.  For calls that do next to nothing else. */
#define CALL_ABSENT ((void *)1)
extern __attribute__((visibility("hidden"))) void *call_reals[CALL_COUNT];
static inline void *call_real_at_once(enum call call)
{
	void *real = __atomic_load_n(&call_reals[call], __ATOMIC_RELAXED);
	bool is_known = __builtin_expect((uintptr_t)real > (uintptr_t)CALL_ABSENT, 1);
	return is_known ? real : call_real(call);
}

/* For what we ask of libc behind the program's back. */
int call_errno(void);
void call_errno_set(int value);

/* Fallbacks: a system call's result as libc returns it, with errno set. */
long call_result(long raw);
#define RAW(name, ...)         call_result(raw_call(SYS_##name, __VA_ARGS__))
#define RAW_POINTER(name, ...) ((void *)call_result(raw_call(SYS_##name, __VA_ARGS__)))
#define RAW_VOID(name, ...)    ((void)raw_call(SYS_##name, __VA_ARGS__))
#define NONE                   call_result(-ENOSYS)
#define NONE_AT_ALL            (call_result(-ENOSYS), NULL)
int raw_remove(const char *path);
int raw_utime(const char *path, const long *seconds);
int raw_utimes(int dirfd, const char *path, const long *times, int flags);
