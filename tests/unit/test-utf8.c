/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "core/utf8.h"

static void lengths(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} cases[] = {{"", 0}, {"a", 1}, {"\x7f", 1}, {"\xc3\xa9x", 2}, {"\xe2\x82\xac", 3},
		{"\xf0\x9f\x98\x80", 4}, {"\xf4\x8f\xbf\xbf", 4}, {"\xed\x9f\xbf", 3},
		/* alone, cut, overlong, a surrogate, too large, no beginning */
		{"\x80", 0}, {"\xff", 0}, {"\xc3", 0}, {"\xe2\x82", 0}, {"\xe2\x82x", 0},
		{"\xc0\xaf", 0}, {"\xc1\xbf", 0}, {"\xe0\x80\xaf", 0}, {"\xf0\x80\x80\xaf", 0},
		{"\xed\xa0\x80", 0}, {"\xf4\x90\x80\x80", 0}, {"\xf5\x80\x80\x80", 0}};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(utf8_length(span_str(cases[i].bytes)), cases[i].length);
	}
	assert_int_equal(utf8_length(SPAN("\0")), 1);
	assert_int_equal(utf8_length(span_of("\xc3\xa9", 1)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(lengths)};
	return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
