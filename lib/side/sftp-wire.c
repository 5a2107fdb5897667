/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet is  u32 length | u8 type | body;  all but INIT and VERSION begin the body with the
 * u32 id of the request.  Numbers are big-endian, a string is a u32 length and its bytes.
 */
#include "side/sftp-wire.h"

#include <errno.h>
#include <string.h>

static void store_u32(unsigned char *at, uint32_t value)
{
	at[0] = (unsigned char)(value >> 24);
	at[1] = (unsigned char)(value >> 16);
	at[2] = (unsigned char)(value >> 8);
	at[3] = (unsigned char)value;
}

static uint32_t load_u32(const unsigned char *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* --- writing ------------------------------------------------------------------------------ */

size_t sftp_packet_begin(struct buf *buf, enum sftp_type type, uint32_t id)
{
	size_t begin = buf->len;
	sftp_put_u32(buf, 0);
	buf_add_char(buf, (char)type);
	sftp_put_u32(buf, id);
	return begin;
}

void sftp_put_u32(struct buf *buf, uint32_t value)
{
	unsigned char bytes[4];
	store_u32(bytes, value);
	buf_add(buf, span_of(bytes, sizeof(bytes)));
}

void sftp_put_u64(struct buf *buf, uint64_t value)
{
	sftp_put_u32(buf, (uint32_t)(value >> 32));
	sftp_put_u32(buf, (uint32_t)value);
}

void sftp_put_string(struct buf *buf, struct span bytes)
{
	sftp_put_u32(buf, (uint32_t)bytes.len);
	buf_add(buf, bytes);
}

void sftp_put_attr(struct buf *buf, const struct sftp_attr *attr)
{
	sftp_put_u32(buf, attr->flags);
	if (attr->flags & SFTP_ATTR_SIZE) {
		sftp_put_u64(buf, attr->size_bytes);
	}
	if (attr->flags & SFTP_ATTR_OWNER) {
		sftp_put_u32(buf, attr->uid);
		sftp_put_u32(buf, attr->gid);
	}
	if (attr->flags & SFTP_ATTR_MODE) {
		sftp_put_u32(buf, attr->mode);
	}
	if (attr->flags & SFTP_ATTR_TIMES) {
		sftp_put_u32(buf, attr->atime);
		sftp_put_u32(buf, attr->mtime);
	}
}

void sftp_packet_end(struct buf *buf, size_t begin)
{
	if (!buf->failed) {
		store_u32((unsigned char *)buf->data + begin, (uint32_t)(buf->len - begin - 4));
	}
}

/* --- reading ------------------------------------------------------------------------------ */

struct sftp_reader sftp_reader_of(struct span bytes)
{
	return (struct sftp_reader){.at = (const unsigned char *)bytes.data, .left = bytes.len};
}

/* The next count bytes, or NULL and bad for ever. */
static const unsigned char *take(struct sftp_reader *reader, size_t count)
{
	const unsigned char *at = reader->at;
	if (reader->bad || count > reader->left) {
		reader->bad = true;
		return NULL;
	}
	reader->at += count;
	reader->left -= count;
	return at;
}

uint8_t sftp_take_u8(struct sftp_reader *reader)
{
	const unsigned char *at = take(reader, 1);
	return at ? *at : 0;
}

uint32_t sftp_take_u32(struct sftp_reader *reader)
{
	const unsigned char *at = take(reader, 4);
	return at ? load_u32(at) : 0;
}

uint64_t sftp_take_u64(struct sftp_reader *reader)
{
	uint64_t high = sftp_take_u32(reader);
	return high << 32 | sftp_take_u32(reader);
}

struct span sftp_take_string(struct sftp_reader *reader)
{
	size_t len = sftp_take_u32(reader);
	const unsigned char *at = take(reader, len);
	return at ? span_of(at, len) : SPAN("");
}

struct sftp_attr sftp_take_attr(struct sftp_reader *reader)
{
	struct sftp_attr attr = {.flags = sftp_take_u32(reader)};
	if (attr.flags & SFTP_ATTR_SIZE) {
		attr.size_bytes = sftp_take_u64(reader);
	}
	if (attr.flags & SFTP_ATTR_OWNER) {
		attr.uid = sftp_take_u32(reader);
		attr.gid = sftp_take_u32(reader);
	}
	if (attr.flags & SFTP_ATTR_MODE) {
		attr.mode = sftp_take_u32(reader);
	}
	if (attr.flags & SFTP_ATTR_TIMES) {
		attr.atime = sftp_take_u32(reader);
		attr.mtime = sftp_take_u32(reader);
	}
	uint32_t extended = attr.flags & SFTP_ATTR_EXTENDED ? sftp_take_u32(reader) : 0;
	while (extended-- && !reader->bad) {
		(void)sftp_take_string(reader);
		(void)sftp_take_string(reader);
	}
	return attr;
}

int sftp_packet_split(struct span bytes, uint8_t *ret_type, struct span *ret_body)
{
	if (bytes.len < 4) {
		return 0;
	}
	size_t len = load_u32((const unsigned char *)bytes.data);
	if (len < 1 + 4 || len > SFTP_PACKET_MAX) {
		return -EBADMSG;
	}
	if (bytes.len < 4 + len) {
		return 0;
	}
	*ret_type = (uint8_t)bytes.data[4];
	*ret_body = span_of(bytes.data + 5, len - 1);
	return (int)(4 + len);
}

bool sftp_name_possible(struct span name)
{
	return name.len > 0 && name.len <= 255 && !memchr(name.data, '/', name.len) &&
	       !memchr(name.data, '\0', name.len);
}
