/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror-trace: becomes a program that no shim can be in, with its file calls told to a tracer.
 *
 *   mirror-trace SOCKET p|v PROGRAM ARGV0 [ARGUMENT…]      put in front by the shim's exec
 *   mirror-trace --run COMMAND [ARGUMENT…]                 the first exec of `mirrorctl run`, with
 * a shim behind it that looks at COMMAND
 *
 * Installs a filter whose listener it hands to `mirrorctl run --trace`, which waits at the abstract
 * SOCKET, and execs.  What goes wrong on the way is no reason not to run the program: it is looked
 * after by the poster anyway.  p: PROGRAM is looked for in $PATH.
 */
#include <errno.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/raw.h"

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#else
#define OWN_ARCH AUDIT_ARCH_AARCH64
#endif
#define CHANGING (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)
#define ROOM     256

struct code {
	struct sock_filter lines[ROOM];
	unsigned short count;
};

static void line(struct code *code, struct sock_filter it)
{
	code->lines[code->count++] = it;
}

/* The call of that number ends with this verdict. */
static void rule(struct code *code, unsigned number, unsigned verdict)
{
	line(code, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
	line(code, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict));
}

/* Opening only to read is nobody's business. */
static void rule_open(struct code *code, unsigned number, unsigned flags)
{
	unsigned at = (unsigned)offsetof(struct seccomp_data, args) + flags * 8;
	line(code, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4));
	line(code, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at));
	line(code, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CHANGING, 1, 0));
	line(code, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	line(code, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
}

static void write_code(struct code *code)
{
	unsigned arch = offsetof(struct seccomp_data, arch), nr = offsetof(struct seccomp_data, nr);
	line(code, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, arch));
	line(code, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0));
	line(code, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	line(code, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, nr));
	rule(code, SYS_io_uring_setup, SECCOMP_RET_ERRNO | ENOSYS);
	rule_open(code, SYS_openat, 2);
#if defined(SYS_open)
	rule_open(code, SYS_open, 1);
#endif
#define TRACED(call, ...) rule(code, SYS_##call, SECCOMP_RET_USER_NOTIF);
#include "core/traced.def"
	line(code, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

/* Returns the listener or -errno; -EBUSY: there is one already. */
static int install(void)
{
	static struct code code;
	write_code(&code);
	struct sock_fprog program = {code.count, code.lines};
	unsigned listener = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		return -errno;
	}
	/* A program that is interrupted by its own signals all the time (Go) gets on with this one.
	 */
	long fd = raw_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		listener | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
	if (fd == -EINVAL) {
		fd = raw_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, listener, &program);
	}
	return (int)fd;
}

static int connect_to(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(name);
	if (len + 1 > sizeof(address.sun_path)) {
		return -1;
	}
	memcpy(address.sun_path + 1, name, len);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, size) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Hands the listener over, and waits until the tracer has it. */
static void hand_over(int to, int listener)
{
	char byte = 1;
	struct iovec part = {&byte, 1};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	memcpy(CMSG_DATA(&control.header), &listener, sizeof(listener));
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.bytes)};
	if (sendmsg(to, &message, MSG_NOSIGNAL) == 1) {
		(void)!read(to, &byte, 1);
	}
}

/* Not libc's, behind which a shim would put us in front once more. */
static void run(const char *path, char **argv)
{
	extern char **environ;
	long r = raw_call(SYS_execve, path, argv, environ);
	errno = (int)-r;
}

static void run_in_path(const char *name, char **argv)
{
	const char *path = getenv("PATH");
	char whole[PATH_MAX];
	for (path = path ? path : "/bin:/usr/bin"; *path; path += *path == ':') {
		size_t len = strcspn(path, ":");
		if ((size_t)snprintf(whole, sizeof(whole), "%.*s%s%s", (int)len, path,
			    len ? "/" : "", name) < sizeof(whole)) {
			run(whole, argv);
		}
		path += len;
	}
}

static int run_first(char **argv)
{
	(void)execvp(argv[0], argv);
	(void)fprintf(stderr, "mirrorctl: run '%s': %s\n", argv[0], strerror(errno));
	return errno == ENOENT ? 127 : 126;
}

/* For a person who has found this program; its own callers pass more. */
static int explain(const char *option)
{
	if (strcmp(option, "--version") == 0 || strcmp(option, "-V") == 0) {
		return printf("mirror-trace (treemirror) %s\n", TREEMIRROR_VERSION) < 0;
	}
	bool help = strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0;
	(void)fputs("usage: mirrorctl run --trace -- CMD [ARGUMENT…]\n\n"
		    "mirror-trace is a part of that, and nothing to be run by itself.\n",
		help ? stdout : stderr);
	return help ? 0 : 2;
}

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "--run") == 0) {
		return run_first(argv + 2);
	}
	if (argc < 5) {
		return explain(argc > 1 ? argv[1] : "");
	}
	int tracer = connect_to(argv[1]);
	if (tracer >= 0) {
		int listener = install();
		if (listener >= 0) {
			hand_over(tracer, listener);
			close(listener);
		}
		close(tracer);
	}
	bool search = argv[2][0] == 'p' && !strchr(argv[3], '/');
	(search ? run_in_path : run)(argv[3], argv + 4);
	(void)fprintf(stderr, "mirror-trace: run %s: %s\n", argv[3], strerror(errno));
	return errno == ENOENT ? 127 : 126;
}
