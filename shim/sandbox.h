/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters of system calls (seccomp) that the program puts on itself.
 *
 *   bool before = sandbox_entering(mode, filter);     what it is about to do
 *   r = prctl(PR_SET_SECCOMP, …)
 *   sandbox_entered(before, r >= 0);
 *
 * A filter that lets all our calls pass changes nothing.  Else sandbox_closed is set, for good:
 * from then on own_call() fails with -EPERM instead of calling the kernel, which might kill the
 * program for it.  What needs no call goes on: calls by absolute path, first writes.
 *
 * Such a filter holds for what is run inside, too, whose shim would not know.  So the list of
 * places in the environment, as it was when the program began, gets a mark: a shim that finds it
 * does nothing at all.  Filters that were there before the program was run are not known to us.
 */
#pragma once

#include <asm/errno.h>
#include <stdbool.h>

#include "core/raw.h"

extern __attribute__((visibility("hidden"))) bool sandbox_closed;

/* raw_call() for what the shim wants to know, not the program. */
#define own_call(...) (__builtin_expect(sandbox_closed, 0) ? (long)-EPERM : raw_call(__VA_ARGS__))

/* At the beginning of $MIRROR_JOURNAL: be as if you were not there. */
#define SANDBOX_MARK '!'

/* value: of $MIRROR_JOURNAL, where the kernel has put it. */
void sandbox_start(const char *value);

/* filter is a struct sock_fprog, or NULL: only read, write and exit. */
bool sandbox_entering(const void *filter);
void sandbox_entered(bool closed_before, bool done);
