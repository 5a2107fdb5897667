/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a pointer that the program gave can be followed.
 *
 * A program may pass a wild pointer for a path and count on EFAULT; we must not follow it before
 * the kernel has judged.  Pages found good are remembered, so as a rule this costs a look into a
 * small table.  (So a page that is unmapped after a path in it was seen is followed blindly.)
 *
 * No lock, no errno; safe everywhere.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

bool readable(const void *address);

/* Whether a string can be read up to its end, or for `bytes` bytes. */
bool readable_soon(const char *text, size_t bytes);

/* At most max; UNREADABLE where memory ends before the text does. */
#define UNREADABLE ((size_t)-1)
size_t path_length(const char *path, size_t max);
