/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log that does not grow without end: NAME.log, and NAME.log.1 … before it.
 */
#pragma once

#include <stddef.h>

#include "core/span.h"
#include "core/why.h"

#define LOGFILE_MAX_BYTES (8 * 1024 * 1024)
#define LOGFILE_KEPT      3

/* Opens for appending; *ret_fd is the caller's.  0, or -errno with words. */
int logfile_open(const char *path, int *ret_fd, struct why *why);
/* Begins a new file under the same descriptor number where it has become too large. */
void logfile_rotate(const char *path, int fd);
/* The last lines (at most size_bytes, whole lines, no final newline); "" where there are none. */
void logfile_tail(const char *path, char *ret, size_t size_bytes);
