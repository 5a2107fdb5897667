/* SPDX-License-Identifier: Apache-2.0 */
#include "core/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

void buf_finish(struct buf *buf)
{
	free(buf->data);
	*buf = BUF_EMPTY;
}

void buf_clear(struct buf *buf)
{
	buf->len = 0;
	buf->failed = false;
	if (buf->data) {
		buf->data[0] = '\0';
	}
}

char *buf_reserve(struct buf *buf, size_t count)
{
	if (buf->failed || count > SIZE_MAX / 4) {
		buf->failed = true;
		return NULL;
	}
	if (buf->len + count + 1 > buf->room) {
		size_t room = buf->room ? buf->room : 64;
		while (room < buf->len + count + 1) {
			room *= 2;
		}
		char *data = realloc(buf->data, room);
		if (!data) {
			buf->failed = true;
			return NULL;
		}
		buf->data = data;
		buf->room = room;
	}
	return buf->data + buf->len;
}

void buf_add(struct buf *buf, struct span bytes)
{
	char *at = buf_reserve(buf, bytes.len);
	if (!at) {
		return;
	}
	if (bytes.len) {
		memcpy(at, bytes.data, bytes.len);
	}
	buf->len += bytes.len;
	buf->data[buf->len] = '\0';
}

void buf_add_str(struct buf *buf, const char *string)
{
	buf_add(buf, span_str(string));
}

void buf_add_char(struct buf *buf, char c)
{
	buf_add(buf, span_of(&c, 1));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
	va_list arguments, again;
	va_start(arguments, format);
	va_copy(again, arguments);
	int len = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	char *at = len < 0 ? NULL : buf_reserve(buf, (size_t)len);
	if (at) {
		(void)vsnprintf(at, (size_t)len + 1, format, again);
		buf->len += (size_t)len;
	} else {
		buf->failed = true;
	}
	va_end(again);
}

void buf_drop(struct buf *buf, size_t count)
{
	if (count > buf->len) {
		count = buf->len;
	}
	if (count) {
		memmove(buf->data, buf->data + count, buf->len - count + 1);
		buf->len -= count;
	}
}

char *buf_steal(struct buf *buf)
{
	if (!buf_reserve(buf, 0)) {
		return NULL;
	}
	buf->data[buf->len] = '\0';
	char *data = buf->data;
	*buf = BUF_EMPTY;
	return data;
}
