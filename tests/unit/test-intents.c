/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "poster/intents.h"

#define MAX_DELAY (300 * CLOCK_S)

static int set_up(void **state)
{
	*state = intents_create(MAX_DELAY);
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	intents_destroy(*state);
	return 0;
}

static struct record record_of(enum record_kind kind, uint32_t pid, int32_t fd, uint64_t ino)
{
	return (struct record){.kind = kind,
		.pid = pid,
		.fd = fd,
		.dev = 7,
		.ino = ino,
		.flags = RECORD_HAS_INODE,
		.time_ns = 1000 * CLOCK_S};
}

/* What was in the slot before, destroyed: its inode, or 0. */
static uint64_t open_as(struct intents *table, enum record_kind kind, unsigned flags, uint32_t pid,
	int32_t fd, uint64_t ino, const char *path)
{
	struct record record = record_of(kind, pid, fd, ino);
	struct intent *replaced;
	record.flags |= flags;
	assert_int_equal(intents_open(table, &record, span_str(path), &replaced), 0);
	uint64_t was = replaced ? replaced->ino : 0;
	intent_destroy(replaced);
	return was;
}

/* 0: not known, 1: clean, 2: dirty. */
static int close_as(struct intents *table, uint32_t pid, int32_t fd, uint64_t ino)
{
	struct record record = record_of(RECORD_CLOSE, pid, fd, ino);
	struct intent *intent = intents_take_closed(table, &record);
	int is = !intent ? 0 : intent->dirty ? 2 : 1;
	intent_destroy(intent);
	return is;
}

static size_t die(struct intents *table, uint32_t pid)
{
	size_t count = 0;
	for (struct intent *intent; (intent = intents_take_of(table, pid)); count++) {
		assert_int_equal(intent->pid, pid);
		intent_destroy(intent);
	}
	return count;
}

static void written_and_closed(void **state)
{
	open_as(*state, RECORD_OPEN, 0, 1, 3, 50, "/t/f");
	struct record written = record_of(RECORD_WRITTEN, 1, 3, 50);
	intents_written(*state, &written);
	assert_int_equal(close_as(*state, 1, 3, 50), 2);
	assert_int_equal(intents_count(*state), 0);
	assert_int_equal(close_as(*state, 1, 3, 50), 0);
}

static void merely_open_is_clean(void **state)
{
	open_as(*state, RECORD_OPEN, 0, 1, 3, 50, "/t/f");
	assert_int_equal(close_as(*state, 1, 3, 50), 1);
	open_as(*state, RECORD_OPEN, RECORD_CREATED, 1, 3, 50, "/t/f");
	assert_int_equal(close_as(*state, 1, 3, 50), 2);
}

/* bash: `{ a; b; } > f` opens 3, moves it to 1, closes 3; the end is the death of the shell. */
static void shell_redirection(void **state)
{
	open_as(*state, RECORD_OPEN, RECORD_CREATED, 1, 3, 50, "/t/f");
	open_as(*state, RECORD_INHERIT, 0, 1, 1, 50, "/t/f");
	close_as(*state, 1, 3, 50);
	assert_int_equal(close_as(*state, 1, 3, 50), 0);
	assert_int_equal(intents_count(*state), 1);
	assert_int_equal(die(*state, 1), 1);
}

/* The parent closes, the child that inherited goes on writing and is killed. */
static void inherited_by_a_child(void **state)
{
	open_as(*state, RECORD_OPEN, RECORD_CREATED, 1, 17, 50, "/t/f");
	open_as(*state, RECORD_INHERIT, 0, 2, 17, 50, "/t/f");
	assert_int_equal(close_as(*state, 1, 17, 50), 2);
	assert_int_equal(intents_count(*state), 1);
	assert_int_equal(die(*state, 1), 0);
	assert_int_equal(die(*state, 2), 1);
}

/* A raw close nobody saw: the slot comes back with another file. */
static void slot_used_again(void **state)
{
	open_as(*state, RECORD_OPEN, 0, 1, 3, 50, "/t/f");
	assert_int_equal(open_as(*state, RECORD_OPEN, 0, 1, 3, 51, "/t/g"), 50);
	assert_int_equal(open_as(*state, RECORD_OPEN, 0, 1, 3, 51, "/t/g"), 0);
	assert_span(intents_get(*state, 1, 3)->path, "/t/g");
}

static void dirt_outlives_being_told_again(void **state)
{
	open_as(*state, RECORD_OPEN, RECORD_CREATED, 1, 3, 50, "/t/f");
	open_as(*state, RECORD_OPEN, 0, 1, 3, 50, "/t/f");
	assert_int_equal(close_as(*state, 1, 3, 50), 2);
}

static void maps_end_with_the_process(void **state)
{
	open_as(*state, RECORD_OPEN, 0, 1, 3, 50, "/t/f");
	open_as(*state, RECORD_MAP, 0, 1, 3, 50, "/t/f");
	open_as(*state, RECORD_MAP, 0, 1, 3, 51, "/t/g");
	assert_int_equal(close_as(*state, 1, 3, 50), 1);
	assert_int_equal(intents_count(*state), 2);
	assert_int_equal(die(*state, 1), 2);
	assert_int_equal(intents_count(*state), 0);
}

static void renames_move_names(void **state)
{
	open_as(*state, RECORD_OPEN, 0, 1, 3, 50, "/t/a/f");
	open_as(*state, RECORD_OPEN, 0, 1, 4, 51, "/t/ab");
	open_as(*state, RECORD_OPEN, 0, 1, 5, 52, "/t/z");
	assert_int_equal(intents_rename(*state, SPAN("/t/a/f"), SPAN("/t/a/g")), 0);
	assert_int_equal(intents_rename(*state, SPAN("/t/a"), SPAN("/t/z")), 0);
	assert_span(intents_get(*state, 1, 3)->path, "/t/z/g");
	assert_span(intents_get(*state, 1, 4)->path, "/t/ab");
	assert_true(intents_get(*state, 1, 5)->unlinked);
	assert_int_equal(intents_exchange(*state, SPAN("/t/z"), SPAN("/t/ab")), 0);
	assert_span(intents_get(*state, 1, 3)->path, "/t/ab/g");
	assert_span(intents_get(*state, 1, 4)->path, "/t/z");
	intents_unlink(*state, SPAN("/t/ab/g"));
	assert_true(intents_get(*state, 1, 3)->unlinked);
	assert_false(intents_get(*state, 1, 4)->unlinked);
}

static void overdue_again_and_again(void **state)
{
	uint64_t begun = 1000 * CLOCK_S;
	open_as(*state, RECORD_OPEN, 0, 1, 3, 50, "/t/f");
	struct intent *intent = intents_get(*state, 1, 3);
	assert_false(intents_overdue(*state, intent, begun + MAX_DELAY - 1));
	assert_true(intents_overdue(*state, intent, begun + MAX_DELAY)); /* clean as it is */
	struct record written = record_of(RECORD_WRITTEN, 1, 3, 50);
	intents_written(*state, &written);
	assert_false(intents_overdue(*state, intent, begun + MAX_DELAY - 1));
	assert_true(intents_overdue(*state, intent, begun + MAX_DELAY));
	assert_false(intents_overdue(*state, intent, begun + MAX_DELAY + 1));
	assert_true(intents_overdue(*state, intent, begun + 2 * MAX_DELAY));
}

static void finding_by_inode(void **state)
{
	open_as(*state, RECORD_OPEN, 0, 1, 3, 50, "/t/f");
	open_as(*state, RECORD_OPEN, 0, 2, 3, 51, "/t/l");
	assert_span(intents_find(*state, 1, 7, 50)->path, "/t/f");
	assert_span(intents_find(*state, 0, 7, 51)->path, "/t/l");
	assert_null(intents_find(*state, 2, 7, 50));
	assert_null(intents_find(*state, 0, 7, 52));
	assert_null(intents_find(*state, 0, 8, 50));
}

/* One thread closes 3, another gets 3 for a new file and tells it first. */
static void a_late_close_of_another_file(void **state)
{
	open_as(*state, RECORD_OPEN, RECORD_CREATED, 1, 3, 51, "/t/new");
	assert_int_equal(close_as(*state, 1, 3, 50), 0);
	assert_int_equal(intents_count(*state), 1);
}

static void assert_same(const struct intents *a, const struct intents *b)
{
	size_t cursor = 0;
	const struct intent *was;
	assert_int_equal(intents_count(a), intents_count(b));
	while ((was = intents_next(a, &cursor))) {
		size_t other = 0;
		const struct intent *is;
		while ((is = intents_next(b, &other)) &&
			!(is->pid == was->pid && is->fd == was->fd && is->ino == was->ino)) {
		}
		assert_non_null(is);
		assert_true(span_equal(is->path, was->path) && span_equal(is->job, was->job) &&
			    span_equal(is->program, was->program));
		assert_true(is->dirty == was->dirty && is->unlinked == was->unlinked &&
			    is->dev == was->dev && is->opened_ns == was->opened_ns &&
			    is->due_ns == was->due_ns);
	}
}

/* Any history: what is loaded equals what was saved, and every cut of it is refused. */
static void saved_is_loaded(void **state)
{
	struct intents *table = *state;
	srand(11);
	for (unsigned step = 0; step < 3000; step++) {
		uint32_t pid = 1 + (uint32_t)rand() % 9;
		int32_t fd = rand() % 6;
		uint64_t ino = 50 + (uint64_t)rand() % 20;
		char path[300];
		(void)snprintf(path, sizeof(path), "/t/%c\xff\n%*d", 'a' + rand() % 3,
			1 + rand() % 200, rand() % 4);
		switch (rand() % 8) {
		case 0:
			close_as(table, pid, fd, ino);
			break;
		case 1:
			die(table, pid);
			break;
		case 2:
			intents_unlink(table, span_str(path));
			break;
		case 3:
			open_as(table, RECORD_MAP, 0, pid, fd, ino, path);
			break;
		case 4:
			assert_int_equal(intents_rename(table, SPAN("/t/a"), SPAN("/t/b")), 0);
			break;
		default:
			open_as(table, RECORD_OPEN, rand() % 4, pid, fd, ino, path);
			break;
		}
		if (step % 100 == 0) {
			CLEANUP(buf_finish) struct buf bytes = BUF_EMPTY;
			struct intents *again = intents_create(MAX_DELAY);
			intents_save(table, &bytes);
			assert_int_equal(intents_load(again, buf_span(&bytes), NULL), 0);
			assert_same(table, again);
			intents_destroy(again);
		}
	}
}

static void what_is_cut_off_is_refused(void **state)
{
	CLEANUP(buf_finish) struct buf bytes = BUF_EMPTY;
	open_as(*state, RECORD_OPEN, 0, 1, 3, 50, "/t/f");
	intents_save(*state, &bytes);
	for (size_t len = 1; len < bytes.len; len++) {
		struct intents *again = intents_create(MAX_DELAY);
		struct why why = {""};
		assert_true(intents_load(again, span_of(bytes.data, len), &why) < 0);
		assert_true(why.text[0]);
		intents_destroy(again);
	}
	CLEANUP(buf_finish) struct buf twice = BUF_EMPTY;
	buf_add(&twice, buf_span(&bytes));
	buf_add(&twice, buf_span(&bytes));
	struct intents *again = intents_create(MAX_DELAY);
	assert_true(intents_load(again, buf_span(&twice), NULL) < 0);
	intents_destroy(again);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(written_and_closed),
		TEST(merely_open_is_clean),
		TEST(shell_redirection),
		TEST(inherited_by_a_child),
		TEST(slot_used_again),
		TEST(dirt_outlives_being_told_again),
		TEST(maps_end_with_the_process),
		TEST(renames_move_names),
		TEST(overdue_again_and_again),
		TEST(finding_by_inode),
		TEST(a_late_close_of_another_file),
		TEST(saved_is_loaded),
		TEST(what_is_cut_off_is_refused),
	};
	return cmocka_run_group_tests_name("intents", tests, NULL, NULL);
}
