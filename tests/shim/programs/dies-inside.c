/* SPDX-License-Identifier: Apache-2.0 */
/* A libc in which mkstemp() and mkdtemp() are the last thing that a process does. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *made_up(char *path)
{
	static const char made[] = "MadeUp";
	char *x = strstr(path, "XXXXXX");
	for (int i = 0; x && made[i]; i++) {
		x[i] = made[i];
	}
	return path;
}

int mkstemp(char *path)
{
	int fd = open(made_up(path), O_RDWR | O_CREAT | O_EXCL, 0600);
	(void)write(fd, "x", 1);
	kill(getpid(), SIGKILL);
	return fd;
}

char *mkdtemp(char *path)
{
	(void)mkdir(made_up(path), 0700);
	kill(getpid(), SIGKILL);
	return path;
}
