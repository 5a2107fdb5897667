/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths that only the kernel knows: of open descriptors and of the working directory.
 *
 * Both write at most size_bytes bytes to `to`, without NUL, and return how many; 0 where the
 * kernel does not tell a path that begins with a slash.
 */
#pragma once

#include <stddef.h>

#include "core/journal.h"

/* As /proc/self/fd has it now; that may end in " (deleted)", and so may a file's own name. */
size_t descriptor_path(int fd, char *to, size_t size_bytes);

/*
 * Of a directory that calls are relative to; AT_FDCWD is the working directory.  What was learnt
 * about a descriptor is used again while it names the same inode and nothing was renamed on this
 * node.
 */
size_t directory_path(const struct journal_writer *writer, int dirfd, char *to, size_t size_bytes);
