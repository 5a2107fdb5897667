/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random-calls FIRST COUNT DIRECTORY [STEPS]: random sequences of file calls, valid and not.
 *
 * Each sequence is a process of its own in a fresh directory, grown from its number alone.  Printed
 * are, for every step, the call with what it returned and errno (on success too) and which
 * descriptors are different since; at the end descriptors, signals, maps and the tree.  Nothing
 * printed depends on time, addresses or process numbers: two runs differ only where somebody
 * between program and kernel made them differ.
 *
 * The text lies in shared memory, so that sequences may close and replace every descriptor, die,
 * and go on in children.  Looking at the state is done by system calls of our own.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <aio.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

extern char **environ;

/* ---- text that outlives everything ------------------------------------------------------- */

#define TEXT_BYTES (4u << 20)
static struct text {
	size_t len;
	char bytes[TEXT_BYTES];
} * text;

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	va_list rest;
	va_start(rest, format);
	int room = (int)(TEXT_BYTES - text->len);
	int len = vsnprintf(text->bytes + text->len, (size_t)room, format, rest);
	va_end(rest);
	text->len += (size_t)(len < room ? len : room - 1);
}

/* ---- chance ------------------------------------------------------------------------------ */

static uint64_t state;

static unsigned chance(unsigned below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state * UINT64_C(0x2545f4914f6cdd1d) >> 33) % below;
}

#define WORD(...)                                                                                  \
	(((const char *const[]){__VA_ARGS__})[chance(                                              \
		sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))])
#define ONE(...)                                                                                   \
	(((const long[]){__VA_ARGS__})[chance(sizeof((const long[]){__VA_ARGS__}) / sizeof(long))])

/* ---- the kernel, past everybody ---------------------------------------------------------- */

#if defined(__x86_64__)
static long kernel(long number, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}
#else
static long kernel(long number, long a, long b, long c, long d)
{
	int saved = errno;
	long result = syscall(number, a, b, c, d);
	result = result < 0 ? -errno : result;
	errno = saved;
	return result;
}
#endif

/* Opening one waits for ever. */
static bool is_fifo(int dirfd, const char *path)
{
	struct stat st;
	return kernel(SYS_newfstatat, dirfd, (long)path, (long)&st, 0) == 0 && S_ISFIFO(st.st_mode);
}

/* ---- arguments --------------------------------------------------------------------------- */

static char root[512], long_name[300], long_path[5000];
static char *edge;        /* a page with nothing behind it */
static char *nowhere;     /* that nothing */
static char shown[4][80]; /* of the arguments of one call */
static unsigned shown_count;

static const char *show(const char *what, const char *value)
{
	snprintf(shown[shown_count++ % 4], sizeof(shown[0]), "%s", what);
	return value;
}

static const char *const plain[] = {"a", "b", "c", "d", "e", "d/a", "d/b", "d/e", "d/e/f", "g/x",
	"link", "./a", "d/../b", "d//a", "dangling", "a/b", "fifo"};
static const char *const odd[] = {"", ".", "..", "d/", "a/", "missing/x", "/dev/null", "/dev/full",
	"/proc/self/comm", "/proc/self/fd/3", "/proc/self/fd/5", "/dev/fd/4", "/dev/fd/77",
	"/proc/self/cwd/a", "/sys/kernel/nothing", "/nonexistent", "/", "new\nline", "\xff\xfe"};

/* A path pointer as no sane program has one. */
static const char *wild(void)
{
	switch (chance(8)) {
	case 0:
		return show("NULL", NULL);
	case 1:
		return show("1", (const char *)1);
	case 2:
		return show("4096", (const char *)4096);
	case 3:
		return show("-1", (const char *)-1);
	case 4:
		return show("non-canonical", (const char *)(UINT64_C(1) << 47));
	case 5:
		return show("unmapped", nowhere);
	case 6:
		return show("unmapped+5", nowhere + 5);
	default:
		return show("off the edge", memcpy(edge + 4090, "/procx", 6));
	}
}

static const char *absolute(const char *name)
{
	static char paths[4][1024];
	char *to = paths[chance(4)];
	snprintf(to, sizeof(paths[0]), "%s/%s", root, name);
	return to;
}

static const char *path(void)
{
	unsigned kind = chance(100);
	const char *name = plain[chance(sizeof(plain) / sizeof(plain[0]))];
	if (kind < 65) {
		return show(name, name);
	}
	if (kind < 78) {
		return show(name, absolute(name));
	}
	if (kind < 82) { /* ends where the page does */
		size_t len = strlen(name) + 1;
		return show(name, memcpy(edge + 4096 - len, name, len));
	}
	if (kind < 94) {
		name = odd[chance(sizeof(odd) / sizeof(odd[0]))];
		return show(name, name);
	}
	if (kind < 96) {
		return chance(2) ? show("(long name)", long_name) : show("(long path)", long_path);
	}
	return wild();
}

static int any_fd(void)
{
	unsigned kind = chance(20);
	return kind < 14   ? (int)chance(8)
	       : kind < 18 ? (int)chance(24)
			   : (int)ONE(-1, -100, 20, 63, 200, 1000, 1022, 1023, 1024, 1025, 1500,
				     4095, 4096, 99999, INT32_MAX, INT32_MIN);
}

/* One to write to: not what the other sequences share. */
static int dir_fd(void)
{
	return chance(3) ? AT_FDCWD : any_fd();
}

static int open_flags(int at, const char *name)
{
	static const int all[] = {O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW,
		O_CLOEXEC, O_NONBLOCK, O_PATH, O_SYNC, O_DIRECT, O_NOATIME, O_NOCTTY};
	int flags = (int)ONE(O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, O_WRONLY, 3);
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		flags |= chance(i < 3 ? 3 : 14) == 0 ? all[i] : 0;
	}
	if (chance(20) == 0) {
		flags |= O_TMPFILE;
	}
	return is_fifo(at, name) || is_fifo(AT_FDCWD, name) ? flags | O_NONBLOCK : flags;
}

static long size(void)
{
	return ONE(0, 1, 5, 100, 4096, 5000, 100000, -1);
}

static unsigned mode(void)
{
	return (unsigned)ONE(0, 0600, 0644, 0755, 04711, 01777, 0177777);
}

static const char *some_bytes(void)
{
	static char bytes[1 << 17];
	memset(bytes, 'a' + (int)chance(26), sizeof(bytes));
	return bytes;
}

/* ---- telling ----------------------------------------------------------------------------- */

#define ERRNO_BEFORE 4711
static unsigned step;

static void told(const char *call, long result, int error)
{
	say("%u %s", step, call);
	for (unsigned i = 0; i < shown_count && i < 4; i++) {
		say(" %s", shown[i]);
	}
	say(" = %ld errno %d\n", result, error);
	shown_count = 0;
}

/* Arguments first, so that errno is what the call itself leaves. */
#define CALL(call)                                                                                 \
	do {                                                                                       \
		errno = ERRNO_BEFORE;                                                              \
		long result_ = (long)(call);                                                       \
		int error_ = errno;                                                                \
		told(#call, result_, error_);                                                      \
	} while (0)

/* clang-format off */
/* ---- names ------------------------------------------------------------------------------- */

static void one_name(void)
{
	const char *p = path();
	int at = dir_fd();
	unsigned m = mode();
	long length = ONE(0, 5, 4096, -1, 1L << 40);
	int flags = (int)ONE(0, 0, AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_EMPTY_PATH, 0x7000);
	switch (chance(20)) {
	case 0: CALL(unlink(p)); break;
	case 1: CALL(unlinkat(at, p, flags)); break;
	case 2: CALL(remove(p)); break;
	case 3: CALL(rmdir(p)); break;
	case 4: case 5: CALL(mkdir(p, m | 0700)); break;
	case 6: CALL(mkdirat(at, p, m | 0700)); break;
	case 7: CALL(mknod(p, S_IFREG | m, 0)); break;
	case 8: CALL(mknodat(at, p, S_IFREG | m, 0)); break;
	case 9: CALL(mkfifo(p, m)); break;
	case 10: CALL(mkfifoat(at, p, m)); break;
	case 11: CALL(truncate(p, length)); break;
	case 12: CALL(truncate64(p, length)); break;
	case 13: CALL(syscall(SYS_unlinkat, at, p, flags)); break;
	case 14: CALL(syscall(SYS_mkdirat, at, p, 0700)); break;
	case 15: CALL(syscall(SYS_truncate, p, length)); break;
	case 16: CALL(access(p, R_OK)); break;
	case 17: CALL(chdir(p)); break;
	case 18: CALL(chdir(root)); break;
	default: CALL(mkdir("d", 0755)); break;
	}
}

static void two_names(void)
{
	const char *from = path(), *to = path();
	int at = dir_fd(), at2 = dir_fd();
	unsigned flags = (unsigned)ONE(0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, 8, ~0);
	int link_flags = (int)ONE(0, 0, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, 1);
	switch (chance(11)) {
	case 0: case 1: CALL(rename(from, to)); break;
	case 2: CALL(renameat(at, from, at2, to)); break;
	case 3: CALL(renameat2(at, from, at2, to, flags)); break;
	case 4: CALL(link(from, to)); break;
	case 5: CALL(linkat(at, from, at2, to, link_flags)); break;
	case 6: CALL(symlink(from, to)); break;
	case 7: CALL(symlinkat(from, at, to)); break;
	case 8: CALL(syscall(SYS_renameat2, at, from, at2, to, flags)); break;
	case 9: CALL(syscall(SYS_linkat, at, from, at2, to, link_flags)); break;
	default: CALL(syscall(SYS_symlinkat, from, at, to)); break;
	}
}

static void metadata(void)
{
	const char *p = path();
	int at = dir_fd(), fd = any_fd();
	int flags = (int)ONE(0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, 0x8000);
	struct timespec exact[2] = {
		{1000, (long)chance(1000000000)}, {2000, ONE(5, UTIME_OMIT, -1)}};
	struct timeval rough[2] = {{3000, 7}, {4000, ONE(9, -1)}};
	struct utimbuf seconds = {5000, 6000};
	const struct timespec *times = chance(8) ? exact : NULL;
	unsigned m = mode() | 0700;
	switch (chance(24)) {
	case 0: CALL(chmod(p, m)); break;
	case 1: CALL(fchmodat(at, p, m, flags)); break;
	case 2: CALL(fchmod(fd, m)); break;
	case 3: CALL(chown(p, (uid_t)-1, (gid_t)-1)); break;
	case 4: CALL(lchown(p, geteuid(), (gid_t)-1)); break;
	case 5: CALL(fchownat(at, p, (uid_t)-1, getegid(), flags)); break;
	case 6: CALL(fchown(fd, geteuid(), (gid_t)-1)); break;
	case 7: CALL(utime(p, &seconds)); break;
	case 8: CALL(utimes(p, rough)); break;
	case 9: CALL(lutimes(p, rough)); break;
	case 10: CALL(futimesat(at, p, rough)); break;
	case 11: CALL(utimensat(at, p, times, flags)); break;
	case 12: CALL(futimens(fd, times)); break;
	case 13: CALL(futimes(fd, rough)); break;
	case 14: CALL(setxattr(p, "user.one", "1", 1, 0)); break;
	case 15: CALL(lsetxattr(p, "user.two", "22", 2, XATTR_REPLACE)); break;
	case 16: CALL(fsetxattr(fd, "user.three", "333", 3, 0)); break;
	case 17: CALL(removexattr(p, "user.one")); break;
	case 18: CALL(lremovexattr(p, "user.two")); break;
	case 19: CALL(fremovexattr(fd, "user.three")); break;
	case 20: CALL(syscall(SYS_fchmodat, at, p, m)); break;
	case 21: CALL(syscall(SYS_utimensat, at, p, times, flags)); break;
	case 22: CALL(syscall(SYS_fchmod, fd, m)); break;
	default: CALL(umask(m & 0777)); break;
	}
}

/* ---- descriptors ------------------------------------------------------------------------- */

static void opening(void)
{
	const char *p = path();
	int at = dir_fd(), flags = open_flags(at, p);
	unsigned m = mode() | 0600;
	struct {
		uint64_t flags, mode, resolve;
	} how = {(uint64_t)flags & 0777777, flags & O_CREAT ? 0600 : 0, chance(4) == 0 ? 8 : 0};
	char made[3][16] = {"t-XXXXXX", "t-XXXXXX.c", "t-XXXXX"};
	say("flags %o ", flags);
	switch (chance(16)) {
	case 0: case 1: case 2: case 3: CALL(open(p, flags, m)); break;
	case 4: CALL(open64(p, flags, m)); break;
	case 5: case 6: CALL(openat(at, p, flags, m)); break;
	case 7: CALL(openat64(at, p, flags, m)); break;
	case 8: CALL(is_fifo(AT_FDCWD, p) ? 0 : creat(p, m)); break;
	case 9: CALL(syscall(SYS_openat, at, p, flags, m)); break;
	case 10: CALL(syscall(SYS_openat2, at, p, chance(9) ? (long)&how : ONE(0, 5, (long)nowhere), sizeof(how))); break;
	case 11: CALL(mkstemp(made[chance(3)]) >= 0); break;
	case 12: CALL(mkostemps(made[1], 2, O_APPEND | O_CLOEXEC) >= 0); break;
	case 13: CALL(mkdtemp(made[chance(3)]) != NULL); break;
	default: CALL(open(WORD("a", "b", "d/a"), O_RDWR | O_CREAT | O_NONBLOCK, 0644)); break;
	}
}

static void numbers(void)
{
	int fd = any_fd(), to = any_fd();
	int flags = (int)ONE(0, 0, O_CLOEXEC, O_APPEND);
	unsigned first = chance(20), last = first + chance(6);
	int close_flags = (int)ONE(0, 0, 4, 2, 64);
	switch (chance(18)) {
	case 0: case 1: case 2: case 3: CALL(close(fd)); break;
	case 4: case 5: CALL(dup(fd)); break;
	case 6: case 7: CALL(dup2(fd, to)); break;
	case 8: CALL(dup3(fd, to, flags)); break;
	case 9: CALL(fcntl(fd, F_DUPFD, to)); break;
	case 10: CALL(fcntl(fd, F_DUPFD_CLOEXEC, chance(30))); break;
	case 11: CALL(fcntl(fd, F_SETFD, ONE(0, FD_CLOEXEC))); break;
	case 12: CALL(fcntl(fd, F_SETFL, ONE(O_APPEND | O_NONBLOCK, O_NONBLOCK, -1))); break;
	case 13: CALL(close_range(first, last, close_flags)); break;
	case 14: CALL(syscall(SYS_close, fd)); break;
	case 15: CALL(syscall(SYS_dup3, fd, to, flags)); break;
	case 16: CALL(syscall(SYS_close_range, first, last, close_flags)); break;
	default:
		if (chance(10) == 0) {
			CALL((closefrom((int)first + 3), 0));
		} else {
			CALL(fcntl(fd, F_GETFL));
		}
	}
}

static void content(void)
{
	int fd = any_fd(), from = any_fd();
	const char *bytes = some_bytes();
	long count = ONE(0, 1, 10, 5000, 70000), at = size();
	struct iovec parts[2] = {{(void *)bytes, (size_t)count}, {(void *)bytes, 3}};
	loff_t off = at, off2 = size();
	const char *data = chance(25) ? bytes : nowhere;
	switch (chance(24)) {
	case 0: case 1: case 2: CALL(write(fd, data, (size_t)count)); break;
	case 3: CALL(pwrite(fd, data, (size_t)count, at)); break;
	case 4: CALL(pwrite64(fd, data, (size_t)count, at)); break;
	case 5: CALL(writev(fd, parts, (int)ONE(1, 2, 0, -1, 5000))); break;
	case 6: CALL(pwritev(fd, parts, 2, at)); break;
	case 7: CALL(pwritev2(fd, parts, 2, at, (int)ONE(0, 0, RWF_APPEND, 0x8000))); break;
	case 8: CALL(sendfile(fd, from, chance(2) ? &off : NULL, (size_t)count)); break;
	case 9: CALL(copy_file_range(from, chance(2) ? &off : NULL, fd, chance(2) ? &off2 : NULL, (size_t)count, 0)); break;
	case 10: CALL(splice(from, NULL, fd, NULL, (size_t)count, SPLICE_F_NONBLOCK)); break;
	case 11: CALL(ftruncate(fd, ONE(0, 5, 4096, -1, 1L << 40))); break;
	case 12: CALL(fallocate(fd, (int)ONE(0, 1, 3, 99), at, size())); break;
	case 13: CALL(posix_fallocate(fd, at, size())); break;
	case 14: CALL(ioctl(fd, ONE(0x40049409, 0x541b, 0x5451, 0x5450, 0x12345), (long)from)); break;
	case 15: CALL(syscall(SYS_write, fd, data, (size_t)count)); break;
	case 16: CALL(syscall(SYS_ftruncate, fd, ONE(0, 5))); break;
	case 17: CALL(lseek(fd, at, (int)ONE(0, 1, 2, 9))); break;
	case 18: {
		static char into[4096];
		CALL(read(fd, into, sizeof(into)));
		break;
	}
	case 19: CALL(fsync(fd)); break;
	default:
		CALL(write(fd, bytes, (size_t)chance(100)));
	}
}

/* glibc waits for ever for the helper that a forked child does not have. */
static bool forked;

static void asynchronous(void)
{
	if (forked) {
		return;
	}
	struct aiocb block = {.aio_fildes = any_fd(),
		.aio_buf = (void *)some_bytes(),
		.aio_nbytes = 77,
		.aio_offset = 5};
	const struct aiocb *list[] = {&block};
	sigset_t alarm, before;
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM); /* its handler could take the number meanwhile */
	sigprocmask(SIG_BLOCK, &alarm, &before);
	CALL(aio_write(&block));
	while (aio_error(&block) == EINPROGRESS) {
		aio_suspend(list, 1, NULL);
	}
	CALL(aio_error(&block));
	CALL(aio_return(&block));
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static void mapping(void)
{
	static struct {
		char *at;
		size_t bytes;
	} maps[6];
	unsigned i = chance(6);
	int fd = any_fd();
	struct stat st;
	if (maps[i].at) {
		CALL(munmap(maps[i].at, maps[i].bytes));
		maps[i].at = NULL;
		return;
	}
	size_t bytes = (size_t)ONE(1, 4096, 10000, 0);
	int protection =
		(int)ONE(PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_NONE);
	int flags = (int)ONE(MAP_SHARED, MAP_SHARED, MAP_PRIVATE, MAP_SHARED | MAP_ANONYMOUS, 0);
	errno = ERRNO_BEFORE;
	char *at =
		(chance(2) ? mmap : mmap64)(NULL, bytes, protection, flags, fd, ONE(0, 0, 4096, 1));
	told("mmap", at == MAP_FAILED, errno);
	if (at == MAP_FAILED) {
		return;
	}
	bool backed = (flags & MAP_ANONYMOUS) ||
		      (kernel(SYS_fstat, fd, (long)&st, 0, 0) == 0 && st.st_size > 8192);
	if ((protection & PROT_WRITE) && backed) {
		at[0] = 'm';
	}
	maps[i].at = at;
	maps[i].bytes = bytes;
}

static void sending(void)
{
	int pair[2], fds[3] = {any_fd(), any_fd(), 1};
	char byte = 'x', room[CMSG_SPACE(sizeof(fds))];
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = room,
		.msg_controllen = CMSG_SPACE(sizeof(int) * (1 + chance(3)))};
	memset(room, 0, sizeof(room));
	CALL(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair));
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	*head = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
		.cmsg_len = message.msg_controllen - (CMSG_SPACE(4) - CMSG_LEN(4))};
	memcpy(CMSG_DATA(head), fds, head->cmsg_len - CMSG_LEN(0));
	CALL(sendmsg(pair[0], &message, 0));
	message.msg_controllen = (size_t)ONE(sizeof(room), CMSG_SPACE(4), 5, 0);
	CALL(recvmsg(pair[1], &message, (int)ONE(0, MSG_CMSG_CLOEXEC)));
	say("controls %zu flags %x\n", message.msg_controllen, message.msg_flags);
	CALL(close(pair[0]));
	CALL(close(pair[1]));
}

/* ---- streams ----------------------------------------------------------------------------- */

static void streams(void)
{
	static FILE *open_ones[5];
	static char memory[64];
	FILE **f = &open_ones[chance(5)];
	const char *p = path();
	const char *m = WORD("r", "w", "a", "r+", "w+", "a+", "we", "wx", "q", "rm");
	int fd = any_fd();
	bool fifo = is_fifo(AT_FDCWD, p);
	say("%s ", m);
	if (*f) {
		switch (chance(6)) {
		case 0: CALL(fputs("some text", *f)); break;
		case 1: CALL(fflush(*f)); break;
		case 2: CALL(fseek(*f, chance(50), SEEK_SET)); break;
		case 3: CALL((*f = fifo ? *f : freopen(p, m, *f)) != NULL); break;
		default:
			CALL(fclose(*f));
			*f = NULL;
		}
		return;
	}
	switch (chance(8)) {
	case 0: case 1: case 2: CALL((*f = fifo ? NULL : fopen(p, m)) != NULL); break;
	case 3: CALL((*f = fifo ? NULL : fopen64(p, m)) != NULL); break;
	case 4: CALL((*f = fdopen(fd, m)) != NULL); break;
	case 5: CALL((*f = tmpfile()) != NULL); break;
	case 6: CALL((*f = fmemopen(memory, sizeof(memory), "w")) != NULL); break;
	default:
		CALL((*f = is_fifo(AT_FDCWD, "e") ? NULL : fopen("e", "w")) != NULL);
	}
}

/* clang-format on */
/* ---- others that act in our name --------------------------------------------------------- */

static void any_call(void);
static void simple_call(void);
static unsigned depth;

static void *in_thread(void *unused)
{
	any_call();
	return unused;
}

static void threads(void)
{
	pthread_t thread;
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 128 << 10);
	sigfillset(&all);
	sigdelset(&all, SIGUSR1);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_create(&thread, &attributes, in_thread, NULL);
	pthread_join(thread, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
}

static void cleaned(void *done)
{
	*(int *)done = 1;
}

static int cleanups;

static void *stuck(void *kind)
{
	struct timespec soon = {.tv_sec = 20};
	pthread_cleanup_push(cleaned, &cleanups);
	switch ((long)kind) {
	case 0:
		(void)open("a-fifo", O_WRONLY);
		break;
	case 1:
		(void)openat(AT_FDCWD, "a-fifo", O_RDONLY);
		break;
	case 2:
		(void)fopen("a-fifo", "w");
		break;
	case 3:
		(void)creat("a-fifo", 0600);
		break;
	default:
		nanosleep(&soon, NULL);
	}
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancelling(void)
{
	pthread_t thread;
	sigset_t all, before;
	void *result = NULL;
	long kind = chance(5);
	cleanups = 0;
	CALL(chdir(root));
	CALL(mkfifo("a-fifo", 0600));
	if (!is_fifo(AT_FDCWD, "a-fifo") || chmod("a-fifo", 0600) < 0) { /* it shall block */
		return;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_create(&thread, NULL, stuck, (void *)kind);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	usleep(chance(2) ? 0 : 500);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	say("cancelled %d cleaned %d\n", result == PTHREAD_CANCELED, cleanups);
}

static void on_signal(int number)
{
	int saved = errno;
	if (depth < 3) {
		any_call();
	}
	errno = saved;
}

static const char *action_of(const void *handler)
{
	return handler == (void *)SIG_DFL     ? "default"
	       : handler == (void *)SIG_IGN   ? "ignored"
	       : handler == (void *)on_signal ? "ours"
	       : handler == (void *)-1        ? "failed"
					      : "whose?";
}

#define LIBC_RESTORER 0x04000000u

/* Of SIGBUS, which others may have a use for. */
static void actions(void)
{
	struct sigaction action = {.sa_flags = 0}, old = {.sa_flags = 0};
	int flags = (int)ONE(0, 0, SA_RESTART, SA_SIGINFO, SA_ONSTACK | SA_NODEFER, SA_RESETHAND);
	action.sa_handler = (void (*)(int))ONE(0, 1, (long)on_signal, (long)on_signal);
	action.sa_flags = flags;
	sigaddset(&action.sa_mask, (int)ONE(SIGUSR1, SIGUSR2, SIGALRM));
	switch (chance(9)) {
	case 0:
	case 1:
	case 2:
		CALL(sigaction(SIGBUS, &action, &old));
		break;
	case 3:
		say("%s ", action_of((void *)signal(SIGBUS, action.sa_handler)));
		break;
	case 4:
		say("%s ", action_of((void *)sigset(SIGBUS, action.sa_handler)));
		break;
	case 5:
		say("%s ", action_of((void *)sysv_signal(SIGBUS, action.sa_handler)));
		break;
	case 6:
		CALL(siginterrupt(SIGBUS, (int)chance(2)));
		break;
	case 7:
		CALL(sigaction((int)ONE(SIGBUS, SIGUSR2, 0, 65), NULL, &old));
		break;
	default:
		CALL(sigaction(SIGBUS, NULL, &old));
		if (old.sa_handler == on_signal) {
			CALL(raise(SIGBUS));
		}
	}
	sigset_t before;
	memcpy(&before, &old.sa_mask, 8);
	/* whose restorer it is, is between libc and the kernel; the child of vfork() sees another
	 */
	say("%s %x %lx %d\n", action_of((void *)old.sa_handler),
		(unsigned)old.sa_flags & ~LIBC_RESTORER, *(unsigned long *)&before,
		old.sa_restorer != NULL);
}

static void raising(void)
{
	CALL(raise(SIGUSR1));
}

/* Comes when it likes; what it does leaves no trace in the tree. */
static char of_timer[600];
static void on_timer(int number)
{
	int saved = errno;
	int fd = open(of_timer, O_RDWR | O_CREAT, 0600);
	if (fd >= 0) {
		(void)!write(fd, "x", 1);
		close(fd);
	}
	unlink(of_timer);
	errno = saved;
}

static void timer(bool on)
{
	struct itimerval every = {{0, on ? 300 : 0}, {0, on ? 100 : 0}};
	setitimer(ITIMER_REAL, &every, NULL);
}

static void wait_for(pid_t pid)
{
	int status = -1;
	CALL(waitpid(pid, &status, 0) == pid);
	say("status %x\n", status);
}

static void forks(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		forked = true;
		for (unsigned i = chance(4) + 1; i > 0; i--) {
			any_call();
		}
		if (chance(3) == 0) {
			abort();
		}
		_exit((int)chance(100));
	}
	for (unsigned i = 0; i < 50; i++) { /* ours go on differently */
		(void)chance(2);
	}
	wait_for(pid);
}

/* clang-format off */
/* None that succeeds but by accident; what is wrong is the kernel's to find. */
static void execs(void)
{
	const char *p = chance(2) ? path() : show("/bin/true", "/bin/true");
	char *good[] = {(char *)"true", (char *)"x", NULL};
	char *broken[] = {(char *)"true", nowhere, NULL};
	char **argv = chance(3) ? good : chance(2) ? broken : (char **)nowhere;
	char **envp = chance(2) ? environ : chance(2) ? broken : chance(2) ? (char **)nowhere : NULL;
	int fd = any_fd(), at = dir_fd(), flags = chance(3) ? 0 : AT_EMPTY_PATH;
	unsigned kind = chance(6);
	pid_t pid = chance(2) ? fork() : vfork();
	if (pid == 0) {
		switch (kind) {
		case 0: CALL(execv(p, argv)); break;
		case 1: CALL(execve(p, argv, envp)); break;
		case 2: CALL(execveat(at, p, argv, envp, flags)); break;
		case 3: CALL(fexecve(fd, argv, envp)); break;
		case 4: CALL(execle(p, "true", "x", (char *)NULL, envp)); break;
		default: CALL(syscall(SYS_execve, p, argv, envp)); break;
		}
		_exit(8);
	}
	wait_for(pid);
}
/* clang-format on */

static void vforks(void)
{
	volatile unsigned calls = chance(4);
	volatile bool by_number = chance(3) == 0;
	pid_t pid = by_number ? (pid_t)syscall(SYS_vfork) : vfork();
	if (pid == 0) {
		for (unsigned i = 0; i < calls; i++) {
			simple_call();
		}
		if (chance(2)) {
			execl("/bin/true", "true", (char *)NULL);
		}
		_exit(7);
	}
	wait_for(pid);
}

static void spawns(void)
{
	posix_spawn_file_actions_t actions;
	char *script =
		(char *)WORD("echo x", "echo y >&3", "echo z > d/s", "exec 5>s; exit 3", ":");
	char *argv[] = {(char *)"sh", (char *)"-c", script, NULL};
	pid_t pid = 0;
	posix_spawn_file_actions_init(&actions);
	for (unsigned i = chance(4); i > 0; i--) {
		switch (chance(4)) {
		case 0:
			posix_spawn_file_actions_addopen(&actions, (int)chance(8),
				WORD("a", "missing/x", "b"), O_RDWR | O_CREAT | O_NONBLOCK, 0600);
			break;
		case 1:
			posix_spawn_file_actions_adddup2(&actions, (int)chance(8), (int)chance(8));
			break;
		case 2:
			posix_spawn_file_actions_addclose(&actions, (int)chance(20));
			break;
		default:
			posix_spawn_file_actions_addclosefrom_np(&actions, 4 + (int)chance(9));
			break;
		}
	}
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0); /* sh's words */
	const char *program = chance(5) ? "/bin/sh" : WORD("missing", "/dev/null", "d");
	if (chance(2)) {
		CALL(posix_spawn(&pid, program, &actions, NULL, argv, environ));
	} else {
		CALL(posix_spawnp(&pid, chance(2) ? "sh" : program, &actions, NULL, argv, environ));
	}
	posix_spawn_file_actions_destroy(&actions);
	say("made %d\n", pid > 0);
	if (pid > 0) {
		wait_for(pid);
	}
}

/* ---- sequences --------------------------------------------------------------------------- */

static void simple_call(void)
{
	switch (chance(6)) {
	case 0:
		one_name();
		break;
	case 1:
		two_names();
		break;
	case 2:
		opening();
		break;
	case 3:
		numbers();
		break;
	case 4:
		actions();
		break;
	default:
		content();
		break;
	}
}

/* The last ones only on the lowest level: they wait, or start programs. */
static const struct {
	void (*call)(void);
	unsigned weight;
} families[] = {{opening, 7}, {numbers, 6}, {content, 7}, {one_name, 5}, {two_names, 4},
	{metadata, 4}, {mapping, 3}, {streams, 4}, {sending, 1}, {asynchronous, 1}, {actions, 3},
	{threads, 2}, {cancelling, 1}, {raising, 1}, {forks, 2}, {vforks, 1}, {spawns, 1},
	{execs, 1}};
#define WEIGHT_ABOVE  45
#define WEIGHT_LOWEST 54

static void any_call(void)
{
	unsigned drawn = chance(depth > 0 ? WEIGHT_ABOVE : WEIGHT_LOWEST), i = 0;
	while (drawn >= families[i].weight) {
		drawn -= families[i++].weight;
	}
	depth++;
	families[i].call();
	depth--;
}

/* ---- what is to be seen ------------------------------------------------------------------ */

#define SEEN_FDS 70
struct seen {
	int fd_flags, flags;
	long position, size;
	unsigned mode;
};

static void look(int fd, struct seen *ret)
{
	struct stat st = {0};
	memset(ret, 0, sizeof(*ret));
	ret->fd_flags = (int)kernel(SYS_fcntl, fd, F_GETFD, 0, 0);
	if (ret->fd_flags < 0) {
		return;
	}
	ret->flags = (int)kernel(SYS_fcntl, fd, F_GETFL, 0, 0);
	kernel(SYS_fstat, fd, (long)&st, 0, 0);
	ret->mode = st.st_mode;
	if (S_ISREG(st.st_mode) && st.st_dev != 0) {
		ret->position = kernel(SYS_lseek, fd, 0, SEEK_CUR, 0);
		ret->size = st.st_size;
	}
}

/* Numbers seen one after another, then the high ones that sequences use. */
static int seen_number(unsigned i)
{
	static const int high[] = {200, 1000, 1022, 1023, 1024, 1025, 1500, 4095};
	return i < SEEN_FDS - 8 ? (int)i : high[i - (SEEN_FDS - 8)];
}

static void say_changes(struct seen *before)
{
	for (unsigned i = 0; i < SEEN_FDS; i++) {
		struct seen now;
		look(seen_number(i), &now);
		if (memcmp(&now, &before[i], sizeof(now)) != 0) {
			say("  fd %d: %d %o %ld %ld %o\n", seen_number(i), now.fd_flags, now.flags,
				now.position, now.size, now.mode);
			before[i] = now;
		}
	}
}

static void say_descriptors(void)
{
	struct rlimit limit;
	unsigned count = 0;
	getrlimit(RLIMIT_NOFILE, &limit);
	for (int fd = 0; fd < (int)limit.rlim_cur; fd++) {
		count += kernel(SYS_fcntl, fd, F_GETFD, 0, 0) >= 0;
	}
	say("descriptors %u\n", count);
}

static void say_signals(void)
{
	sigset_t mask;
	stack_t stack;
	uint64_t bits = 0;
	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (int number = 1; number < 65; number++) {
		struct sigaction action;
		bits |= (uint64_t)(sigismember(&mask, number) == 1) << (number - 1);
		if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL) {
			say("signal %d: %s %x\n", number,
				action.sa_handler == SIG_IGN ? "ignored" : "caught",
				action.sa_flags);
		}
	}
	sigaltstack(NULL, &stack);
	say("mask %llx stack %d limits", (unsigned long long)bits, stack.ss_flags);
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit limit;
		getrlimit(i, &limit);
		say(" %lld", (long long)limit.rlim_cur);
	}
	say(" children %d umask %o\n", waitpid(-1, NULL, WNOHANG), umask(0));
}

/* Maps that the sequence made and left; not the shim's own objects. */
static void say_maps(void)
{
	char line[512];
	unsigned anonymous = 0;
	unsigned long shared = 0, own = 0; /* bytes: neighbours may be one map, or two */
	bool behind_shim = false;
	FILE *maps = fopen("/proc/self/maps", "r");
	while (maps && fgets(line, sizeof(line), maps)) {
		unsigned long begin = 0, end = 0;
		sscanf(line, "%lx-%lx", &begin, &end);
		bool named = strchr(line, '/') || strchr(line, '[');
		bool shim = strstr(line, "libmirrorshim") || strstr(line, "/ring") ||
			    (behind_shim && !named);
		behind_shim = shim;
		shared += !shim && strstr(line, "s ") && named ? end - begin : 0;
		own += !shim && strstr(line, root) ? end - begin : 0;
		anonymous += !shim && !named && strstr(line, "---p") == NULL;
	}
	if (maps) {
		fclose(maps);
	}
	say("maps: anonymous %d own %lu shared %lu\n", anonymous > 0, own, shared);
}

static void sequence(uint64_t number, unsigned steps)
{
	struct seen before[SEEN_FDS];
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_NODEFER};
	state = (number + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	sigaction(SIGUSR1, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	action.sa_handler = on_timer;
	action.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &action, NULL);
	if (number % 16 == 5) {
		setrlimit(RLIMIT_FSIZE, &(struct rlimit){30000, 30000});
	}
	for (unsigned i = 0; i < SEEN_FDS; i++) {
		look(seen_number(i), &before[i]);
	}
	for (step = 0; step < steps; step++) {
		any_call();
		say_changes(before);
		if (number % 8 == 3 && step == 10) {
			timer(true);
		}
	}
	timer(false);
	say_descriptors();
	say_signals();
	say_maps();
	switch (chance(6)) {
	case 0:
		_exit(3);
	case 1:
		quick_exit(4);
	case 2:
		abort();
	case 3:
		kill(getpid(), SIGKILL);
		break;
	default:
		exit(5);
	}
}

/* ---- the tree ---------------------------------------------------------------------------- */

static uint64_t sum_of(int fd)
{
	char bytes[65536];
	uint64_t sum = 0;
	ssize_t len = read(fd, bytes, sizeof(bytes));
	for (ssize_t i = 0; i < len; i++) {
		sum = sum * 31 + (unsigned char)bytes[i];
	}
	return sum;
}

static void say_entry(int dir, const char *name, unsigned deep);

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Names by mkstemp() come in another order each time. */
static bool is_chosen(const char *name)
{
	return strncmp(name, "t-", 2) == 0;
}

static void say_chosen(int dir, struct dirent **list, int count)
{
	unsigned found = 0;
	uint64_t sum = 0;
	for (int i = 0; i < count; i++) {
		struct stat st;
		if (is_chosen(list[i]->d_name) &&
			fstatat(dir, list[i]->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
			if (S_ISDIR(st.st_mode)) {
				fchmodat(dir, list[i]->d_name, 0700, 0);
			}
			found++;
			sum += st.st_mode *
			       (S_ISDIR(st.st_mode) ? UINT64_C(7)
						    : (uint64_t)st.st_size * 977 + st.st_nlink);
		}
	}
	if (found) {
		say("temporary ones: %u %llx\n", found, (unsigned long long)sum);
	}
}

static void say_tree(int dir, unsigned deep)
{
	struct dirent **list;
	int count = scandirat(dir, ".", &list, NULL, by_name);
	say_chosen(dir, list, count);
	for (int i = 0; i < count; i++) {
		const char *name = list[i]->d_name;
		if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !is_chosen(name)) {
			say_entry(dir, list[i]->d_name, deep);
		}
		free(list[i]);
	}
	if (count >= 0) {
		free(list);
	}
}

static void say_entry(int dir, const char *name, unsigned deep)
{
	struct stat st;
	char target[4096] = "", names[256] = "";
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		return;
	}
	say("%*s%s %o %ld %ld", (int)deep, "", name, st.st_mode,
		S_ISDIR(st.st_mode) ? 0L : (long)st.st_nlink,
		S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode) ? 0L : (long)st.st_size);
	if (st.st_mtime < 1000000000) {
		say(" %ld.%09ld", (long)st.st_mtime, st.st_mtim.tv_nsec);
	}
	if (S_ISLNK(st.st_mode) && readlinkat(dir, name, target, sizeof(target) - 1) > 0) {
		say(" -> %s", strstr(target, root) == target ? target + strlen(root) : target);
	}
	if (S_ISDIR(st.st_mode)) { /* so that we, and who cleans up, can */
		fchmodat(dir, name, 0700, 0);
	}
	int fd = S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)
			 ? openat(dir, name, O_RDONLY | O_NOFOLLOW)
			 : -1;
	if (S_ISREG(st.st_mode) && fd >= 0) {
		ssize_t len = flistxattr(fd, names, sizeof(names));
		say(" %llx %zd", (unsigned long long)sum_of(fd), len);
	}
	say("\n");
	if (S_ISDIR(st.st_mode) && fd >= 0) {
		say_tree(fd, deep + 1);
	}
	if (fd >= 0) {
		close(fd);
	}
}

/* ---- one process for each ---------------------------------------------------------------- */

static void prepare(const char *directory, uint64_t number)
{
	memset(long_name, 'n', sizeof(long_name) - 1);
	memset(long_path, 'p', sizeof(long_path) - 1);
	memset(long_path, '/', 1);
	for (size_t i = 0; i < sizeof(long_path) - 1; i += 100) {
		long_path[i] = '/';
	}
	char above[sizeof(root)];
	snprintf(above, sizeof(above), "%s/%llu", directory, (unsigned long long)number);
	if (mkdir(above, 0755) < 0 || mkdir(root, 0755) < 0 || chdir(root) < 0 ||
		mkdir("d", 0755) < 0 || symlink("a", "link") < 0 ||
		symlink("missing", "dangling") < 0) {
		perror(root);
		exit(2);
	}
	close(open("d/a", O_WRONLY | O_CREAT, 0644));
	int out = open("out", O_RDWR | O_CREAT, 0644), in = open("/dev/null", O_RDWR);
	dup2(in, 0);
	dup2(out, 1);
	dup2(in, 2);
	close_range(3, ~0u, 0);
}

static void run(const char *directory, uint64_t number, unsigned steps)
{
	int status = 0;
	text->len = 0;
	snprintf(root, sizeof(root), "%s/%llu/r", directory, (unsigned long long)number);
	snprintf(of_timer, sizeof(of_timer), "%s/of-timer", directory);
	pid_t pid = fork();
	if (pid == 0) {
		prepare(directory, number);
		sequence(number, steps);
	}
	waitpid(pid, &status, 0);
	say("ended %x\n", status & ~0x80);
	chmod(directory, 0755);
	chmod(root, 0700);
	int dir = open(root, O_RDONLY | O_DIRECTORY);
	say_tree(dir, 0);
	close(dir);
	printf("==== %llu\n", (unsigned long long)number);
	fwrite(text->bytes, 1, text->len, stdout);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (geteuid() == 0) {
		fprintf(stderr,
			"random-calls: not as root, whom nothing stops from changing /dev\n");
		return 2;
	}
	if (argc < 4) {
		fprintf(stderr, "usage: random-calls FIRST COUNT DIRECTORY [STEPS]\n");
		return 2;
	}
	uint64_t first = strtoull(argv[1], NULL, 10), count = strtoull(argv[2], NULL, 10);
	unsigned steps = argc > 4 ? (unsigned)atoi(argv[4]) : 60;
	int anonymous = MAP_SHARED | MAP_ANONYMOUS;
	text = mmap(NULL, sizeof(*text), PROT_READ | PROT_WRITE, anonymous, -1, 0);
	edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	nowhere = edge + 4096;
	if (text == MAP_FAILED || edge == MAP_FAILED || mprotect(nowhere, 4096, PROT_NONE) < 0) {
		perror("mmap");
		return 2;
	}
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096});
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	for (uint64_t number = first; number < first + count; number++) {
		run(argv[3], number, steps);
	}
	return 0;
}
