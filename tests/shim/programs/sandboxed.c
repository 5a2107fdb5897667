/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandboxed HOW ENTRY DIRECTORY: changes files in DIRECTORY (absolute) from inside a sandbox that
 * kills for every call that this program itself does not make.
 *
 *   HOW     strict, narrow (what is needed here), wide (all but a few), refused (no filter at all),
 *           none (does not enter one), or: exec, fork, spawn (runs itself inside, with none)
 *   ENTRY   prctl, syscall
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#endif
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define PERMIT(number)                                                                             \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                       \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL(number)                                                                               \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                       \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

/* Absent where the machine is younger than the call. */
#ifndef SYS_open
#define SYS_open   SYS_openat
#define SYS_unlink SYS_unlinkat
#define SYS_rename SYS_renameat2
#endif
#if defined(__x86_64__)
#define THIS_MACHINE AUDIT_ARCH_X86_64
#else
#define THIS_MACHINE AUDIT_ARCH_AARCH64
#endif

static struct sock_filter narrow[] = {LOAD(nr), PERMIT(SYS_write), PERMIT(SYS_close),
	PERMIT(SYS_openat), PERMIT(SYS_unlinkat), PERMIT(SYS_exit_group), PERMIT(SYS_open),
	PERMIT(SYS_unlink), PERMIT(SYS_rename), PERMIT(SYS_renameat2), PERMIT(SYS_renameat),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};

/* As real ones do, it looks at arguments too. */
static struct sock_filter wide[] = {LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_MACHINE, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS), LOAD(nr), KILL(SYS_ptrace),
	KILL(SYS_mount), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3), LOAD(args[0]),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 16, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};

/* What a linker and this program need is let through, what the shim calls is not. */
static struct sock_filter heirs[] = {LOAD(nr), KILL(SYS_fcntl), KILL(SYS_readlinkat),
	KILL(SYS_statx), KILL(SYS_getcwd), KILL(SYS_ppoll), KILL(SYS_fstat), KILL(SYS_getpid),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};

static bool has_heir(const char *how)
{
	return strcmp(how, "exec") == 0 || strcmp(how, "fork") == 0 || strcmp(how, "spawn") == 0;
}

/* Returns how it ended. */
static int run_heir(const char *how, char *program, char *directory)
{
	char none[] = "none";
	char *argv[] = {program, none, none, directory, NULL};
	int status = 0;
	pid_t pid = 0;
	if (strcmp(how, "spawn") == 0) {
		if (posix_spawn(&pid, program, NULL, NULL, argv, environ) != 0) {
			return 6;
		}
	} else if (strcmp(how, "exec") == 0 || (pid = fork()) == 0) {
		execv(program, argv);
		_exit(7);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 8;
}

static int enter(const char *how, bool by_number)
{
	struct sock_fprog program = {sizeof(narrow) / sizeof(narrow[0]), narrow};
	if (strcmp(how, "wide") == 0) {
		program = (struct sock_fprog){sizeof(wide) / sizeof(wide[0]), wide};
	}
	if (has_heir(how)) {
		program = (struct sock_fprog){sizeof(heirs) / sizeof(heirs[0]), heirs};
	}
	void *filter = strcmp(how, "refused") == 0 ? NULL : &program;
	if (strcmp(how, "strict") == 0) {
		return by_number ? (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL)
				 : prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0);
	}
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return by_number ? (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter)
			 : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0);
}

int main(int argc, char **argv)
{
	char paths[4][4096];
	static const char *const names[] = {"written", "removed", "opened", "renamed"};
	for (int i = 0; i < 4; i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", argv[3], names[i]);
	}
	bool by_number = strcmp(argv[2], "syscall") == 0, strict = strcmp(argv[1], "strict") == 0;
	if (has_heir(argv[1])) {
		return enter(argv[1], by_number) < 0 ? 2 : run_heir(argv[1], argv[0], argv[3]);
	}
	int fd = open(paths[0], O_WRONLY | O_CREAT, 0600);
	close(open(paths[1], O_WRONLY | O_CREAT, 0600));
	bool enters = strcmp(argv[1], "none") != 0;
	if (fd < 0 ||
		(enters && (enter(argv[1], by_number) < 0) != (strcmp(argv[1], "refused") == 0))) {
		return 2;
	}
	if (write(fd, "inside\n", 7) != 7) {
		return 3;
	}
	if (!strict) {
		int second = open(paths[2], O_WRONLY | O_CREAT, 0600);
		bool done =
			write(second, "inside\n", 7) == 7 && close(second) == 0 && close(fd) == 0;
		done = done && unlink(paths[1]) == 0 && rename(paths[2], paths[3]) == 0;
		if (!done) {
			return 4;
		}
	}
	syscall(strict ? SYS_exit : SYS_exit_group, 0);
	return 5;
}
