/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repeats: the last LOG_RECENT lines are remembered by hash with the time they were first
 * written.  A repeat within LOG_REPEAT_NS only counts; the first line after that says how often.
 */
#include "core/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/utf8.h"

#define LOG_RECENT    64
#define LOG_REPEAT_NS (60 * CLOCK_S)

static const char *log_name = "treemirror";
static enum log_level log_most = LOG_LEVEL_INFO;

static struct {
	uint64_t hash;
	uint64_t since_ns;
	uint64_t repeats;
} recent[LOG_RECENT];

void log_open(const char *name, enum log_level level)
{
	log_name = name;
	log_most = level;
}

static uint64_t log_hash(const char *text)
{
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
	for (; *text; text++) {
		hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
	}
	return hash;
}

/* Returns true where the line is a repeat; otherwise *ret_repeats tells how many were held back. */
static bool log_is_repeat(const char *text, uint64_t *ret_repeats)
{
	uint64_t hash = log_hash(text), now = clock_now();
	size_t at = hash % LOG_RECENT;
	*ret_repeats = 0;
	if (recent[at].hash == hash && now - recent[at].since_ns < LOG_REPEAT_NS) {
		recent[at].repeats++;
		return true;
	}
	if (recent[at].hash == hash) {
		*ret_repeats = recent[at].repeats;
	}
	recent[at].hash = hash;
	recent[at].since_ns = now;
	recent[at].repeats = 0;
	return false;
}

__attribute__((format(printf, 2, 0))) static void log_vline(
	enum log_level level, const char *format, va_list arguments)
{
	static const char *const words[] = {"error: ", "warning: ", "", "debug: "};
	char text[4096], line[4352], stamp[32], tail[64] = "";
	uint64_t repeats;
	struct timespec ts;
	struct tm tm;

	(void)vsnprintf(text, sizeof(text), format, arguments);
	if (log_is_repeat(text, &repeats)) {
		return;
	}
	if (repeats) {
		(void)snprintf(tail, sizeof(tail), " repeated=%" PRIu64, repeats);
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	int len = snprintf(line, sizeof(line), "%s.%03ldZ %s %s%s%s\n", stamp, ts.tv_nsec / 1000000,
		log_name, words[level], text, tail);
	if (len > 0) {
		size_t size = (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1;
		ssize_t written = write(STDERR_FILENO, line, size);
		(void)written; /* there is nowhere left to report to */
	}
}

void log_line(enum log_level level, const char *format, ...)
{
	if (level > log_most) {
		return;
	}
	va_list arguments;
	va_start(arguments, format);
	log_vline(level, format, arguments);
	va_end(arguments);
}

int log_error_r(int error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	log_vline(LOG_LEVEL_ERROR, format, arguments);
	va_end(arguments);
	return error;
}

/*
 * Writes the escaped form of what is at the front; returns how many input bytes it stands for.
 * words: text for people, which may hold quoted names, so quotes and backslashes stay.
 */
static size_t escape_one(struct span bytes, bool words, char out[8])
{
	unsigned char c = (unsigned char)bytes.data[0];
	static const char special[] = "\n\t\r\\'";
	const char *simple = c && !(words && (c == '\'' || c == '\\')) ? strchr(special, c) : NULL;
	size_t utf8 = c >= 0x80 ? utf8_length(bytes) : 0;
	if (simple) {
		(void)snprintf(out, 8, "\\%c", "ntr\\'"[simple - special]);
	} else if (utf8 && !(c == 0xc2 && (unsigned char)bytes.data[1] < 0xa0)) {
		memcpy(out, bytes.data, utf8);
		out[utf8] = '\0';
		return utf8;
	} else if (c < 0x20 || c >= 0x7f) {
		(void)snprintf(out, 8, "\\x%02x", c);
	} else {
		out[0] = (char)c;
		out[1] = '\0';
	}
	return 1;
}

static char *escape(struct span bytes, bool words, char *buffer, size_t size_bytes)
{
	size_t used = 0;
	char one[8];
	while (bytes.len > 0) {
		size_t taken = escape_one(bytes, words, one);
		size_t len = strlen(one);
		if (used + len + sizeof("…") > size_bytes) {
			memcpy(buffer + used, "…", sizeof("…"));
			return buffer;
		}
		memcpy(buffer + used, one, len);
		used += len;
		bytes = span_skip(bytes, taken);
	}
	buffer[used] = '\0';
	return buffer;
}

char *log_escape(struct span bytes, char *buffer, size_t size_bytes)
{
	return escape(bytes, false, buffer, size_bytes);
}

char *log_words(struct span bytes, char *buffer, size_t size_bytes)
{
	return escape(bytes, true, buffer, size_bytes);
}

const char *log_quote(struct span bytes)
{
	static char buffers[8][1024];
	static unsigned turn;
	char *buffer = buffers[turn++ % 8];
	buffer[0] = '\'';
	log_escape(bytes, buffer + 1, sizeof(buffers[0]) - 2);
	strcat(buffer, "'");
	return buffer;
}
