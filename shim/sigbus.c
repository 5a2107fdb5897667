/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   fault ──▶ entered ──▶ in a ring of ours?   journal_lose(), and the access is made again
 *                     └─▶ the program's handler, by a jump: as if the kernel had called it
 *                     └─▶ none: the default action, and the access is made again
 *
 * What stands in the kernel is the truth, as children of vfork() share the memory here, but not
 * that.  Ours has the flags and the mask of the action in whose place it stands, so a program's
 * handler runs on the stack, and with what is blocked, that it asked for.  Setting ours tells what
 * was there before; if that is not what was expected, somebody else was faster, and it is done
 * again.  The usual case, a program without a handler, is one system call.
 */
#include "sigbus.h"

#include <asm/siginfo.h>
#include <asm/signal.h>
#include <stddef.h>

#include "core/journal.h"
#include "core/raw.h"
#include "first-page.h"
#include "observe.h"
#include "stub.h"

#define RINGS     16 /* lately: those given up stay mapped, who is inside may be so still */
#define PATIENCE  10 /* changes by others, while we set ours */
#define SPINS_MAX 100000

#if !defined(SA_RESTORER)
#define SA_RESTORER 0x04000000
#endif

/* As the kernel has it on 64-bit machines. */
struct action {
	void *handler;
	uint64_t flags;
	void *restorer;
	uint64_t mask;
};

static FIRST_PAGE struct {
	void *map;
	uint64_t bytes;
} rings[RINGS];

static FIRST_PAGE struct {
	void *handler;  /* the program's */
	uint64_t added; /* flags of ours that its action does not have */
	bool tried, off, busy;
	bool settling; /* ours is set, and the program's not known yet */
	uint32_t spins;
} host;

FROM_STUB void *stub_sigbus_entered(int number, const siginfo_t *info, void *context);
extern __attribute__((visibility("hidden"))) const char sigbus_entered[], sigbus_return[];

STUB(sigbus_entered)
__asm__(".hidden sigbus_entered\n");

#if defined(__x86_64__)
/* What debuggers and unwinders know a signal's frame by; no frame description may cover it. */
__asm__(".text\n nop\n.hidden sigbus_return\nsigbus_return:\n mov $15, %rax\n syscall\n");
#else
__asm__(".text\n.hidden sigbus_return\nsigbus_return:\n"); /* the kernel has its own */
#endif

static long swap_action(const struct action *action, struct action *ret_before)
{
	return raw_call(SYS_rt_sigaction, SIGBUS, action, ret_before, sizeof(action->mask));
}

/* ---- the signal -------------------------------------------------------------------------- */

static void nothing_more(void)
{
}

static bool lose_ring(const void *at)
{
	for (unsigned i = 0; i < RINGS; i++) {
		uint64_t bytes = __atomic_load_n(&rings[i].bytes, __ATOMIC_ACQUIRE);
		uintptr_t offset = (uintptr_t)at - (uintptr_t)rings[i].map;
		if (offset < bytes) {
			return journal_lose(rings[i].map, bytes) == 0;
		}
	}
	return false;
}

/* A fault comes again; what was sent, or told of memory that nobody has touched yet, does not. */
static bool comes_again(int code)
{
	return code == BUS_ADRALN || code == BUS_ADRERR || code == BUS_OBJERR ||
	       code == BUS_MCEERR_AR || code == SI_KERNEL;
}

static void send_again(void)
{
	raw_call(SYS_tgkill, raw_call(SYS_getpid), raw_call(SYS_gettid), SIGBUS);
}

static void act_by_default(const siginfo_t *info)
{
	const struct action by_default = {.handler = SIG_DFL};
	swap_action(&by_default, NULL);
	if (!comes_again(info->si_code)) {
		send_again();
	}
}

/* Where to go from here. */
void *stub_sigbus_entered(int number, const siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	if (info->si_code == BUS_ADRERR && lose_ring(info->si_addr)) {
		return (void *)nothing_more;
	}
	if (__atomic_load_n(&host.settling, __ATOMIC_ACQUIRE) && host.spins++ < SPINS_MAX) {
		if (!comes_again(info->si_code)) {
			send_again();
		}
		return (void *)nothing_more;
	}
	void *handler = __atomic_load_n(&host.handler, __ATOMIC_ACQUIRE);
	if (handler != (void *)SIG_DFL) {
		return handler;
	}
	act_by_default(info);
	return (void *)nothing_more;
}

/* ---- standing before the program's action ------------------------------------------------ */

static bool is_ours(const struct action *action)
{
	return action->handler == (void *)sigbus_entered;
}

static bool can_be_kept(const struct action *action)
{
	return action->handler != (void *)SIG_IGN && !(action->flags & SA_RESETHAND);
}

static bool are_same(const struct action *a, const struct action *b)
{
	return a->handler == b->handler && a->flags == b->flags && a->mask == b->mask;
}

/* Ours in the place of that one.  Where there is no handler, the larger stack is used. */
static struct action instead_of(const struct action *action)
{
	struct action ours = *action;
	ours.handler = (void *)sigbus_entered;
	ours.flags |= SA_SIGINFO | (action->handler == (void *)SIG_DFL ? SA_ONSTACK : 0u);
#if defined(__x86_64__)
	if (!(action->flags & SA_RESTORER)) {
		ours.flags |= SA_RESTORER;
		ours.restorer = (void *)sigbus_return;
	}
#endif
	return ours;
}

/* expected: what is there now, if nobody has changed it. */
static void stand_before(struct action expected)
{
	for (int i = 0; i < PATIENCE; i++) {
		struct action ours = instead_of(&expected), before;
		__atomic_store_n(&host.handler, expected.handler, __ATOMIC_RELEASE);
		host.added = ours.flags & ~expected.flags;
		if (swap_action(&ours, &before) != 0 || is_ours(&before) ||
			are_same(&before, &expected)) {
			return;
		}
		expected = before;
		if (!can_be_kept(&expected)) {
			break;
		}
	}
	swap_action(&expected, NULL);
}

/* One at a time; whoever comes meanwhile is noticed by the one who is at it. */
static bool may_begin(void)
{
	return !host.off && observe_own_process() &&
	       !__atomic_exchange_n(&host.busy, true, __ATOMIC_ACQUIRE);
}

static void end(void)
{
	__atomic_store_n(&host.settling, false, __ATOMIC_RELEASE);
	__atomic_store_n(&host.busy, false, __ATOMIC_RELEASE);
}

void sigbus_defend(void)
{
	if (!host.tried && may_begin()) {
		host.tried = true;
		__atomic_store_n(&host.settling, true, __ATOMIC_RELEASE);
		stand_before((struct action){.handler = (void *)SIG_DFL});
		end();
	}
}

void sigbus_changed(void)
{
	struct action now;
	if (host.tried && may_begin()) {
		if (swap_action(NULL, &now) == 0 && !is_ours(&now) && can_be_kept(&now)) {
			stand_before(now);
		}
		end();
	}
}

void sigbus_rewritten(void)
{
	if (observe_own_process()) {
		host.added &= ~(uint64_t)SA_RESTORER;
	}
}

void sigbus_note(void *map, uint64_t bytes)
{
	static FIRST_PAGE unsigned next;
	if (bytes > 0) {
		unsigned i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) % RINGS;
		__atomic_store_n(&rings[i].bytes, 0, __ATOMIC_RELEASE);
		rings[i].map = map;
		__atomic_store_n(&rings[i].bytes, bytes, __ATOMIC_RELEASE);
		return;
	}
	for (unsigned i = 0; i < RINGS; i++) {
		if (rings[i].map == map) {
			__atomic_store_n(&rings[i].bytes, 0, __ATOMIC_RELEASE);
		}
	}
}

void sigbus_watch(void *map, uint64_t bytes)
{
	sigbus_note(map, bytes);
	if (bytes > 0) {
		sigbus_defend();
	}
}

/* ---- what the program sees --------------------------------------------------------------- */

void *sigbus_handler(void *handler)
{
	return handler == (void *)sigbus_entered ? host.handler : handler;
}

void sigbus_action(void **handler, uint64_t *flags, void **restorer)
{
	if (*handler == (void *)sigbus_entered) {
		*handler = host.handler;
		*flags &= ~host.added;
	}
	if (restorer && *restorer == (void *)sigbus_return) {
		*restorer = NULL;
	}
}

/* ---- filters ----------------------------------------------------------------------------- */

void sigbus_give_up(void)
{
	struct action now;
	host.off = true;
	if (host.tried && swap_action(NULL, &now) == 0 && is_ours(&now)) {
		sigbus_action(&now.handler, &now.flags, &now.restorer);
		swap_action(&now, NULL);
	}
}

void sigbus_take_up(void)
{
	host.off = false;
	sigbus_changed();
}
