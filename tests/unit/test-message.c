/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "flow/message.h"
#include "some.h"

static struct change *decoded(const char *body)
{
	struct change *change = NULL;
	struct why why = {""};
	int r = message_decode_change(span_str(body), &change, &why);
	if (r < 0) {
		print_message("%s\n", why.text);
	}
	assert_int_equal(r, 0);
	return change;
}

static void refused(const char *body, const char *words)
{
	struct change *change = (struct change *)1;
	struct why why = {""};
	assert_int_equal(message_decode_change(span_str(body), &change, &why), -EBADMSG);
	assert_null(change);
	if (!strstr(why.text, words)) {
		print_message("got: %s\n", why.text);
	}
	assert_non_null(strstr(why.text, words));
}

/* --- our own ------------------------------------------------------------------------------ */

/* Encoded, decoded, encoded again: the same bytes, whatever bytes the names have. */
static void changes_survive(void **state)
{
	(void)state;
	for (int i = 0; i < 3000; i++) {
		some_state = (uint64_t)i;
		struct change *change = some_change(), *back = NULL;
		struct buf once = BUF_EMPTY, twice = BUF_EMPTY;
		struct why why = {""};
		enum message_kind kind;
		message_encode_change(change, &once);
		assert_int_equal(message_decode_change(buf_span(&once), &back, &why), 0);
		assert_true(span_equal(change->path, back->path));
		assert_true(span_equal(change->link, back->link));
		assert_memory_equal(&change->seen, &back->seen, sizeof(change->seen));
		assert_int_equal(change->facts, back->facts);
		message_encode_change(back, &twice);
		assert_string_equal(once.data, twice.data);
		assert_int_equal(message_kind(buf_span(&once), &kind, NULL), 0);
		assert_int_equal(kind, MESSAGE_CHANGE);
		change_destroy(change);
		change_destroy(back);
		buf_finish(&once);
		buf_finish(&twice);
	}
}

/* Every single byte that a name may have, alone and beside others. */
static void every_byte_of_a_name(void **state)
{
	(void)state;
	for (int c = 1; c < 256; c++) {
		char path[] = {'/', (char)c, 'x', (char)c, (char)c};
		if (c == '/' || c == '.') {
			continue;
		}
		struct change *change = change_create(), *back = NULL;
		struct buf body = BUF_EMPTY;
		change_set(&change->path, span_of(path, sizeof(path)));
		message_encode_change(change, &body);
		assert_int_equal(message_decode_change(buf_span(&body), &back, NULL), 0);
		assert_true(span_equal(change->path, back->path));
		change_destroy(change);
		change_destroy(back);
		buf_finish(&body);
	}
}

static void receipts_survive(void **state)
{
	struct receipt receipt = {.id = {7, 8},
		.status = RECEIPT_FAILED,
		.path = SPAN("/a/\xff\""),
		.time_ns = 1,
		.started_ns = 2,
		.done_ns = UINT64_MAX >> 1,
		.work = {1, 2, 3, 4, 5, 6, 7, 8, UINT64_MAX},
		.facts = CHANGE_BULK | CHANGE_SETTLED | CHANGE_BEGUN,
		.op = CHANGE_META,
		.live = true,
		.attempt = 3,
		.why = SPAN("disk full\n"),
		.host = SPAN("h1"),
		.job = SPAN("j"),
		.copier = SPAN("h2/copier-2")};
	struct receipt back;
	struct buf body = BUF_EMPTY;
	struct why why = {""};
	enum message_kind kind;
	(void)state;
	message_encode_receipt(&receipt, &body);
	assert_int_equal(message_kind(buf_span(&body), &kind, NULL), 0);
	assert_int_equal(kind, MESSAGE_RECEIPT);
	assert_int_equal(message_decode_receipt(buf_span(&body), &back, &why), 0);
	assert_true(ident_equal(receipt.id, back.id));
	assert_int_equal(back.status, RECEIPT_FAILED);
	assert_int_equal(back.op, CHANGE_META);
	assert_int_equal(back.facts, CHANGE_BULK | CHANGE_SETTLED | CHANGE_BEGUN);
	assert_memory_equal(&receipt.work, &back.work, sizeof(back.work));
	assert_true(back.live);
	assert_int_equal(back.attempt, 3);
	assert_int_equal(back.done_ns, UINT64_MAX >> 1);
	assert_true(span_equal(receipt.path, back.path));
	assert_span(back.why, "disk full\n");
	assert_span(back.host, "h1");
	assert_span(back.job, "j");
	assert_span(back.copier, "h2/copier-2");
	receipt_finish(&back);
	receipt_finish(&back);
	buf_finish(&body);
}

static void notes_survive(void **state)
{
	struct ident merged[] = {{1, 2}, {3, 4}, {5, 6}, {7, 8}, {9, 10}, {11, 12}};
	struct note note = {.kind = NOTE_BARRIER,
		.merged = merged,
		.merged_count = 3,
		.stage = SPAN("winnow"),
		.host = SPAN("h"),
		.instance = 4,
		.pid = 99,
		.time_ns = 5,
		.problem = SPAN("no broker"),
		.stopping = true,
		.active = true,
		.standby = true,
		.backlog = 6,
		.dirty = 7,
		.captured = 8,
		.published = 9,
		.dropped = 10,
		.lost = 11,
		.rescan = true,
		.told = 16,
		.noted = 17,
		.outside = 18,
		.unnamed = 19,
		.made = 20,
		.repeats = 21,
		.id = {22, 0},
		.flush = {12, 13},
		.now = true,
		.reply = SPAN("amq.gen-x"),
		.job = SPAN("j"),
		.waiting = 14,
		.failed = 15,
		.silent = SPAN("n1, n2"),
		.reached = true};
	struct note back;
	struct buf once = BUF_EMPTY, twice = BUF_EMPTY;
	enum message_kind kind;
	(void)state;
	message_encode_note(&note, &once);
	assert_int_equal(message_kind(buf_span(&once), &kind, NULL), 0);
	assert_int_equal(kind, MESSAGE_NOTE);
	assert_int_equal(message_decode_note(buf_span(&once), &back, NULL), 0);
	assert_int_equal(back.kind, NOTE_BARRIER);
	assert_int_equal(back.merged_count, 3);
	assert_memory_equal(back.merged, merged, sizeof(merged));
	message_encode_note(&back, &twice);
	assert_string_equal(once.data, twice.data);
	note_finish(&back);
	note_finish(&back);
	buf_finish(&once);
	buf_finish(&twice);
}

#define HEAD "{\"relPath\":\"a\",\"mirror\":{\"version\":1,\"id\":\"0000000000000001.2\","
#define REST "\"op\":\"write\",\"time\":\"1\",\"path\":\"/a\""

static void what_is_wrong_is_told(void **state)
{
	(void)state;
	change_destroy(decoded(HEAD REST "}}"));
	change_destroy(decoded(HEAD REST ",\"unknown\":[{}]}}"));
	refused("", "not JSON");
	refused("[]", "expected an object, found a list");
	refused("{\"mirror\":7}", "mirror: expected an object, found a number");
	refused("{\"mirror\":{}}", "mirror.version: missing");
	refused("{\"mirror\":{\"version\":0}}", "mirror.version: expected 1, found 0");
	refused("{\"mirror\":{\"version\":1}}", "mirror.id: missing");
	refused(HEAD "\"op\":\"fly\"}}", "mirror.op: expected a known name, found 'fly'");
	refused(HEAD REST ",\"facts\":3}}",
		"mirror.facts: expected a list of names, found a number");
	refused(HEAD REST ",\"facts\":[\"rude\"]}}", "list of known names, found 'rude'");
	refused(HEAD REST ",\"pid\":-1}}", "mirror.pid: expected a number from 0");
	refused(HEAD REST ",\"newer\":12}}", "mirror.newer: expected a whole number as a string");
	refused(HEAD REST ",\"newer\":\"1x\"}}", "found '1x'");
	refused(HEAD REST ",\"newer\":\"9223372036854775808\"}}", "mirror.newer");
	refused(HEAD REST ",\"host\":{\"base64\":\"a\"}}}", "mirror.host: expected base64");
	refused(HEAD REST ",\"host\":{\"base64\":\"=aaa\"}}}", "mirror.host: expected base64");
	refused(HEAD REST ",\"host\":{\"base64\":\"AGE=\"}}}", "without NUL");
	refused(HEAD REST ",\"pairs\":[[\"/a\"]]}}", "mirror.pairs: expected pairs");
	refused(HEAD REST ",\"pairs\":[[\"/a\",\"b\"]]}}", "mirror.pairs: expected absolute paths");
	refused(HEAD REST ",\"pairs\":[[\"a\",\"/b\"]]}}", "mirror.pairs: expected absolute paths");
	refused(HEAD REST ",\"groups\":[[\"1\",\"\"]]}}",
		"mirror.groups: expected pairs of numbers");
	refused(HEAD REST ",\"groups\":[[\"1\",\"18446744073709551616\"]]}}", "mirror.groups");
	refused(HEAD REST ",\"seen\":{\"dev\":\"1\"}}}", "mirror.seen.ino: missing");
	refused(HEAD "\"op\":\"write\",\"time\":\"1\",\"path\":\"a\"}}",
		"mirror.path: expected an absolute");
	refused(HEAD "\"op\":\"write\",\"time\":\"1\",\"path\":\"/a/../b\"}}", "mirror.path");
	refused(HEAD "\"op\":\"write\",\"time\":\"1\",\"path\":\"/a\\u0000\"}}", "not JSON");
	refused(HEAD REST ",\"pid\":1,\"pid\":2}}", "not JSON: duplicate");
	refused(HEAD REST, "not JSON");
}

static void depth_and_size_are_limited(void **state)
{
	struct buf body = BUF_EMPTY;
	struct change *change;
	struct why why;
	(void)state;
	buf_add_str(&body, HEAD REST ",\"host\":\"");
	for (int i = 0; i < 70000; i++) {
		buf_add_char(&body, 'x');
	}
	buf_add_str(&body, "\"}}");
	assert_int_equal(message_decode_change(buf_span(&body), &change, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "mirror.host: expected at most 65535 bytes"));
	buf_clear(&body);
	buf_add_str(&body, "{\"a\":");
	for (int i = 0; i < 100000; i++) {
		buf_add_char(&body, '[');
	}
	assert_int_equal(message_decode_change(buf_span(&body), &change, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "depth"));
	while (body.len <= MESSAGE_MAX_BYTES) {
		buf_add_str(
			&body, "                                                                ");
	}
	assert_int_equal(message_decode_change(buf_span(&body), &change, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "expected at most"));
	buf_finish(&body);
}

/* --- what peers read ---------------------------------------------------------------------- */

/* The message of a change up to our half. */
static void told_to_peers(const struct change *change, const char *expected)
{
	struct buf body = BUF_EMPTY;
	message_encode_change(change, &body);
	char *ours = strstr(body.data, ",\"mirror\":");
	assert_non_null(ours);
	*ours = '\0';
	assert_string_equal(body.data, expected);
	buf_finish(&body);
}

#define PEER(rel)                                                                                  \
	"{\"pubTime\":\"20261120T124535.37511203\",\"baseUrl\":\"file:/\",\"relPath\":\"" rel      \
	"\",\"source\":\"treemirror\""
#define PEER_TIME UINT64_C(1795178735375112030)

static void peers_are_told(void **state)
{
	struct change *change = change_create();
	(void)state;
	change->time_ns = PEER_TIME;
	change_set(&change->path, SPAN("/fs/a b/#\xff\"\n\x7f\xc3\xa9"));
	told_to_peers(change, PEER("fs/a%20b/%23%FF\\\"\\n\\u007f\xc3\xa9"));

	change_set(&change->path, SPAN("/fs/f"));
	change->seen = (struct change_seen){
		.has_stat = true, .size_bytes = 2, .mode = S_IFREG | 0644, .mtime_ns = -1};
	told_to_peers(change,
		PEER("fs/f") ",\"size\":\"2\",\"mtime\":\"19691231T235959.999999999\","
			     "\"mode\":\"644\"");
	change->op = CHANGE_REMOVE;
	told_to_peers(change, PEER("fs/f") ",\"fileOp\":{\"remove\":\"\"}");
	change->op = CHANGE_RMDIR;
	told_to_peers(change, PEER("fs/f") ",\"fileOp\":{\"remove\":\"\",\"directory\":\"\"}");

	change->seen.has_stat = false;
	change->op = CHANGE_MKDIR;
	told_to_peers(change, PEER("fs/f") ",\"fileOp\":{\"directory\":\"\"}");
	change->op = CHANGE_LOOK;
	told_to_peers(change, PEER("fs/f") ",\"newname\":\"/fs/f\"");
	change->op = CHANGE_SYMLINK;
	told_to_peers(change, PEER("fs/f") ",\"newname\":\"/fs/f\"");
	change_set(&change->link, SPAN("../x"));
	told_to_peers(change, PEER("fs/f") ",\"fileOp\":{\"link\":\"../x\"}");

	change->op = CHANGE_RENAME;
	change_add_pair(change, SPAN("/fs/old"), SPAN("/fs/f"));
	told_to_peers(change, PEER("fs/f") ",\"fileOp\":{\"rename\":\"/fs/old\"}");
	change->op = CHANGE_LINK;
	change_add_link(change, SPAN("/fs/other"), SPAN("/fs/f"));
	told_to_peers(change, PEER("fs/f") ",\"fileOp\":{\"hlink\":\"/fs/other\"}");
	change->op = CHANGE_AWAY;
	change_set(&change->path, SPAN("/fs/old"));
	told_to_peers(change, PEER("fs/old") ",\"newname\":\"/fs/f\"");
	change->seen.has_stat = true;
	told_to_peers(change, PEER("fs/old") ",\"newname\":\"/fs/f\"");
	change_destroy(change);
}

/* --- what peers post ---------------------------------------------------------------------- */

#define POST(members)                                                                              \
	"{\"pubTime\":\"20261120T124535\",\"baseUrl\":\"file:/\",\"relPath\":\"a/f\"," members "}"

static const char posted[] =
	"{ \"pubTime\" : \"20261120T124535.37511203\", \"baseUrl\" : \"file:/\", \"relPath\" : "
	"\"tmp/peers/t/source/bench/f%20%231%41\", \"source\" : \"tfeed\", \"size\" : \"2\", "
	"\"atime\" : \"20261120T124535.36895543\", \"mtime\" : \"20261120T124535.37182929\", "
	"\"mode\" : \"644\" }  \n";

static void a_file_posted_by_a_peer(void **state)
{
	struct change *change = decoded(posted), *again = decoded(posted);
	(void)state;
	assert_span(change->path, "/tmp/peers/t/source/bench/f #1%41");
	assert_int_equal(change->op, CHANGE_WRITE);
	assert_int_equal(change->facts, CHANGE_FORCE);
	assert_int_equal(change->time_ns, PEER_TIME);
	assert_true(change->seen.has_stat);
	assert_int_equal(change->seen.mtime_ns, INT64_C(1795178735371829290));
	assert_int_equal(change->seen.mode, S_IFREG | 0644);
	assert_int_equal(change->seen.size_bytes, 2);
	assert_false(ident_is_none(change->id));
	assert_true(ident_equal(change->id, again->id));
	change_destroy(again);
	again = decoded(POST("\"size\":\"2\""));
	assert_false(ident_equal(change->id, again->id));
	change_destroy(change);
	change_destroy(again);
}

static void posted_op(const char *body, enum change_op op, const char *from, const char *to)
{
	struct change *change = decoded(body);
	assert_int_equal(change->op, op);
	assert_span(change->path, "/a/f");
	assert_int_equal(change->pair_count, from ? 1 : 0);
	if (from) {
		assert_span(change->pairs[0].from, from);
		assert_span(change->pairs[0].to, to);
	}
	change_destroy(change);
}

static void operations_of_peers(void **state)
{
	(void)state;
	posted_op(POST("\"fileOp\":{\"remove\":\"\"}"), CHANGE_REMOVE, NULL, NULL);
	posted_op(
		POST("\"fileOp\":{\"remove\":\"\",\"directory\":\"\"}"), CHANGE_RMDIR, NULL, NULL);
	posted_op(POST("\"fileOp\":{\"directory\":\"\"}"), CHANGE_MKDIR, NULL, NULL);
	struct change *directory = decoded(POST("\"fileOp\":{\"directory\":\"\"}"));
	assert_int_equal(directory->facts, CHANGE_DEEP);
	change_destroy(directory);
	posted_op(POST("\"fileOp\":{\"link\":\"x\"}"), CHANGE_SYMLINK, NULL, NULL);
	posted_op(POST("\"fileOp\":{\"link\":\"x\",\"rename\":\"/b/../c\"}"), CHANGE_RENAME, "/c",
		"/a/f");
	posted_op(POST("\"fileOp\":{\"rename\":\"relative\"}"), CHANGE_RENAME, NULL, NULL);
	posted_op(POST("\"fileOp\":{\"hlink\":\"/b\"}"), CHANGE_LINK, "/b", "/a/f");
	posted_op(POST("\"newname\":\"/n\""), CHANGE_AWAY, "/a/f", "/n");
	posted_op(POST("\"fileOp\":{\"somethingNew\":\"\"}"), CHANGE_LOOK, NULL, NULL);
	posted_op(POST("\"size\":7"), CHANGE_WRITE, NULL, NULL);
}

static void posts_that_are_wrong(void **state)
{
	struct change *change;
	(void)state;
	refused("{\"baseUrl\":\"file:/\",\"relPath\":\"a\"}", "pubTime: missing");
	refused("{\"pubTime\":\"20261120T124535\",\"relPath\":\"a\"}", "baseUrl: missing");
	refused(POST("\"fileOp\":7"), "fileOp: expected an object, found a number");
	refused("{\"pubTime\":\"yesterday\",\"baseUrl\":\"file:/\",\"relPath\":\"a\"}",
		"pubTime: expected YYYYMMDDTHHMMSS.n, found 'yesterday'");
	refused("{\"pubTime\":\"20261320T124535\",\"baseUrl\":\"file:/\",\"relPath\":\"a\"}",
		"pubTime");
	refused("{\"pubTime\":\"20261120T124535\",\"baseUrl\":\"http://h/\",\"relPath\":\"a\"}",
		"baseUrl: expected file:/ or sftp://");
	change = decoded("{\"pubTime\":\"20261120T124535\",\"baseUrl\":\"sftp://u@h/fs/\","
			 "\"relPath\":\"//a/../b\"}");
	assert_span(change->path, "/fs/b");
	change_destroy(change);
}

/* --- routing ------------------------------------------------------------------------------ */

static void topic_is(struct span path, const char *expected)
{
	struct buf topic = BUF_EMPTY;
	message_topic(path, &topic);
	assert_span(buf_span(&topic), expected);
	buf_finish(&topic);
}

static void topics(void **state)
{
	(void)state;
	topic_is(SPAN("/tmp/peers/t/source/bench/f1"), "v03.tmp.peers.t.source.bench");
	topic_is(SPAN("/f"), "v03");
	topic_is(SPAN("/"), "v03");
	topic_is(SPAN("/a*/#b/c d/\x01/\xff/\xc3\xa9/f"), "v03.a%2A.%23b.c%20d.%01.%FF.\xc3\xa9");
}

static void topics_are_short(void **state)
{
	(void)state;
	for (size_t pad = 0; pad < 4; pad++) {
		struct buf path = BUF_EMPTY, topic = BUF_EMPTY;
		buf_printf(&path, "/%.*s", (int)pad, "xxxx");
		for (int i = 0; i < 200; i++) {
			buf_add_str(&path, "\xe2\x82\xac");
		}
		buf_add_str(&path, "/f");
		message_topic(buf_span(&path), &topic);
		assert_true(topic.len > 252 && topic.len <= 255);
		assert_int_equal((topic.len - 4 - pad) % 3, 0);
		buf_finish(&path);
		buf_finish(&topic);
	}
}

static void shards(void **state)
{
	unsigned seen = 0;
	(void)state;
	for (int i = 0; i < 1000; i++) {
		struct span path = SPAN_NONE;
		some_path(&path);
		unsigned shard = message_shard(path, 5);
		assert_true(shard < 5);
		assert_int_equal(shard, message_shard(path, 5));
		seen |= 1U << shard;
		free((void *)path.data);
	}
	assert_int_equal(seen, 31);
	assert_int_equal(message_shard(SPAN("/fs/primary/ops/a"), 5), 1);
	assert_int_equal(message_shard(SPAN("/x"), 1), 0);
}

static void kinds(void **state)
{
	static const struct {
		const char *body;
		enum message_kind kind;
	} cases[] = {
		{"{\"relPath\":\"a\"}", MESSAGE_CHANGE},
		{"{\"relPath\":\"a\",\"report\":{}}", MESSAGE_RECEIPT},
		{"{\"x\":{\"relPath\":\"a\"}}", MESSAGE_NOTE},
		{"{\"x\":\"relPath\"}", MESSAGE_NOTE},
		{"{\"x\":\"\\\"\",\"relPath\":\"report\"}", MESSAGE_CHANGE},
		{"{\"x\":[\"a\",\"report\"],\"relPath\":\"a\"}", MESSAGE_CHANGE},
		{" { \"x\" : \"{\" , \"relPath\" : 1 } ", MESSAGE_CHANGE},
	};
	enum message_kind kind;
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(message_kind(span_str(cases[i].body), &kind, NULL), 0);
		assert_int_equal(kind, cases[i].kind);
	}
	assert_int_equal(message_kind(SPAN("[1]"), &kind, NULL), -EBADMSG);
	assert_int_equal(message_kind(SPAN(""), &kind, NULL), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes_survive),
		cmocka_unit_test(every_byte_of_a_name),
		cmocka_unit_test(receipts_survive),
		cmocka_unit_test(notes_survive),
		cmocka_unit_test(what_is_wrong_is_told),
		cmocka_unit_test(depth_and_size_are_limited),
		cmocka_unit_test(peers_are_told),
		cmocka_unit_test(a_file_posted_by_a_peer),
		cmocka_unit_test(operations_of_peers),
		cmocka_unit_test(posts_that_are_wrong),
		cmocka_unit_test(topics),
		cmocka_unit_test(topics_are_short),
		cmocka_unit_test(shards),
		cmocka_unit_test(kinds),
	};
	return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
