/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "flow/config.h"

static bool excluded(const char *pattern, const char *rel)
{
	char *patterns[] = {(char *)pattern, NULL};
	struct tree tree = {.exclude = patterns};
	return tree_excludes(&tree, span_str(rel));
}

static void own_names(void **state)
{
	(void)state;
	assert_true(tree_is_our_name(SPAN(".mirror")));
	assert_true(tree_is_our_name(SPAN(".mirror-gone")));
	assert_true(tree_is_our_name(SPAN(".mirror-gone/1/x")));
	assert_true(tree_is_our_name(SPAN(".mirror-links/1-2")));
	assert_true(tree_is_our_name(SPAN(".mirror-0123456789abcdef")));
	assert_true(tree_is_our_name(SPAN("a/b/.mirror-0123456789abcdef")));
	assert_true(tree_is_our_name(SPAN("a/.mirror-0123456789abcdef/b")));
	assert_false(tree_is_our_name(SPAN("")));
	assert_false(tree_is_our_name(SPAN("a/.mirror")));
	assert_false(tree_is_our_name(SPAN("a/.mirror-gone/x")));
	assert_false(tree_is_our_name(SPAN(".mirror-0123456789abcde")));
	assert_false(tree_is_our_name(SPAN(".mirror-0123456789abcdef0")));
	assert_false(tree_is_our_name(SPAN(".mirror-0123456789ABCDEF")));
	assert_false(tree_is_our_name(SPAN(".mirrored")));
}

static void patterns_without_a_slash(void **state)
{
	(void)state;
	assert_true(excluded("*.swp", "a.swp"));
	assert_true(excluded("*.swp", "x/y/a.swp"));
	assert_true(excluded("*.swp", "x/a.swp/below"));
	assert_true(excluded("*.swp", ".swp"));
	assert_false(excluded("*.swp", "a.swpx"));
	assert_false(excluded("*.swp", ""));
	assert_true(excluded("core", "a/core/b"));
	assert_false(excluded("core", "a/score"));
	assert_true(excluded("?", "a/\xc3\xa9"));
	assert_true(excluded("??", "\xff\xfe"));
	assert_false(excluded("?", "ab"));
	assert_true(excluded("[a-c]*", "x/bee"));
	assert_false(excluded("[!a-c]*", "bee"));
	assert_true(excluded("[]x]", "]"));
	assert_true(excluded("[", "["));
	assert_true(excluded("\\*", "*"));
	assert_false(excluded("\\*", "x"));
	assert_true(excluded("a*b*c", "a..b..b..c"));
}

static void patterns_with_a_slash(void **state)
{
	(void)state;
	assert_true(excluded("a/b", "a/b"));
	assert_true(excluded("a/b", "a/b/c"));
	assert_false(excluded("a/b", "x/a/b"));
	assert_true(excluded("/a", "a"));
	assert_false(excluded("/a", "x/a"));
	assert_true(excluded("a/*/c", "a/b/c"));
	assert_false(excluded("a/*/c", "a/b/b/c"));
	assert_true(excluded("a/**/c", "a/b/b/c"));
	assert_true(excluded("a/**/c", "a/c"));
	assert_false(excluded("a/**/c", "a/xc"));
	assert_true(excluded("**/c", "c"));
	assert_true(excluded("**/c", "a/b/c"));
	assert_true(excluded("a/**", "a/b/c"));
	assert_false(excluded("a/**", "a"));
	assert_false(excluded("a?b", "a/b"));
}

static void patterns_for_directories(void **state)
{
	(void)state;
	assert_true(excluded("scratch/", "scratch/x"));
	assert_true(excluded("scratch/", "a/scratch/b/c"));
	assert_false(excluded("scratch/", "scratch"));
	assert_true(excluded("a/scratch/", "a/scratch/x"));
	assert_false(excluded("a/scratch/", "b/a/scratch/x"));
	assert_false(excluded("scratch/", "myscratch/x"));
}

static void own_names_are_excluded(void **state)
{
	struct tree tree = {0};
	(void)state;
	assert_true(tree_excludes(&tree, SPAN(".mirror-gone/x")));
	assert_false(tree_excludes(&tree, SPAN("a/b")));
	assert_false(tree_excludes(&tree, SPAN("")));
}

static void the_tree_of_a_path(void **state)
{
	struct tree trees[] = {{.source.path = (char *)"/fs/ops"},
		{.source.path = (char *)"/fs/ops/deep"}, {.source.path = (char *)"/other"}};
	struct config config = {.trees = trees, .tree_count = 3};
	struct span rel;
	(void)state;
	assert_ptr_equal(config_tree(&config, SPAN("/fs/ops/a"), &rel), &trees[0]);
	assert_span(rel, "a");
	assert_ptr_equal(config_tree(&config, SPAN("/fs/ops"), &rel), &trees[0]);
	assert_span(rel, "");
	assert_ptr_equal(config_tree(&config, SPAN("/fs/ops/deep/b"), &rel), &trees[1]);
	assert_span(rel, "b");
	assert_ptr_equal(config_tree(&config, SPAN("/other/x/y"), &rel), &trees[2]);
	assert_span(rel, "x/y");
	assert_null(config_tree(&config, SPAN("/fs/opsx"), &rel));
	assert_null(config_tree(&config, SPAN("/"), &rel));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_names),
		cmocka_unit_test(patterns_without_a_slash),
		cmocka_unit_test(patterns_with_a_slash),
		cmocka_unit_test(patterns_for_directories),
		cmocka_unit_test(own_names_are_excluded),
		cmocka_unit_test(the_tree_of_a_path),
	};
	return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
