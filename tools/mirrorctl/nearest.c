/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The distance counts insertions, deletions, replacements and swaps of neighbours (optimal string
 * alignment); the beginning of a candidate is as good as the whole.
 */
#include "nearest.h"

#include <string.h>

#define WORD_MAX 31

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t distance(const char *a, const char *b)
{
	size_t steps[WORD_MAX + 1][WORD_MAX + 1];
	size_t la = strlen(a), lb = strlen(b);
	if (la > WORD_MAX || lb > WORD_MAX) {
		return WORD_MAX;
	}
	for (size_t i = 0; i <= la; i++) {
		for (size_t j = 0; j <= lb; j++) {
			if (i == 0 || j == 0) {
				steps[i][j] = i + j;
				continue;
			}
			size_t other = a[i - 1] != b[j - 1];
			steps[i][j] = least(steps[i - 1][j - 1] + other,
				least(steps[i - 1][j], steps[i][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
				steps[i][j] = least(steps[i][j], steps[i - 2][j - 2] + 1);
			}
		}
	}
	return steps[la][lb];
}

static size_t nearness(const char *typed, const char *candidate)
{
	size_t len = strlen(typed);
	if (len >= 2 && strncmp(typed, candidate, len) == 0) {
		return 0;
	}
	return distance(typed, candidate);
}

void nearest_offer(const char *typed, const char *candidate, const char **best)
{
	size_t steps = nearness(typed, candidate);
	size_t limit = strlen(candidate) <= 4 ? 2 : 3;
	if (steps >= strlen(candidate) || steps > limit) {
		return;
	}
	if (!*best || steps < nearness(typed, *best)) {
		*best = candidate;
	}
}
