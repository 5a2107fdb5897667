/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event, one line, to stderr: `2026-03-01T12:00:00.123Z winnow-0 error: words key=value`.
 *
 * Stages log; libraries stay silent and return errors with words.  Paths in a line are quoted
 * and escaped by log_quote().  A line that repeats word for word within a minute is counted
 * instead, and the count is reported once when the minute is over.
 * Functions ending in _r return the (negative) error they are given.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/span.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* name is kept, not copied: "copier-2".  Lines above level are not written. */
void log_open(const char *name, enum log_level level);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
int log_error_r(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/*
 * Makes bytes printable: 'a\nb' with the quotes; C escapes, \xHH where not UTF-8.
 * Uses one of eight internal buffers in turn (cut at 1 KiB with …), so it may stand up to eight
 * times in one call; not for threads.
 */
const char *log_quote(struct span bytes);

/* The same, written into buffer and without quotes, for tables and messages to people. */
char *log_escape(struct span bytes, char *buffer, size_t size_bytes);

/* The same for words that hold quoted names already: only what cannot be printed is escaped. */
char *log_words(struct span bytes, char *buffer, size_t size_bytes);
