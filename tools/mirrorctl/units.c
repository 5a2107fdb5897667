/* SPDX-License-Identifier: Apache-2.0 */
#include "units.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"

#define TEXT 40

static char *turn(void)
{
	static char buffers[16][TEXT];
	static unsigned at;
	return buffers[at++ % 16];
}

const char *units_bytes(uint64_t bytes)
{
	static const char *const names[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
	char *text = turn();
	if (bytes < 1000) {
		(void)snprintf(text, TEXT, "%" PRIu64 " B", bytes);
		return text;
	}
	double value = (double)bytes / 1000;
	size_t i = 0;
	while (value >= 999.5 && i + 1 < sizeof(names) / sizeof(names[0])) {
		value /= 1000;
		i++;
	}
	(void)snprintf(text, TEXT, value < 9.95 ? "%.1f %s" : "%.0f %s", value, names[i]);
	return text;
}

const char *units_count(uint64_t count)
{
	char digits[24], *text = turn();
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, count);
	size_t used = 0;
	for (int i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0) {
			text[used++] = ',';
		}
		text[used++] = digits[i];
	}
	text[used] = '\0';
	return text;
}

const char *units_rate(double per_second)
{
	char *text = turn();
	if (per_second > 0 && per_second < 0.1) {
		(void)snprintf(text, TEXT, "<0.1/s");
	} else if (per_second >= 9.95 || per_second == 0) {
		(void)snprintf(text, TEXT, "%s/s", units_count((uint64_t)(per_second + 0.5)));
	} else {
		(void)snprintf(text, TEXT, "%.1f/s", per_second);
	}
	return text;
}

const char *units_duration(uint64_t ns)
{
	return clock_text(ns, turn(), TEXT);
}

const char *units_time(uint64_t wall_ns)
{
	char *text = turn();
	time_t seconds = (time_t)(wall_ns / CLOCK_S);
	struct tm tm;
	if (!localtime_r(&seconds, &tm) || strftime(text, TEXT, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
		(void)snprintf(text, TEXT, "-");
	}
	return text;
}
