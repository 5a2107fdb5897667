/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What v03 peers do with a message decides what it says to them:
 *
 *   no fileOp            fetch the file
 *   directory            mkdir                     directory + remove   rmdir
 *   link, hlink          symlink, hard link        remove               unlink
 *   rename               rename the old name, given here, to relPath (or fetch)
 *   newname              nothing: their own renames once were two messages, and of the one for
 *                        the old name, which told the new one, they take no notice any more
 *
 * So a rename is one message at the new name, and the change at the old name (AWAY) carries
 * `newname`: peers pass it over.  A `remove` there would delete what a later message may have
 * put there, and a plain message would make them fetch a file that is gone.  Everything of which
 * it is not known what it is (a LOOK at a path nobody has opened yet) says `newname` with the
 * path itself: it may be of use to us and is nothing that a peer could act upon.
 *
 * Their spelling: all values are strings; in relPath a space is %20, a hash %23, nothing else is
 * encoded; the mode is octal without type; times are UTC.
 */
#include "flow/peer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"

/* --- times -------------------------------------------------------------------------------- */

void peer_write_time(struct buf *buf, int64_t time_ns)
{
	int64_t second = time_ns / (int64_t)CLOCK_S, rest = time_ns % (int64_t)CLOCK_S;
	if (rest < 0) {
		second--;
		rest += (int64_t)CLOCK_S;
	}
	struct tm tm;
	time_t time = (time_t)second;
	char text[32];
	gmtime_r(&time, &tm);
	(void)strftime(text, sizeof(text), "%Y%m%dT%H%M%S", &tm);
	buf_add_str(buf, text);
	int digits = 9;
	while (digits > 1 && rest % 10 == 0) {
		rest /= 10;
		digits--;
	}
	buf_printf(buf, ".%0*" PRId64, digits, rest);
}

/* count digits at offset. */
static int read_digits(struct span text, size_t offset, size_t count, int *ret)
{
	int value = 0;
	for (size_t i = offset; i < offset + count; i++) {
		if (i >= text.len || text.data[i] < '0' || text.data[i] > '9') {
			return -EINVAL;
		}
		value = value * 10 + (text.data[i] - '0');
	}
	*ret = value;
	return 0;
}

/* ".375": nanoseconds; more than nine digits are cut. */
static int read_fraction(struct span text, int64_t *ret_ns)
{
	int64_t ns = 0;
	if (text.len == 0) {
		*ret_ns = 0;
		return 0;
	}
	for (size_t i = 1; i < 10 || i < text.len; i++) {
		int digit = 0;
		if (i < text.len && read_digits(text, i, 1, &digit) < 0) {
			return -EINVAL;
		}
		ns = i < 10 ? ns * 10 + digit : ns;
	}
	*ret_ns = ns;
	return text.data[0] == '.' ? 0 : -EINVAL;
}

int peer_read_time(struct span text, int64_t *ret_ns)
{
	struct tm tm = {0};
	int64_t fraction;
	if (text.len < 15 || text.data[8] != 'T' || read_digits(text, 0, 4, &tm.tm_year) < 0 ||
		read_digits(text, 4, 2, &tm.tm_mon) < 0 ||
		read_digits(text, 6, 2, &tm.tm_mday) < 0 ||
		read_digits(text, 9, 2, &tm.tm_hour) < 0 ||
		read_digits(text, 11, 2, &tm.tm_min) < 0 ||
		read_digits(text, 13, 2, &tm.tm_sec) < 0 ||
		read_fraction(span_skip(text, 15), &fraction) < 0 || tm.tm_year < 1678 ||
		tm.tm_year > 2261 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
		tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60) {
		return -EINVAL;
	}
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret_ns = (int64_t)timegm(&tm) * (int64_t)CLOCK_S + fraction;
	return 0;
}

/* --- writing ------------------------------------------------------------------------------ */

static void member(struct buf *buf, const char *key, struct span text)
{
	wire_key(buf, key);
	wire_text(buf, text);
}

static void time_member(struct buf *buf, const char *key, int64_t time_ns)
{
	wire_key(buf, key);
	buf_add_char(buf, '"');
	peer_write_time(buf, time_ns);
	buf_add_char(buf, '"');
}

/* wire_text() encodes what is not UTF-8. */
static void write_rel_path(struct buf *buf, struct span path)
{
	CLEANUP(buf_finish) struct buf rel = BUF_EMPTY;
	struct span rest = span_skip(path, 1);
	while (rest.len) {
		size_t run = 0;
		while (run < rest.len && rest.data[run] != ' ' && rest.data[run] != '#') {
			run++;
		}
		buf_add(&rel, span_of(rest.data, run));
		if (run < rest.len) {
			buf_add_str(&rel, rest.data[run++] == ' ' ? "%20" : "%23");
		}
		rest = span_skip(rest, run);
	}
	buf->failed |= rel.failed;
	member(buf, "relPath", rel.len ? buf_span(&rel) : SPAN("."));
}

static void write_head(struct buf *buf, int64_t time_ns, struct span path)
{
	time_member(buf, "pubTime", time_ns);
	member(buf, "baseUrl", SPAN("file:/"));
	write_rel_path(buf, path);
	member(buf, "source", SPAN("treemirror"));
}

static void write_seen(struct buf *buf, const struct change_seen *seen)
{
	if (S_ISREG(seen->mode)) {
		wire_key(buf, "size");
		buf_printf(buf, "\"%" PRIu64 "\"", seen->size_bytes);
	}
	time_member(buf, "mtime", seen->mtime_ns);
	wire_key(buf, "mode");
	buf_printf(buf, "\"%o\"", seen->mode & 07777);
}

/* What the path is as far as the change tells: S_IFMT bits, or 0. */
static mode_t type_of(const struct change *change)
{
	switch (change->op) {
	case CHANGE_WRITE:
	case CHANGE_REMOVE:
		return S_IFREG;
	case CHANGE_MKDIR:
	case CHANGE_RMDIR:
		return S_IFDIR;
	case CHANGE_SYMLINK:
		return S_IFLNK;
	default:
		return change->seen.has_stat ? change->seen.mode & S_IFMT : 0;
	}
}

/* The first pair of the kind that goes with the operation; NULL: none. */
static const struct change_pair *first_pair(const struct change *change)
{
	for (unsigned i = 0; i < change->pair_count; i++) {
		if (change->pairs[i].is_link == (change->op == CHANGE_LINK)) {
			return &change->pairs[i];
		}
	}
	return NULL;
}

/* Whether a peer can do something with it. */
static bool is_news(const struct change *change)
{
	mode_t type = type_of(change);
	bool renamed = change->op == CHANGE_RENAME && first_pair(change);
	bool linked = change->op == CHANGE_LINK && first_pair(change);
	return change->op != CHANGE_AWAY &&
	       (type == S_IFREG || type == S_IFDIR || renamed || linked ||
		       (type == S_IFLNK && change->link.len));
}

static void write_file_op(struct buf *buf, const struct change *change)
{
	bool removed = change->op == CHANGE_REMOVE || change->op == CHANGE_RMDIR;
	mode_t type = type_of(change);
	wire_open(buf, "fileOp");
	if (removed) {
		member(buf, "remove", SPAN(""));
	}
	if (type == S_IFDIR) {
		member(buf, "directory", SPAN(""));
	}
	if (type == S_IFLNK && change->link.len) {
		member(buf, "link", change->link);
	}
	const struct change_pair *pair = first_pair(change);
	if (change->op == CHANGE_RENAME && pair) {
		member(buf, "rename", pair->from);
	}
	if (change->op == CHANGE_LINK && pair) {
		member(buf, "hlink", pair->from);
	}
	wire_close(buf);
}

void peer_write_change(struct buf *buf, const struct change *change)
{
	write_head(buf, (int64_t)change->time_ns, change->path);
	if (!is_news(change)) {
		const struct change_pair *pair = first_pair(change);
		bool away = change->op == CHANGE_AWAY && pair;
		member(buf, "newname", away ? pair->to : change->path);
		return;
	}
	bool removed = change->op == CHANGE_REMOVE || change->op == CHANGE_RMDIR;
	if (change->seen.has_stat && !removed && type_of(change) != S_IFLNK) {
		write_seen(buf, &change->seen);
	}
	bool plain = type_of(change) == S_IFREG && change->op != CHANGE_REMOVE &&
		     change->op != CHANGE_RENAME && change->op != CHANGE_LINK;
	if (!plain) {
		write_file_op(buf, change);
	}
}

void peer_write_receipt(struct buf *buf, const struct receipt *receipt)
{
	static const struct {
		int code;
		const char *words;
	} reports[RECEIPT_STATUS_COUNT] = {
		[RECEIPT_DONE] = {201, "mirrored"},
		[RECEIPT_RETRY] = {503, "later again"},
		[RECEIPT_FAILED] = {500, "failed"},
		[RECEIPT_DROPPED] = {304, "not mirrored"},
	};
	write_head(buf, (int64_t)receipt->time_ns, receipt->path);
	wire_open(buf, "report");
	wire_key(buf, "code");
	buf_printf(buf, "%d", reports[receipt->status].code);
	time_member(buf, "timeCompleted", (int64_t)receipt->done_ns);
	member(buf, "message",
		receipt->why.len ? receipt->why : span_str(reports[receipt->status].words));
	wire_close(buf);
}

/* --- reading ------------------------------------------------------------------------------ */

static int required(const struct wire *in, const char *key, struct span *ret, struct why *why)
{
	int r = wire_string(in, key, ret, why);
	return r == WIRE_ABSENT ? why_error(why, -EBADMSG, "%s: missing", key) : r;
}

/* The directory that relPath is relative to: "/" for "file:/", "/fs" for "sftp://host/fs/". */
static int base_path(struct span url, struct span *ret)
{
	const char *slash = NULL;
	if (span_starts(url, SPAN("file:"))) {
		*ret = span_skip(url, 5);
		while (span_starts(*ret, SPAN("//"))) {
			*ret = span_skip(*ret, 1);
		}
		return 0;
	}
	if (!span_starts(url, SPAN("sftp://"))) {
		return -EINVAL;
	}
	struct span rest = span_skip(url, 7);
	slash = rest.len ? memchr(rest.data, '/', rest.len) : NULL;
	*ret = slash ? span_skip(rest, (size_t)(slash - rest.data)) : SPAN_NONE;
	return 0;
}

static void add_decoded(struct buf *buf, struct span rel)
{
	while (rel.len) {
		bool space = span_starts(rel, SPAN("%20")), hash = span_starts(rel, SPAN("%23"));
		buf_add(buf, space ? SPAN(" ") : hash ? SPAN("#") : span_of(rel.data, 1));
		rel = span_skip(rel, space || hash ? 3 : 1);
	}
}

static int read_path(const struct wire *in, struct change *change, struct why *why)
{
	CLEANUP(buf_finish) struct buf joined = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	struct span url = SPAN_NONE, rel = SPAN_NONE, base = SPAN_NONE;
	int r = required(in, "baseUrl", &url, why);
	if (r < 0 || (r = required(in, "relPath", &rel, why)) < 0) {
		return r;
	}
	if (base_path(url, &base) < 0) {
		return why_error(why, -EBADMSG, "baseUrl: expected file:/ or sftp://, found %s",
			log_quote(url));
	}
	buf_add_char(&joined, '/');
	buf_add(&joined, base);
	buf_add_char(&joined, '/');
	add_decoded(&joined, rel);
	if (joined.failed) {
		return -ENOMEM;
	}
	r = path_normalise(&path, buf_span(&joined));
	if (r == -EINVAL || (r == 0 && !wire_is_path(buf_span(&path)))) {
		return why_error(
			why, -EBADMSG, "relPath: expected a path without names above 255 bytes");
	}
	return r < 0 ? r : change_set(&change->path, buf_span(&path));
}

/* A pair where the other name is absolute; a relative one starts from nobody knows where. */
static int add_pair(struct change *change, struct span other, bool other_is_new)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	int r = path_normalise(&path, other);
	struct span name = buf_span(&path);
	if (r == -EINVAL || (r == 0 && !wire_is_path(name))) {
		return 0;
	}
	if (r < 0) {
		return r;
	}
	if (change->op == CHANGE_LINK) {
		return change_add_link(change, name, change->path);
	}
	return other_is_new ? change_add_pair(change, change->path, name)
			    : change_add_pair(change, name, change->path);
}

static int read_file_op(const struct wire *in, struct change *change, struct why *why)
{
	struct wire op;
	struct span text = SPAN_NONE;
	int r = wire_enter(in, "fileOp", "fileOp", &op, why);
	if (r) {
		return r < 0 ? r : 0;
	}
	bool directory = wire_string(&op, "directory", &text, NULL) == 0;
	change->facts = 0;
	if (wire_string(&op, "remove", &text, NULL) == 0) {
		change->op = directory ? CHANGE_RMDIR : CHANGE_REMOVE;
		return 0;
	}
	/* Theirs do not tell a rename from a hard link; whoever looks will see. */
	if ((r = wire_string(&op, "rename", &text, why)) <= 0) {
		change->op = CHANGE_RENAME;
		change->facts = CHANGE_DEEP | CHANGE_FORCE;
		return r < 0 ? r : add_pair(change, text, false);
	}
	if ((r = wire_string(&op, "hlink", &text, why)) <= 0) {
		change->op = CHANGE_LINK;
		change->facts = CHANGE_FORCE;
		return r < 0 ? r : add_pair(change, text, false);
	}
	if ((r = wire_string(&op, "link", &text, why)) <= 0) {
		change->op = CHANGE_SYMLINK;
		return r < 0 ? r : change_set(&change->link, text);
	}
	/* unlike the shim, peers may tell of a directory only, and not of what was made in it */
	change->op = directory ? CHANGE_MKDIR : CHANGE_LOOK;
	change->facts = directory ? CHANGE_DEEP : 0;
	return 0;
}

/* All three or nothing; values that make no sense are no reason to lose the change. */
static void read_seen(const struct wire *in, struct change_seen *seen)
{
	struct span size, mtime, mode;
	if (wire_string(in, "size", &size, NULL) || wire_string(in, "mtime", &mtime, NULL) ||
		wire_string(in, "mode", &mode, NULL) ||
		peer_read_time(mtime, &seen->mtime_ns) < 0) {
		return;
	}
	char *size_end, *mode_end;
	seen->size_bytes = strtoull(size.data, &size_end, 10);
	seen->mode = S_IFREG | (uint32_t)(strtoul(mode.data, &mode_end, 8) & 07777);
	seen->has_stat = size.len && mode.len && !*size_end && !*mode_end;
}

int peer_read_change(
	const struct wire *in, struct span body, struct change *change, struct why *why)
{
	XXH128_hash_t hash = XXH3_128bits(body.data, body.len);
	struct span text;
	int64_t time_ns;
	change->id = (struct ident){hash.high64 | 1, hash.low64};
	int r = required(in, "pubTime", &text, why);
	if (r < 0 || (r = read_path(in, change, why)) < 0) {
		return r;
	}
	if (peer_read_time(text, &time_ns) < 0 || time_ns < 0) {
		return why_error(why, -EBADMSG, "pubTime: expected YYYYMMDDTHHMMSS.n, found %s",
			log_quote(text));
	}
	change->time_ns = (uint64_t)time_ns;
	if (wire_string(in, "newname", &text, NULL) == 0) {
		change->op = CHANGE_AWAY;
		change->facts = CHANGE_DEEP;
		return add_pair(change, text, true);
	}
	change->op = CHANGE_WRITE;
	change->facts = CHANGE_FORCE;
	r = read_file_op(in, change, why);
	if (r == 0 && change->op == CHANGE_WRITE) {
		read_seen(in, &change->seen);
	}
	return r;
}
