/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying bytes where no libc may be called: eight at a time, inlined, as names are short.
 * Returns the end of what was written.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

static inline char *copy_bytes(char *to, const char *from, size_t len)
{
	for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t)) {
		uint64_t word;
		__builtin_memcpy(&word, from, sizeof(word));
		__builtin_memcpy(to, &word, sizeof(word));
		from += sizeof(word);
		to += sizeof(word);
	}
	while (len--) {
		*to++ = *from++;
	}
	return to;
}
