/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child shares the program's memory as that of vfork() does, so that a large program's tables
 * of pages are not copied; it runs on a stack of its own, and the caller stands still until it has
 * ended or called exec.  It does not have SIGCHLD as its signal: no handler runs, and wait() and
 * its kin do not see it, as they are for children with that signal.  All signals are blocked
 * meanwhile: no handler may run twice in one memory.
 */
#include "aside.h"

#include <asm/signal.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/wait.h>
#include <stddef.h>
#include <stdint.h>

#include "core/raw.h"
#include "sandbox.h"

#define ALIKE (CLONE_VM | CLONE_VFORK | CLONE_UNTRACED)

bool aside_is_safe(void)
{
	return own_call(SYS_prctl, PR_GET_SECCOMP) == 0;
}

static __attribute__((noreturn)) void leave(void)
{
	for (;;) {
		raw_call(SYS_exit, 0);
	}
}

struct task {
	void (*body)(void *);
	void *argument;
};

static __attribute__((noreturn)) void begin(const struct task *task)
{
	task->body(task->argument);
	leave();
}

/* In assembler, as no frame may be left by both. */
static long start(const struct task *task, char *stack)
{
	char *top = stack + ASIDE_STACK_BYTES;
#if defined(__x86_64__)
	long result;
	register void (*r8)(const struct task *) __asm__("r8") = begin; /* clone's fifth, unused */
	register const struct task *r9 __asm__("r9") = task;
	register long r10 __asm__("r10") = 0;
	__asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n"
			 "xor %%ebp, %%ebp\n mov %%r9, %%rdi\n call *%%r8\n ud2\n1:"
			 : "=a"(result)
			 : "a"(SYS_clone), "D"(ALIKE), "S"(top), "d"(0), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = SYS_clone;
	register long x0 __asm__("x0") = ALIKE;
	register char *x1 __asm__("x1") = top;
	register long x2 __asm__("x2") = 0;
	register long x3 __asm__("x3") = 0;
	register long x4 __asm__("x4") = 0;
	register void (*x9)(const struct task *) __asm__("x9") = begin;
	register const struct task *x10 __asm__("x10") = task;
	__asm__ volatile("svc #0\n cbnz x0, 1f\n"
			 "mov x29, xzr\n mov x0, x10\n blr x9\n brk #1\n1:"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x9), "r"(x10)
			 : "memory");
	return x0;
#endif
}

void aside_start(void (*body)(void *), void *argument, char *stack)
{
	(void)start(&(struct task){body, argument}, stack);
}

void aside_run(void (*body)(void *), void *argument, char *stack)
{
	uint64_t all = ~UINT64_C(0), before = 0;
	if (raw_failed(raw_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all)))) {
		return;
	}
	long child = start(&(struct task){body, argument}, stack);
	if (!raw_failed(child)) {
		raw_call(SYS_wait4, child, NULL, __WCLONE, NULL);
	}
	raw_call(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
}
