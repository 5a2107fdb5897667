/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the case and runs it; what the cases share. */
#include "adversary.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

_Noreturn void impossible(void)
{
	_exit(77);
}

void must(bool worked)
{
	if (!worked) {
		perror("adversary");
		_exit(99);
	}
}

void put(int fd, const char *text)
{
	must(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

int make(const char *path, const char *text)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
	must(fd >= 0);
	put(fd, text);
	return fd;
}

int again(const char *path)
{
	int fd = open(path, O_RDWR);
	must(fd >= 0);
	return fd;
}

void have(const char *path)
{
	close(make(path, "a line\n"));
}

void have_file(void)
{
	have("f");
}

void have_files(void)
{
	have("f");
	close(make("g", "another\n"));
}

void have_directory(void)
{
	must(mkdir("d", 0755) == 0);
	have("d/f");
}

void have_both_sides(void)
{
	have("f");
	have("../outside/f");
}

_Noreturn void killed(void)
{
	raise(SIGKILL);
	_exit(99);
}

void later(void)
{
	usleep(15000);
}

void finished(int pid)
{
	int status;
	must(pid > 0 && waitpid(pid, &status, 0) == pid);
}

_Noreturn void run_shell(const char *command)
{
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(99);
}

static const struct adverse *const tables[] = {
	ends, descriptors, maps, children, names, metadata, contents, raw};

static const struct adverse *find(const char *name)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		for (const struct adverse *it = tables[i]; it->name; it++) {
			if (!name) {
				(void)puts(it->name);
			} else if (strcmp(it->name, name) == 0) {
				return it;
			}
		}
	}
	return NULL;
}

static _Noreturn void write_inherited(int fd)
{
	later();
	later();
	put(fd, "inherited");
	killed();
}

int main(int argc, char **argv)
{
	if (argc == 2 && atoi(argv[1])) {
		write_inherited(atoi(argv[1]));
	}
	const struct adverse *it = find(argc > 1 ? argv[1] : NULL);
	if (argc == 1) {
		return 0;
	}
	if (!it) {
		return 2;
	}
	if (argc == 2) {
		it->act();
	} else if (it->before) {
		it->before();
	}
	return 0;
}
