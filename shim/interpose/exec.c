/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running another program: one that will not be seen is recorded first, for nobody comes back.
 * Where exec then fails, this process is watched in vain, which does no harm.
 */
#include <linux/mman.h>

#include "../unseen.h"
#include "calls.h"
#include "observe.h"
#include "record.h"
#include "sandbox.h"

static void before_exec(const struct program *program, char *const *argv, char *const *envp)
{
	unsigned reason = unseen_reason(program, envp);
	if (recorder_configured) {
		observe_exec();
	}
	if (reason) {
		char *few[UNSEEN_FEW];
		unseen_record(recorder_pid(), reason, program, argv);
		char **traced = unseen_traced(reason, program, argv, few);
		if (traced) {
			raw_call(SYS_execve, traced[0], traced, envp);
			unseen_untraced(traced, few);
		}
	}
}

int execve(const char *path, char *const *argv, char *const *envp)
{
	before_exec(&(struct program){AT_FDCWD, path, 0, false}, argv, envp);
	return CALL_REAL(execve, (path, argv, envp), (int)RAW(execve, path, argv, envp));
}

int execv(const char *path, char *const *argv)
{
	char *const *envp = unseen_environment();
	before_exec(&(struct program){AT_FDCWD, path, 0, false}, argv, envp);
	return CALL_REAL(execv, (path, argv), (int)RAW(execve, path, argv, envp));
}

int execvp(const char *path, char *const *argv)
{
	before_exec(&(struct program){AT_FDCWD, path, 0, true}, argv, unseen_environment());
	return CALL_REAL(execvp, (path, argv), (int)NONE);
}

int execvpe(const char *path, char *const *argv, char *const *envp)
{
	before_exec(&(struct program){AT_FDCWD, path, 0, true}, argv, envp);
	return CALL_REAL(execvpe, (path, argv, envp), (int)NONE);
}

int fexecve(int fd, char *const *argv, char *const *envp)
{
	before_exec(&(struct program){fd, "", AT_EMPTY_PATH, false}, argv, envp);
	return CALL_REAL(
		fexecve, (fd, argv, envp), (int)RAW(execveat, fd, "", argv, envp, AT_EMPTY_PATH));
}

int execveat(int dirfd, const char *path, char *const *argv, char *const *envp, int flags)
{
	before_exec(&(struct program){dirfd, path, flags, false}, argv, envp);
	return CALL_REAL(execveat, (dirfd, path, argv, envp, flags),
		(int)RAW(execveat, dirfd, path, argv, envp, flags));
}

/* ---- arguments one by one ---------------------------------------------------------------- */

#define FEW 32

/* Room for a vector; of more than FEW a mapping, which the parent of a vfork() keeps. */
static char **vector_room(char **few, size_t count)
{
	if (count < FEW) {
		return few;
	}
	long map = own_call(SYS_mmap, 0, (count + 1) * sizeof(char *), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return raw_failed(map) ? NULL : (char **)map; // NOLINT(performance-no-int-to-ptr)
}

static size_t count_of(const char *first, va_list *rest)
{
	size_t count = 0;
	while (first) {
		count++;
		first = va_arg(*rest, const char *);
	}
	return count;
}

static void fill(char **argv, const char *first, va_list *rest)
{
	for (; first; first = va_arg(*rest, const char *)) {
		*argv++ = (char *)(uintptr_t)first;
	}
	*argv = NULL;
}

/* exec of the vector of (first, …), as the name says; behind the NULL of execle is envp. */
#define LISTED(name, environment, run)                                                             \
	int name(const char *path, const char *first, ...)                                         \
	{                                                                                          \
		char *few[FEW];                                                                    \
		va_list rest;                                                                      \
		va_start(rest, first);                                                             \
		size_t count = count_of(first, &rest);                                             \
		va_end(rest);                                                                      \
		char **argv = vector_room(few, count);                                             \
		if (!argv) {                                                                       \
			return (int)call_result(-ENOMEM);                                          \
		}                                                                                  \
		va_start(rest, first);                                                             \
		fill(argv, first, &rest);                                                          \
		char *const *envp = environment;                                                   \
		(void)envp;                                                                        \
		va_end(rest);                                                                      \
		int result = run;                                                                  \
		if (argv != few) {                                                                 \
			raw_call(SYS_munmap, argv, (count + 1) * sizeof(char *));                  \
		}                                                                                  \
		return result;                                                                     \
	}
LISTED(execl, NULL, execv(path, argv))
LISTED(execlp, NULL, execvp(path, argv))
LISTED(execle, va_arg(rest, char *const *), execve(path, argv, envp))
