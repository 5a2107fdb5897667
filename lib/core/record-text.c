/* SPDX-License-Identifier: Apache-2.0 */
#include "core/record-text.h"

#include <inttypes.h>
#include <time.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"

static const char *const kinds[RECORD_KIND_COUNT] = {
	[RECORD_NONE] = "none",
	[RECORD_OPEN] = "open",
	[RECORD_INHERIT] = "inherit",
	[RECORD_MAP] = "map",
	[RECORD_CLOSE] = "close",
	[RECORD_TRUNCATE] = "truncate",
	[RECORD_META] = "meta",
	[RECORD_MKDIR] = "mkdir",
	[RECORD_SYMLINK] = "symlink",
	[RECORD_LINK] = "link",
	[RECORD_RENAME] = "rename",
	[RECORD_EXCHANGE] = "exchange",
	[RECORD_UNLINK] = "unlink",
	[RECORD_RMDIR] = "rmdir",
	[RECORD_MKNOD] = "mknod",
	[RECORD_UNSEEN] = "unseen",
	[RECORD_WRITTEN] = "written",
};

static const struct {
	unsigned flag;
	const char *name;
} flag_names[] = {
	{RECORD_DIRTY, "dirty"},
	{RECORD_CREATED, "created"},
	{RECORD_NOFOLLOW, "nofollow"},
	{RECORD_CONTINUED, "continued"},
};
#define FLAG_COUNT (sizeof(flag_names) / sizeof(flag_names[0]))

static const char *const reasons[UNSEEN_REASON_COUNT] = {
	[UNSEEN_STATIC] = "static",
	[UNSEEN_GO] = "go",
	[UNSEEN_PRIVILEGED] = "privileged",
	[UNSEEN_ENVIRONMENT] = "environment",
	[UNSEEN_MACHINE] = "machine",
};

static const char *reason_name(uint32_t reason)
{
	return reason && reason < UNSEEN_REASON_COUNT ? reasons[reason] : "?";
}

/* The first of arguments that are each followed by NUL; moves them on. */
static struct span next_argument(struct span *arguments)
{
	const char *end = memchr(arguments->data, '\0', arguments->len);
	struct span one = {arguments->data, end ? (size_t)(end - arguments->data) : arguments->len};
	*arguments = span_skip(*arguments, one.len + 1);
	return one;
}

const char *record_kind_name(enum record_kind kind)
{
	return kind < RECORD_KIND_COUNT ? kinds[kind] : "?";
}

/* ---- for people -------------------------------------------------------------------------- */

static void text_time(struct buf *buf, uint64_t time_ns)
{
	time_t seconds = (time_t)(time_ns / CLOCK_S);
	struct tm tm;
	char text[16] = "";
	if (localtime_r(&seconds, &tm)) {
		(void)strftime(text, sizeof(text), "%H:%M:%S", &tm);
	}
	buf_printf(buf, "%s.%06u", text, (unsigned)(time_ns % CLOCK_S / 1000));
}

static void text_path(struct buf *buf, const char *before, struct span dir, struct span path)
{
	CLEANUP(buf_finish) struct buf whole = BUF_EMPTY;
	if (dir.len + path.len == 0) {
		return;
	}
	path_join(&whole, dir, path);
	buf_printf(buf, " %s%s", before, log_quote(buf_span(&whole)));
}

static void text_unseen(struct buf *buf, const struct record *record)
{
	struct span rest = record->path2;
	buf_printf(buf, " %s %s", reason_name(record->mode), log_quote(record->path));
	while (rest.len) {
		buf_printf(buf, " %s", log_quote(next_argument(&rest)));
	}
	buf_printf(buf, " in %s", log_quote(record->dir));
}

void record_text(struct buf *buf, const struct record *record)
{
	text_time(buf, record->time_ns);
	buf_printf(buf, " %.*s[%" PRIu32 "] %s", SPAN_ARG(record->program), record->pid,
		record_kind_name(record->kind));
	if (record->fd >= 0) {
		buf_printf(buf, " fd=%d", record->fd);
	}
	if (record->kind == RECORD_UNSEEN) {
		text_unseen(buf, record);
	} else {
		text_path(buf, "", record->dir, record->path);
		text_path(buf, "-> ", record->dir2, record->path2);
	}
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		if (record->flags & flag_names[i].flag) {
			buf_printf(buf, " %s", flag_names[i].name);
		}
	}
	if (record->flags & RECORD_HAS_INODE) {
		buf_printf(buf, " ino=%" PRIu64, record->ino);
	}
	if (record->flags & RECORD_HAS_STAT) {
		buf_printf(buf, " size=%" PRIu64, record->size_bytes);
	}
	if (record->job.len > 0) {
		buf_printf(buf, " job=%.*s", SPAN_ARG(record->job));
	}
}

/* ---- for programs ------------------------------------------------------------------------ */

/* The length of the UTF-8 character at the front, 0 where there is none. */
static size_t utf8_len(struct span s)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned char first = (unsigned char)s.data[0];
	size_t len = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
	uint32_t code = first & (0x7fu >> len);
	if (len == 1) {
		return 1;
	}
	if (first < 0xc2 || first > 0xf4 || len > s.len) {
		return 0;
	}
	for (size_t i = 1; i < len; i++) {
		unsigned char next = (unsigned char)s.data[i];
		if ((next & 0xc0) != 0x80) {
			return 0;
		}
		code = code << 6 | (next & 0x3f);
	}
	bool surrogate = code >= 0xd800 && code <= 0xdfff;
	return code < least[len] || code > 0x10ffff || surrogate ? 0 : len;
}

static bool is_utf8(struct span s)
{
	while (s.len > 0) {
		size_t len = utf8_len(s);
		if (len == 0) {
			return false;
		}
		s = span_skip(s, len);
	}
	return true;
}

static void json_string(struct buf *buf, struct span s)
{
	buf_add_char(buf, '"');
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.data[i];
		if (c == '"' || c == '\\') {
			buf_printf(buf, "\\%c", c);
		} else if (c < 0x20 || c == 0x7f) {
			buf_printf(buf, "\\u%04x", c);
		} else {
			buf_add_char(buf, (char)c);
		}
	}
	buf_add_char(buf, '"');
}

static void json_base64(struct buf *buf, struct span s)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	buf_add_char(buf, '"');
	for (size_t i = 0; i < s.len; i += 3) {
		uint32_t bits = 0;
		for (size_t k = 0; k < 3; k++) {
			bits = bits << 8 | (i + k < s.len ? (unsigned char)s.data[i + k] : 0);
		}
		for (size_t k = 0; k < 4; k++) {
			bool pad = i + k > s.len;
			buf_add_char(buf, (char)(pad ? '=' : digits[bits >> (18 - 6 * k) & 63]));
		}
	}
	buf_add_char(buf, '"');
}

static void json_name(struct buf *buf, const char *key, struct span s)
{
	if (s.len == 0) {
		return;
	}
	if (is_utf8(s)) {
		buf_printf(buf, ",\"%s\":", key);
		json_string(buf, s);
	} else {
		buf_printf(buf, ",\"%s_base64\":", key);
		json_base64(buf, s);
	}
}

static void json_flags(struct buf *buf, unsigned flags)
{
	const char *comma = "";
	buf_add_str(buf, ",\"flags\":[");
	for (size_t i = 0; i < FLAG_COUNT; i++) {
		if (flags & flag_names[i].flag) {
			buf_printf(buf, "%s\"%s\"", comma, flag_names[i].name);
			comma = ",";
		}
	}
	buf_add_char(buf, ']');
}

void record_json(struct buf *buf, const struct record *record)
{
	buf_printf(buf, "{\"position\":%" PRIu64 ",\"end\":%" PRIu64 ",\"kind\":\"%s\"",
		record->position, record->end, record_kind_name(record->kind));
	json_flags(buf, record->flags);
	buf_printf(buf, ",\"time_ns\":%" PRIu64 ",\"pid\":%" PRIu32 ",\"fd\":%d", record->time_ns,
		record->pid, record->fd);
	if (record->flags & RECORD_HAS_INODE) {
		buf_printf(buf, ",\"dev\":%" PRIu64 ",\"ino\":%" PRIu64, record->dev, record->ino);
	}
	if (record->flags & RECORD_HAS_STAT) {
		buf_printf(buf,
			",\"size\":%" PRIu64 ",\"mtime_ns\":%" PRId64 ",\"mode\":%" PRIu32
			",\"nlink\":%" PRIu32,
			record->size_bytes, record->mtime_ns, record->mode, record->nlink);
	}
	if (record->kind == RECORD_UNSEEN) {
		buf_printf(buf, ",\"reason\":\"%s\",\"session\":%" PRIu32,
			reason_name(record->mode), record->nlink);
	}
	json_name(buf, "dir", record->dir);
	json_name(buf, "path", record->path);
	json_name(buf, "dir2", record->dir2);
	json_name(buf, "path2", record->path2);
	json_name(buf, "program", record->program);
	json_name(buf, "job", record->job);
	buf_add_char(buf, '}');
}
