/* SPDX-License-Identifier: Apache-2.0 */
#include "when.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"

static int from_tm(struct tm *tm, bool utc, int64_t *ret_ns)
{
	struct tm asked = *tm;
	tm->tm_isdst = -1;
	time_t seconds = utc ? timegm(tm) : mktime(tm);
	if (seconds < 0 || tm->tm_mday != asked.tm_mday || tm->tm_hour > 23) {
		return -EINVAL; /* 31 February and the like were moved */
	}
	*ret_ns = (int64_t)seconds * (int64_t)CLOCK_S;
	return 0;
}

int when_parse(const char *text, uint64_t now_wall_ns, int64_t *ret_ns)
{
	static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M",
		"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"};
	uint64_t ago;
	char *end;
	if (text[0] == '@' && text[1] >= '0' && text[1] <= '9') {
		long long seconds = strtoll(text + 1, &end, 10);
		*ret_ns = seconds * (long long)CLOCK_S;
		return *end || seconds > INT64_MAX / (long long)CLOCK_S ? -EINVAL : 0;
	}
	if (clock_parse(span_str(text), &ago) == 0) {
		*ret_ns = (int64_t)(now_wall_ns - (ago < now_wall_ns ? ago : now_wall_ns));
		return 0;
	}
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct tm tm = {0};
		const char *rest = strptime(text, forms[i], &tm);
		bool utc = rest && strcmp(rest, "Z") == 0;
		if (rest && (utc || *rest == '\0')) {
			return from_tm(&tm, utc, ret_ns);
		}
	}
	return -EINVAL;
}
