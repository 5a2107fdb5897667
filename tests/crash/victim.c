/* SPDX-License-Identifier: Apache-2.0 */
/*
 * victim SEED [OWN]: writes to files in the working directory, in every way there is, until
 * somebody kills it.  Many at once share a few names; what fails because another was there first is
 * passed over.
 *
 * With OWN it writes to the files that are in ownOWN/ already, and changes no name: then nothing
 * but its intents says that something has changed.
 *
 * Nothing here ends in order: files stay open, streams are not flushed, maps are stored to after
 * their descriptor is closed, children outlive their parents (the group is killed later).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELD_MAX 16

extern char **environ;
static uint64_t seed;
static const char *own;
static int held[HELD_MAX];
static FILE *streams[HELD_MAX];
static char bytes[20000];

static uint64_t below(uint64_t limit)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % limit;
}

/* Its own, or of a few, so that victims meet. */
static const char *name(void)
{
	static char names[4][64];
	static unsigned next;
	char *it = names[next++ % 4];
	if (own) {
		(void)snprintf(it, sizeof(names[0]), "own%s/f%u", own, (unsigned)below(4));
	} else {
		(void)snprintf(
			it, sizeof(names[0]), "d%u/f%u", (unsigned)below(3), (unsigned)below(12));
	}
	return it;
}

static size_t some_bytes(void)
{
	size_t len = 1 + below(below(4) ? 300 : sizeof(bytes) - 1);
	memset(bytes, 'a' + (int)below(26), len);
	return len;
}

static void pause_a_little(void)
{
	if (below(3) == 0) {
		usleep((useconds_t)below(2000));
	}
}

/* Some are kept open, to the end or until their place is taken. */
static void keep(int fd)
{
	int *place = &held[below(HELD_MAX)];
	if (*place > 2) {
		close(*place);
	}
	*place = fd;
}

static void write_some(int fd)
{
	for (uint64_t i = below(4) + 1; i > 0; i--) {
		size_t len = some_bytes();
		(void)!write(fd, bytes, len);
		pause_a_little();
	}
}

/* ---- ways to write ----------------------------------------------------------------------- */

static void overwrite(void)
{
	int fd = open(name(), O_WRONLY | O_CREAT | (below(2) ? O_TRUNC : 0), 0644);
	if (fd >= 0) {
		(void)lseek(fd, (off_t)below(5000), SEEK_SET);
		write_some(fd);
		keep(fd);
	}
}

static void append(void)
{
	int fd = open(name(), O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (fd >= 0) {
		write_some(fd);
		keep(fd);
	}
}

static void write_at(void)
{
	int fd = open(name(), O_RDWR);
	if (fd >= 0) {
		struct iovec parts[2] = {{bytes, some_bytes()}, {bytes, 7}};
		(void)!pwrite(fd, bytes, parts[0].iov_len, (off_t)below(5000));
		(void)!pwritev(fd, parts, 2, (off_t)below(5000));
		if (below(3) == 0) {
			(void)!ftruncate(fd, (off_t)below(8000));
		}
		keep(fd);
	}
}

static void stream(void)
{
	static const char *const modes[] = {"w", "a", "r+", "w+"};
	FILE *file = fopen(name(), modes[below(4)]);
	FILE **place = &streams[below(HELD_MAX)];
	if (!file) {
		return;
	}
	for (uint64_t i = below(50); i > 0; i--) {
		(void)fprintf(file, "%u line %u\n", (unsigned)i, (unsigned)seed);
	}
	if (below(3) == 0) {
		(void)fflush(file);
	}
	if (*place) {
		(void)fclose(*place);
	}
	*place = file;
}

static void map(void)
{
	int fd = open(name(), O_RDWR | O_CREAT, 0644);
	if (fd < 0 || ftruncate(fd, 8192) < 0) {
		close(fd);
		return;
	}
	char *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (below(2)) {
		keep(fd);
	} else {
		close(fd);
	}
	for (uint64_t i = 0; at != MAP_FAILED && i < 5; i++) {
		if (below(2)) {
			pause_a_little();
		}
		/* Another may have cut it: that SIGBUS is a way to die like any other. */
		memset(at + below(8000), 'A' + (int)below(26), below(190) + 1);
	}
}

static void replace(void)
{
	char temporary[] = "d0/tmp-XXXXXX";
	int fd = mkstemp(temporary);
	if (fd >= 0) {
		write_some(fd);
		if (below(3)) {
			(void)rename(temporary, name());
		}
		write_some(fd);
		keep(fd);
	}
}

static void rename_open(void)
{
	const char *from = name(), *to = name();
	int fd = open(from, O_WRONLY | O_CREAT, 0644);
	if (fd >= 0) {
		write_some(fd);
		(void)rename(from, to);
		write_some(fd);
		keep(fd);
	}
}

static void rename_directory(void)
{
	int fd = open("d1/in-moved", O_WRONLY | O_CREAT | O_APPEND, 0644);
	(void)rename("d1", "moved");
	if (fd >= 0) {
		write_some(fd);
		keep(fd);
	}
	(void)rename("moved", "d1");
	(void)mkdir("d1", 0755);
}

static void nameless(void)
{
	char link[64];
	int fd = open("d2", O_TMPFILE | O_RDWR, 0644);
	if (fd < 0) {
		return;
	}
	write_some(fd);
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	(void)linkat(AT_FDCWD, link, AT_FDCWD, name(), AT_SYMLINK_FOLLOW);
	write_some(fd);
	keep(fd);
}

static void copy(void)
{
	int in = open(name(), O_RDONLY), out = open(name(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (in >= 0 && out >= 0) {
		(void)!(below(2) ? copy_file_range(in, NULL, out, NULL, 9000, 0)
				 : sendfile(out, in, NULL, 9000));
	}
	if (in >= 0) {
		close(in);
	}
	if (out >= 0) {
		keep(out);
	}
}

static void names(void)
{
	const char *one = name(), *two = name();
	switch (below(6)) {
	case 0:
		(void)unlink(one);
		break;
	case 1:
		(void)link(one, two);
		break;
	case 2:
		(void)symlink("f1", one);
		break;
	case 3:
		(void)chmod(one, below(2) ? 0600 : 0644);
		break;
	case 4:
		(void)truncate(one, (off_t)below(6000));
		break;
	default:
		(void)rename(one, two);
		break;
	}
}

/* ---- who writes -------------------------------------------------------------------------- */

static void child(void)
{
	int fd = open(name(), O_WRONLY | O_CREAT | O_APPEND, 0644);
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 100; i++) {
			write_some(fd);
			append();
		}
		_exit(0);
	}
	keep(fd);
}

static void shell(void)
{
	static char sh[] = "sh", option[] = "-c";
	static char script[] = "echo a >> d0/f1; { echo b; sleep 0.01; echo c; } > d1/f2; "
			       "exec 3>> d2/f3; echo d >&3; sleep 1";
	char *argv[] = {sh, option, script, NULL};
	pid_t pid;
	(void)posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ);
}

static void spawn_with_descriptor(void)
{
	static char sh[] = "sh", option[] = "-c", script[] = "echo x; sleep 0.005; echo y; sleep 1";
	char *argv[] = {sh, option, script, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int fd = open(name(), O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (fd < 0 || posix_spawn_file_actions_init(&actions) != 0) {
		return;
	}
	(void)posix_spawn_file_actions_adddup2(&actions, fd, 1);
	(void)posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	keep(fd);
}

static void copy_descriptor(void)
{
	int fd = open(name(), O_WRONLY | O_CREAT, 0644);
	int second = fd < 0 ? -1 : dup(fd);
	if (second >= 0) {
		close(fd);
		write_some(second);
		keep(dup2(second, 100 + (int)below(20)));
		keep(second);
	}
}

static void *in_thread(void *arg)
{
	int fd = (int)(intptr_t)arg;
	static char text[500] = "thread";
	for (int i = 0; i < 20; i++) {
		(void)!write(fd, text, sizeof(text));
		usleep(100);
	}
	return NULL;
}

static void threads(void)
{
	pthread_t thread;
	int fd = open(name(), O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (fd >= 0 && pthread_create(&thread, NULL, in_thread, (void *)(intptr_t)fd) == 0) {
		pthread_detach(thread);
	}
}

static void (*const writing[])(void) = {overwrite, append, write_at, stream, stream, map, child,
	spawn_with_descriptor, copy_descriptor, threads};
static void (*const naming[])(void) = {
	replace, rename_open, rename_directory, nameless, copy, names, names, shell};
#define WRITING (sizeof(writing) / sizeof(writing[0]))
#define NAMING  (sizeof(naming) / sizeof(naming[0]))

static void (*any_way(void))(void)
{
	uint64_t way = below(own ? WRITING : WRITING + NAMING);
	return way < WRITING ? writing[way] : naming[way - WRITING];
}

int main(int argc, char **argv)
{
	seed = strtoull(argc > 1 ? argv[1] : "1", NULL, 10);
	own = argc > 2 ? argv[2] : NULL;
	for (int i = 0; i < 3 && !own; i++) {
		char directory[] = "d0";
		directory[1] = (char)('0' + i);
		(void)mkdir(directory, 0755);
	}
	void (*favourite)(void) = any_way();
	for (int i = 0;; i++) {
		(below(2) ? favourite : any_way())();
		if (i > 400) {
			(void)pause();
		}
		pause_a_little();
		while (waitpid(-1, NULL, WNOHANG) > 0) {
		}
	}
}
