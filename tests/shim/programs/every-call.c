/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes every call that the shim wraps, rightly and wrongly, in the working directory, and prints
 * what each returned and errno.  Run bare and under the shim, the output must be the same.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>
#include <utmp.h>

extern char **environ;

#define SAY(call)                                                                                  \
	do {                                                                                       \
		errno = 12345;                                                                     \
		long long said_ = (long long)(call);                                               \
		int error_ = errno;                                                                \
		char line_[300];                                                                   \
		int len_ = snprintf(line_, sizeof(line_), "%s = %lld %d\n", #call, said_, error_); \
		memcpy(report + report_len, line_, (size_t)len_);                                  \
		report_len += (size_t)len_;                                                        \
	} while (0)

static char report[1 << 20];
static size_t report_len;
static struct iovec part = {"vector", 6};

static void opening(void)
{
	int flags = O_WRONLY | O_CREAT;
	int dir = open(".", O_RDONLY | O_DIRECTORY);
	SAY(close(open("a", flags, 0640)));
	SAY(close(openat(dir, "b", flags | O_EXCL, 0600)));
	SAY(openat(dir, "b", flags | O_EXCL, 0600));
	SAY(openat(77, "b", O_WRONLY));
	SAY(open("missing", O_WRONLY));
	SAY(open("missing/x", flags, 0600));
	SAY(open(".", O_WRONLY));
	SAY(open("", O_WRONLY));
	SAY(open(NULL, O_WRONLY));
	SAY(close(creat("c", 0644)));
	SAY(close(open("a", O_RDONLY | O_TRUNC)));
	SAY(close(open("created-ro", O_RDONLY | O_CREAT, 0600)));
	SAY(close(open(".", O_TMPFILE | O_RDWR, 0600)));
	SAY(close(open("/dev/null", O_WRONLY)));
	SAY(close(open("/proc/self/comm", O_WRONLY)));
	SAY(close(dir));
	char name[] = "temp-XXXXXX", wrong[] = "temp", made[] = "dir-XXXXXX",
	     tail[] = "t-XXXXXX.nc";
	SAY(close(mkstemp(name)));
	SAY(mkstemp(wrong));
	SAY(close(mkstemps(tail, 3)));
	SAY(mkdtemp(made) == made);
	SAY(mkdtemp(wrong) == NULL);
	SAY(unlink(name) + unlink(tail) + rmdir(made));
}

static void streams(void)
{
	FILE *f = fopen("s", "w");
	SAY(f != NULL);
	SAY(fprintf(f, "hello\n"));
	SAY(fclose(f));
	SAY(fopen("missing/s", "w") == NULL);
	SAY(fopen("s", "nonsense") == NULL);
	f = fopen("s", "r+");
	SAY((f = freopen("s2", "a", f)) != NULL);
	SAY(fputs("x", f));
	SAY(fclose(f));
	int fd = open("s2", O_WRONLY | O_APPEND);
	SAY((f = fdopen(fd, "a")) != NULL);
	SAY(fputs("y", f));
	SAY(fclose(f));
	SAY(fdopen(77, "w") == NULL);
}

static void writing(void)
{
	long at = 0, from_at = 0;
	int fd = open("w", O_RDWR | O_CREAT | O_TRUNC, 0644), from = open("s", O_RDONLY);
	int ro = open("w", O_RDONLY), pipes[2];
	SAY(write(fd, "0123456789", 10));
	SAY(write(ro, "x", 1));
	SAY(write(77, "x", 1));
	SAY(write(fd, NULL, 1));
	SAY(pwrite(fd, "ab", 2, 20));
	SAY(pwrite(fd, "ab", 2, -1));
	SAY(writev(fd, &part, 1));
	SAY(pwritev(fd, &part, 1, 40));
	SAY(sendfile(fd, from, NULL, 3));
	SAY(copy_file_range(from, &from_at, fd, &at, 3, 0));
	SAY(pipe(pipes));
	SAY(write(pipes[1], "pipe", 4));
	SAY(splice(pipes[0], NULL, fd, NULL, 4, 0));
	SAY(ftruncate(fd, 100));
	SAY(ftruncate(ro, 100));
	SAY(fallocate(fd, 0, 0, 5000));
	SAY(posix_fallocate(fd, 0, 6000));
	SAY(posix_fallocate(ro, 0, 6000));
	SAY(lseek(fd, 0, SEEK_CUR));
	SAY(close(fd));
	SAY(close(fd));
	SAY(close(-1));
	SAY(close(ro) + close(from) + close(pipes[0]) + close(pipes[1]));
	SAY(truncate("w", 7));
	SAY(truncate("missing", 7));
}

static void names(void)
{
	SAY(mkdir("d", 0755));
	SAY(mkdir("d", 0755));
	SAY(mkdirat(AT_FDCWD, "d/e", 0755));
	int d = open("d", O_RDONLY | O_DIRECTORY), e = open("d/e", O_RDONLY | O_DIRECTORY);
	SAY(rename("a", "a2"));
	SAY(rename("a", "a2"));
	SAY(renameat(AT_FDCWD, "a2", d, "a3"));
	SAY(renameat(d, "a3", e, "a4"));
	SAY(renameat(d, "a3", e, "a4"));
	SAY(renameat(77, "a3", e, "a4"));
	SAY(link("b", "b2"));
	SAY(link("b", "b2"));
	SAY(linkat(AT_FDCWD, "b", d, "b3", 0));
	SAY(symlink("b", "l"));
	SAY(symlinkat("../b", d, "l"));
	SAY(symlink("", "l2"));
	SAY(mkfifo("fifo", 0600));
	SAY(mkfifoat(d, "fifo", 0600));
	SAY(mknod("node", S_IFREG | 0600, 0));
	SAY(mknodat(d, "node", S_IFREG | 0600, 0));
	SAY(unlink("l"));
	SAY(unlink("l"));
	SAY(unlink("d"));
	SAY(unlinkat(d, "l", 0));
	SAY(unlinkat(d, "e", AT_REMOVEDIR));
	SAY(rmdir("d"));
	SAY(rmdir("missing"));
	SAY(remove("fifo"));
	SAY(remove("missing"));
	SAY(mkdir("gone", 0700));
	SAY(remove("gone"));
	SAY(close(d) + close(e));
	SAY(unlink(""));
	SAY(rename("b", NULL));
#ifdef RENAME_EXCHANGE
	SAY(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE));
	SAY(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_NOREPLACE));
#endif
}

static void metadata(void)
{
	struct timeval tv[2] = {{1000, 5}, {2000, 6}};
	struct timespec ts[2] = {{1000, 5}, {2000, 6}};
	struct utimbuf tb = {1000, 2000};
	int fd = open("b", O_RDWR), ro = open("b", O_RDONLY);
	SAY(chmod("b", 0600));
	SAY(chmod("missing", 0600));
	SAY(fchmod(fd, 0640));
	SAY(fchmod(ro, 0640));
	SAY(fchmod(77, 0640));
	SAY(fchmodat(AT_FDCWD, "b", 0644, 0));
	SAY(chown("b", (uid_t)-1, (gid_t)-1));
	SAY(fchown(ro, (uid_t)-1, (gid_t)-1));
	SAY(lchown("b", (uid_t)-1, (gid_t)-1));
	SAY(fchownat(AT_FDCWD, "b", (uid_t)-1, (gid_t)-1, 0));
	SAY(utime("b", &tb));
	SAY(utime("missing", NULL));
	SAY(utimes("b", tv));
	SAY(lutimes("b", tv));
	SAY(futimes(ro, tv));
	SAY(futimesat(AT_FDCWD, "b", tv));
	SAY(utimensat(AT_FDCWD, "b", ts, 0));
	SAY(utimensat(AT_FDCWD, "b", ts, AT_SYMLINK_NOFOLLOW));
	SAY(futimens(ro, NULL));
	SAY(setxattr("b", "user.mirror", "v", 1, 0));
	SAY(setxattr("b", "bad name", "v", 1, 0));
	SAY(fsetxattr(ro, "user.mirror", "w", 1, 0));
	SAY(lsetxattr("b", "user.other", "w", 1, 0));
	SAY(removexattr("b", "user.mirror"));
	SAY(removexattr("b", "user.mirror"));
	SAY(lremovexattr("b", "user.other"));
	SAY(fremovexattr(fd, "user.other"));
	SAY(close(fd) + close(ro));
}

static void descriptors(void)
{
	int fd = open("dup", O_RDWR | O_CREAT, 0600);
	SAY(dup(fd) - fd);
	SAY(dup2(fd, fd) - fd);
	SAY(dup2(fd, 40));
	SAY(dup2(77, 40));
	SAY(dup2(fd, -1));
	SAY(dup3(fd, 41, O_CLOEXEC));
	SAY(dup3(fd, fd, 0));
	SAY(fcntl(fd, F_DUPFD, 50));
	SAY(fcntl(fd, F_DUPFD_CLOEXEC, 60));
	SAY(fcntl(77, F_DUPFD, 60));
	SAY(fcntl(60, F_GETFD));
	SAY(fcntl(fd, F_GETFL) & O_ACCMODE);
	SAY(ftruncate(fd, 8192));
	char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	SAY(map != MAP_FAILED);
	map[0] = 'm';
	SAY(munmap(map, 8192));
	SAY(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, 77, 0) == MAP_FAILED);
	SAY(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	SAY(ioctl(fd, 0x5401 /* TCGETS */, map));
	SAY(syscall(436 /* close_range */, 40u, 41u, 0u));
	SAY(fcntl(40, F_GETFD));
	SAY(close(50) + close(60) + close(fd));
}

static void sockets(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
	struct mmsghdr many[2] = {{{.msg_iov = &part, .msg_iovlen = 1}, 0}};
	char byte;
	struct iovec into = {&byte, 1};
	int ends[2], s = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t len = sizeof(address);
	SAY(bind(s, (struct sockaddr *)&address, len));
	SAY(bind(s, (struct sockaddr *)&address, len));
	SAY(bind(77, (struct sockaddr *)&address, len));
	SAY(bind(s, NULL, len));
	SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	SAY(write(ends[0], "x", 1));
	many[0].msg_hdr.msg_iov = &into;
	SAY(recvmmsg(ends[1], many, 1, MSG_DONTWAIT, NULL));
	SAY(recvmmsg(ends[1], many, 1, MSG_DONTWAIT, NULL));
	SAY(recvmsg(ends[1], &many[0].msg_hdr, MSG_DONTWAIT));
	SAY(recvmsg(77, &many[0].msg_hdr, MSG_DONTWAIT));
	SAY(close(s) + close(ends[0]) + close(ends[1]));
}

static void rarities(void)
{
	struct utmp entry = {.ut_type = USER_PROCESS};
	int fd = open("rare", O_RDWR | O_CREAT, 0600);
	SAY(dprintf(fd, "%s %d\n", "text", 5));
	SAY(dprintf(77, "x"));
#ifdef __GLIBC__ /* musl leaves now this errno, now that */
	struct aiocb block = {
		.aio_fildes = fd, .aio_buf = "aio", .aio_nbytes = 3, .aio_lio_opcode = LIO_WRITE};
	struct aiocb *blocks[2] = {&block, NULL};
	SAY(lio_listio(LIO_WAIT, blocks, 2, NULL));
#endif
	SAY(close(fd));
	SAY(close(open("wtmp", O_WRONLY | O_CREAT, 0600)));
	updwtmp("wtmp", &entry);
	SAY(truncate("wtmp", 0)); /* not written by every libc */
}

static void raw_calls(void)
{
	unsigned long long how[3] = {O_WRONLY | O_CREAT, 0600, 0};
	int fd = (int)syscall(SYS_openat, AT_FDCWD, "raw1", O_WRONLY | O_CREAT | O_EXCL, 0600);
	SAY(syscall(SYS_openat, AT_FDCWD, "raw1", O_WRONLY | O_CREAT | O_EXCL, 0600));
	SAY(syscall(SYS_write, fd, "raw", 3));
	SAY(syscall(SYS_fchmod, fd, 0640));
	SAY(syscall(SYS_close, fd));
	SAY(syscall(SYS_close, fd));
	SAY(syscall(SYS_close, syscall(437 /* openat2 */, AT_FDCWD, "raw2", how, sizeof(how))));
	SAY(syscall(437 /* openat2 */, AT_FDCWD, "raw2", NULL, sizeof(how)));
	SAY(syscall(SYS_renameat2, AT_FDCWD, "raw1", AT_FDCWD, "raw3", 1));
	SAY(syscall(SYS_renameat2, AT_FDCWD, "raw2", AT_FDCWD, "raw3", 1));
	SAY(syscall(SYS_mkdirat, AT_FDCWD, "raw-dir", 0755));
	SAY(syscall(SYS_unlinkat, AT_FDCWD, "raw-dir", AT_REMOVEDIR));
	SAY(syscall(SYS_linkat, AT_FDCWD, "raw3", AT_FDCWD, "raw4", 0));
	SAY(syscall(SYS_symlinkat, "text", AT_FDCWD, "raw5"));
	SAY(syscall(SYS_gettid) == syscall(SYS_getpid));
	SAY(syscall(-1));
	SAY(syscall(100000, 1, 2, 3));
	char *map = (char *)syscall(
		SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SAY(map != MAP_FAILED && map[100] == 0);
}

static void processes(void)
{
	char *argv[] = {"true", NULL};
	int status = 0;
	pid_t pid = fork();
	if (pid == 0) {
		_exit(3);
	}
	SAY(waitpid(pid, &status, 0) == pid);
	SAY(status);
	SAY(posix_spawnp(&pid, "true", NULL, NULL, argv, environ));
	SAY(waitpid(pid, &status, 0) == pid);
	SAY(posix_spawn(&pid, "/nonexistent", NULL, NULL, argv, environ));
	SAY(posix_spawnp(NULL, "true", NULL, NULL, argv, environ));
	SAY(wait(&status) > 0);
	pid = vfork();
	if (pid == 0) {
		_exit(4);
	}
	SAY(waitpid(pid, &status, 0) == pid);
	SAY(status);
	SAY(system("exit 5"));
}

int main(void)
{
	umask(022);
	opening();
	streams();
	writing();
	names();
	metadata();
	descriptors();
	sockets();
	rarities();
	raw_calls();
	processes();
	fwrite(report, 1, report_len, stdout);
	return 0;
}
