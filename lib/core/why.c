/* SPDX-License-Identifier: Apache-2.0 */
#include "core/why.h"

#include <stdio.h>
#include <string.h>

int why_verror(struct why *why, int error, const char *format, va_list arguments)
{
	if (why) {
		(void)vsnprintf(why->text, sizeof(why->text), format, arguments);
	}
	return error;
}

int why_error(struct why *why, int error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	why_verror(why, error, format, arguments);
	va_end(arguments);
	return error;
}

void why_prefix(struct why *why, const char *format, ...)
{
	if (!why) {
		return;
	}
	struct why before = *why;
	va_list arguments;
	va_start(arguments, format);
	int len = vsnprintf(why->text, sizeof(why->text), format, arguments);
	va_end(arguments);
	if (len >= 0 && (size_t)len < sizeof(why->text)) {
		size_t room = sizeof(why->text) - (size_t)len;
		(void)snprintf(why->text + len, room, ": %.*s", (int)room, before.text);
	}
}
