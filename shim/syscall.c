/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall(2), vfork() and clone().  vfork and clone return twice on one stack, and syscall may be
 * either, so they are stubs, which go on:
 *
 *   vfork, clone   to the real one; from then on our pid is asked anew, as a child may be running
 *                  in our memory
 *   syscall        to seen() for the numbers in ROWS, else to the real one
 */
#include "calls.h"

#include <linux/io_uring.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

#include "directory.h"
#include "observe.h"
#include "readable.h"
#include "sandbox.h"
#include "record.h"
#include "sigbus.h"
#include "stub.h"
#include "unseen.h"

FROM_STUB void *stub_vfork(void);
FROM_STUB void *stub___vfork(void);
FROM_STUB void *stub_clone(void);
FROM_STUB void *stub___clone(void);
FROM_STUB void *stub_syscall(long number);

static long absent(void)
{
	return call_result(-ENOSYS);
}

void *real_or_absent(enum call call)
{
	void *real = call_real(call);
	return real ? real : (void *)absent;
}

/* The child of vfork() may be the first to attach, and would defend nobody but itself. */
static void before_sharing(void)
{
	recorder_pid_uncertain();
	if (recorder_configured && !sandbox_closed) {
		sigbus_defend();
	}
}

#define MAY_SHARE_MEMORY(name, then)                                                               \
	void *stub_##name(void)                                                                    \
	{                                                                                          \
		before_sharing();                                                                  \
		then;                                                                              \
		return real_or_absent(CALL_##name);                                                \
	}
MAY_SHARE_MEMORY(vfork, )
MAY_SHARE_MEMORY(__vfork, )
MAY_SHARE_MEMORY(clone, observe_forking())
MAY_SHARE_MEMORY(__clone, observe_forking())

STUB(vfork)
STUB(__vfork)
STUB(clone)
STUB(__clone)
STUB(syscall)

/* ---- what is seen of syscall(2) ---------------------------------------------------------- */

#define UNLINK_KIND(flags) ((flags)&AT_REMOVEDIR ? RECORD_RMDIR : RECORD_UNLINK)
#define RENAME_KIND(flags) ((flags)&RENAME_EXCHANGE ? RECORD_EXCHANGE : RECORD_RENAME)

/* NAME(call, kind, dirfd, path), PAIR(call, kind, dirfd, path, dirfd2, path2), THROUGH(call, fd),
 * META(call, fd), OPEN(call, flags, dirfd, path), EXEC(call, dirfd, path, argv, envp, flags),
 * BEHIND(call, what is done where result is no failure): v holds the arguments. */
#define ROWS                                                                                       \
	NAME(unlinkat, UNLINK_KIND(v[2]), v[0], v[1])                                              \
	NAME(mkdirat, RECORD_MKDIR, v[0], v[1])                                                    \
	NAME(mknodat, RECORD_MKNOD, v[0], v[1])                                                    \
	NAME(truncate, RECORD_TRUNCATE, AT_FDCWD, v[0])                                            \
	NAME(fchmodat, RECORD_META, v[0], v[1])                                                    \
	NAME(fchownat, RECORD_META, v[0], v[1])                                                    \
	NAME(utimensat, RECORD_META, v[0], v[1])                                                   \
	NAME(setxattr, RECORD_META, AT_FDCWD, v[0])                                                \
	NAME(lsetxattr, RECORD_META, AT_FDCWD, v[0])                                               \
	NAME(removexattr, RECORD_META, AT_FDCWD, v[0])                                             \
	NAME(lremovexattr, RECORD_META, AT_FDCWD, v[0])                                            \
	PAIR(renameat, RECORD_RENAME, v[0], v[1], v[2], v[3])                                      \
	PAIR(renameat2, RENAME_KIND(v[4]), v[0], v[1], v[2], v[3])                                 \
	PAIR(symlinkat, RECORD_SYMLINK, v[1], v[2], NO_DIRECTORY, v[0])                            \
	THROUGH(write, v[0])                                                                       \
	THROUGH(pwrite64, v[0])                                                                    \
	THROUGH(writev, v[0])                                                                      \
	THROUGH(pwritev, v[0])                                                                     \
	THROUGH(pwritev2, v[0])                                                                    \
	THROUGH(ftruncate, v[0])                                                                   \
	THROUGH(fallocate, v[0])                                                                   \
	THROUGH(sendfile, v[0])                                                                    \
	THROUGH(copy_file_range, v[2])                                                             \
	THROUGH(splice, v[2])                                                                      \
	META(fchmod, v[0])                                                                         \
	META(fchown, v[0])                                                                         \
	META(fsetxattr, v[0])                                                                      \
	META(fremovexattr, v[0])                                                                   \
	OPEN(openat, v[2], v[0], v[1])                                                             \
	OPEN(openat2, flags_of_how(v[2]), v[0], v[1])                                              \
	BEHIND(dup, observe_copied((int)v[0], (int)result))                                        \
	BEHIND(fcntl, copies(v[1]) ? observe_copied((int)v[0], (int)result) : (void)0)             \
	BEHIND(open_by_handle_at, observe_copied(-1, (int)result))                                 \
	BEHIND(pidfd_getfd, observe_copied(-1, (int)result))                                       \
	BEHIND(close_range,                                                                        \
		v[2] ? recorder_doubt() : observe_range_closed((unsigned)v[0], (unsigned)v[1]))    \
	BEHIND(mmap, is_shared(v[3]) ? observe_mapped((int)v[4]) : (void)0)                        \
	BEHIND(io_uring_register, brings_files(v[1]) ? observe_all_mapped() : (void)0)             \
	EXEC(execve, AT_FDCWD, v[0], v[1], v[2], 0)                                                \
	EXEC(execveat, v[0], v[1], v[2], v[3], v[4])

#if defined(__x86_64__)
#define OLD_ROWS                                                                                   \
	NAME(unlink, RECORD_UNLINK, AT_FDCWD, v[0])                                                \
	NAME(rmdir, RECORD_RMDIR, AT_FDCWD, v[0])                                                  \
	NAME(mkdir, RECORD_MKDIR, AT_FDCWD, v[0])                                                  \
	NAME(mknod, RECORD_MKNOD, AT_FDCWD, v[0])                                                  \
	NAME(chmod, RECORD_META, AT_FDCWD, v[0])                                                   \
	NAME(chown, RECORD_META, AT_FDCWD, v[0])                                                   \
	NAME(lchown, RECORD_META, AT_FDCWD, v[0])                                                  \
	NAME(utime, RECORD_META, AT_FDCWD, v[0])                                                   \
	NAME(utimes, RECORD_META, AT_FDCWD, v[0])                                                  \
	NAME(futimesat, RECORD_META, v[0], v[1])                                                   \
	PAIR(rename, RECORD_RENAME, AT_FDCWD, v[0], AT_FDCWD, v[1])                                \
	PAIR(link, RECORD_LINK, AT_FDCWD, v[0], AT_FDCWD, v[1])                                    \
	PAIR(symlink, RECORD_SYMLINK, AT_FDCWD, v[1], NO_DIRECTORY, v[0])                          \
	OPEN(open, v[1], AT_FDCWD, v[0])                                                           \
	OPEN(creat, O_CREAT | O_WRONLY | O_TRUNC, AT_FDCWD, v[0])
#else
#define OLD_ROWS
#endif

/* Closing and replacing of descriptors; numbers only, see seen(). */
#if defined(SYS_dup2)
#define DESCRIPTOR_NUMBERS                                                                         \
	SYS_close:                                                                                 \
	case SYS_dup3:                                                                             \
	case SYS_dup2
#else
#define DESCRIPTOR_NUMBERS                                                                         \
	SYS_close:                                                                                 \
	case SYS_dup3
#endif

#if defined(SYS_vfork)
#define FORK_NUMBERS                                                                               \
	SYS_clone:                                                                                 \
	case SYS_clone3:                                                                           \
	case SYS_fork:                                                                             \
	case SYS_vfork
#else
#define FORK_NUMBERS                                                                               \
	SYS_clone:                                                                                 \
	case SYS_clone3
#endif

/* What relative names start from. */
#define MOVING_NUMBERS                                                                             \
	SYS_chdir:                                                                                 \
	case SYS_fchdir:                                                                           \
	case SYS_chroot:                                                                           \
	case SYS_setns:                                                                            \
	case SYS_unshare:                                                                          \
	case SYS_pivot_root

/* struct open_how begins with the flags; a wrong pointer is the kernel's to complain about. */
static long flags_of_how(long how)
{
	const uint64_t *flags = (const uint64_t *)how;
	return readable(flags) && readable((const char *)(flags + 1) - 1) ? (long)*flags : O_PATH;
}

static bool copies(long command)
{
	return command == F_DUPFD || command == F_DUPFD_CLOEXEC;
}

static bool is_shared(long flags)
{
	return (flags & MAP_TYPE) != MAP_PRIVATE && !(flags & MAP_ANONYMOUS);
}

/* The ring keeps files whose descriptors may be closed. */
static bool brings_files(long what)
{
	return what == IORING_REGISTER_FILES || what == IORING_REGISTER_FILES2 ||
	       what == IORING_REGISTER_FILES_UPDATE || what == IORING_REGISTER_FILES_UPDATE2;
}

static long real(long number, const long *v)
{
	long (*call)(long, ...) = (long (*)(long, ...))real_or_absent(CALL_syscall);
	return call(number, v[0], v[1], v[2], v[3], v[4], v[5]);
}

static long seen_named(long number, const long *v, enum record_kind kind, long dirfd, long path)
{
	struct event event;
	observe_named(&event, kind, 0, (int)dirfd, (const char *)path);
	long result = real(number, v);
	(void)event_finish(&event, result == 0, NULL);
	return result;
}

static long seen_paired(long number, const long *v, enum record_kind kind, const long *names)
{
	struct event event;
	observe_paired(&event, kind, (int)names[0], (const char *)names[1], (int)names[2],
		(const char *)names[3]);
	long result = real(number, v);
	(void)event_finish(&event, result == 0, NULL);
	return result;
}

static long seen_meta(long number, const long *v, long fd)
{
	struct event event;
	observe_changing(&event, (int)fd);
	long result = real(number, v);
	(void)event_finish(&event, result == 0, NULL);
	return result;
}

static long seen_open(long number, const long *v, long flags, long dirfd, long path)
{
	struct event event;
	observe_opening(&event, (int)flags, (int)dirfd, (const char *)path);
	long fd = real(number, v);
	observe_opened(&event, (int)fd, (int)flags, CHANNEL_CALLS);
	return fd;
}

static long seen_exec(
	long number, const long *v, const struct program *program, long argv, long envp)
{
	unsigned reason = unseen_reason(program, (char *const *)envp);
	observe_exec();
	if (reason) {
		unseen_record(recorder_pid(), reason, program, (char *const *)argv);
	}
	return real(number, v);
}

static long seen_linkat(const long *v)
{
	struct event event;
	observe_paired(
		&event, RECORD_LINK, (int)v[0], (const char *)v[1], (int)v[2], (const char *)v[3]);
	long result = real(SYS_linkat, v);
	observe_linked(&event, result == 0, (int)v[4], (int)v[2], (const char *)v[3]);
	return result;
}

/* dup2 and dup3 close their second argument, close its first. */
static long seen_descriptor(long number, const long *v)
{
	struct closing closing;
	bool replaces = number != SYS_close;
	int gone = !replaces ? (int)v[0] : v[0] != v[1] ? (int)v[1] : -1;
	observe_closing(&closing, gone, CHANNEL_CALLS);
	long result = real(number, v);
	observe_closed(&closing, !replaces || result >= 0);
	if (replaces) {
		observe_copied((int)v[0], (int)result);
	}
	return result;
}

static long seen_moving(long number, const long *v)
{
	if (number == SYS_unshare) {
		directory_unshared(v[0]);
	}
	directory_moving();
	long result = real(number, v);
	directory_moved();
	return result;
}

static long seen_filter(long number, const long *v)
{
	bool by_prctl = number == SYS_prctl;
	bool sets = by_prctl ? v[0] == PR_SET_SECCOMP
			     : v[0] == SECCOMP_SET_MODE_STRICT || v[0] == SECCOMP_SET_MODE_FILTER;
	long filtered = by_prctl ? v[1] == SECCOMP_MODE_FILTER : v[0] == SECCOMP_SET_MODE_FILTER;
	if (!sets) {
		return real(number, v);
	}
	bool before = sandbox_entering(filtered ? (const void *)v[2] : NULL);
	long result = real(number, v);
	sandbox_entered(before, result >= 0);
	return result;
}

static long seen_action(const long *v)
{
	long result = real(SYS_rt_sigaction, v);
	struct {
		void *handler;
		uint64_t flags;
		void *restorer;
	} *before = (void *)v[2]; // NOLINT(performance-no-int-to-ptr)
	if (v[0] == SIGBUS && result == 0 && before) {
		sigbus_action(&before->handler, &before->flags, &before->restorer);
	}
	if (v[0] == SIGBUS && result == 0 && v[1]) {
		sigbus_changed();
	}
	return result;
}

static long seen(long number, long a, long b, long c, long d, long e, long f)
{
	const long v[6] = {a, b, c, d, e, f};
	long result;
	switch (number) {
#define NAME(call, kind, dirfd, path)                                                              \
	case SYS_##call:                                                                           \
		return seen_named(number, v, (kind), (dirfd), (path));
#define PAIR(call, kind, dirfd, path, dirfd2, path2)                                               \
	case SYS_##call:                                                                           \
		return seen_paired(number, v, (kind), (const long[]){dirfd, path, dirfd2, path2});
#define THROUGH(call, fd)                                                                          \
	case SYS_##call:                                                                           \
		observe_touch((int)(fd));                                                          \
		return real(number, v);
#define META(call, fd)                                                                             \
	case SYS_##call:                                                                           \
		return seen_meta(number, v, (fd));
#define OPEN(call, flags, dirfd, path)                                                             \
	case SYS_##call:                                                                           \
		return seen_open(number, v, (long)(flags), (dirfd), (path));
#define EXEC(call, dirfd, path, argv, envp, flags)                                                 \
	case SYS_##call:                                                                           \
		return seen_exec(number, v,                                                        \
			&(struct program){                                                         \
				(int)(dirfd), (const char *)(path), (int)(flags), false},          \
			(argv), (envp));
#define BEHIND(call, then)                                                                         \
	case SYS_##call:                                                                           \
		result = real(number, v);                                                          \
		if (result != -1) {                                                                \
			then;                                                                      \
		}                                                                                  \
		return result;
		/* clang-format off */
		ROWS OLD_ROWS
#undef BEHIND
#undef EXEC
#undef NAME
#undef PAIR
#undef THROUGH
#undef META
#undef OPEN
	case SYS_linkat:
		return seen_linkat(v);
	case SYS_rt_sigaction:
		return seen_action(v);
	case SYS_prctl:
	case SYS_seccomp:
		return seen_filter(number, v);
	case MOVING_NUMBERS:
		return seen_moving(number, v);
		/* clang-format on */
	default:
		return seen_descriptor(number, v);
	}
}

void *stub_syscall(long number)
{
	if (!recorder_configured) {
		return real_or_absent(CALL_syscall);
	}
	switch (number) {
#define NAME(call, ...)    case SYS_##call:
#define PAIR(call, ...)    case SYS_##call:
#define THROUGH(call, ...) case SYS_##call:
#define META(call, ...)    case SYS_##call:
#define OPEN(call, ...)    case SYS_##call:
#define EXEC(call, ...)    case SYS_##call:
#define BEHIND(call, ...)  case SYS_##call:
		/* clang-format off */
		ROWS OLD_ROWS
			/* clang-format on */
			case SYS_linkat : case SYS_prctl : case SYS_seccomp : case SYS_rt_sigaction
		    : case DESCRIPTOR_NUMBERS : case MOVING_NUMBERS : return (void *)seen;
	case FORK_NUMBERS:
		before_sharing();
		observe_forking();
		return real_or_absent(CALL_syscall);
	default:
		return real_or_absent(CALL_syscall);
	}
}
