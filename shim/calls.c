/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of real functions.  Each is looked up at its first use and kept; two threads that do so
 * at once find the same.  ABSENT is remembered too.
 */
#include "calls.h"

#include "first-page.h"
#include "resolve.h"

extern __attribute__((weak, visibility("default"))) int *__errno_location(void);

/* Text and offsets rather than pointers, which every process would have to relocate. */
static const struct names {
#define CALL(returns, name, ...) char of_##name[sizeof(#name)];
#include "calls.def"
} names = {
#define CALL(returns, name, ...) .of_##name = #name,
#include "calls.def"
};
static const uint16_t name_at[CALL_COUNT] = {
#define CALL(returns, name, ...) offsetof(struct names, of_##name),
#include "calls.def"
};

FIRST_PAGE void *call_reals[CALL_COUNT];

void *call_real(enum call call)
{
	void *real = __atomic_load_n(&call_reals[call], __ATOMIC_RELAXED);
	if (__builtin_expect(!real, 0)) {
		real = resolve((const char *)&names + name_at[call]);
		__atomic_store_n(&call_reals[call], real ? real : CALL_ABSENT, __ATOMIC_RELAXED);
	}
	return real == CALL_ABSENT ? NULL : real;
}

int call_errno(void)
{
	return __errno_location ? *__errno_location() : 0;
}

void call_errno_set(int value)
{
	if (__errno_location) {
		*__errno_location() = value;
	}
}

long call_result(long raw)
{
	if (raw_failed(raw)) {
		call_errno_set((int)-raw);
		return -1;
	}
	return raw;
}

int raw_remove(const char *path)
{
	long r = raw_call(SYS_unlinkat, AT_FDCWD, path, 0);
	if (r == -EISDIR) {
		r = raw_call(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
	}
	return (int)call_result(r);
}

int raw_utime(const char *path, const long *seconds)
{
	long times[4] = {0};
	if (seconds) {
		times[0] = seconds[0];
		times[2] = seconds[1];
	}
	return (int)call_result(raw_call(SYS_utimensat, AT_FDCWD, path, seconds ? times : NULL, 0));
}

int raw_utimes(int dirfd, const char *path, const long *times, int flags)
{
	long exact[4];
	if (times) {
		exact[0] = times[0];
		exact[1] = times[1] * 1000;
		exact[2] = times[2];
		exact[3] = times[3] * 1000;
	}
	return (int)call_result(raw_call(SYS_utimensat, dirfd, path, times ? exact : NULL, flags));
}
