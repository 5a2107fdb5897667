/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds files open for writing, as the kernel knows it.
 *
 * When the journal has lost records, intents may be among them.  A file of which nobody has heard
 * can be written to for days, and when its process is killed nobody tells.  So before the rescan
 * that answers for a loss, all processes of this user are looked at: what they have open for
 * writing, or mapped so, is told as if it had just been inherited.  So is what a process holds that
 * seemed to have died, and lives.
 */
#pragma once

#include "core/journal.h"

/* The record is INHERIT or MAP, and valid during the call.  Returns 0 or -errno. */
typedef int (*holders_fn)(void *arg, const struct record *record);

/* Ends with the first that is not 0; what cannot be looked at is passed over. */
int holders_each(holders_fn fn, void *arg);
/* The same of one process. */
int holders_of(uint32_t pid, holders_fn fn, void *arg);
