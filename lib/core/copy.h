/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying bytes where no libc may be called: eight at a time, inlined, as names are short.
 * Returns the end of what was written.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

static inline void copy_word_(char *to, const char *from)
{
	uint64_t word;
	__builtin_memcpy(&word, from, sizeof(word));
	__builtin_memcpy(to, &word, sizeof(word));
}

/* The last eight overlap those before, rather than going one by one. */
static inline char *copy_bytes(char *to, const char *from, size_t len)
{
	const size_t step = sizeof(uint64_t);
	char *end = to + len;
	if (len >= step) {
		for (; len > step; len -= step) {
			copy_word_(to, from);
			from += step;
			to += step;
		}
		copy_word_(end - step, from + len - step);
		return end;
	}
	while (to < end) {
		*to++ = *from++;
	}
	return end;
}
