/* SPDX-License-Identifier: Apache-2.0 */
/* Children get our descriptors; their deaths have to be intents of their own. */
#include "../unseen.h"
#include "calls.h"

#include <linux/prctl.h>
#include <linux/seccomp.h>

#include "observe.h"
#include "sandbox.h"

/*
 * What each child would find out anew is found here, once: what it calls before exec, and the names
 * of what it gets.  (Pages of libraries that it reads for that are not even mapped in it yet.)
 */
static void before_fork(void)
{
	static const uint16_t next[] = {
		CALL_execve, CALL_execv, CALL_execvp, CALL_open, CALL_close, CALL_dup2};
	if (!recorder_configured) {
		return;
	}
	for (size_t i = 0; i < sizeof(next) / sizeof(next[0]); i++) {
		(void)call_real((enum call)next[i]);
	}
	observe_before_fork();
}

#define FORK(name, parameters, arguments, fallback)                                                \
	int name parameters                                                                        \
	{                                                                                          \
		before_fork();                                                                     \
		int child = CALL_REAL(name, arguments, (int)(fallback));                           \
		if (child == 0 && recorder_configured) {                                           \
			observe_forked();                                                          \
		}                                                                                  \
		return child;                                                                      \
	}
FORK(fork, (void), (), RAW(clone, SIGCHLD, 0, 0, 0, 0))
FORK(_Fork, (void), (), RAW(clone, SIGCHLD, 0, 0, 0, 0))
FORK(__fork, (void), (), RAW(clone, SIGCHLD, 0, 0, 0, 0))
FORK(forkpty, (int *master, char *name, const void *terminal, const void *window),
	(master, name, terminal, window), NONE)
FORK(daemon, (int keep_directory, int keep_descriptors), (keep_directory, keep_descriptors), NONE)

/* Of the many things that it does, one concerns us. */
int prctl(int option, ...)
{
	va_list rest;
	va_start(rest, option);
	long a = va_arg(rest, long), b = va_arg(rest, long);
	long c = va_arg(rest, long), d = va_arg(rest, long);
	va_end(rest);
	if (option != PR_SET_SECCOMP) {
		return CALL_REAL(prctl, (option, a, b, c, d), (int)RAW(prctl, option, a, b, c, d));
	}
	bool before = sandbox_entering(a == SECCOMP_MODE_FILTER ? (const void *)b : NULL);
	int result = CALL_REAL(prctl, (option, a, b, c, d), (int)RAW(prctl, option, a, b, c, d));
	sandbox_entered(before, result >= 0);
	return result;
}

/* What will not be seen is recorded when the child's pid is known. */
#define SPAWN(name, searches)                                                                      \
	int name(int *child, const char *path, const void *actions, const void *attributes,        \
		char *const *argv, char *const *envp)                                              \
	{                                                                                          \
		const struct program program = {AT_FDCWD, path, 0, searches};                      \
		unsigned reason = unseen_reason(&program, envp);                                   \
		char *few[UNSEEN_FEW];                                                             \
		char **traced = unseen_traced(reason, &program, argv, few);                        \
		int pid = 0;                                                                       \
		int result = CALL_REAL(name,                                                       \
			(&pid, traced ? traced[0] : path, actions, attributes,                     \
				traced ? traced : argv, envp),                                     \
			ENOSYS);                                                                   \
		unseen_untraced(traced, few);                                                      \
		if (result == 0 && child) {                                                        \
			*child = pid;                                                              \
		}                                                                                  \
		if (result == 0 && recorder_configured) {                                          \
			observe_spawned((uint32_t)pid);                                            \
		}                                                                                  \
		if (result == 0 && reason) {                                                       \
			unseen_record((uint32_t)pid, reason, &program, argv);                      \
		}                                                                                  \
		return result;                                                                     \
	}
SPAWN(posix_spawn, false)
SPAWN(posix_spawnp, true)
