/* SPDX-License-Identifier: Apache-2.0 */
/* The action for SIGBUS, before which ours stands; of other signals nothing is to be known. */
#include "calls.h"

#include "sigbus.h"

#define FAILED ((void *)-1)

/* As both libcs have it. */
struct action {
	void *handler;
	uint64_t mask[16];
	int flags;
	void *restorer;
};

/* What was there before, as the program knows it. */
static void show(struct action *before)
{
	uint64_t flags = (unsigned)before->flags;
	sigbus_action(&before->handler, &flags, &before->restorer);
	before->flags = (int)flags;
}

#define SIGACTION(name)                                                                            \
	int name(int number, const struct action *action, struct action *before)                   \
	{                                                                                          \
		if (number != SIGBUS) {                                                            \
			return CALL_REAL(name, (number, action, before), (int)NONE);               \
		}                                                                                  \
		int result = CALL_REAL(name, (number, action, before), (int)NONE);                 \
		if (result == 0 && before) {                                                       \
			show(before);                                                              \
		}                                                                                  \
		if (result == 0 && action) {                                                       \
			sigbus_changed();                                                          \
		}                                                                                  \
		return result;                                                                     \
	}
SIGACTION(sigaction)
SIGACTION(__sigaction)

#define SIGNAL(name)                                                                               \
	void *name(int number, void *handler)                                                      \
	{                                                                                          \
		if (number != SIGBUS) {                                                            \
			return CALL_REAL(name, (number, handler), (NONE, FAILED));                 \
		}                                                                                  \
		void *before = CALL_REAL(name, (number, handler), (NONE, FAILED));                 \
		if (before != FAILED) {                                                            \
			before = sigbus_handler(before);                                           \
			sigbus_changed();                                                          \
		}                                                                                  \
		return before;                                                                     \
	}
SIGNAL(signal)
SIGNAL(bsd_signal)
SIGNAL(ssignal)
SIGNAL(sysv_signal)
SIGNAL(__sysv_signal)
SIGNAL(sigset)

int siginterrupt(int number, int interrupts)
{
	int result = CALL_REAL(siginterrupt, (number, interrupts), (int)NONE);
	if (number == SIGBUS && result == 0) {
		sigbus_rewritten();
	}
	return result;
}
