/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that are copied, replaced, closed in heaps, or closed where nobody looks. */
#include "adversary.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void copy_written(void)
{
	int fd = again("f"), copy = dup(fd);
	close(fd);
	later();
	put(copy, "x");
	_exit(0);
}
static void replaced(void)
{
	int fd = again("f"), other = again("g");
	put(fd, "x");
	must(dup2(other, fd) == fd);
	close(other);
	later();
	put(fd, "y");
	killed();
}
static void replaced_by_dup3(void)
{
	int fd = again("f");
	must(dup3(fd, 40, O_CLOEXEC) == 40);
	close(fd);
	later();
	put(40, "x");
	killed();
}
static void by_fcntl(void)
{
	int copy = fcntl(again("f"), F_DUPFD, 50);
	later();
	put(copy, "x");
	killed();
}
static void by_fcntl_then_exec(void)
{
	int copy = fcntl(again("f"), F_DUPFD_CLOEXEC, 50);
	later();
	put(copy, "x");
	run_shell("exit 0");
}
static void closed_in_range(void)
{
	put(again("f"), "x");
	must(syscall(SYS_close_range, 3, ~0u, 0) == 0);
	later();
}
static void closed_from(void)
{
	put(again("f"), "x");
	closefrom(3);
	later();
	int fd = again("g");
	put(fd, "y");
	_exit(0);
}
static void range_on_exec(void)
{
	int fd = again("f");
	close_range(3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
	later();
	put(fd, "x");
	run_shell("exit 0");
}
static void daemonised(void)
{
	int fd = again("f");
	must(daemon(1, 0) == 0);
	later();
	put(fd, "x");
	later();
	have("n");
	_exit(0);
}
/* A number is closed behind libc's back, and used again. */
static void number_reused(void)
{
	int fd = again("f");
	put(fd, "x");
	syscall(SYS_close, fd);
	int other = again("g");
	later();
	put(other, "y");
	killed();
}

#if defined(__x86_64__)
static long bare(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}
#else
static long bare(long number, long a, long b, long c)
{
	impossible();
}
#endif

static void bare_close(void)
{
	int fd = again("f");
	put(fd, "x");
	bare(SYS_close, fd, 0, 0);
	later();
}
static void bare_write(void)
{
	int fd = again("f");
	later();
	bare(SYS_write, fd, (long)"bare", 4);
	close(fd);
}
static void bare_write_then_killed(void)
{
	int fd = again("f");
	later();
	bare(SYS_write, fd, (long)"bare", 4);
	killed();
}
/* As "bare-write", at once, and of the same length. */
static void bare_overwrite(void)
{
	int fd = again("f");
	bare(SYS_write, fd, (long)"b", 1);
	close(fd);
}
static void bare_number_reused(void)
{
	int fd = again("f");
	put(fd, "x");
	bare(SYS_close, fd, 0, 0);
	int other = again("g");
	put(other, "y");
	later();
	close(other);
}
static void bare_open(void)
{
	long fd = bare(SYS_open, (long)"n", O_WRONLY | O_CREAT, 0644);
	bare(SYS_write, fd, (long)"bare", 4);
	bare(SYS_close, fd, 0, 0);
}
static void bare_rename(void)
{
	must(bare(SYS_rename, (long)"f", (long)"n", 0) == 0);
}
static void bare_copy(void)
{
	long copy = bare(SYS_dup, again("f"), 0, 0);
	later();
	put((int)copy, "x");
	_exit(0);
}

/* ---- from one process to another ---------------------------------------------------------- */

static void send_descriptor(int socket, int fd)
{
	char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	must(sendmsg(socket, &message, 0) == 1);
}
static int receive_descriptor(int socket, bool many)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec part = {&byte, 1};
	struct mmsghdr batch = {.msg_hdr = {.msg_iov = &part,
					.msg_iovlen = 1,
					.msg_control = control,
					.msg_controllen = sizeof(control)}};
	int fd = -1;
	must(many ? recvmmsg(socket, &batch, 1, 0, NULL) == 1
		  : recvmsg(socket, &batch.msg_hdr, 0) == 1);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&batch.msg_hdr)), sizeof(fd));
	return fd;
}
static void sent(bool many, bool closes)
{
	int sockets[2];
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
	int child = fork();
	if (child == 0) {
		int fd = receive_descriptor(sockets[1], many);
		later();
		later();
		put(fd, "sent");
		if (closes) {
			close(fd);
		}
		_exit(0);
	}
	int fd = again("f");
	send_descriptor(sockets[0], fd);
	close(fd);
	finished(child);
}
static void sent_and_closed(void)
{
	sent(false, true);
}
static void sent_and_left_open(void)
{
	sent(false, false);
}
static void sent_in_a_batch(void)
{
	sent(true, false);
}

static void taken_from_a_child(void)
{
	int child = fork();
	if (child == 0) {
		dup2(again("f"), 60);
		pause();
	}
	int process = (int)syscall(434 /* pidfd_open */, child, 0), fd = -1;
	for (int tries = 0; fd < 0 && tries < 100; tries++) {
		later();
		fd = (int)syscall(438 /* pidfd_getfd */, process, 60, 0);
	}
	kill(child, 9);
	finished(child);
	if (fd < 0) {
		impossible();
	}
	later();
	put(fd, "taken");
	_exit(0);
}

const struct adverse descriptors[] = {
	{"copy-written", have_file, copy_written},
	{"replaced", have_files, replaced},
	{"replaced-by-dup3", have_file, replaced_by_dup3},
	{"by-fcntl", have_file, by_fcntl},
	{"by-fcntl-then-exec", have_file, by_fcntl_then_exec},
	{"closed-in-range", have_file, closed_in_range},
	{"closed-from", have_files, closed_from},
	{"range-on-exec", have_file, range_on_exec},
	{"daemonised", have_file, daemonised},
	{"number-reused", have_files, number_reused},
	{"bare-close", have_file, bare_close},
	{"bare-write", have_file, bare_write},
	{"bare-write-then-killed", have_file, bare_write_then_killed},
	{"bare-overwrite", have_file, bare_overwrite},
	{"bare-number-reused", have_files, bare_number_reused},
	{"bare-open", NULL, bare_open},
	{"bare-rename", have_file, bare_rename},
	{"bare-copy", have_file, bare_copy},
	{"sent-and-closed", have_file, sent_and_closed},
	{"sent-and-left-open", have_file, sent_and_left_open},
	{"sent-in-a-batch", have_file, sent_in_a_batch},
	{"taken-from-a-child", have_file, taken_from_a_child},
	{NULL, NULL, NULL},
};
