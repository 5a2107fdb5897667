/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/base64.h"

#include <errno.h>
#include <stdint.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_write(struct buf *buf, struct span bytes)
{
	while (bytes.len) {
		const unsigned char *p = (const unsigned char *)bytes.data;
		size_t count = bytes.len < 3 ? bytes.len : 3;
		uint32_t group = (uint32_t)p[0] << 16;
		group |= count > 1 ? (uint32_t)p[1] << 8 : 0;
		group |= count > 2 ? p[2] : 0;
		char out[4] = "====";
		for (size_t i = 0; i <= count; i++) {
			out[i] = digits[group >> (18 - 6 * i) & 63];
		}
		buf_add(buf, span_of(out, 4));
		bytes = span_skip(bytes, count);
	}
}

/* Four digits become three bytes; padding stands only where it belongs. */
int base64_read(struct span text, struct buf *ret)
{
	if (text.len % 4) {
		return -EINVAL;
	}
	for (; text.len; text = span_skip(text, 4)) {
		uint32_t group = 0;
		size_t padding = text.len > 4 ? 0 : (text.data[3] == '=') + (text.data[2] == '=');
		for (size_t i = 0; i < 4; i++) {
			bool pad = i >= 4 - padding;
			const char *digit = pad ? digits : strchr(digits, text.data[i]);
			if (!digit || !*digit || (pad && text.data[i] != '=')) {
				return -EINVAL;
			}
			group = group << 6 | (uint32_t)(digit - digits);
		}
		char bytes[3] = {(char)(group >> 16), (char)(group >> 8), (char)group};
		buf_add(ret, span_of(bytes, 3 - padding));
	}
	return 0;
}
