/* SPDX-License-Identifier: Apache-2.0 */
#include "core/utf8.h"

/* What the first byte promises. */
static size_t promised(unsigned char first)
{
	return first < 0x80   ? 1
	       : first < 0xc2 ? 0
	       : first < 0xe0 ? 2
	       : first < 0xf0 ? 3
	       : first < 0xf5 ? 4
			      : 0;
}

size_t utf8_length(struct span bytes)
{
	const unsigned char *b = (const unsigned char *)bytes.data;
	size_t len = bytes.len ? promised(b[0]) : 0;
	if (len > bytes.len) {
		return 0;
	}
	for (size_t i = 1; i < len; i++) {
		if ((b[i] & 0xc0) != 0x80) {
			return 0;
		}
	}
	if (len > 1 && ((b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xed && b[1] > 0x9f) ||
			       (b[0] == 0xf0 && b[1] < 0x90) || (b[0] == 0xf4 && b[1] > 0x8f))) {
		return 0;
	}
	return len;
}
