/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "tally/metrics.h"

static void assert_line(const char *text, const char *line)
{
	char whole[512];
	snprintf(whole, sizeof(whole), "\n%s\n", line);
	if (!strstr(text, whole)) {
		fail_msg("missing: %s\nin:\n%s", line, text);
	}
}

static void prints_what_the_ledger_has(void **state)
{
	char directory[] = "/tmp/test-metrics-XXXXXX", file[64], text[16384];
	struct ledger *ledger;
	struct change open = {.id = {1, 1}, .path = SPAN("/t/a"), .time_ns = 1};
	struct receipt done = {.id = {1, 2},
		.path = SPAN("/t/b"),
		.time_ns = CLOCK_S,
		.done_ns = 3 * CLOCK_S,
		.work = {.files = 2, .bytes = 10}};
	(void)state;
	assert_non_null(mkdtemp(directory));
	sprintf(file, "%s/l", directory);
	assert_int_equal(ledger_open(file, true, &ledger, NULL), 0);
	assert_int_equal(ledger_begin(ledger, clock_wall(), NULL), 0);
	assert_int_equal(ledger_saw(ledger, &open, NULL), 0);
	assert_int_equal(ledger_settled(ledger, &done, SPAN("/t\"\n"), NULL), 0);
	assert_int_equal(ledger_commit(ledger, NULL), 0);
	sprintf(file, "%s/metrics.txt", directory);
	assert_int_equal(metrics_write(ledger, "demo", file, NULL), 0);
	ledger_close(ledger);

	FILE *in = fopen(file, "r");
	assert_non_null(in);
	text[fread(text, 1, sizeof(text) - 1, in)] = '\0';
	fclose(in);
	assert_line(text, "treemirror_open{mirror=\"demo\"} 1");
	assert_line(text, "# TYPE treemirror_files counter");
	assert_line(text, "treemirror_files_total{mirror=\"demo\"} 2");
	assert_line(text, "treemirror_orders_total{mirror=\"demo\",status=\"done\"} 1");
	assert_line(text, "treemirror_lag_seconds_bucket{mirror=\"demo\",le=\"1.0\"} 0");
	assert_line(text, "treemirror_lag_seconds_bucket{mirror=\"demo\",le=\"5.0\"} 1");
	assert_line(text, "treemirror_lag_seconds_bucket{mirror=\"demo\",le=\"+Inf\"} 1");
	assert_line(text, "treemirror_tree_files_total{mirror=\"demo\",tree=\"/t\\\"\\n\"} 2");
	assert_string_equal(text + strlen(text) - 6, "# EOF\n");
	sprintf(text, "rm -r %s", directory);
	assert_int_equal(system(text), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(prints_what_the_ledger_has)};
	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
