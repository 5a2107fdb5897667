/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting this node's poster, from inside somebody else's program and without its noticing.
 *
 * Only where `mirrorctl start` has been here before: the mirror's state directory has a link
 * `config` that is ours and no file `stopped`, and the program mirror-poster is where the shim's
 * own place says.  Else, and where anything is unusual, nothing happens.
 *
 * directory is the journal's; its last part is the mirror's name.
 */
#pragma once

#include <stdbool.h>

/* Notes a string of the environment if the poster will need it.  For all of them, before main(). */
void summon_note(char *entry);

bool summon_is_possible(const char *directory);

/* Starts one.  Whether one is missing, and whose turn it is, are the caller's to know. */
void summon(const char *directory);
