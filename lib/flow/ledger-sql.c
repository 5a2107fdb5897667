/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the file, running its statements, transactions with their totals. */
#include "flow/ledger-sql.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/cleanup.h"

#define LEDGER_VERSION 3
#define LEDGER_BUSY_MS 5000

/* Since version 2. */
#define UNSEEN                                                                                     \
	"CREATE TABLE unseen(job BLOB PRIMARY KEY, programs INTEGER, found INTEGER,"               \
	" at_ns INTEGER) WITHOUT ROWID;"

/* Since version 3: the figures that posters have told last, by their totals. */
#define COUNTS                                                                                     \
	"CREATE TABLE counts(series INTEGER, total INTEGER, value INTEGER, at_ns INTEGER,"         \
	" PRIMARY KEY(series, total)) WITHOUT ROWID;"

/* The sums begin anew, or with what the older totals allow: merged, and what was answered. */
#define BALANCE                                                                                    \
	"DELETE FROM totals WHERE total BETWEEN 3 AND 5;"                                          \
	"INSERT OR REPLACE INTO totals SELECT total + 51, value FROM totals"                       \
	" WHERE total BETWEEN 10 AND 13;"                                                          \
	"INSERT OR REPLACE INTO totals SELECT 60, sum(value) + (SELECT count(*) FROM open)"        \
	" FROM (SELECT value FROM totals WHERE total = 2 OR total BETWEEN 61 AND 64"               \
	" UNION ALL SELECT 0);"

static const char schema[] =
	"CREATE TABLE totals(total INTEGER PRIMARY KEY, value INTEGER NOT NULL);"
	"CREATE TABLE open(source INTEGER, number INTEGER, rank INTEGER NOT NULL,"
	" seen INTEGER NOT NULL, bulk INTEGER NOT NULL, time_ns INTEGER NOT NULL,"
	" op INTEGER NOT NULL, path BLOB, job BLOB, PRIMARY KEY(source, number)) WITHOUT ROWID;"
	"CREATE INDEX open_rank ON open(rank);"
	"CREATE INDEX open_age ON open(bulk, time_ns);"
	"CREATE TABLE recent(source INTEGER, number INTEGER, done_ns INTEGER,"
	" into_source INTEGER NOT NULL, into_number INTEGER NOT NULL, at_ns INTEGER NOT NULL,"
	" PRIMARY KEY(source, number, done_ns)) WITHOUT ROWID;"
	"CREATE INDEX recent_at ON recent(at_ns);"
	"CREATE TABLE failed(path BLOB PRIMARY KEY, source INTEGER, number INTEGER, why BLOB,"
	" host BLOB, job BLOB, failed_ns INTEGER, attempts INTEGER, facts INTEGER, op INTEGER)"
	" WITHOUT ROWID;"
	"CREATE TABLE shares(kind INTEGER, key BLOB, orders INTEGER, files INTEGER,"
	" directories INTEGER, links INTEGER, renames INTEGER, removals INTEGER, bytes INTEGER,"
	" bytes_saved INTEGER, unchanged INTEGER, skipped INTEGER, at_ns INTEGER,"
	" PRIMARY KEY(kind, key)) WITHOUT ROWID;"
	"CREATE TABLE seconds(second INTEGER PRIMARY KEY, files INTEGER, bytes INTEGER);"
	"CREATE TABLE daemons(stage BLOB, host BLOB, instance INTEGER, pid INTEGER,"
	" time_ns INTEGER, problem BLOB, stopping INTEGER, backlog INTEGER, dirty INTEGER,"
	" captured INTEGER, published INTEGER, dropped INTEGER, lost INTEGER, rescan INTEGER,"
	" PRIMARY KEY(stage, host, instance)) WITHOUT ROWID;"
	"CREATE TABLE barriers(source INTEGER, number INTEGER, begun_ns INTEGER, asked_ns INTEGER,"
	" reply BLOB, job BLOB, rank INTEGER, PRIMARY KEY(source, number)) WITHOUT ROWID;"
	"CREATE TABLE expected(source INTEGER, number INTEGER, host BLOB, instance INTEGER,"
	" answered INTEGER, PRIMARY KEY(source, number, host, instance)) WITHOUT ROWID;" UNSEEN
		COUNTS;

/* What makes the tables of the present version, from those of each one before. */
static const char *const upgrades[LEDGER_VERSION] = {schema, UNSEEN COUNTS BALANCE, COUNTS BALANCE};

static const char *const texts[SQL_COUNT] = {
#define SQL(name, text) [SQL_##name] = text,
#include "flow/ledger-sql.def"
#undef SQL
};

static int error_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_READONLY:
		return -EACCES;
	default:
		return -EIO;
	}
}

int sql_error(struct ledger *ledger, int code, struct why *why, const char *what)
{
	const char *file = ledger->db ? sqlite3_db_filename(ledger->db, "main") : NULL;
	return why_error(why, error_of(code), "ledger %s: %s: %s", file ? file : "", what,
		ledger->db ? sqlite3_errmsg(ledger->db) : sqlite3_errstr(code));
}

static int bind(sqlite3_stmt *statement, const char *types, va_list values)
{
	int code = SQLITE_OK;
	for (int i = 1; *types && code == SQLITE_OK; types++, i++) {
		if (*types == 'b' || *types == 'n') {
			struct span bytes = va_arg(values, struct span);
			code = *types == 'n' && !bytes.data
				       ? sqlite3_bind_null(statement, i)
				       : sqlite3_bind_blob(statement, i,
						 bytes.len ? bytes.data : "", (int)bytes.len,
						 SQLITE_TRANSIENT);
		} else if (*types == 'd') {
			struct ident id = va_arg(values, struct ident);
			code = sqlite3_bind_int64(statement, i++, (int64_t)id.source);
			code = code ? code : sqlite3_bind_int64(statement, i, (int64_t)id.number);
		} else {
			code = sqlite3_bind_int64(statement, i, va_arg(values, int64_t));
		}
	}
	return code;
}

/* Statements are made when they are first needed; readers need few. */
static int start(struct ledger *ledger, struct why *why, sqlite3_stmt **ret, enum sql which,
	const char *types, va_list values)
{
	sqlite3_stmt **statement = &ledger->statements[which];
	int code = SQLITE_OK;
	if (!*statement) {
		code = sqlite3_prepare_v3(
			ledger->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
	} else {
		sqlite3_reset(*statement);
	}
	if (code == SQLITE_OK) {
		code = bind(*statement, types, values);
	}
	*ret = *statement;
	return code == SQLITE_OK ? 0 : sql_error(ledger, code, why, texts[which]);
}

int sql_next(struct ledger *ledger, struct why *why, sqlite3_stmt *statement)
{
	int code = sqlite3_step(statement);
	if (code == SQLITE_ROW) {
		return 0;
	}
	if (code == SQLITE_DONE) {
		sqlite3_reset(statement);
		return SQL_NONE;
	}
	int r = sql_error(ledger, code, why, sqlite3_sql(statement));
	sqlite3_reset(statement);
	return r;
}

int sql_first(struct ledger *ledger, struct why *why, sqlite3_stmt **ret, enum sql which,
	const char *types, ...)
{
	va_list values;
	va_start(values, types);
	int r = start(ledger, why, ret, which, types, values);
	va_end(values);
	return r < 0 ? r : sql_next(ledger, why, *ret);
}

int sql_run(struct ledger *ledger, struct why *why, enum sql which, const char *types, ...)
{
	sqlite3_stmt *statement;
	va_list values;
	va_start(values, types);
	int r = start(ledger, why, &statement, which, types, values);
	va_end(values);
	r = r < 0 ? r : sql_next(ledger, why, statement);
	return r < 0 ? r : 0;
}

int sql_number(struct ledger *ledger, struct why *why, int64_t *ret, enum sql which,
	const char *types, ...)
{
	sqlite3_stmt *statement;
	va_list values;
	va_start(values, types);
	int r = start(ledger, why, &statement, which, types, values);
	va_end(values);
	r = r < 0 ? r : sql_next(ledger, why, statement);
	if (r == 0) {
		*ret = column_int(statement, 0);
		sqlite3_reset(statement);
	}
	return r;
}

/* --- transactions ------------------------------------------------------------------------- */

static int read_totals(struct ledger *ledger, struct why *why)
{
	sqlite3_stmt *row;
	int r = sql_first(ledger, why, &row, SQL_TOTALS, "");
	memset(ledger->totals, 0, sizeof(ledger->totals));
	memset(ledger->dirty, 0, sizeof(ledger->dirty));
	for (; r == 0; r = sql_next(ledger, why, row)) {
		int64_t total = column_int(row, 0);
		if (total >= 0 && total < TOTAL_COUNT) {
			ledger->totals[total] = column_int(row, 1);
		}
	}
	return r < 0 ? r : 0;
}

int ledger_begin(struct ledger *ledger, uint64_t wall_ns, struct why *why)
{
	ledger->now_ns = wall_ns;
	return sql_run(ledger, why, SQL_BEGIN, "");
}

int ledger_commit(struct ledger *ledger, struct why *why)
{
	for (unsigned i = 0; i < TOTAL_COUNT; i++) {
		int r = !ledger->dirty[i] ? 0
					  : sql_run(ledger, why, SQL_TOTAL_SET, "ii", (int64_t)i,
						    ledger->totals[i]);
		if (r < 0) {
			return r;
		}
	}
	int r = sql_run(ledger, why, SQL_COMMIT, "");
	if (r == 0) {
		memset(ledger->dirty, 0, sizeof(ledger->dirty));
	}
	return r;
}

void ledger_rollback(struct ledger *ledger)
{
	if (!sqlite3_get_autocommit(ledger->db)) {
		sqlite3_exec(ledger->db, "ROLLBACK", NULL, NULL, NULL);
	}
	(void)read_totals(ledger, NULL); /* if this fails too, so does the next begin */
}

/* --- opening ------------------------------------------------------------------------------ */

static int version_of(struct ledger *ledger, int *ret, struct why *why)
{
	sqlite3_stmt *statement;
	int code = sqlite3_prepare_v2(ledger->db, "PRAGMA user_version", -1, &statement, NULL);
	if (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		*ret = sqlite3_column_int(statement, 0);
		code = SQLITE_OK;
	}
	int r = code == SQLITE_OK ? 0 : sql_error(ledger, code, why, "open");
	sqlite3_finalize(statement);
	return r;
}

static int execute(struct ledger *ledger, const char *text, struct why *why)
{
	int code = sqlite3_exec(ledger->db, text, NULL, NULL, NULL);
	return code == SQLITE_OK ? 0 : sql_error(ledger, code, why, "prepare");
}

static int make_tables(struct ledger *ledger, const char *tables, struct why *why)
{
	char version[64];
	snprintf(version, sizeof(version), "PRAGMA user_version = %d; COMMIT", LEDGER_VERSION);
	int r = execute(ledger, "BEGIN IMMEDIATE", why);
	r = r < 0 ? r : execute(ledger, tables, why);
	return r < 0 ? r : execute(ledger, version, why);
}

static int prepare(struct ledger *ledger, bool writer, struct why *why)
{
	int version = 0, r;
	sqlite3_busy_timeout(ledger->db, LEDGER_BUSY_MS);
	if (writer && (r = execute(ledger, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
			       why)) < 0) {
		return r;
	}
	if ((r = version_of(ledger, &version, why)) < 0) {
		return r;
	}
	if (version >= 0 && version < LEDGER_VERSION && writer) {
		r = make_tables(ledger, upgrades[version], why);
	} else if (version == 0) {
		r = why_error(why, -ENOENT, "there is no ledger yet");
	} else if (version != LEDGER_VERSION) {
		r = why_error(why, -EINVAL, "ledger %s: version %d, expected %d",
			sqlite3_db_filename(ledger->db, "main"), version, LEDGER_VERSION);
	}
	return r < 0 ? r : read_totals(ledger, why);
}

DEFINE_CLEANUP(struct ledger *, ledger_close)

int ledger_open(const char *file, bool writer, struct ledger **ret, struct why *why)
{
	CLEANUP(ledger_close_p) struct ledger *ledger = calloc(1, sizeof(*ledger));
	if (!ledger) {
		return -ENOMEM;
	}
	if (!writer && access(file, F_OK) < 0) {
		return why_error(why, -errno, "ledger %s: there is none yet", file);
	}
	int flags = writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
	int code = sqlite3_open_v2(file, &ledger->db, flags, NULL);
	if (code != SQLITE_OK) {
		int r = sql_error(ledger, code, why, "open");
		why_prefix(why, "%s", file);
		return r;
	}
	int r = prepare(ledger, writer, why);
	if (r < 0) {
		return r;
	}
	*ret = STEAL(ledger);
	return 0;
}

void ledger_close(struct ledger *ledger)
{
	if (!ledger) {
		return;
	}
	for (unsigned i = 0; i < SQL_COUNT; i++) {
		sqlite3_finalize(ledger->statements[i]);
	}
	sqlite3_close(ledger->db);
	free(ledger);
}
