/* SPDX-License-Identifier: Apache-2.0 */
/* What people see and type: units, dates, near misses, tables. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/clock.h"
#include "mirrorctl/nearest.h"
#include "mirrorctl/table.h"
#include "mirrorctl/units.h"
#include "mirrorctl/when.h"

#define NOW (UINT64_C(1772366400) * CLOCK_S) /* 2026-03-01 12:00 UTC */

static void bytes(void **state)
{
	assert_string_equal(units_bytes(0), "0 B");
	assert_string_equal(units_bytes(999), "999 B");
	assert_string_equal(units_bytes(1000), "1.0 kB");
	assert_string_equal(units_bytes(1234567890), "1.2 GB");
	assert_string_equal(units_bytes(999600), "1.0 MB");
	assert_string_equal(units_bytes(UINT64_MAX), "18 EB");
}

static void counts(void **state)
{
	assert_string_equal(units_count(0), "0");
	assert_string_equal(units_count(999), "999");
	assert_string_equal(units_count(1000), "1,000");
	assert_string_equal(units_count(27123456), "27,123,456");
	assert_string_equal(units_rate(0), "0/s");
	assert_string_equal(units_rate(0.02), "<0.1/s");
	assert_string_equal(units_rate(0.25), "0.2/s");
	assert_string_equal(units_rate(1234.4), "1,234/s");
}

static void expect_when(const char *text, int64_t seconds)
{
	int64_t ns = -1;
	assert_int_equal(when_parse(text, NOW, &ns), 0);
	assert_true(ns == seconds * (int64_t)CLOCK_S);
}

static void times(void **state)
{
	(void)setenv("TZ", "UTC0", 1);
	tzset();
	expect_when("2h", 1772366400 - 7200);
	expect_when("@12", 12);
	expect_when("2026-03-01", 1772366400 - 12 * 3600);
	expect_when("2026-03-01T12:00:30Z", 1772366430);
	expect_when("2026-03-01 12:00", 1772366400);
	(void)setenv("TZ", "XXX-2", 1); /* two hours east */
	tzset();
	expect_when("2026-03-01T14:00", 1772366400);
	expect_when("2026-03-01T12:00Z", 1772366400);

	int64_t ns;
	static const char *const wrong[] = {
		"", "soon", "2026-02-31", "2026-03-01T25:00", "12", "@12x", "2026-03-01T12:00+01"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_not_equal(when_parse(wrong[i], NOW, &ns), 0);
	}
}

static const char *guess(const char *typed)
{
	static const char *const words[] = {"start", "stop", "restart", "status", "env", "run",
		"sync", "flush", "failed", "journal", "config", "doctor"};
	const char *best = NULL;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		nearest_offer(typed, words[i], &best);
	}
	return best ? best : "";
}

static void near_misses(void **state)
{
	assert_string_equal(guess("statsu"), "status");
	assert_string_equal(guess("stat"), "status");
	assert_string_equal(guess("sotp"), "stop");
	assert_string_equal(guess("fial"), "failed");
	assert_string_equal(guess("frobnicate"), "");
	assert_string_equal(guess("x"), "");
	assert_string_equal(guess("a-very-long-word-that-is-longer-than-any-buffer-here"), "");
}

static void columns_align(void **state)
{
	char text[256] = "";
	FILE *out = fmemopen(text, sizeof(text), "w");
	assert_non_null(out);
	struct table table = TABLE_EMPTY;
	table_head(&table, "<NAME >N <WHY");
	table_cell(&table, "é");
	table_cell(&table, "%d", 1000);
	table_cell(&table, "x");
	table_cell(&table, "longer");
	table_cell(&table, "%d", 7);
	table_cell(&table, "y");
	table_print(&table, out);
	table_finish(&table);
	(void)fclose(out);
	assert_string_equal(text, "NAME       N  WHY\n"
				  "é       1000  x\n"
				  "longer     7  y\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes),
		cmocka_unit_test(counts),
		cmocka_unit_test(times),
		cmocka_unit_test(near_misses),
		cmocka_unit_test(columns_align),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
