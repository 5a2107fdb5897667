/* SPDX-License-Identifier: Apache-2.0 */
#include "core/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t clock_read(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_S + (uint64_t)ts.tv_nsec;
}

uint64_t clock_now(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

uint64_t clock_wall(void)
{
	return clock_read(CLOCK_REALTIME);
}

static const struct {
	const char *name;
	uint64_t ns;
} units[] = {
	{"d", 86400 * CLOCK_S},
	{"h", 3600 * CLOCK_S},
	{"m", 60 * CLOCK_S},
	{"s", CLOCK_S},
	{"ms", CLOCK_MS},
	{"us", 1000},
	{"ns", 1},
};
#define UNIT_COUNT (sizeof(units) / sizeof(units[0]))

int clock_parse(struct span text, uint64_t *ret_ns)
{
	char copy[32], *end;
	if (text.len == 0 || text.len >= sizeof(copy)) {
		return -EINVAL;
	}
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	if (strspn(copy, "0123456789.") == 0) {
		return -EINVAL;
	}
	double value = strtod(copy, &end);
	if (*end == '\0') {
		*ret_ns = 0;
		return value == 0 ? 0 : -EINVAL;
	}
	for (size_t i = 0; i < UNIT_COUNT; i++) {
		if (strcmp(end, units[i].name) == 0) {
			double ns = value * (double)units[i].ns;
			if (ns > 100 * 366 * 86400.0 * 1e9) {
				return -ERANGE;
			}
			*ret_ns = (uint64_t)(ns + 0.5);
			return 0;
		}
	}
	return -EINVAL;
}

char *clock_text(uint64_t ns, char *buffer, size_t size_bytes)
{
	uint64_t s = ns / CLOCK_S;
	if (s >= 86400) {
		(void)snprintf(buffer, size_bytes, "%" PRIu64 " d %" PRIu64 " h", s / 86400,
			s % 86400 / 3600);
	} else if (s >= 3600) {
		(void)snprintf(
			buffer, size_bytes, "%" PRIu64 " h %" PRIu64 " m", s / 3600, s % 3600 / 60);
	} else if (s >= 60) {
		(void)snprintf(buffer, size_bytes, "%" PRIu64 " m %" PRIu64 " s", s / 60, s % 60);
	} else if (s >= 10) {
		(void)snprintf(buffer, size_bytes, "%" PRIu64 " s", s);
	} else if (s >= 1) {
		(void)snprintf(buffer, size_bytes, "%.1f s", (double)ns / 1e9);
	} else {
		(void)snprintf(buffer, size_bytes, "%" PRIu64 " ms", ns / CLOCK_MS);
	}
	return buffer;
}

char *clock_exact(uint64_t ns, char *buffer, size_t size_bytes)
{
	if (ns == 0) {
		(void)snprintf(buffer, size_bytes, "0");
		return buffer;
	}
	for (size_t i = 0; i < UNIT_COUNT; i++) {
		if (ns % units[i].ns == 0) {
			(void)snprintf(buffer, size_bytes, "%" PRIu64 "%s", ns / units[i].ns,
				units[i].name);
			break;
		}
	}
	return buffer;
}
