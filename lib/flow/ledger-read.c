/* SPDX-License-Identifier: Apache-2.0 */
/* What people are shown: totals, what is owed, what failed, who lives, shares. */
#include <errno.h>

#include "core/clock.h"
#include "core/log.h"
#include "flow/ledger-sql.h"

static void spread_totals(const int64_t *totals, struct ledger_summary *ret)
{
	ret->captured = (uint64_t)totals[TOTAL_CAPTURED];
	ret->told = (uint64_t)totals[TOTAL_TOLD];
	ret->noted = (uint64_t)totals[TOTAL_NOTED];
	ret->outside = (uint64_t)totals[TOTAL_OUTSIDE];
	ret->unnamed = (uint64_t)totals[TOTAL_UNNAMED];
	ret->made = (uint64_t)totals[TOTAL_MADE];
	ret->repeats = (uint64_t)totals[TOTAL_REPEATS];
	ret->changes = (uint64_t)totals[TOTAL_OPENED];
	ret->merged = (uint64_t)totals[TOTAL_MERGED];
	ret->coalesced = ret->repeats + ret->merged;
	ret->lost = (uint64_t)totals[TOTAL_LOST];
	ret->unseen = (uint64_t)totals[TOTAL_UNSEEN];
	ret->found = (uint64_t)totals[TOTAL_FOUND];
	ret->last_done_ns = (uint64_t)totals[TOTAL_LAST_DONE];
	for (unsigned i = 0; i < RECEIPT_STATUS_COUNT; i++) {
		ret->by_status[i] = (uint64_t)totals[TOTAL_STATUS + i];
		ret->orders += ret->by_status[i];
		ret->closed[i] = (uint64_t)totals[TOTAL_CLOSED + i];
		ret->again += ret->by_status[i] - ret->closed[i];
	}
	for (unsigned i = 0; i < WORK_COUNT; i++) {
		*work_field(&ret->work, i) = (uint64_t)totals[TOTAL_WORK + i];
	}
	for (unsigned i = 0; i < LEDGER_LAG_BUCKETS; i++) {
		ret->lag_count[i] = (uint64_t)totals[TOTAL_LAG + i];
	}
}

/* Lost records count as looked for when all is done that was open when the rescan was. */
static int read_mending(
	struct ledger *ledger, int64_t rescanned, struct ledger_summary *ret, struct why *why)
{
	int64_t open = 0;
	int r = rescanned ? sql_number(ledger, why, &open, SQL_OPEN_BEFORE, "i", rescanned) : 0;
	ret->mending = open;
	return r < 0 ? r : 0;
}

static int read_totals(struct ledger *ledger, struct ledger_summary *ret, struct why *why)
{
	int64_t totals[TOTAL_COUNT] = {0};
	sqlite3_stmt *row;
	int r = sql_first(ledger, why, &row, SQL_TOTALS, "");
	for (; r == 0; r = sql_next(ledger, why, row)) {
		if (column_int(row, 0) >= 0 && column_int(row, 0) < TOTAL_COUNT) {
			totals[column_int(row, 0)] = column_int(row, 1);
		}
	}
	spread_totals(totals, ret);
	return r < 0 ? r : read_mending(ledger, totals[TOTAL_RESCANNED], ret, why);
}

static int read_open(struct ledger *ledger, struct ledger_summary *ret, struct why *why)
{
	sqlite3_stmt *row;
	int r = sql_first(ledger, why, &row, SQL_OPEN_COUNT, "");
	if (r < 0) {
		return r;
	}
	ret->open = (uint64_t)column_int(row, 0);
	ret->open_bulk = (uint64_t)column_int(row, 1);
	sqlite3_reset(row);
	r = sql_first(ledger, why, &row, SQL_OPEN_OLDEST, "");
	if (r == 0) {
		ret->oldest_ns = (uint64_t)column_int(row, 0);
		log_escape(column_span(row, 1), ret->oldest_path, sizeof(ret->oldest_path));
		sqlite3_reset(row);
	}
	return r < 0 ? r : 0;
}

static int read_minute(struct ledger *ledger, struct ledger_summary *ret, struct why *why)
{
	sqlite3_stmt *row;
	int64_t since = (int64_t)(clock_wall() / CLOCK_S) - 60;
	int r = sql_first(ledger, why, &row, SQL_SECOND_SUM, "i", since);
	if (r == 0) {
		ret->files_per_minute = (uint64_t)column_int(row, 0);
		ret->bytes_per_minute = (uint64_t)column_int(row, 1);
		sqlite3_reset(row);
	}
	return r < 0 ? r : 0;
}

bool ledger_balances(const struct ledger_summary *sum)
{
	uint64_t closed = 0;
	for (unsigned i = 0; i < RECEIPT_STATUS_COUNT; i++) {
		closed += sum->closed[i];
	}
	return sum->captured == sum->told + sum->noted + sum->outside + sum->unnamed &&
	       sum->changes == sum->merged + closed + sum->open;
}

static int read_summary(struct ledger *ledger, struct ledger_summary *ret, struct why *why)
{
	int64_t failed = 0;
	sqlite3_stmt *row;
	int r = read_totals(ledger, ret, why);
	r = r < 0 ? r : read_open(ledger, ret, why);
	r = r < 0 ? r : read_minute(ledger, ret, why);
	r = r < 0 ? r : sql_number(ledger, why, &failed, SQL_FAILED_COUNT, "");
	ret->failed = (uint64_t)failed;
	r = r < 0 ? r : sql_first(ledger, why, &row, SQL_RESCANS, "");
	if (r == 0) {
		ret->rescan = true;
		sqlite3_reset(row);
	}
	return r < 0 ? r : 0;
}

/* In one transaction, so that the figures are those of one moment. */
int ledger_summary(struct ledger *ledger, struct ledger_summary *ret, struct why *why)
{
	bool alone = sqlite3_get_autocommit(ledger->db);
	*ret = (struct ledger_summary){0};
	int r = alone ? sql_run(ledger, why, SQL_BEGIN_READING, "") : 0;
	r = r < 0 ? r : read_summary(ledger, ret, why);
	if (alone && !sqlite3_get_autocommit(ledger->db)) {
		int end = sql_run(ledger, why, SQL_COMMIT, "");
		r = r < 0 ? r : end;
	}
	return r;
}

int ledger_each_failed(struct ledger *ledger,
	int (*fn)(void *arg, const struct ledger_failed *failed), void *arg, struct why *why)
{
	sqlite3_stmt *row;
	int r = sql_first(ledger, why, &row, SQL_FAILED_EACH, "");
	for (; r == 0; r = sql_next(ledger, why, row)) {
		struct ledger_failed failed = {.id = column_ident(row, 0),
			.path = column_span(row, 2),
			.why = column_span(row, 3),
			.host = column_span(row, 4),
			.job = column_span(row, 5),
			.failed_ns = (uint64_t)column_int(row, 6),
			.attempts = (unsigned)column_int(row, 7),
			.facts = (unsigned)column_int(row, 8),
			.op = (enum change_op)column_int(row, 9)};
		if ((r = fn(arg, &failed))) {
			sqlite3_reset(row);
			return r;
		}
	}
	return r < 0 ? r : 0;
}

int ledger_each_daemon(struct ledger *ledger, int (*fn)(void *arg, const struct note *beat),
	void *arg, struct why *why)
{
	sqlite3_stmt *row;
	int r = sql_first(ledger, why, &row, SQL_DAEMON_EACH, "");
	for (; r == 0; r = sql_next(ledger, why, row)) {
		struct note beat = {.kind = NOTE_BEAT,
			.stage = column_span(row, 0),
			.host = column_span(row, 1),
			.instance = (unsigned)column_int(row, 2),
			.pid = (uint32_t)column_int(row, 3),
			.time_ns = (uint64_t)column_int(row, 4),
			.problem = column_span(row, 5),
			.stopping = column_int(row, 6) == BEAT_STOPPING,
			.standby = column_int(row, 6) == BEAT_STANDBY,
			.active = column_int(row, 6) == BEAT_ACTIVE,
			.backlog = (uint64_t)column_int(row, 7),
			.dirty = (uint64_t)column_int(row, 8),
			.captured = (uint64_t)column_int(row, 9),
			.published = (uint64_t)column_int(row, 10),
			.dropped = (uint64_t)column_int(row, 11),
			.lost = (uint64_t)column_int(row, 12),
			.rescan = column_int(row, 13)};
		if ((r = fn(arg, &beat))) {
			sqlite3_reset(row);
			return r;
		}
	}
	return r < 0 ? r : 0;
}

/* In the order of the numbers that ledger.c writes. */
static int share_kind(const char *by)
{
	static const char *const kinds[] = {"tree", "host", "job"};
	for (int i = 0; i < 3; i++) {
		if (strcmp(by, kinds[i]) == 0) {
			return i;
		}
	}
	return -EINVAL;
}

int ledger_each_share(struct ledger *ledger, const char *by,
	int (*fn)(void *arg, const struct ledger_share *share), void *arg, struct why *why)
{
	sqlite3_stmt *row;
	int kind = share_kind(by);
	if (kind < 0) {
		return why_error(why, kind, "shares by '%s': expected tree, host or job", by);
	}
	int r = sql_first(ledger, why, &row, SQL_SHARE_EACH, "i", (int64_t)kind);
	for (; r == 0; r = sql_next(ledger, why, row)) {
		struct ledger_share share = {
			.key = column_span(row, 0), .orders = (uint64_t)column_int(row, 1)};
		for (unsigned i = 0; i < WORK_COUNT; i++) {
			*work_field(&share.work, i) = (uint64_t)column_int(row, 2 + (int)i);
		}
		if ((r = fn(arg, &share))) {
			sqlite3_reset(row);
			return r;
		}
	}
	return r < 0 ? r : 0;
}

int ledger_each_job(struct ledger *ledger, unsigned limit,
	int (*fn)(void *arg, const struct ledger_job *job), void *arg, struct why *why)
{
	sqlite3_stmt *row;
	int r = sql_first(ledger, why, &row, SQL_JOB_EACH, "i", (int64_t)limit);
	for (; r == 0; r = sql_next(ledger, why, row)) {
		struct ledger_job job = {.id = column_span(row, 0),
			.orders = (uint64_t)column_int(row, 1),
			.unseen = (uint64_t)column_int(row, 2 + WORK_COUNT),
			.found = (uint64_t)column_int(row, 3 + WORK_COUNT),
			.last_ns = (uint64_t)column_int(row, 4 + WORK_COUNT)};
		for (unsigned i = 0; i < WORK_COUNT; i++) {
			*work_field(&job.work, i) = (uint64_t)column_int(row, 2 + (int)i);
		}
		if ((r = fn(arg, &job))) {
			sqlite3_reset(row);
			return r;
		}
	}
	return r < 0 ? r : 0;
}

int ledger_each_open(struct ledger *ledger, unsigned limit,
	int (*fn)(void *arg, struct ident id, struct span path, uint64_t time_ns), void *arg,
	struct why *why)
{
	sqlite3_stmt *row;
	int r = sql_first(ledger, why, &row, SQL_OPEN_EACH, "i", (int64_t)limit);
	for (; r == 0; r = sql_next(ledger, why, row)) {
		r = fn(arg, column_ident(row, 2), column_span(row, 0),
			(uint64_t)column_int(row, 1));
		if (r) {
			sqlite3_reset(row);
			return r;
		}
	}
	return r < 0 ? r : 0;
}
