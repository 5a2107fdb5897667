/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps of rings in our own programs, when somebody makes the file shorter: journal_lose() puts
 * zeros there, a reader finds that the header has changed, a writer that the ring is retired.  The
 * process gets one handler of SIGBUS, which passes on what is not ours.
 */
#include "core/journal.h"

#include <signal.h>
#include <stddef.h>

#include "core/atomic.h"

#define GUARDED 8 /* the latest; one that was lost needs no guard any more */

static struct {
	void *map;
	uint64_t bytes;
} guarded[GUARDED];
static struct sigaction before;

static bool lose(const void *at)
{
	for (unsigned i = 0; i < GUARDED; i++) {
		if ((uintptr_t)at - (uintptr_t)guarded[i].map < LOAD(guarded[i].bytes)) {
			return journal_lose(guarded[i].map, guarded[i].bytes) == 0;
		}
	}
	return false;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	if (info->si_code == BUS_ADRERR && lose(info->si_addr)) {
		return;
	}
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(number, info, context);
	} else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(number);
	} else {
		(void)signal(number, SIG_DFL);
		if (info->si_code <= 0) {
			(void)raise(number);
		}
	}
}

static void set_handler(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigaction now;
	(void)sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, NULL, &now) == 0 && now.sa_sigaction != on_fault) {
		before = now;
		(void)sigaction(SIGBUS, &action, NULL);
	}
}

void journal_guard(void *map, uint64_t bytes)
{
	static unsigned next;
	unsigned place = next % GUARDED;
	set_handler();
	for (unsigned i = 0; i < GUARDED; i++) {
		if (guarded[i].map == map || (bytes > 0 && guarded[i].bytes == 0)) {
			place = i;
			break;
		}
	}
	next += bytes > 0;
	if (bytes > 0 || guarded[place].map == map) {
		STORE(guarded[place].bytes, 0);
		guarded[place].map = map;
		STORE(guarded[place].bytes, bytes);
	}
}
