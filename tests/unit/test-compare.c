/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "side/compare.h"

#define S       INT64_C(1000000000)
#define ALL_CAN (SIDE_CAN_NANOSECONDS | SIDE_CAN_SET_LINK)

static const struct compare_entry file = {.attr = {.type = SIDE_FILE,
						  .mode = 0644,
						  .size_bytes = 5,
						  .mtime_ns = 7 * S + 3,
						  .has_owner = true,
						  .uid = 1,
						  .gid = 2}};

static void files(void **state)
{
	struct compare_entry other = file;
	assert_int_equal(compare(&file, &other, ALL_CAN, true), 0);
	other.attr.size_bytes = 6;
	assert_int_equal(compare(&file, &other, ALL_CAN, false), COMPARE_SIZE);
	other.attr.mode = 0600;
	assert_int_equal(compare(&file, &other, 0, false), COMPARE_SIZE | COMPARE_MODE);
	other = file;
	other.attr.gid = 3;
	assert_int_equal(compare(&file, &other, 0, false), 0);
	assert_int_equal(compare(&file, &other, 0, true), COMPARE_OWNER);
	other.attr.has_owner = false;
	assert_int_equal(compare(&file, &other, 0, true), 0);
	other.attr.type = SIDE_DIRECTORY;
	other.attr.mode = 0;
	assert_int_equal(compare(&file, &other, ALL_CAN, true), COMPARE_TYPE);
}

static void times(void **state)
{
	assert_true(compare_same_mtime(7 * S + 1, 7 * S + 2, 0));
	assert_false(compare_same_mtime(7 * S + 1, 7 * S + 2, SIDE_CAN_NANOSECONDS));
	assert_false(compare_same_mtime(7 * S, 8 * S, 0));
	assert_true(compare_same_mtime(-1, (INT64_C(4294967295)) * S, 0)); /* modulo 2^32 */
	assert_false(compare_same_mtime(-1, 0, 0));
	assert_true(compare_same_mtime(-S, -S + 999999999, 0));
	assert_false(compare_same_mtime(-S, 0, 0));
}

static void directories_and_others(void **state)
{
	struct compare_entry a = file, b;
	a.attr.type = SIDE_DIRECTORY;
	b = a;
	b.attr.size_bytes = 4096;
	assert_int_equal(compare(&a, &b, ALL_CAN, true), 0);
	b.attr.mtime_ns += S;
	assert_int_equal(compare(&a, &b, 0, true), COMPARE_MTIME);
	a.attr.type = b.attr.type = SIDE_OTHER;
	assert_int_equal(compare(&a, &b, ALL_CAN, true), 0);
}

static void symlinks(void **state)
{
	struct compare_entry a = file, b;
	a.attr.type = SIDE_SYMLINK;
	a.link = SPAN("to");
	b = a;
	b.attr.mode = 0777;
	assert_int_equal(compare(&a, &b, ALL_CAN, false), 0);
	b.attr.mtime_ns += 9 * S;
	assert_int_equal(compare(&a, &b, SIDE_CAN_NANOSECONDS, false), 0);
	assert_int_equal(compare(&a, &b, ALL_CAN, false), COMPARE_MTIME);
	b = a;
	b.link = SPAN("elsewhere");
	assert_int_equal(compare(&a, &b, ALL_CAN, false), COMPARE_LINK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files),
		cmocka_unit_test(times),
		cmocka_unit_test(directories_and_others),
		cmocka_unit_test(symlinks),
	};
	return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
