/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing goes byte by byte into the buffer, without a tree of values first: publishers write
 * tens of thousands of messages a second.  Whether a comma is due is seen from the last byte.
 */
#include "flow/wire.h"

#include <inttypes.h>

#include "core/utf8.h"
#include "flow/base64.h"
#include "flow/change.h"
#include "flow/message.h"

static bool is_text(struct span bytes)
{
	for (size_t len; bytes.len; bytes = span_skip(bytes, len)) {
		len = bytes.data[0] ? utf8_length(bytes) : 0;
		if (len == 0) {
			return false;
		}
	}
	return true;
}

/* How many bytes at the front need no escape. */
static size_t plain_run(struct span text)
{
	size_t run = 0;
	while (run < text.len) {
		unsigned char c = (unsigned char)text.data[run];
		size_t len = c < 0x80 ? 1 : utf8_length(span_skip(text, run));
		if (len == 0 || c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
			break;
		}
		run += len;
	}
	return run;
}

static void add_escape(struct buf *buf, unsigned char c)
{
	static const char escapes[] = "\"\"\\\\\bb\ff\nn\rr\tt";
	for (size_t i = 0; i + 1 < sizeof(escapes); i += 2) {
		if ((unsigned char)escapes[i] == c) {
			buf_add_char(buf, '\\');
			buf_add_char(buf, escapes[i + 1]);
			return;
		}
	}
	buf_printf(buf, c && c < 0x80 ? "\\u%04x" : "%%%02X", c);
}

void wire_text(struct buf *buf, struct span text)
{
	buf_add_char(buf, '"');
	while (text.len) {
		size_t run = plain_run(text);
		buf_add(buf, span_of(text.data, run));
		text = span_skip(text, run);
		if (text.len) {
			add_escape(buf, (unsigned char)text.data[0]);
			text = span_skip(text, 1);
		}
	}
	buf_add_char(buf, '"');
}

void wire_bytes(struct buf *buf, struct span bytes)
{
	if (is_text(bytes)) {
		wire_text(buf, bytes);
		return;
	}
	buf_add_str(buf, "{\"base64\":\"");
	base64_write(buf, bytes);
	buf_add_str(buf, "\"}");
}

static void add_comma(struct buf *buf)
{
	if (buf->len && !strchr("{[:", buf->data[buf->len - 1])) {
		buf_add_char(buf, ',');
	}
}

void wire_key(struct buf *buf, const char *key)
{
	add_comma(buf);
	buf_add_char(buf, '"');
	buf_add_str(buf, key);
	buf_add_str(buf, "\":");
}

void wire_open(struct buf *buf, const char *key)
{
	if (key) {
		wire_key(buf, key);
	}
	buf_add_char(buf, '{');
}

void wire_close(struct buf *buf)
{
	buf_add_char(buf, '}');
}

void wire_open_mirror(struct buf *buf)
{
	wire_open(buf, "mirror");
	wire_key(buf, "version");
	buf_printf(buf, "%d", MESSAGE_VERSION);
}

void wire_pair(struct buf *buf, struct span a, struct span b)
{
	add_comma(buf);
	buf_add_char(buf, '[');
	wire_bytes(buf, a);
	buf_add_char(buf, ',');
	wire_bytes(buf, b);
	buf_add_char(buf, ']');
}

static void add_set(struct buf *buf, const struct wire_row *row, unsigned set)
{
	buf_add_char(buf, '[');
	for (unsigned i = 0; row->name(i); i++) {
		if (set & 1U << i) {
			add_comma(buf);
			wire_text(buf, span_str(row->name(i)));
		}
	}
	buf_add_char(buf, ']');
}

/* Names have no zero: the first of an enum is written like the others. */
static bool is_zero(const struct wire_row *row, const void *field)
{
	static const size_t sizes[] = {[WIRE_IDENT] = sizeof(struct ident),
		[WIRE_U64] = sizeof(uint64_t),
		[WIRE_I64] = sizeof(int64_t),
		[WIRE_U32] = sizeof(uint32_t),
		[WIRE_FLAG] = sizeof(bool),
		[WIRE_SET] = sizeof(unsigned)};
	static const char zeros[sizeof(struct ident)];
	if (row->type == WIRE_BYTES || row->type == WIRE_PATH) {
		return ((const struct span *)field)->len == 0;
	}
	return row->type != WIRE_NAME && memcmp(field, zeros, sizes[row->type]) == 0;
}

static void write_field(struct buf *buf, const struct wire_row *row, const void *field)
{
	char id[IDENT_TEXT];
	switch (row->type) {
	case WIRE_BYTES:
	case WIRE_PATH:
		wire_bytes(buf, *(const struct span *)field);
		break;
	case WIRE_IDENT:
		buf_printf(buf, "\"%s\"", ident_text(*(const struct ident *)field, id));
		break;
	case WIRE_U64:
		buf_printf(buf, "\"%" PRIu64 "\"", *(const uint64_t *)field);
		break;
	case WIRE_I64:
		buf_printf(buf, "\"%" PRId64 "\"", *(const int64_t *)field);
		break;
	case WIRE_U32:
		buf_printf(buf, "%" PRIu32, *(const uint32_t *)field);
		break;
	case WIRE_FLAG:
		buf_add_str(buf, "true");
		break;
	case WIRE_NAME:
		wire_text(buf, span_str(row->name(*(const unsigned *)field)));
		break;
	case WIRE_SET:
		add_set(buf, row, *(const unsigned *)field);
		break;
	}
}

void wire_write(struct buf *buf, const struct wire_row *rows, size_t count, const void *object)
{
	for (size_t i = 0; i < count; i++) {
		const void *field = (const char *)object + rows[i].offset;
		if (rows[i].required || !is_zero(&rows[i], field)) {
			wire_key(buf, rows[i].key);
			write_field(buf, &rows[i], field);
		}
	}
}
