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

struct file;

/* As /proc/self/fd has it now; that may end in " (deleted)", and so may a file's own name. */
size_t descriptor_path(int fd, char *to, size_t size_bytes);

/*
 * The same of a file that was just looked at.  What was learnt is used again while the number stays
 * open, the file has as many names, and nothing was renamed on this node.
 */
size_t file_path(const struct journal_writer *writer, int fd, const struct file *file, char *to,
	size_t size_bytes);
void file_learn(const struct journal_writer *writer, int fd, const struct file *file);

/*
 * Of a directory that calls are relative to; AT_FDCWD is the working directory.  What was learnt is
 * used again until somebody says that it no longer holds, or something was renamed on this node;
 * where recorder_trusts() says no, a descriptor must also still name the same inode, and the
 * working directory is asked each time.
 */
size_t directory_path(const struct journal_writer *writer, int dirfd, char *to, size_t size_bytes);

/* fd is about to be closed, or was just opened. */
void directory_forget(int fd);
/* Around a call that may change the working directory; the second one alone where it has. */
void directory_moving(void);
void directory_moved(void);
/*
 * One rename since journal_rename_count() was before, and that was of an entry of the working
 * directory itself: so where this lies is as it was.
 */
void directory_renamed_within(uint64_t before);
/* From now on it may change at any time. */
void directory_strays(void);
/* Threads will have a working directory, or descriptors, of their own: flags of unshare(). */
void directory_unshared(long flags);
