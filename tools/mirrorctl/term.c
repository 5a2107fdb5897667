/* SPDX-License-Identifier: Apache-2.0 */
#include "term.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool progress_shown;

bool term_styled(FILE *out)
{
	const char *term = getenv("TERM"), *plain = getenv("NO_COLOR");
	return isatty(fileno(out)) && term && strcmp(term, "dumb") != 0 && !(plain && plain[0]);
}

const char *term_style(FILE *out, enum style style)
{
	static const char *const escapes[] = {
		[STYLE_NONE] = "\033[0m",
		[STYLE_BOLD] = "\033[1m",
		[STYLE_GOOD] = "\033[1;32m",
		[STYLE_BUSY] = "\033[1;33m",
		[STYLE_BAD] = "\033[1;31m",
		[STYLE_DIM] = "\033[2m",
	};
	return term_styled(out) ? escapes[style] : "";
}

size_t term_width(FILE *out)
{
	struct winsize size;
	if (!isatty(fileno(out))) {
		return 0;
	}
	if (ioctl(fileno(out), TIOCGWINSZ, &size) < 0 || size.ws_col == 0) {
		return 80;
	}
	return size.ws_col;
}

size_t term_columns(const char *text)
{
	size_t columns = 0;
	for (; *text; text++) {
		columns += ((unsigned char)*text & 0xc0) != 0x80;
	}
	return columns;
}

/* Cuts text after so many columns. */
static void cut(char *text, size_t columns)
{
	for (; *text; text++) {
		if (((unsigned char)*text & 0xc0) != 0x80 && columns-- == 0) {
			*text = '\0';
			return;
		}
	}
}

void term_progress(const char *format, ...)
{
	char text[512];
	if (!isatty(STDERR_FILENO)) {
		return;
	}
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	cut(text, term_width(stderr) - 1);
	(void)fprintf(stderr, "\r%s\033[K", text);
	(void)fflush(stderr);
	progress_shown = true;
}

void term_progress_end(void)
{
	if (progress_shown) {
		(void)fputs("\r\033[K", stderr);
		(void)fflush(stderr);
		progress_shown = false;
	}
}
