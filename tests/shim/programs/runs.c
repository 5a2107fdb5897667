/* SPDX-License-Identifier: Apache-2.0 */
/* runs HOW PROGRAM [ARGUMENT…]: runs the program in that way and ends as it does. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int is(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static int status_of(int error, int child)
{
	int status;
	if (error || waitpid(child, &status, 0) < 0) {
		return 120;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 121;
}

static int spawn(const char *how, char **argv)
{
	int child = 0, r;
	r = is(how, "posix_spawn") ? posix_spawn(&child, argv[0], NULL, NULL, argv, environ)
				   : posix_spawnp(&child, argv[0], NULL, NULL, argv, environ);
	return status_of(r, child);
}

static int by_vfork(char **argv)
{
	int child = vfork();
	if (child == 0) {
		execve(argv[0], argv, environ);
		_exit(122);
	}
	return status_of(child < 0, child);
}

/* With at most three arguments. */
static void listed(const char *how, char **argv)
{
	const char *a = argv[1], *b = a ? argv[2] : NULL, *c = b ? argv[3] : NULL;
	if (is(how, "execl")) {
		execl(argv[0], argv[0], a, b, c, NULL);
	} else if (is(how, "execlp")) {
		execlp(argv[0], argv[0], a, b, c, NULL);
	} else if (!a) {
		execle(argv[0], argv[0], NULL, environ);
	} else if (!b) {
		execle(argv[0], argv[0], a, NULL, environ);
	} else {
		execle(argv[0], argv[0], a, b, NULL, environ);
	}
}

/* More than fit on the stack. */
static void listed_many(char **argv)
{
	const char *x = argv[1];
	execl(argv[0], argv[0], x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x,
		x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x,
		NULL);
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		return 119;
	}
	const char *how = argv[1];
	argv += 2;
	int fd = open(argv[0], is(how, "fexecve-path") ? O_PATH : O_RDONLY);
	int directory = open("/", O_RDONLY);
	if (is(how, "execve")) {
		execve(argv[0], argv, environ);
	} else if (is(how, "execv")) {
		execv(argv[0], argv);
	} else if (is(how, "execvp")) {
		execvp(argv[0], argv);
	} else if (is(how, "execvpe")) {
		execvpe(argv[0], argv, environ);
	} else if (is(how, "execl-many")) {
		listed_many(argv);
	} else if (strncmp(how, "execl", 5) == 0) {
		listed(how, argv);
	} else if (strncmp(how, "fexecve", 7) == 0) {
		fexecve(fd, argv, environ);
	} else if (is(how, "execveat")) {
		syscall(SYS_execveat, directory, argv[0] + 1, argv, environ, 0);
	} else if (is(how, "syscall")) {
		syscall(SYS_execve, argv[0], argv, environ);
	} else if (is(how, "vfork")) {
		return by_vfork(argv);
	} else {
		return spawn(how, argv);
	}
	return errno == ENOENT ? 127 : 126;
}
