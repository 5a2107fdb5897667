/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal: styles only where there is one, its width, and one line of progress.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

enum style { STYLE_NONE, STYLE_BOLD, STYLE_GOOD, STYLE_BUSY, STYLE_BAD, STYLE_DIM };

/* Whether out is a terminal that knows styles ($NO_COLOR and TERM=dumb respected). */
bool term_styled(FILE *out);
/* The escape that begins a style, or ends it (STYLE_NONE); "" where out is not styled. */
const char *term_style(FILE *out, enum style style);
/* Columns of out; 0: unlimited (not a terminal). */
size_t term_width(FILE *out);
/* Columns that text takes: UTF-8 characters. */
size_t term_columns(const char *text);

/* Replaces the line of progress on stderr; nothing where that is no terminal. */
void term_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Takes it away again. */
void term_progress_end(void);
