/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filter is a program; here it is walked for each number that we call, with every argument
 * unknown.  Where it looks at what is unknown, both ways must lead to ALLOW.
 */
#include "sandbox.h"

#include <linux/audit.h>
#include <linux/bpf_common.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#include "first-page.h"
#include "readable.h"
#include "record.h"
#include "sigbus.h"
#include "unseen.h"

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

FIRST_PAGE bool sandbox_closed;

/* What own_call() is used with, and what attaching to the journal and finding the unseen take. */
static const uint16_t own_numbers[] = {SYS_openat, SYS_close, SYS_fstat, SYS_newfstatat, SYS_statx,
	SYS_fcntl, SYS_ppoll, SYS_readlinkat, SYS_getcwd, SYS_getpid, SYS_getsid, SYS_getuid,
	SYS_getgid, SYS_geteuid, SYS_mmap, SYS_munmap, SYS_madvise, SYS_pread64, SYS_fgetxattr,
	SYS_kill, SYS_prctl, SYS_rt_sigprocmask, SYS_clock_gettime};

/* What a handler for SIGBUS takes; to do without costs less than to be closed. */
static const uint16_t sigbus_numbers[] = {SYS_rt_sigaction, SYS_rt_sigreturn, SYS_mmap, SYS_mremap,
	SYS_munmap, SYS_getpid, SYS_gettid, SYS_tgkill};

static const uint16_t exec_numbers[] = {SYS_execve};

#define FORKS_MAX 12 /* decisions on unknown values, one behind another */

struct walk {
	const struct sock_filter *steps;
	unsigned count;
	uint32_t number;
};

struct value {
	bool known;
	uint32_t bits;
};

static struct value loaded(const struct walk *walk, uint32_t offset)
{
	switch (offset) {
	case offsetof(struct seccomp_data, nr):
		return (struct value){true, walk->number};
	case offsetof(struct seccomp_data, arch):
		return (struct value){true, ARCHITECTURE};
	default:
		return (struct value){false, 0};
	}
}

static bool holds(uint16_t code, uint32_t bits, uint32_t k)
{
	switch (BPF_OP(code)) {
	case BPF_JEQ:
		return bits == k;
	case BPF_JGT:
		return bits > k;
	case BPF_JGE:
		return bits >= k;
	default:
		return (bits & k) != 0; /* BPF_JSET */
	}
}

static bool allows(const struct walk *walk, unsigned at, struct value value, unsigned forks)
{
	while (at < walk->count) {
		const struct sock_filter *step = &walk->steps[at++];
		switch (step->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			value = loaded(walk, step->k);
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			value.bits &= step->k;
			break;
		case BPF_RET | BPF_K:
			return (step->k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ALLOW ||
			       (step->k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_LOG;
		case BPF_JMP | BPF_JA:
			at += step->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
		case BPF_JMP | BPF_JGT | BPF_K:
		case BPF_JMP | BPF_JGE | BPF_K:
		case BPF_JMP | BPF_JSET | BPF_K:
			if (!value.known &&
				(forks == 0 || !allows(walk, at + step->jt, value, forks - 1))) {
				return false;
			}
			at += value.known && holds(step->code, value.bits, step->k) ? step->jt
										    : step->jf;
			break;
		default:
			return false; /* what no library makes: not understood here */
		}
	}
	return false;
}

static bool is_readable(const void *from, size_t bytes)
{
	const char *at = (const char *)from, *end = at + bytes;
	for (; at < end; at += 64) {
		if (!readable(at)) {
			return false;
		}
	}
	return bytes == 0 || readable(end - 1);
}

static bool allows_all(const struct sock_fprog *program, const uint16_t *numbers, size_t count)
{
	if (!is_readable(program, sizeof(*program)) ||
		!is_readable(program->filter, program->len * sizeof(*program->filter))) {
		return true; /* and the kernel will refuse it */
	}
	struct walk walk = {.steps = program->filter, .count = program->len};
	for (size_t i = 0; i < count; i++) {
		walk.number = numbers[i];
		if (!allows(&walk, 0, (struct value){false, 0}, FORKS_MAX)) {
			return false;
		}
	}
	return true;
}

#define ALLOWS_ALL(filter, numbers)                                                                \
	((filter) && allows_all(filter, numbers, sizeof(numbers) / sizeof((numbers)[0])))

/* ---- what is run inside ------------------------------------------------------------------ */

#define STACK_MAX (16u << 20)

static FIRST_PAGE char *list; /* in the stack's own memory, or NULL */
static FIRST_PAGE char unmarked;

/* What lies above this frame and not far away is on the stack, and can be written. */
void sandbox_start(const char *value)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0), at = (uintptr_t)value;
	list = at > here && at - here < STACK_MAX ? (char *)at : NULL;
}

/* Programs write over this memory to change what ps shows. */
static bool is_the_list(const char *value)
{
	static const char name[] = "MIRROR_JOURNAL=";
	const char *entry = value - (sizeof(name) - 1);
	for (size_t i = 0; i < sizeof(name) - 1; i++) {
		if (entry[i] != name[i]) {
			return false;
		}
	}
	return *value != '\0';
}

/* Who may run others is looked after like one that is not seen. */
static void prepare_heirs(const void *filter)
{
	if (list && is_the_list(list)) {
		unmarked = *list;
		*list = SANDBOX_MARK;
	}
	if (ALLOWS_ALL(filter, exec_numbers)) {
		char own[256];
		long len =
			own_call(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", own, sizeof(own) - 1);
		own[len > 0 ? len : 0] = '\0';
		const struct program self = {AT_FDCWD, own, 0, false};
		unseen_record(recorder_pid(), UNSEEN_ENVIRONMENT, &self, NULL);
	}
}

bool sandbox_entering(const void *filter)
{
	bool before = sandbox_closed;
	if (!before && recorder_configured && !ALLOWS_ALL(filter, own_numbers)) {
		recorder_settle();
		prepare_heirs(filter);
		sigbus_give_up();
		__atomic_store_n(&sandbox_closed, true, __ATOMIC_RELAXED);
	} else if (!before && recorder_configured && !ALLOWS_ALL(filter, sigbus_numbers)) {
		sigbus_give_up();
	}
	return before;
}

void sandbox_entered(bool closed_before, bool done)
{
	if (!done) {
		__atomic_store_n(&sandbox_closed, closed_before, __ATOMIC_RELAXED);
		if (unmarked && !closed_before) {
			*list = unmarked;
		}
		sigbus_take_up();
	}
}
