/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>

#include "side/sftp-wire.h"

static void packets(void **state)
{
	struct buf b = BUF_EMPTY;
	uint8_t type;
	struct span body;
	size_t begin = sftp_packet_begin(&b, SFTP_OPEN, 0x01020304);
	sftp_put_string(&b, SPAN("a\0b"));
	sftp_put_u64(&b, UINT64_C(0x1122334455667788));
	sftp_packet_end(&b, begin);
	assert_int_equal(b.len, 4 + 1 + 4 + 4 + 3 + 8);
	assert_memory_equal(b.data,
		"\0\0\0\x14\x03\1\2\3\4\0\0\0\3a\0b\x11\x22\x33\x44\x55\x66\x77\x88", b.len);
	for (size_t len = 0; len < b.len; len++) {
		assert_int_equal(sftp_packet_split(span_of(b.data, len), &type, &body), 0);
	}
	assert_int_equal(sftp_packet_split(buf_span(&b), &type, &body), b.len);
	assert_int_equal(type, SFTP_OPEN);
	struct sftp_reader reader = sftp_reader_of(body);
	assert_int_equal(sftp_take_u32(&reader), 0x01020304);
	struct span text = sftp_take_string(&reader);
	assert_int_equal(text.len, 3);
	assert_memory_equal(text.data, "a\0b", 3);
	assert_true(sftp_take_u64(&reader) == UINT64_C(0x1122334455667788));
	assert_false(reader.bad);
	assert_int_equal(sftp_take_u8(&reader), 0);
	assert_true(reader.bad);
	buf_finish(&b);
}

static void impossible_lengths(void **state)
{
	uint8_t type;
	struct span body;
	assert_int_equal(sftp_packet_split(SPAN("\0\0\0\4aaaa"), &type, &body), -EBADMSG);
	assert_int_equal(sftp_packet_split(SPAN("\0\0\0\0"), &type, &body), -EBADMSG);
	assert_int_equal(sftp_packet_split(SPAN("\0\4\0\1"), &type, &body), -EBADMSG);
	assert_int_equal(sftp_packet_split(SPAN("Welcome!"), &type, &body), -EBADMSG);
	assert_int_equal(sftp_packet_split(SPAN("\0\4\0\0"), &type, &body), 0);
}

static void attributes(void **state)
{
	struct buf b = BUF_EMPTY, again = BUF_EMPTY;
	const struct sftp_attr all = {
		.flags = SFTP_ATTR_SIZE | SFTP_ATTR_OWNER | SFTP_ATTR_MODE | SFTP_ATTR_TIMES,
		.size_bytes = UINT64_C(5) << 32,
		.uid = 1,
		.gid = 2,
		.mode = 0100644,
		.atime = 3,
		.mtime = 0xffffffff};
	sftp_put_attr(&b, &all);
	struct sftp_reader reader = sftp_reader_of(buf_span(&b));
	struct sftp_attr got = sftp_take_attr(&reader);
	assert_false(reader.bad);
	assert_true(got.size_bytes == UINT64_C(5) << 32);
	assert_true(got.mtime == 0xffffffff);
	sftp_put_attr(&again, &got);
	assert_int_equal(again.len, b.len);
	assert_memory_equal(again.data, b.data, b.len);
	buf_finish(&again);
	assert_int_equal(reader.left, 0);
	for (size_t len = 0; len < b.len; len++) {
		reader = sftp_reader_of(span_of(b.data, len));
		(void)sftp_take_attr(&reader);
		assert_true(reader.bad);
	}
	buf_finish(&b);
}

/* Four thousand million pairs promised, none there. */
static void endless_extensions(void **state)
{
	struct sftp_reader reader = sftp_reader_of(SPAN("\x80\0\0\0\xff\xff\xff\xff\0\0\0\1x"));
	(void)sftp_take_attr(&reader);
	assert_true(reader.bad);
	reader = sftp_reader_of(SPAN("\x80\0\0\0\0\0\0\1\0\0\0\1x\0\0\0\0"));
	(void)sftp_take_attr(&reader);
	assert_false(reader.bad);
	assert_int_equal(reader.left, 0);
}

static void long_strings(void **state)
{
	struct sftp_reader reader = sftp_reader_of(SPAN("\xff\xff\xff\xffz"));
	assert_int_equal(sftp_take_string(&reader).len, 0);
	assert_true(reader.bad);
	assert_int_equal(sftp_take_u8(&reader), 0); /* bad for ever */
}

static void names(void **state)
{
	char name[256];
	memset(name, 'n', sizeof(name));
	assert_true(sftp_name_possible(span_of(name, 255)));
	assert_false(sftp_name_possible(span_of(name, 256)));
	assert_false(sftp_name_possible(SPAN("")));
	assert_false(sftp_name_possible(SPAN("a/b")));
	assert_false(sftp_name_possible(SPAN("a\0b")));
	assert_true(sftp_name_possible(SPAN("\n\xff")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets),
		cmocka_unit_test(impossible_lengths),
		cmocka_unit_test(attributes),
		cmocka_unit_test(endless_extensions),
		cmocka_unit_test(long_strings),
		cmocka_unit_test(names),
	};
	return cmocka_run_group_tests_name("sftp-wire", tests, NULL, NULL);
}
