/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Barriers.  While posters are to answer, the barrier has no rank and waits for everything that
 * is open; with the last answer its rank becomes the turn that is reached then: what posters had
 * published for it was confirmed, so in this ledger's queue, before their markers.  From there on
 * it waits for what is open with that rank or a lower one; what is found on the way of such
 * obligations inherits their rank.
 *
 * A quick poster's marker may come before the flush that it answers: they are published by two
 * clients, and the broker keeps an order between them for nobody.  So an answer is noted before
 * its barrier begins.
 */
#include <errno.h>
#include <stdio.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/ledger-sql.h"

#define EXPECTED_NS (3600 * CLOCK_S) /* a poster that was heard of in this time must answer */
#define SILENT_NS   (30 * CLOCK_S)
#define GRACE_NS    (60 * CLOCK_S)

int ledger_clock_unsure(struct ledger *ledger, struct why *why)
{
	int64_t heard = (int64_t)(ledger->now_ns - EXPECTED_NS + GRACE_NS);
	return sql_run(ledger, why, SQL_DAEMON_HEARD, "ii", heard, heard);
}

int ledger_barrier_begin(struct ledger *ledger, const struct note *flush, struct why *why)
{
	uint64_t since = ledger->now_ns > EXPECTED_NS ? ledger->now_ns - EXPECTED_NS : 0;
	int64_t now = (int64_t)ledger->now_ns;
	int r = sql_run(ledger, why, SQL_BARRIER_ADD, "diibb", flush->flush, now, now, flush->reply,
		flush->job);
	if (r < 0) {
		return r;
	}
	if (sqlite3_changes(ledger->db) == 0) {
		return sql_run(ledger, why, SQL_BARRIER_ASKED, "id", now, flush->flush);
	}
	r = sql_run(ledger, why, SQL_BARRIER_EXPECT_ALL, "di", flush->flush, (int64_t)since);
	if (r == 0 && flush->journal) { /* nobody reads it now, but somebody may write into it */
		r = sql_run(ledger, why, SQL_BARRIER_EXPECT_ONE, "db", flush->flush, flush->host);
	}
	return r < 0 ? r : sql_run(ledger, why, SQL_BARRIER_FIX, "i", ledger->totals[TOTAL_TURN]);
}

int ledger_barrier_answered(struct ledger *ledger, const struct note *marker, struct why *why)
{
	int r = sql_run(ledger, why, SQL_BARRIER_ANSWER, "dbi", marker->flush, marker->host,
		(int64_t)marker->instance);
	return r < 0 ? r : sql_run(ledger, why, SQL_BARRIER_FIX, "i", ledger->totals[TOTAL_TURN]);
}

int ledger_barrier_end(struct ledger *ledger, struct ident flush, struct why *why)
{
	int r = sql_run(ledger, why, SQL_BARRIER_END, "d", flush);
	return r < 0 ? r : sql_run(ledger, why, SQL_EXPECTED_END, "d", flush);
}

static void add_words(struct buf *words, struct span host, const char *what)
{
	buf_printf(words, "%sposter on %.*s %s", words->len ? ", " : "", SPAN_ARG(host), what);
}

/* A poster that lives gets a while to answer before it is named. */
static int name_silent(struct ledger *ledger, struct ident flush, uint64_t begun_ns,
	uint64_t wall_ns, struct buf *words, struct why *why)
{
	sqlite3_stmt *row;
	int r = sql_first(ledger, why, &row, SQL_BARRIER_SILENT, "d", flush);
	for (; r == 0; r = sql_next(ledger, why, row)) {
		uint64_t beat = (uint64_t)column_int(row, 1);
		if (beat == 0 || beat + SILENT_NS < wall_ns) {
			char text[64], age[32];
			snprintf(text, sizeof(text), "(silent for %s)",
				clock_text(beat ? wall_ns - beat : wall_ns - begun_ns, age,
					sizeof(age)));
			add_words(words, column_span(row, 0), text);
		} else if (begun_ns + SILENT_NS < wall_ns) {
			add_words(words, column_span(row, 0), "(has not answered yet)");
		}
	}
	return r < 0 ? r : 0;
}

static int name_rescans(struct ledger *ledger, struct buf *words, bool *ret_owed, struct why *why)
{
	sqlite3_stmt *row;
	int r = sql_first(ledger, why, &row, SQL_RESCANS, "");
	for (; r == 0; r = sql_next(ledger, why, row)) {
		add_words(words, column_span(row, 0), "(owes a rescan)");
		*ret_owed = true;
	}
	return r < 0 ? r : 0;
}

/* Lost records may have been of any job: what was open when the last rescan for such had been
 * ordered counts for each. */
static int count_owed(
	struct ledger *ledger, int64_t rank, struct span job, struct note *ret, struct why *why)
{
	int64_t waiting = 0, failed = 0;
	int r = job.len ? sql_number(ledger, why, &waiting, SQL_BARRIER_OPEN_JOB, "ibi", rank, job,
				  ledger->totals[TOTAL_RESCANNED])
			: sql_number(ledger, why, &waiting, SQL_BARRIER_OPEN, "i", rank);
	if (r < 0) {
		return r;
	}
	r = job.len ? sql_number(ledger, why, &failed, SQL_FAILED_COUNT_JOB, "b", job)
		    : sql_number(ledger, why, &failed, SQL_FAILED_COUNT, "");
	ret->waiting = (uint64_t)waiting;
	ret->failed = (uint64_t)failed;
	return r < 0 ? r : 0;
}

static int fill_state(struct ledger *ledger, sqlite3_stmt *row, uint64_t wall_ns, struct note *note,
	struct why *why)
{
	CLEANUP(buf_finish) struct buf words = BUF_EMPTY;
	bool fixed = sqlite3_column_type(row, 0) != SQLITE_NULL, rescan = false;
	int64_t rank = fixed ? column_int(row, 0) : INT64_MAX;
	uint64_t begun_ns = (uint64_t)column_int(row, 3);
	if (change_set(&note->reply, column_span(row, 1)) < 0 ||
		change_set(&note->job, column_span(row, 2)) < 0) {
		return -ENOMEM;
	}
	int r = count_owed(ledger, rank, note->job, note, why);
	r = r < 0 ? r : name_silent(ledger, note->flush, begun_ns, wall_ns, &words, why);
	r = r < 0 ? r : name_rescans(ledger, &words, &rescan, why);
	if (r < 0 || words.failed || change_set(&note->silent, buf_span(&words)) < 0) {
		return r < 0 ? r : -ENOMEM;
	}
	note->reached = fixed && note->waiting == 0 && note->failed == 0 && !rescan;
	return 0;
}

int ledger_barrier_state(struct ledger *ledger, struct ident flush, uint64_t wall_ns,
	struct note *ret, struct why *why)
{
	sqlite3_stmt *row;
	struct note note = {.kind = NOTE_BARRIER, .flush = flush, .time_ns = wall_ns};
	int r = sql_first(ledger, why, &row, SQL_BARRIER_GET, "d", flush);
	if (r) {
		return r < 0 ? r : -ENOENT;
	}
	r = fill_state(ledger, row, wall_ns, &note, why);
	sqlite3_reset(row);
	if (r < 0) {
		note_finish(&note);
		return r;
	}
	*ret = note;
	return 0;
}

int ledger_each_barrier(struct ledger *ledger,
	int (*fn)(void *arg, struct ident flush, uint64_t asked_ns), void *arg, struct why *why)
{
	sqlite3_stmt *row;
	int r = sql_first(ledger, why, &row, SQL_BARRIER_EACH, "");
	for (; r == 0; r = sql_next(ledger, why, row)) {
		if ((r = fn(arg, column_ident(row, 0), (uint64_t)column_int(row, 2)))) {
			sqlite3_reset(row);
			return r;
		}
	}
	return r < 0 ? r : 0;
}
