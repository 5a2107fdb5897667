/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trust WORK: what the shim has learnt about descriptors and directories stops being true, by calls
 * that it sees and by calls that it cannot see.  The files that change are named after the case.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* As a library does that has system calls of its own. */
static long unseen(long number, long a, long b, long c, long d)
{
#if defined(__x86_64__)
	long result;
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
#else
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
#endif
}

static void make(const char *name)
{
	close(open(name, O_CREAT | O_WRONLY, 0600));
}

static void working_directory(const char *work)
{
	int above = open(work, O_RDONLY | O_DIRECTORY);
	make("a/chdir-1");
	if (chdir("a") == 0 && unlink("chdir-1") == 0 && chdir("../b") == 0) {
		make("chdir-2");
	}
	if (fchdir(above) == 0 && syscall(SYS_chdir, "a") == 0) {
		make("chdir-3");
	}
	if (chdir(work) == 0) {
		make("chdir-4");
	}
	if (chdir("c") == 0) { /* a name in it moves, then it itself */
		make("moved-1");
		(void)rename("moved-1", "moved-2");
		make("moved-3");
		(void)rename("../c", "../d");
		make("moved-4");
	}
	(void)fchdir(above);
	close(above);
}

static void directories(void)
{
	make("a/dirfd-1"), make("b/dirfd-2"), make("a/dirfd-3"), make("b/dirfd-4");
	int dir = open("a", O_RDONLY | O_DIRECTORY);
	unlinkat(dir, "dirfd-1", 0);
	close(dir);
	dir = open("b", O_RDONLY | O_DIRECTORY);
	unlinkat(dir, "dirfd-2", 0);
	close(dir);
	DIR *stream = fdopendir(open("a", O_RDONLY | O_DIRECTORY));
	unlinkat(dirfd(stream), "dirfd-3", 0);
	closedir(stream);
	stream = opendir("b");
	unlinkat(dirfd(stream), "dirfd-4", 0);
	closedir(stream);
}

static int remove_here(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return type == FTW_F && strncmp(path + at->base, "walk-", 5) == 0 ? unlink(path + at->base)
									  : 0;
}

static void *elsewhere(void *work)
{
	if (unshare(CLONE_FS) == 0 && chdir("b") == 0) {
		make("thread-1");
	}
	return work;
}

static void thread(void)
{
	pthread_t other;
	make("thread-0");
	if (pthread_create(&other, NULL, elsewhere, NULL) == 0) {
		pthread_join(other, NULL);
	}
	make("thread-2");
}

/* The number of a descriptor that was seen to be read-only comes back as another's. */
static void numbers(void)
{
	make("unseen-1"), make("unseen-2");
	int fd = open("unseen-1", O_RDONLY);
	unseen(SYS_close, fd, 0, 0, 0);
	if (open("unseen-1", O_RDONLY) == fd) {
		unseen(SYS_close, fd, 0, 0, 0);
		long again = unseen(SYS_openat, AT_FDCWD, (long)"unseen-2", O_WRONLY, 0);
		(void)!write((int)again, "x", 1);
		close((int)again);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2 || chdir(argv[1]) < 0 || mkdir("a", 0700) < 0 || mkdir("b", 0700) < 0 ||
		mkdir("c", 0700) < 0) {
		return 1;
	}
	working_directory(argv[1]);
	directories();
	if (fork() == 0) {
		thread();
		_exit(0);
	}
	(void)wait(NULL);
	make("a/walk-1"), make("b/walk-2");
	(void)nftw(".", remove_here, 8, FTW_CHDIR | FTW_PHYS);
	make("walk-3");
	numbers();
	return 0;
}
