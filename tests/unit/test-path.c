/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "core/path.h"

static void parents_and_names(void **state)
{
	(void)state;
	assert_span(path_parent(SPAN("a/b/c")), "a/b");
	assert_span(path_parent(SPAN("a")), "");
	assert_span(path_parent(SPAN("")), "");
	assert_span(path_name(SPAN("a/b/c")), "c");
	assert_span(path_name(SPAN("a")), "a");
}

static void below_a_root(void **state)
{
	struct span rel;
	(void)state;
	assert_true(path_below(SPAN("/fs/ops/a"), SPAN("/fs/ops"), &rel));
	assert_span(rel, "a");
	assert_true(path_below(SPAN("/fs/ops"), SPAN("/fs/ops"), &rel));
	assert_span(rel, "");
	assert_false(path_below(SPAN("/fs/opsx"), SPAN("/fs/ops"), &rel));
	assert_true(path_below(SPAN("/a"), SPAN("/"), &rel));
	assert_span(rel, "a");
}

static void relative_paths(void **state)
{
	(void)state;
	assert_true(path_is_rel(SPAN("")));
	assert_true(path_is_rel(SPAN("a/-b/ c\n")));
	assert_false(path_is_rel(SPAN("/a")));
	assert_false(path_is_rel(SPAN("a/")));
	assert_false(path_is_rel(SPAN("a//b")));
	assert_false(path_is_rel(SPAN("a/../b")));
	assert_false(path_is_rel(SPAN(".")));
	assert_false(path_is_rel(SPAN("a\0b")));
}

static void normalising(void **state)
{
	static const char *const cases[][2] = {{"/a/./b//../c/", "/a/c"}, {"/", "/"}, {"/..", "/"},
		{"/a/..", "/"}, {"//a", "/a"}, {"/a/...", "/a/..."}, {"/a/b/../../../c", "/c"}};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf b = BUF_EMPTY;
		assert_int_equal(path_normalise(&b, span_str(cases[i][0])), 0);
		assert_span(buf_span(&b), cases[i][1]);
		buf_finish(&b);
	}
	struct buf b = BUF_EMPTY;
	assert_true(path_normalise(&b, SPAN("a")) < 0);
	assert_true(path_normalise(&b, SPAN("/a\0b")) < 0);
	buf_finish(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parents_and_names),
		cmocka_unit_test(below_a_root),
		cmocka_unit_test(relative_paths),
		cmocka_unit_test(normalising),
	};
	return cmocka_run_group_tests_name("path", tests, NULL, NULL);
}
