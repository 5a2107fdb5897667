/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What older versions have written and a newer one has to read: tests/unit/kept/<what>-<version>,
 * made once by that version and never again.  For each there is, here, what it says.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/journal.h"
#include "core/record-text.h"
#include "flow/message.h"

static const char *kept_directory;

static FILE *kept_open(const char *name)
{
	char path[4096];
	(void)snprintf(path, sizeof(path), "%s/%s", kept_directory, name);
	FILE *file = fopen(path, "re");
	if (!file) {
		fail_msg("%s: %s", path, strerror(errno));
	}
	return file;
}

/* ---- messages of version 1 ---------------------------------------------------------------- */

static struct change *full_change(void)
{
	struct change *change = change_create();
	change->id = (struct ident){0xc399a388dbdce3e7, 17};
	change->cause = (struct ident){0x1234, 5};
	change->op = CHANGE_RENAME;
	change->facts = CHANGE_FORCE | CHANGE_DEEP | CHANGE_DELETE | CHANGE_SOON | CHANGE_BULK |
			CHANGE_SETTLED | CHANGE_BEGUN;
	change->time_ns = 1795178735375112030;
	change->attempt = 2;
	change->newer_ns = -1;
	change->older_ns = 1795178735000000000;
	change->suspect_ns = 3;
	change->moved_ns = 4;
	change->pid = 4242;
	change->seen =
		(struct change_seen){true, true, 66306, 3123, 2, 1795178735371829290, 0100644, 2};
	change_set(&change->path, SPAN("/fs/ops/run \xff\x01/out.nc"));
	change_set(&change->link, SPAN("../where"));
	change_set(&change->host, SPAN("cn0123"));
	change_set(&change->program, SPAN("model"));
	change_set(&change->job, SPAN("123456"));
	change_add_pair(change, SPAN("/fs/ops/old"), SPAN("/fs/ops/run \xff\x01/out.nc"));
	change_add_link(change, SPAN("/fs/ops/other"), SPAN("/fs/ops/run \xff\x01/out.nc"));
	change_add_group(change, (struct change_group){66306, 3123});
	return change;
}

static struct change *small_change(void)
{
	struct change *change = change_create();
	change->id = (struct ident){1, 2};
	change->op = CHANGE_LOOK;
	change->time_ns = 1;
	change_set(&change->path, SPAN("/a"));
	return change;
}

static struct receipt full_receipt(void)
{
	return (struct receipt){.id = {7, 8},
		.status = RECEIPT_FAILED,
		.path = SPAN("/a/\xff\""),
		.time_ns = 1,
		.started_ns = 2,
		.done_ns = 3,
		.work = {1, 2, 3, 4, 5, 6, 7, 8, 9},
		.facts = CHANGE_BULK | CHANGE_BEGUN,
		.op = CHANGE_META,
		.live = true,
		.attempt = 3,
		.why = SPAN("disk full"),
		.host = SPAN("h1"),
		.job = SPAN("j"),
		.copier = SPAN("h2/copier-2")};
}

static struct ident pairs[] = {{1, 2}, {3, 4}, {5, 6}, {7, 8}};

static struct note full_note(enum note_kind kind)
{
	return (struct note){.kind = kind,
		.merged = pairs,
		.merged_count = 2,
		.stage = SPAN("poster"),
		.host = SPAN("cn0123"),
		.instance = 4,
		.pid = 99,
		.time_ns = 5,
		.problem = SPAN("no broker"),
		.stopping = true,
		.backlog = 6,
		.dirty = 7,
		.captured = 8,
		.published = 9,
		.dropped = 10,
		.lost = 11,
		.rescan = true,
		.flush = {12, 13},
		.now = true,
		.journal = true,
		.reply = SPAN("amq.gen-x"),
		.job = SPAN("j"),
		.waiting = 14,
		.failed = 15,
		.silent = SPAN("n1, n2"),
		.reached = true,
		.id = {16, 17},
		.programs = 18,
		.found = 19};
}

/* What this version makes of it; both sides are compared in this form. */
static void expect_change(struct change *expected, struct span body)
{
	CLEANUP(buf_finish) struct buf want = BUF_EMPTY, have = BUF_EMPTY;
	struct change *change = NULL;
	struct why why = {""};
	if (message_decode_change(body, &change, &why) < 0) {
		fail_msg("%s: %.*s", why.text, SPAN_ARG(body));
	}
	message_encode_change(expected, &want);
	message_encode_change(change, &have);
	assert_string_equal(have.data, want.data);
	change_destroy(change);
	change_destroy(expected);
}

static void expect_receipt(const struct receipt *expected, struct span body)
{
	CLEANUP(buf_finish) struct buf want = BUF_EMPTY, have = BUF_EMPTY;
	struct receipt receipt;
	assert_int_equal(message_decode_receipt(body, &receipt, NULL), 0);
	message_encode_receipt(expected, &want);
	message_encode_receipt(&receipt, &have);
	assert_string_equal(have.data, want.data);
	receipt_finish(&receipt);
}

static void expect_note(const struct note *expected, struct span body)
{
	CLEANUP(buf_finish) struct buf want = BUF_EMPTY, have = BUF_EMPTY;
	struct note note;
	assert_int_equal(message_decode_note(body, &note, NULL), 0);
	message_encode_note(expected, &want);
	message_encode_note(&note, &have);
	assert_string_equal(have.data, want.data);
	note_finish(&note);
}

/* The names of notes that version 1 began with, in the order of the file. */
static const enum note_kind kinds_1[] = {NOTE_MERGED, NOTE_SHARED, NOTE_BEAT, NOTE_FLUSH,
	NOTE_MARKER, NOTE_BARRIER, NOTE_FORGET, NOTE_UNSEEN};

static void expect_line(size_t number, struct span body)
{
	struct receipt receipt = full_receipt();
	struct note note;
	enum message_kind kind;
	assert_int_equal(message_kind(body, &kind, NULL), 0);
	switch (number) {
	case 0:
	case 1:
		assert_int_equal(kind, MESSAGE_CHANGE);
		expect_change(number ? small_change() : full_change(), body);
		break;
	case 2:
		assert_int_equal(kind, MESSAGE_RECEIPT);
		expect_receipt(&receipt, body);
		break;
	default:
		assert_int_equal(kind, MESSAGE_NOTE);
		assert_in_range(number, 3, 10);
		note = full_note(kinds_1[number - 3]);
		expect_note(&note, body);
	}
}

static void messages_1(void **state)
{
	char *line = NULL;
	size_t room = 0, number = 0;
	ssize_t len;
	FILE *file = kept_open("messages-1");
	(void)state;
	for (; (len = getline(&line, &room, file)) > 0; number++) {
		expect_line(number, span_of(line, (size_t)len - 1));
	}
	assert_int_equal(number, 11);
	free(line);
	(void)fclose(file);
}

/* The same lines as a version from the future might write them: refused, and never as unreadable.
 */
static void messages_of_the_future(void **state)
{
	static const char now[] = "\"mirror\":{\"version\":1";
	char *line = NULL;
	size_t room = 0;
	FILE *file = kept_open("messages-1");
	(void)state;
	while (getline(&line, &room, file) > 0) {
		struct change *change;
		struct receipt receipt;
		struct note note;
		struct why why;
		char *digit = strstr(line, now) + sizeof(now) - 2;
		*digit = '2';
		struct span body = span_str(line);
		int errors[] = {message_decode_change(body, &change, &why),
			message_decode_receipt(body, &receipt, &why),
			message_decode_note(body, &note, &why)};
		for (size_t i = 0; i < 3; i++) {
			assert_int_equal(errors[i], -EPROTONOSUPPORT);
		}
		assert_string_equal(why.text, "mirror.version: expected 1, found 2");
	}
	free(line);
	(void)fclose(file);
}

/* ---- journal of version 01 ---------------------------------------------------------------- */

static char directory[] = "/tmp/treemirror-kept.XXXXXX";

static void ring_path(char *ret, size_t size_bytes)
{
	(void)snprintf(ret, size_bytes, "%s/ring", directory);
}

/* "size", then lines of an offset and bytes, both hexadecimal; the rest is zero. */
static void unpack_ring(const char *name)
{
	char path[64];
	unsigned long long size, at;
	char hex[129];
	FILE *file = kept_open(name);
	ring_path(path, sizeof(path));
	CLEANUP(fd_close) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fscanf(file, "%llx", &size), 1);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	while (fscanf(file, "%llx %128s", &at, hex) == 2) {
		unsigned char bytes[64];
		size_t count = strlen(hex) / 2;
		for (size_t i = 0; i < count; i++) {
			assert_int_equal(sscanf(hex + 2 * i, "%2hhx", &bytes[i]), 1);
		}
		assert_int_equal(pwrite(fd, bytes, count, (off_t)at), count);
	}
	(void)fclose(file);
}

/* Every record, in order, as `mirrorctl journal --json` tells it. */
static void ring_01(void **state)
{
	struct journal *journal;
	struct record record;
	struct why why = {""};
	CLEANUP(buf_finish) struct buf have = BUF_EMPTY;
	char *line = NULL;
	size_t room = 0;
	(void)state;
	unpack_ring("ring-01");
	assert_int_equal(journal_create(directory, JOURNAL_SIZE_DEFAULT, &journal, &why), 0);
	FILE *expected = kept_open("ring-01.records");
	while (getline(&line, &room, expected) > 0) {
		int r = journal_next(journal, &record, &why);
		if (r != 0) {
			fail_msg("%d %s instead of %s", r, why.text, line);
		}
		buf_clear(&have);
		record_json(&have, &record);
		buf_add_char(&have, '\n');
		assert_string_equal(have.data, line);
	}
	assert_int_equal(journal_next(journal, &record, &why), JOURNAL_EMPTY);
	(void)fclose(expected);
	free(line);
	journal_destroy(journal);
}

/* Neither read nor replaced. */
static void ring_of_the_future(void **state)
{
	struct journal *journal = NULL;
	struct why why = {""};
	char path[64], digits[2] = "";
	(void)state;
	unpack_ring("ring-01");
	ring_path(path, sizeof(path));
	CLEANUP(fd_close) int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "02", 2, 6), 2);
	assert_int_equal(
		journal_create(directory, JOURNAL_SIZE_DEFAULT, &journal, &why), -EPROTONOSUPPORT);
	assert_non_null(strstr(why.text, "version 02"));
	assert_int_equal(journal_peek(directory, &journal, &why), -EPROTONOSUPPORT);
	assert_int_equal(pread(fd, digits, 2, 6), 2);
	assert_memory_equal(digits, "02", 2);
}

static int teardown(void **state)
{
	static const char *const names[] = {"ring", "lock"};
	char path[64];
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		(void)unlink(path);
	}
	return rmdir(directory);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_1),
		cmocka_unit_test(messages_of_the_future),
		cmocka_unit_test(ring_01),
		cmocka_unit_test(ring_of_the_future),
	};
	if (argc != 2 || !mkdtemp(directory)) {
		return 2;
	}
	kept_directory = argv[1];
	return cmocka_run_group_tests_name("kept", tests, NULL, teardown);
}
