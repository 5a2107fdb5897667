/* SPDX-License-Identifier: Apache-2.0 */
/* ends HOW FILE: writes and ends without closing, in many ways. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int fd;

static void put(const char *text)
{
	if (write(fd, text, strlen(text)) < 0) {
		abort();
	}
}

static void *leave(void *ignored)
{
	(void)ignored;
	put("thread");
	syscall(SYS_exit_group, 0);
	return NULL;
}

/* Stays behind in a child that nobody waits for, writes late, and is killed. */
static void late_child(void)
{
	if (fork() == 0) {
		usleep(50000);
		put("late");
		raise(SIGKILL);
	}
	close(fd);
	wait(NULL);
}

static void stream(const char *path, int kill_it)
{
	FILE *f = fopen(path, "w");
	fputs("stream", f);
	if (kill_it) {
		fflush(f);
		raise(SIGKILL);
	}
}

static void map(int store_late)
{
	if (ftruncate(fd, 4096) < 0) {
		abort();
	}
	char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	usleep(20000);
	at[store_late] = 'm';
}

static void daemonised(const char *path)
{
	FILE *f = fopen(path, "w");
	if (daemon(1, 1) == 0) {
		usleep(50000);
		fputs("daemon", f);
		fflush(f);
		raise(SIGKILL);
	}
}

/* The descriptor travels to a child that opened nothing, writes late and is killed. */
static void sent(void)
{
	int ends[2], got = -1;
	char byte = 'x', control[CMSG_SPACE(sizeof(int))];
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) {
		abort();
	}
	if (fork() == 0) {
		close(fd);
		if (recvmsg(ends[1], &message, 0) == 1) {
			memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(got));
		}
		usleep(50000);
		fd = got;
		put("sent");
		raise(SIGKILL);
	}
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	usleep(20000);
	if (sendmsg(ends[0], &message, 0) != 1) {
		abort();
	}
	close(fd);
	wait(NULL);
}

static void tmpfile_linked(const char *path)
{
	char proc[64];
	int tmp = open(".", O_TMPFILE | O_RDWR, 0600);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", tmp);
	if (write(tmp, "tmp", 3) != 3 ||
		linkat(AT_FDCWD, proc, AT_FDCWD, path, AT_SYMLINK_FOLLOW)) {
		abort();
	}
}

int main(int argc, char **argv)
{
	const char *how = argc > 2 ? argv[1] : "", *path = argc > 2 ? argv[2] : "";
	pthread_t thread;
	if (strcmp(how, "stream") == 0 || strcmp(how, "stream-kill") == 0) {
		stream(path, strcmp(how, "stream-kill") == 0);
		return 0;
	}
	if (strcmp(how, "daemon") == 0) {
		daemonised(path);
		return 0;
	}
	if (strcmp(how, "tmpfile") == 0) {
		tmpfile_linked(path);
		return 0;
	}
	fd = open(path, O_RDWR | O_CREAT, 0644);
	if (strcmp(how, "_exit") == 0) {
		put("x");
		_exit(0);
	} else if (strcmp(how, "return") == 0) {
		put("x");
	} else if (strcmp(how, "abort") == 0) {
		put("x");
		abort();
	} else if (strcmp(how, "kill") == 0) {
		put("x");
		raise(SIGKILL);
	} else if (strcmp(how, "thread") == 0) {
		pthread_create(&thread, NULL, leave, NULL);
		pthread_join(thread, NULL);
	} else if (strcmp(how, "late-child") == 0) {
		late_child();
	} else if (strcmp(how, "sent") == 0) {
		sent();
	} else if (strcmp(how, "map") == 0) {
		map(1);
	} else if (strcmp(how, "raw-fork") == 0) {
		fd = open(path, O_RDWR);
		if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0) {
			usleep(20000);
			put("raw");
			raise(SIGKILL);
		}
		wait(NULL);
	} else if (strcmp(how, "raw-write") == 0) {
		syscall(SYS_write, fd, "raw", 3);
		raise(SIGKILL);
	} else if (strcmp(how, "dup2") == 0) {
		dup2(fd, 33);
		close(fd);
		fd = 33;
		usleep(20000);
		put("dup");
		raise(SIGKILL);
	} else if (strcmp(how, "fdopen") == 0) {
		FILE *f = fdopen(fd, "w");
		fputs("x", f);
		fflush(f);
		raise(SIGKILL);
	} else if (strcmp(how, "unwritten") == 0) {
		close(open(path, O_RDWR));
		close(open(path, O_RDONLY));
	} else {
		return 2;
	}
	return 0;
}
