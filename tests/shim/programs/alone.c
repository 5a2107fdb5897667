/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alone [VERB NAME [NAME]]…: changes files one after the other; linked statically.
 *
 *   write append mkdir remove rmdir chmod: one name; rename link symlink: two; sleep: milliseconds;
 *   later: the rest happens in a child that outlives this process
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int put(const char *name, int flags)
{
	int fd = open(name, O_WRONLY | O_CREAT | flags, 0644);
	int r = fd < 0 || write(fd, "alone\n", 6) != 6 || close(fd) < 0;
	return r;
}

static int rest(const char *milliseconds)
{
	long ms = strtol(milliseconds, NULL, 10);
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};
	return nanosleep(&time, NULL);
}

static int one(const char *verb, const char *name)
{
	return strcmp(verb, "write") == 0    ? put(name, O_TRUNC)
	       : strcmp(verb, "append") == 0 ? put(name, O_APPEND)
	       : strcmp(verb, "mkdir") == 0  ? mkdir(name, 0755)
	       : strcmp(verb, "remove") == 0 ? unlink(name)
	       : strcmp(verb, "rmdir") == 0  ? rmdir(name)
	       : strcmp(verb, "chmod") == 0  ? chmod(name, 0600)
	       : strcmp(verb, "sleep") == 0  ? rest(name)
					     : -2;
}

static int two(const char *verb, const char *a, const char *b)
{
	return strcmp(verb, "rename") == 0    ? rename(a, b)
	       : strcmp(verb, "link") == 0    ? link(a, b)
	       : strcmp(verb, "symlink") == 0 ? symlink(a, b)
					      : -2;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc;) {
		if (strcmp(argv[i], "later") == 0) {
			if (fork() != 0) {
				return 0;
			}
			i++;
			continue;
		}
		int r = i + 1 < argc ? one(argv[i], argv[i + 1]) : -1;
		if (r == -2) {
			r = i + 2 < argc ? two(argv[i], argv[i + 1], argv[i + 2]) : -1;
			i++;
		}
		if (r) {
			perror(argv[i]);
			return 1;
		}
		i += 2;
	}
	return 0;
}
