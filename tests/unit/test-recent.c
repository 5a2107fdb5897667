/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <stdio.h>

#include "core/clock.h"
#include "poster/missing.h"
#include "poster/recent.h"

#define HORIZON (40 * CLOCK_S)

static int note_name(void *arg, struct span path, uint64_t written_ns)
{
	assert_true(written_ns >= 100 * CLOCK_S);
	struct buf *names = arg;
	buf_add(names, path);
	buf_add_char(names, ' ');
	return 0;
}

/* The new names of what was written lately, as one line. */
static void rename_is(struct recent *recent, const char *from, const char *to, uint64_t at_s,
	bool deep, const char *names)
{
	struct buf told = BUF_EMPTY;
	assert_int_equal(recent_renamed(recent, span_str(from), span_str(to), at_s * CLOCK_S, deep,
				 note_name, &told),
		0);
	assert_span(buf_span(&told), names);
	buf_finish(&told);
}

static void wrote(struct recent *recent, const char *path, uint64_t at_s, bool links)
{
	assert_int_equal(recent_wrote(recent, span_str(path), at_s * CLOCK_S, links), 0);
}

static void writes_follow_renames(void **state)
{
	struct recent *recent = recent_create(HORIZON, 0, 100);
	(void)state;
	wrote(recent, "/t/a/f", 100, false);
	wrote(recent, "/t/a/g", 101, false);
	wrote(recent, "/t/ab", 102, false);
	rename_is(recent, "/t/a/f", "/t/a/h", 103, false, "/t/a/h ");
	rename_is(recent, "/t/a", "/t/b", 104, true, "/t/b/g /t/b/h ");
	rename_is(recent, "/t/b", "/t/c", 139, true, "/t/c/g /t/c/h ");
	rename_is(recent, "/t/c", "/t/d", 143, true, "");
	rename_is(recent, "/t/x", "/t/y", 190, false, "");
	recent_destroy(recent);
}

/* What was renamed stands behind what was written later: the list is not in the order of time. */
static void old_writes_move_along(void **state)
{
	struct recent *recent = recent_create(HORIZON, 0, 100);
	(void)state;
	wrote(recent, "/t/d/old", 100, false);
	wrote(recent, "/t/d/a", 139, false);
	rename_is(recent, "/t/d/old", "/t/d/older", 139, false, "/t/d/older ");
	wrote(recent, "/t/d/b", 141, false);
	rename_is(recent, "/t/d/older", "/t/d/oldest", 141, false, "/t/d/oldest ");
	rename_is(recent, "/t/d", "/t/e", 142, true, "/t/e/a /t/e/b /t/e/oldest ");
	recent_destroy(recent);
}

static void a_name_taken_over_is_forgotten(void **state)
{
	struct recent *recent = recent_create(HORIZON, 0, 100);
	(void)state;
	wrote(recent, "/t/f", 100, false);
	rename_is(recent, "/t/tmp", "/t/f", 101, false, "");
	rename_is(recent, "/t/f", "/t/g", 102, false, "");
	wrote(recent, "/t/f", 103, true);
	wrote(recent, "/t/f", 104, false);
	assert_true(recent_forget(recent, SPAN("/t/f")));
	assert_false(recent_forget(recent, SPAN("/t/f")));
	recent_destroy(recent);
}

static void too_much_makes_blind(void **state)
{
	struct recent *recent = recent_create(HORIZON, 0, 10);
	char path[32];
	(void)state;
	assert_false(recent_is_blind(recent, 100 * CLOCK_S));
	for (unsigned i = 0; i < 11; i++) {
		(void)snprintf(path, sizeof(path), "/t/%u", i);
		wrote(recent, path, 100, false);
	}
	assert_true(recent_is_blind(recent, 139 * CLOCK_S));
	assert_false(recent_is_blind(recent, 140 * CLOCK_S));
	recent_destroy(recent);
	recent = recent_create(HORIZON, 50 * CLOCK_S, 10);
	assert_true(recent_is_blind(recent, 60 * CLOCK_S));
	recent_destroy(recent);
}

static void names_are_found_through_renames(void **state)
{
	struct recent *recent = recent_create(HORIZON, 0, 10);
	struct buf name = BUF_EMPTY;
	size_t cursor = 0;
	(void)state;
	rename_is(recent, "/t/a/f", "/t/a/g", 100, false, "");
	rename_is(recent, "/t/a", "/t/b", 101, true, "");
	assert_int_equal(recent_name(recent, SPAN("/t/a/f"), &cursor, &name), 0);
	assert_span(buf_span(&name), "/t/b/f");
	buf_clear(&name);
	assert_int_equal(recent_name(recent, SPAN("/t/a/f"), &cursor, &name), 0);
	assert_span(buf_span(&name), "/t/b/g");
	assert_int_equal(recent_name(recent, SPAN("/t/a/f"), &cursor, &name), -ENOENT);
	cursor = 0;
	assert_int_equal(recent_name(recent, SPAN("/t/c"), &cursor, &name), -ENOENT);
	cursor = 0;
	for (unsigned i = 0; i < RECENT_RENAMES; i++) {
		rename_is(recent, "/x", "/y", 102, false, "");
	}
	assert_int_equal(recent_name(recent, SPAN("/t/a/f"), &cursor, &name), -ENOENT);
	buf_finish(&name);
	recent_destroy(recent);
}

static void missing_files_wait_for_a_reason(void **state)
{
	struct missing missing = {0};
	(void)state;
	assert_int_equal(missing_add(&missing, SPAN("/t/a/f"), false, CLOCK_S), 0);
	assert_int_equal(missing_add(&missing, SPAN("/t/b"), false, CLOCK_S), 0);
	assert_int_equal(missing_add(&missing, SPAN("/t/a/g"), false, CLOCK_S), 0);
	assert_int_equal(missing_settled(&missing), 0);
	missing_explained(&missing, SPAN("/t/a"));
	assert_int_equal(missing_settled(&missing), 1);
	assert_null(missing_take_due(&missing, CLOCK_S));
	struct missing_file *due = missing_take_due(&missing, CLOCK_S + MISSING_WAIT_NS);
	assert_span(due->path, "/t/b");
	missing_file_destroy(due);
	assert_int_equal(missing_settled(&missing), 3);
	for (unsigned i = 0; i <= MISSING_MAX; i++) {
		assert_int_equal(missing_add(&missing, SPAN("/t/c"), false, CLOCK_S), 0);
	}
	due = missing_take_due(&missing, CLOCK_S);
	assert_non_null(due);
	missing_file_destroy(due);
	assert_null(missing_take_due(&missing, CLOCK_S));
	missing_explained(&missing, SPAN("/t/c"));
	assert_int_equal(missing.count, 0);
	assert_int_equal(missing_add(&missing, SPAN("/t/d"), true, CLOCK_S), 0);
	missing_explained(&missing, SPAN("/t/d"));
	assert_int_equal(missing.count, 1);
	missing_finish(&missing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_follow_renames),
		cmocka_unit_test(old_writes_move_along),
		cmocka_unit_test(a_name_taken_over_is_forgotten),
		cmocka_unit_test(too_much_makes_blind),
		cmocka_unit_test(names_are_found_through_renames),
		cmocka_unit_test(missing_files_wait_for_a_reason),
	};
	return cmocka_run_group_tests_name("recent", tests, NULL, NULL);
}
