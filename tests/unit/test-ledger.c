/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/ledger.h"

#define S    CLOCK_S
#define WALL (UINT64_C(1700000000) * S)

struct bench {
	char directory[64], file[96];
	struct ledger *ledger;
	uint64_t now;
};

static void open_ledger(struct bench *b)
{
	struct why why = {""};
	int r = ledger_open(b->file, true, &b->ledger, &why);
	if (r < 0) {
		fail_msg("%s", why.text);
	}
	assert_int_equal(ledger_begin(b->ledger, b->now, NULL), 0);
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	strcpy(b->directory, "/tmp/test-ledger-XXXXXX");
	assert_non_null(mkdtemp(b->directory));
	sprintf(b->file, "%s/tally.db", b->directory);
	b->now = clock_wall();
	open_ledger(b);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	char command[128];
	ledger_close(b->ledger);
	sprintf(command, "rm -rf %s", b->directory);
	assert_int_equal(system(command), 0);
	free(b);
	return 0;
}

static void commit(struct bench *b)
{
	assert_int_equal(ledger_commit(b->ledger, NULL), 0);
	assert_int_equal(ledger_begin(b->ledger, b->now, NULL), 0);
}

static struct ident id(uint64_t number)
{
	return (struct ident){UINT64_C(0xfedcba9876543210), number};
}

static struct change a_change(uint64_t number, uint64_t cause)
{
	return (struct change){.id = id(number),
		.cause = cause ? id(cause) : IDENT_NONE,
		.path = SPAN("/a"),
		.time_ns = WALL};
}

static void saw(struct bench *b, uint64_t number, uint64_t cause)
{
	struct change change = a_change(number, cause);
	assert_int_equal(ledger_saw(b->ledger, &change, NULL), 0);
}

static void saw_job(struct bench *b, uint64_t number, uint64_t cause, const char *job)
{
	struct change change = a_change(number, cause);
	change.job = span_str(job);
	assert_int_equal(ledger_saw(b->ledger, &change, NULL), 0);
}

static void moved(struct bench *b, uint64_t from, uint64_t into)
{
	assert_int_equal(ledger_moved(b->ledger, id(from), id(into), NULL), 0);
}

static struct receipt a_receipt(uint64_t number, enum receipt_status status)
{
	return (struct receipt){.id = id(number),
		.status = status,
		.path = SPAN("/a"),
		.time_ns = WALL,
		.done_ns = WALL + 40 * S + number,
		.host = SPAN("h1"),
		.job = SPAN("job7"),
		.work = {.files = 1, .bytes = 100}};
}

static void settled(struct bench *b, uint64_t number, enum receipt_status status)
{
	struct receipt receipt = a_receipt(number, status);
	assert_int_equal(ledger_settled(b->ledger, &receipt, SPAN("/tree"), NULL), 0);
}

static void beat(struct bench *b, const char *host, uint32_t pid, uint64_t captured, bool stopping)
{
	struct note note = {.kind = NOTE_BEAT,
		.stage = SPAN("poster"),
		.host = span_str(host),
		.pid = pid,
		.id = {pid, 0},
		.captured = captured,
		.told = captured,
		.stopping = stopping};
	assert_int_equal(ledger_beat(b->ledger, &note, NULL), 0);
}

static void flush(struct bench *b, uint64_t number, const char *job)
{
	struct note note = {
		.kind = NOTE_FLUSH, .flush = id(number), .reply = SPAN("q"), .job = span_str(job)};
	assert_int_equal(ledger_barrier_begin(b->ledger, &note, NULL), 0);
}

static void answered(struct bench *b, uint64_t number, const char *host)
{
	struct note note = {.kind = NOTE_MARKER, .flush = id(number), .host = span_str(host)};
	assert_int_equal(ledger_barrier_answered(b->ledger, &note, NULL), 0);
}

static bool reached(struct bench *b, uint64_t number, uint64_t waiting)
{
	struct note note;
	assert_int_equal(ledger_barrier_state(b->ledger, id(number), b->now, &note, NULL), 0);
	assert_int_equal(note.kind, NOTE_BARRIER);
	assert_span(note.reply, "q");
	assert_int_equal(note.waiting, waiting);
	bool result = note.reached;
	note_finish(&note);
	return result;
}

static struct ledger_summary summary(struct bench *b)
{
	struct ledger_summary s;
	commit(b);
	assert_int_equal(ledger_summary(b->ledger, &s, NULL), 0);
	return s;
}

static void counts_each_thing_once(void **state)
{
	struct bench *b = *state;
	for (unsigned twice = 0; twice < 2; twice++) {
		saw(b, 1, 0);
		saw(b, 2, 0);
		moved(b, 1, 2);
		settled(b, 2, RECEIPT_DONE);
		saw(b, 3, 0);
	}
	struct ledger_summary s = summary(b);
	assert_true(ledger_balances(&s));
	assert_int_equal(s.open, 1);
	assert_int_equal(s.changes, 3);
	assert_int_equal(s.merged, 1);
	assert_int_equal(s.coalesced, 1);
	assert_int_equal(s.orders, 1);
	assert_int_equal(s.by_status[RECEIPT_DONE], 1);
	assert_int_equal(s.work.files, 1);
	assert_int_equal(s.work.bytes, 100);
	assert_int_equal(s.files_per_minute, 1);
	assert_int_equal(s.oldest_ns, WALL);
	assert_string_equal(s.oldest_path, "/a");
	assert_int_equal(s.lag_count[4], 1); /* 40 s: above 30, at most 60 */
	assert_int_equal(ledger_lag_bound_ns(4), 60 * S);
}

static void a_failure_stays_until_something_later_was_done(void **state)
{
	struct bench *b = *state;
	saw(b, 2, 0);
	settled(b, 2, RECEIPT_FAILED);
	assert_int_equal(summary(b).failed, 1);
	settled(b, 1, RECEIPT_DONE); /* of before */
	assert_int_equal(summary(b).failed, 1);
	settled(b, 3, RECEIPT_RETRY);
	assert_int_equal(summary(b).failed, 0);
}

/* The tally's clock says that its poster has been silent for hours, and it has not. */
static void a_clock_that_is_set_forward(void **state)
{
	struct bench *b = *state;
	beat(b, "h1", 10, 0, false);
	b->now += 7200 * S;
	commit(b);
	assert_int_equal(ledger_clock_unsure(b->ledger, NULL), 0);
	flush(b, 100, "");
	assert_false(reached(b, 100, 0));
	answered(b, 100, "h1");
	assert_true(reached(b, 100, 0));
	b->now += 61 * S; /* now it has */
	commit(b);
	flush(b, 101, "");
	assert_true(reached(b, 101, 0));
}

static void a_barrier_waits_for_posters_and_children(void **state)
{
	struct bench *b = *state;
	beat(b, "h1", 10, 0, false);
	beat(b, "h2", 11, 0, false);
	beat(b, "gone", 12, 0, true);
	saw(b, 1, 0);
	flush(b, 100, "");
	flush(b, 100, ""); /* told twice */
	assert_false(reached(b, 100, 1));
	settled(b, 1, RECEIPT_DONE);
	assert_false(reached(b, 100, 0));
	answered(b, 100, "h1");
	saw(b, 2, 0);
	answered(b, 100, "h2");
	saw(b, 3, 0); /* after the barrier */
	assert_false(reached(b, 100, 1));
	saw(b, 4, 2);
	saw(b, 5, 4);
	settled(b, 2, RECEIPT_DONE);
	assert_false(reached(b, 100, 2));
	settled(b, 4, RECEIPT_RETRY);
	assert_false(reached(b, 100, 1));
	moved(b, 5, 3); /* now 3 stands for it */
	assert_false(reached(b, 100, 1));
	settled(b, 5, RECEIPT_DONE);
	assert_false(reached(b, 100, 1));
	settled(b, 3, RECEIPT_DONE);
	assert_true(reached(b, 100, 0));
	assert_int_equal(ledger_barrier_end(b->ledger, id(100), NULL), 0);
	struct note note;
	assert_int_equal(ledger_barrier_state(b->ledger, id(100), b->now, &note, NULL), -ENOENT);
}

/* It has moved an entry away that the barrier counted as there, and asks for a look at it. */
static void a_barrier_waits_for_what_comes_of_an_order_carried_out_again(void **state)
{
	struct bench *b = *state;
	saw(b, 1, 0);
	settled(b, 1, RECEIPT_DONE);
	flush(b, 100, "");
	assert_true(reached(b, 100, 0));
	saw(b, 2, 1);
	assert_false(reached(b, 100, 1));
	settled(b, 2, RECEIPT_DONE);
	assert_true(reached(b, 100, 0));
}

/* Its poster has said good-bye, but jobs may have written into its journal since. */
static void a_flush_waits_for_the_journal_of_its_own_host(void **state)
{
	struct bench *b = *state;
	struct note note = {.kind = NOTE_FLUSH,
		.flush = id(100),
		.reply = SPAN("q"),
		.host = SPAN("h1"),
		.journal = true};
	beat(b, "h1", 10, 0, true);
	assert_int_equal(ledger_barrier_begin(b->ledger, &note, NULL), 0);
	assert_false(reached(b, 100, 0));
	beat(b, "h1", 11, 0, false);
	assert_false(reached(b, 100, 0));
	saw(b, 1, 0);
	answered(b, 100, "h1");
	assert_false(reached(b, 100, 1));
	settled(b, 1, RECEIPT_DONE);
	assert_true(reached(b, 100, 0));
	/* nothing but its answer counts, also where that comes first */
	answered(b, 101, "h1");
	note.flush = id(101);
	assert_int_equal(ledger_barrier_begin(b->ledger, &note, NULL), 0);
	assert_true(reached(b, 101, 0));
}

static void silence_and_failures_and_rescans_prevent_it(void **state)
{
	struct bench *b = *state;
	struct note note = {.stage = SPAN("poster"), .host = SPAN("h1"), .rescan = true};
	assert_int_equal(ledger_beat(b->ledger, &note, NULL), 0);
	beat(b, "h2", 1, 0, false);
	flush(b, 100, "");
	answered(b, 100, "h1");
	b->now += 40 * S;
	commit(b);
	assert_int_equal(ledger_barrier_state(b->ledger, id(100), b->now, &note, NULL), 0);
	assert_span(note.silent, "poster on h2 (silent for 40 s), poster on h1 (owes a rescan)");
	note_finish(&note);
	assert_int_equal(ledger_forget(b->ledger, SPAN("h2"), NULL), 0);
	assert_false(reached(b, 100, 0));
	beat(b, "h1", 1, 0, false);
	assert_true(reached(b, 100, 0));
	settled(b, 1, RECEIPT_FAILED);
	assert_false(reached(b, 100, 0));
	assert_int_equal(ledger_barrier_state(b->ledger, id(100), b->now, &note, NULL), 0);
	assert_int_equal(note.failed, 1);
	note_finish(&note);
}

static void posters_come_and_go_while_it_waits(void **state)
{
	struct bench *b = *state;
	beat(b, "h1", 1, 0, false);
	flush(b, 100, "");
	beat(b, "new", 1, 0, false);
	answered(b, 100, "h1");
	assert_false(reached(b, 100, 0));
	beat(b, "new", 1, 0, true);
	assert_true(reached(b, 100, 0));
	beat(b, "later", 1, 0, false); /* all had answered */
	assert_true(reached(b, 100, 0));
}

static void what_is_shared_ranks_with_the_oldest(void **state)
{
	struct bench *b = *state;
	beat(b, "h1", 1, 0, false);
	saw(b, 1, 0);
	flush(b, 100, "");
	answered(b, 100, "h1");
	saw(b, 2, 0);
	saw(b, 3, 2); /* the directory that orders 1 and 2 touched */
	assert_int_equal(ledger_shared(b->ledger, id(1), id(3), NULL), 0);
	settled(b, 1, RECEIPT_DONE);
	settled(b, 2, RECEIPT_DONE);
	assert_false(reached(b, 100, 1));
	settled(b, 3, RECEIPT_DONE);
	assert_true(reached(b, 100, 0));
	/* it was looked at before the note came: nothing is opened again */
	saw(b, 4, 0);
	assert_int_equal(ledger_shared(b->ledger, id(4), id(3), NULL), 0);
	settled(b, 4, RECEIPT_DONE);
	assert_int_equal(summary(b).open, 0);
}

static void an_answer_may_overtake_its_flush(void **state)
{
	struct bench *b = *state;
	beat(b, "h1", 1, 0, false);
	answered(b, 5, "h1");
	flush(b, 5, "");
	assert_true(reached(b, 5, 0));
}

static void late_copies_open_nothing(void **state)
{
	struct bench *b = *state;
	moved(b, 1, 2); /* before either was seen */
	flush(b, 100, "");
	assert_false(reached(b, 100, 1));
	saw(b, 2, 0);
	saw(b, 1, 0);
	assert_false(reached(b, 100, 1));
	settled(b, 2, RECEIPT_DONE);
	assert_true(reached(b, 100, 0));
	settled(b, 3, RECEIPT_DONE);
	saw(b, 3, 0);
	assert_true(reached(b, 100, 0));
	assert_int_equal(summary(b).open, 0);
	struct ledger_summary s = summary(b);
	assert_true(ledger_balances(&s));
	assert_int_equal(s.changes, 3); /* each once, though 1 and 3 came when all was over */
}

/* The winnow crashed: what was merged one way is merged the other way, under an older id. */
static void a_note_may_open_again(void **state)
{
	struct bench *b = *state;
	saw(b, 1, 0);
	saw(b, 2, 0);
	flush(b, 100, "");
	moved(b, 1, 2);
	saw(b, 3, 2);   /* on the way of the order that was out already … */
	moved(b, 2, 1); /* … when the id moved */
	saw(b, 4, 2);
	assert_false(reached(b, 100, 3));
	settled(b, 2, RECEIPT_DONE);
	assert_false(reached(b, 100, 3));
	settled(b, 3, RECEIPT_DONE);
	settled(b, 4, RECEIPT_DONE);
	settled(b, 1, RECEIPT_DONE);
	assert_true(reached(b, 100, 0));
}

static void a_job_waits_for_its_own(void **state)
{
	struct bench *b = *state;
	saw_job(b, 1, 0, "j1");
	saw_job(b, 2, 0, "j2");
	saw_job(b, 3, 0, "");
	flush(b, 100, "j1");
	assert_false(reached(b, 100, 1));
	saw_job(b, 4, 1, "");
	settled(b, 1, RECEIPT_DONE);
	assert_false(reached(b, 100, 1));
	moved(b, 4, 2); /* of both now */
	assert_false(reached(b, 100, 1));
	saw_job(b, 5, 2, "j2");
	settled(b, 2, RECEIPT_DONE);
	assert_false(reached(b, 100, 1));
	settled(b, 5, RECEIPT_DONE);
	assert_true(reached(b, 100, 0));
}

static int first_share(void *arg, const struct ledger_share *share)
{
	struct ledger_share *ret = arg;
	ret->orders += share->orders;
	ret->work.bytes += share->work.bytes;
	return 0;
}

static void shares_and_restarts(void **state)
{
	struct bench *b = *state;
	const char *const by[] = {"tree", "host", "job"};
	settled(b, 1, RECEIPT_DONE);
	settled(b, 2, RECEIPT_DONE);
	for (unsigned i = 0; i < 3; i++) {
		struct ledger_share sum = {.orders = 0};
		assert_int_equal(ledger_each_share(b->ledger, by[i], first_share, &sum, NULL), 0);
		assert_int_equal(sum.orders, 2);
		assert_int_equal(sum.work.bytes, 200);
	}
	beat(b, "h1", 1, 10, false);
	beat(b, "h1", 1, 15, false);
	beat(b, "h1", 2, 3, false); /* of a new journal */
	assert_int_equal(summary(b).captured, 18);
	beat(b, "h1", 1, 12, false); /* killed: it counts again from what it had released */
	beat(b, "h1", 1, 12, false);
	assert_int_equal(summary(b).captured, 15);
}

static void unseen(struct bench *b, uint64_t number, const char *job, uint64_t found)
{
	struct note note = {.kind = NOTE_UNSEEN,
		.id = {7, number},
		.job = span_str(job),
		.programs = 1,
		.found = found,
		.time_ns = b->now};
	assert_int_equal(ledger_unseen(b->ledger, &note, NULL), 0);
}

static int add_job(void *arg, const struct ledger_job *job)
{
	buf_printf(arg, "%.*s %u %u/%u ", SPAN_ARG(job->id), (unsigned)job->orders,
		(unsigned)job->unseen, (unsigned)job->found);
	return 0;
}

static void unseen_work_is_counted_once(void **state)
{
	struct bench *b = *state;
	CLEANUP(buf_finish) struct buf jobs = BUF_EMPTY;
	saw_job(b, 1, 0, "j1");
	settled(b, 1, RECEIPT_DONE);
	unseen(b, 1, "", 3);
	unseen(b, 1, "", 3);
	b->now += S;
	commit(b);
	unseen(b, 2, "only-unseen", 4);
	unseen(b, 3, "only-unseen", 0);
	assert_int_equal(summary(b).unseen, 3);
	assert_int_equal(summary(b).found, 7);
	assert_int_equal(ledger_each_job(b->ledger, 9, add_job, &jobs, NULL), 0);
	assert_non_null(strstr(jobs.data, "only-unseen 0 2/4 "));
	assert_int_equal(strncmp(jobs.data, "only", 4), 0); /* the latest */
	buf_clear(&jobs);
	assert_int_equal(ledger_each_job(b->ledger, 1, add_job, &jobs, NULL), 0);
	assert_string_equal(jobs.data, "only-unseen 0 2/4 ");
}

/* What the version before this one has left. */
static void an_older_ledger_goes_on(void **state)
{
	struct bench *b = *state;
	char command[512];
	saw(b, 1, 0);
	saw(b, 2, 0);
	saw(b, 3, 0);
	moved(b, 2, 3);
	settled(b, 3, RECEIPT_DONE);
	assert_int_equal(ledger_commit(b->ledger, NULL), 0);
	ledger_close(b->ledger);
	b->ledger = NULL;
	sprintf(command,
		"/usr/bin/python3 -c \"import sqlite3; d = sqlite3.connect('%s');"
		" d.executescript('DROP TABLE unseen; DROP TABLE counts; PRAGMA user_version = 1;"
		"DELETE FROM totals WHERE total >= 60')\"",
		b->file);
	assert_int_equal(system(command), 0);
	open_ledger(b);
	unseen(b, 1, "j", 1);
	struct ledger_summary s = summary(b);
	assert_true(ledger_balances(&s));
	assert_int_equal(s.open, 1);
	assert_int_equal(s.changes, 3);
	assert_int_equal(s.found, 1);
}

static void rescan_beat(struct bench *b, uint64_t lost, bool rescan)
{
	struct note note = {.kind = NOTE_BEAT,
		.stage = SPAN("poster"),
		.host = SPAN("h1"),
		.id = {7, 0},
		.lost = lost,
		.rescan = rescan};
	assert_int_equal(ledger_beat(b->ledger, &note, NULL), 0);
}

/* What was open before the loss counts too: better late than early. */
static void a_loss_is_told_of_until_it_is_mended(void **state)
{
	struct bench *b = *state;
	rescan_beat(b, 0, false);
	saw(b, 1, 0);
	assert_false(summary(b).mending);
	rescan_beat(b, 5, true);
	assert_true(summary(b).rescan);
	settled(b, 1, RECEIPT_DONE);
	saw(b, 2, 0);
	rescan_beat(b, 5, false);
	saw(b, 3, 0);
	assert_int_equal(summary(b).lost, 5);
	assert_false(summary(b).rescan);
	assert_true(summary(b).mending);
	saw(b, 4, 2);
	settled(b, 2, RECEIPT_DONE);
	rescan_beat(b, 5, false);
	assert_true(summary(b).mending);
	settled(b, 4, RECEIPT_DONE);
	assert_false(summary(b).mending);
}

/* Its own records may be among them. */
static void a_job_waits_for_the_rescan_of_lost_records(void **state)
{
	struct bench *b = *state;
	rescan_beat(b, 0, false);
	saw_job(b, 1, 0, "j1");
	rescan_beat(b, 5, true);
	saw(b, 2, 0);
	rescan_beat(b, 5, false);
	saw_job(b, 3, 0, "j2");
	flush(b, 100, "j1");
	answered(b, 100, "h1");
	assert_false(reached(b, 100, 2));
	settled(b, 1, RECEIPT_DONE);
	saw(b, 4, 2);
	settled(b, 2, RECEIPT_DONE);
	assert_false(reached(b, 100, 1));
	settled(b, 4, RECEIPT_DONE);
	assert_true(reached(b, 100, 0));
}

static void forgets_what_is_old(void **state)
{
	struct bench *b = *state;
	saw(b, 1, 0);
	settled(b, 1, RECEIPT_DONE);
	b->now += 3601 * S;
	commit(b);
	assert_int_equal(ledger_sweep(b->ledger, NULL), 0);
	saw(b, 1, 0);
	assert_int_equal(summary(b).open, 1);
}

static void what_is_committed_survives_a_kill(void **state)
{
	struct bench *b = *state;
	ledger_close(b->ledger);
	b->ledger = NULL;
	pid_t pid = fork();
	if (pid == 0) {
		struct ledger *ledger = NULL;
		struct change c = a_change(1, 0), d = a_change(2, 0);
		ledger_open(b->file, true, &ledger, NULL);
		ledger_begin(ledger, b->now, NULL);
		ledger_saw(ledger, &c, NULL);
		ledger_commit(ledger, NULL);
		ledger_begin(ledger, b->now, NULL);
		ledger_saw(ledger, &d, NULL);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	open_ledger(b);
	assert_int_equal(summary(b).open, 1);
	assert_int_equal(summary(b).changes, 1);
	struct ledger *reader;
	assert_int_equal(ledger_open(b->file, false, &reader, NULL), 0);
	struct ledger_summary s;
	assert_int_equal(ledger_summary(reader, &s, NULL), 0);
	assert_int_equal(s.open, 1);
	ledger_close(reader);
	assert_int_equal(ledger_open("/nonexistent/tally.db", false, &reader, NULL), -ENOENT);
}

static void rolling_back_forgets_the_transaction(void **state)
{
	struct bench *b = *state;
	saw(b, 1, 0);
	ledger_rollback(b->ledger);
	assert_int_equal(ledger_begin(b->ledger, b->now, NULL), 0);
	assert_int_equal(summary(b).changes, 0);
	assert_int_equal(summary(b).open, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
		TEST(counts_each_thing_once),
		TEST(a_failure_stays_until_something_later_was_done),
		TEST(a_clock_that_is_set_forward),
		TEST(a_barrier_waits_for_posters_and_children),
		TEST(a_barrier_waits_for_what_comes_of_an_order_carried_out_again),
		TEST(a_flush_waits_for_the_journal_of_its_own_host),
		TEST(silence_and_failures_and_rescans_prevent_it),
		TEST(posters_come_and_go_while_it_waits),
		TEST(what_is_shared_ranks_with_the_oldest),
		TEST(an_answer_may_overtake_its_flush),
		TEST(late_copies_open_nothing),
		TEST(a_note_may_open_again),
		TEST(a_job_waits_for_its_own),
		TEST(shares_and_restarts),
		TEST(unseen_work_is_counted_once),
		TEST(an_older_ledger_goes_on),
		TEST(a_loss_is_told_of_until_it_is_mended),
		TEST(a_job_waits_for_the_rescan_of_lost_records),
		TEST(forgets_what_is_old),
		TEST(what_is_committed_survives_a_kill),
		TEST(rolling_back_forgets_the_transaction),
	};
	return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
