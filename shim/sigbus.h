/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whoever may write the ring's file may make it shorter, and a program that has it mapped is then
 * sent SIGBUS at its next access.  It shall not die of that: a handler of ours puts memory of the
 * program's own in the ring's place (journal_lose()), where everything counts as not recorded.
 *
 * The program's own action for the signal is kept and gets everything that is not ours, and the
 * program is told of that one only: what sets or tells an action passes here.
 *
 * Without defence, as without us: where the program ignores or blocks the signal, wants its
 * handler for one time only (SA_RESETHAND), or sets it by a system call of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* For journal_attach_guarded(); and without defence, in a child that has actions of its own. */
void sigbus_watch(void *map, uint64_t bytes);
void sigbus_note(void *map, uint64_t bytes);

/* Behind that child; and before memory is shared with the child of vfork(). */
void sigbus_defend(void);

/* Behind a call that may have set the action. */
void sigbus_changed(void);

/* Behind one that has changed flags of what stands in the kernel: libc's own way out is there now.
 */
void sigbus_rewritten(void);

/* The handler that the program has set, where `handler` is what stands in the kernel. */
void *sigbus_handler(void *handler);
/* The same for what sigaction() tells. */
void sigbus_action(void **handler, uint64_t *flags, void **restorer);

/* Before and behind a filter of system calls that forbids what we need. */
void sigbus_give_up(void);
void sigbus_take_up(void);
