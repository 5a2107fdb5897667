/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message has two halves:
 *
 *   {"pubTime": …, "baseUrl": "file:/", "relPath": …, …,    what v03 peers read     (peer.c)
 *    "mirror": {"version": 1, "id": …, "path": …, …}}        what we read           (here)
 *
 * Both say the same; ours is lossless.  A message without our half was posted by a peer, and
 * becomes a change as well as it can.  The rows below are the format (docs/FORMATS.md).
 */
#include "flow/message.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "core/cleanup.h"
#include "core/path.h"
#include "core/utf8.h"
#include "flow/peer.h"
#include "flow/wire.h"

#define TOPIC_MAX   255
#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
DEFINE_CLEANUP(struct change *, change_destroy)

static const char *op_name(unsigned index)
{
	return index < CHANGE_OP_COUNT ? change_op_name((enum change_op)index) : NULL;
}

static const char *status_name(unsigned index)
{
	return index < RECEIPT_STATUS_COUNT ? receipt_status_name((enum receipt_status)index)
					    : NULL;
}

/* By bit number of enum change_fact. */
static const char *fact_name(unsigned index)
{
	static const char *const names[] = {
		"force", "deep", "delete", "soon", "bulk", "settled", "begun", "pass"};
	return index < COUNT(names) ? names[index] : NULL;
}

/* "mirror" of a change or an order. */
static const struct wire_row change_rows[] = {
	{"id", WIRE_IDENT, offsetof(struct change, id), .required = true},
	{"cause", WIRE_IDENT, offsetof(struct change, cause)},
	{"op", WIRE_NAME, offsetof(struct change, op), .required = true, .name = op_name},
	{"facts", WIRE_SET, offsetof(struct change, facts), .name = fact_name},
	{"time", WIRE_U64, offsetof(struct change, time_ns), .required = true},
	{"path", WIRE_PATH, offsetof(struct change, path), .required = true},
	{"link", WIRE_BYTES, offsetof(struct change, link)},
	{"attempt", WIRE_U32, offsetof(struct change, attempt)},
	{"newer", WIRE_I64, offsetof(struct change, newer_ns)},
	{"older", WIRE_I64, offsetof(struct change, older_ns)},
	{"suspect", WIRE_I64, offsetof(struct change, suspect_ns)},
	{"moved", WIRE_I64, offsetof(struct change, moved_ns)},
	{"host", WIRE_BYTES, offsetof(struct change, host)},
	{"program", WIRE_BYTES, offsetof(struct change, program)},
	{"job", WIRE_BYTES, offsetof(struct change, job)},
	{"pid", WIRE_U32, offsetof(struct change, pid)},
};

/* "mirror.seen": the two halves are there or not. */
static const struct wire_row inode_rows[] = {
	{"dev", WIRE_U64, offsetof(struct change_seen, dev), .required = true},
	{"ino", WIRE_U64, offsetof(struct change_seen, ino), .required = true},
};
static const struct wire_row stat_rows[] = {
	{"size", WIRE_U64, offsetof(struct change_seen, size_bytes), .required = true},
	{"mtime", WIRE_I64, offsetof(struct change_seen, mtime_ns), .required = true},
	{"mode", WIRE_U32, offsetof(struct change_seen, mode), .required = true},
	{"nlink", WIRE_U32, offsetof(struct change_seen, nlink), .required = true},
};

/* "mirror" of a receipt, and "mirror.work". */
static const struct wire_row receipt_rows[] = {
	{"id", WIRE_IDENT, offsetof(struct receipt, id), .required = true},
	{"status", WIRE_NAME, offsetof(struct receipt, status), .required = true,
		.name = status_name},
	{"op", WIRE_NAME, offsetof(struct receipt, op), .required = true, .name = op_name},
	{"facts", WIRE_SET, offsetof(struct receipt, facts), .name = fact_name},
	{"path", WIRE_PATH, offsetof(struct receipt, path), .required = true},
	{"time", WIRE_U64, offsetof(struct receipt, time_ns), .required = true},
	{"started", WIRE_U64, offsetof(struct receipt, started_ns)},
	{"done", WIRE_U64, offsetof(struct receipt, done_ns)},
	{"live", WIRE_FLAG, offsetof(struct receipt, live)},
	{"attempt", WIRE_U32, offsetof(struct receipt, attempt)},
	{"why", WIRE_BYTES, offsetof(struct receipt, why)},
	{"host", WIRE_BYTES, offsetof(struct receipt, host)},
	{"job", WIRE_BYTES, offsetof(struct receipt, job)},
	{"copier", WIRE_BYTES, offsetof(struct receipt, copier)},
};
static const struct wire_row work_rows[] = {
	{"files", WIRE_U64, offsetof(struct receipt_work, files)},
	{"directories", WIRE_U64, offsetof(struct receipt_work, directories)},
	{"links", WIRE_U64, offsetof(struct receipt_work, links)},
	{"renames", WIRE_U64, offsetof(struct receipt_work, renames)},
	{"removals", WIRE_U64, offsetof(struct receipt_work, removals)},
	{"bytes", WIRE_U64, offsetof(struct receipt_work, bytes)},
	{"saved", WIRE_U64, offsetof(struct receipt_work, bytes_saved)},
	{"unchanged", WIRE_U64, offsetof(struct receipt_work, unchanged)},
	{"skipped", WIRE_U64, offsetof(struct receipt_work, skipped)},
};

/* --- changes and orders ------------------------------------------------------------------- */

static void write_seen(struct buf *ret, const struct change_seen *seen)
{
	if (!seen->has_inode && !seen->has_stat) {
		return;
	}
	wire_open(ret, "seen");
	if (seen->has_inode) {
		wire_write(ret, inode_rows, COUNT(inode_rows), seen);
	}
	if (seen->has_stat) {
		wire_write(ret, stat_rows, COUNT(stat_rows), seen);
	}
	wire_close(ret);
}

static void write_pairs(struct buf *ret, const char *key, const struct change *change, bool is_link)
{
	bool any = false;
	for (unsigned i = 0; i < change->pair_count; i++) {
		const struct change_pair *pair = &change->pairs[i];
		if (pair->is_link != is_link) {
			continue;
		}
		if (!any) {
			wire_key(ret, key);
			buf_add_char(ret, '[');
		}
		wire_pair(ret, pair->from, pair->to);
		any = true;
	}
	if (any) {
		buf_add_char(ret, ']');
	}
}

static void write_groups(struct buf *ret, const struct change *change)
{
	if (!change->group_count) {
		return;
	}
	wire_key(ret, "groups");
	buf_add_char(ret, '[');
	for (unsigned i = 0; i < change->group_count; i++) {
		char dev[32], ino[32];
		(void)snprintf(dev, sizeof(dev), "%" PRIu64, change->groups[i].dev);
		(void)snprintf(ino, sizeof(ino), "%" PRIu64, change->groups[i].ino);
		wire_pair(ret, span_str(dev), span_str(ino));
	}
	buf_add_char(ret, ']');
}

void message_encode_change(const struct change *change, struct buf *ret)
{
	wire_open(ret, NULL);
	peer_write_change(ret, change);
	wire_open_mirror(ret);
	wire_write(ret, change_rows, COUNT(change_rows), change);
	write_pairs(ret, "pairs", change, false);
	write_pairs(ret, "links", change, true);
	write_groups(ret, change);
	write_seen(ret, &change->seen);
	wire_close(ret);
	wire_close(ret);
}

static int read_seen(const struct wire *mirror, struct change_seen *seen, struct why *why)
{
	struct wire in;
	struct span any;
	int r = wire_enter(mirror, "seen", "mirror.seen", &in, why);
	if (r) {
		return r < 0 ? r : 0;
	}
	if ((r = wire_string(&in, "dev", &any, why)) == 0) {
		seen->has_inode = true;
		r = wire_read(&in, inode_rows, COUNT(inode_rows), seen, why);
	}
	if (r >= 0 && (r = wire_string(&in, "size", &any, why)) == 0) {
		seen->has_stat = true;
		r = wire_read(&in, stat_rows, COUNT(stat_rows), seen, why);
	}
	return r < 0 ? r : 0;
}

static int read_pair(void *arg, struct span from, struct span to, struct why *why)
{
	if (!wire_is_path(from) || !wire_is_path(to)) {
		return why_error(why, -EBADMSG, "mirror.pairs: expected absolute paths");
	}
	return change_add_pair(arg, from, to);
}

static int read_link(void *arg, struct span from, struct span to, struct why *why)
{
	if (!wire_is_path(from) || !wire_is_path(to)) {
		return why_error(why, -EBADMSG, "mirror.links: expected absolute paths");
	}
	return change_add_link(arg, from, to);
}

static int read_group(void *arg, struct span dev, struct span ino, struct why *why)
{
	struct change_group group;
	if (wire_number(dev, &group.dev) < 0 || wire_number(ino, &group.ino) < 0) {
		return why_error(why, -EBADMSG, "mirror.groups: expected pairs of numbers");
	}
	change_add_group(arg, group);
	return 0;
}

static int read_change(const struct wire *mirror, struct change *change, struct why *why)
{
	int r = wire_read(mirror, change_rows, COUNT(change_rows), change, why);
	if (r == 0) {
		r = wire_pairs(mirror, "pairs", read_pair, change, why);
	}
	if (r == 0) {
		r = wire_pairs(mirror, "links", read_link, change, why);
	}
	if (r == 0) {
		r = wire_pairs(mirror, "groups", read_group, change, why);
	}
	return r < 0 ? r : read_seen(mirror, &change->seen, why);
}

static int parse(struct span body, struct wire *ret, struct why *why)
{
	if (body.len > MESSAGE_MAX_BYTES) {
		return why_error(why, -EBADMSG, "expected at most %lu bytes, found %zu",
			MESSAGE_MAX_BYTES, body.len);
	}
	return wire_parse(body, ret, why);
}

int message_decode_change(struct span body, struct change **ret, struct why *why)
{
	CLEANUP(wire_finish) struct wire top = {0};
	CLEANUP(change_destroy_p) struct change *change = change_create();
	struct wire mirror;
	*ret = NULL;
	if (!change) {
		return -ENOMEM;
	}
	int r = parse(body, &top, why);
	if (r == 0) {
		r = wire_enter_mirror(&top, &mirror, why);
	}
	if (r == 0) {
		r = read_change(&mirror, change, why);
	} else if (r == WIRE_ABSENT) {
		r = peer_read_change(&top, body, change, why);
	}
	if (r == 0) {
		*ret = STEAL(change);
	}
	return r;
}

/* --- receipts ----------------------------------------------------------------------------- */

void message_encode_receipt(const struct receipt *receipt, struct buf *ret)
{
	wire_open(ret, NULL);
	peer_write_receipt(ret, receipt);
	wire_open_mirror(ret);
	wire_write(ret, receipt_rows, COUNT(receipt_rows), receipt);
	wire_open(ret, "work");
	wire_write(ret, work_rows, COUNT(work_rows), &receipt->work);
	wire_close(ret);
	wire_close(ret);
	wire_close(ret);
}

static int read_receipt(const struct wire *top, struct receipt *receipt, struct why *why)
{
	struct wire mirror, work;
	int r = wire_enter_mirror(top, &mirror, why);
	if (r == WIRE_ABSENT) {
		return why_error(why, -EBADMSG, "mirror: missing");
	}
	if (r == 0) {
		r = wire_read(&mirror, receipt_rows, COUNT(receipt_rows), receipt, why);
	}
	if (r == 0) {
		r = wire_enter(&mirror, "work", "mirror.work", &work, why);
	}
	if (r == 0) {
		r = wire_read(&work, work_rows, COUNT(work_rows), &receipt->work, why);
	}
	return r < 0 ? r : 0;
}

int message_decode_receipt(struct span body, struct receipt *ret, struct why *why)
{
	CLEANUP(wire_finish) struct wire top = {0};
	*ret = (struct receipt){0};
	int r = parse(body, &top, why);
	if (r == 0) {
		r = read_receipt(&top, ret, why);
	}
	if (r < 0) {
		receipt_finish(ret);
	}
	return r;
}

/* --- what routing needs ------------------------------------------------------------------- */

/* One character of a topic, encoded where AMQP or UTF-8 would stumble over it. */
static struct span topic_unit(struct span rest, char encoded[4], size_t *ret_used)
{
	unsigned char c = (unsigned char)rest.data[0];
	size_t len = utf8_length(rest);
	*ret_used = len ? len : 1;
	if (c == '/') {
		return SPAN(".");
	}
	if (len && c > ' ' && c != '*' && c != '#' && c != 0x7f) {
		return span_of(rest.data, len);
	}
	(void)snprintf(encoded, 4, "%%%02X", c);
	return span_of(encoded, 3);
}

void message_topic(struct span path, struct buf *ret)
{
	size_t begin = ret->len, used;
	struct span rest = path_parent(path);
	char encoded[4];
	buf_add_str(ret, "v03");
	while (rest.len) {
		struct span unit = topic_unit(rest, encoded, &used);
		if (ret->len - begin + unit.len > TOPIC_MAX) {
			break;
		}
		buf_add(ret, unit);
		rest = span_skip(rest, used);
	}
}

unsigned message_shard(struct span path, unsigned shard_count)
{
	return shard_count ? (unsigned)(XXH3_64bits(path.data, path.len) % shard_count) : 0;
}

/*
 * Steps over one string, which begins at *at behind its opening quote; its raw bytes.
 * An unfinished one ends with the body.
 */
static struct span skip_string(struct span body, size_t *at)
{
	size_t begin = *at;
	while (*at < body.len && body.data[*at] != '"') {
		*at += body.data[*at] == '\\' ? 2 : 1;
	}
	size_t end = *at < body.len ? *at : body.len;
	*at = end + 1;
	return span_of(body.data + begin, end - begin);
}

/* Looks at the keys of the outermost object only: no syntax is checked, decoding does that. */
int message_kind(struct span body, enum message_kind *ret, struct why *why)
{
	bool has_path = false, has_report = false, key = false;
	unsigned depth = 0;
	for (size_t i = 0; i < body.len;) {
		char c = body.data[i++];
		if (c == '"') {
			struct span text = skip_string(body, &i);
			has_path |= key && depth == 1 && span_equal(text, SPAN("relPath"));
			has_report |= key && depth == 1 && span_equal(text, SPAN("report"));
			key = false;
		}
		depth += c == '{' || c == '[';
		depth -= depth && (c == '}' || c == ']');
		key = key || c == '{' || c == ',';
	}
	if (!body.len || !memchr(body.data, '{', body.len)) {
		return why_error(why, -EBADMSG, "expected an object, found something else");
	}
	*ret = !has_path ? MESSAGE_NOTE : has_report ? MESSAGE_RECEIPT : MESSAGE_CHANGE;
	return 0;
}
