/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words beside a negative errno: what exactly failed, in the language of the reader.
 *
 * Where SSH, AMQP, SQLite or a config file speaks, errno alone says too little.  Functions that
 * talk to such strangers take a last argument `struct why *`; the caller owns it, it needs no
 * release, and it may be NULL when nobody wants to know.
 *
 *   return why_error(why, -EACCES, "log in to %s as %s: %s", host, user, text);
 *
 * why_error() returns its second argument, so that failing and explaining is one line.
 */
#pragma once

#include <stdarg.h>

struct why {
	char text[512];
};

/* Writes the words, cut at the size of the text; returns error unchanged. */
int why_error(struct why *why, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int why_verror(struct why *why, int error, const char *format, va_list arguments)
	__attribute__((format(printf, 3, 0)));

/* Puts "words: " before what is already said. */
void why_prefix(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
