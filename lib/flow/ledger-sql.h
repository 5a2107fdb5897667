/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the ledger's files only: statements, totals, and how they are run. */
#pragma once

#include <sqlite3.h>

#include "flow/ledger.h"

enum sql {
#define SQL(name, text) SQL_##name,
#include "flow/ledger-sql.def"
#undef SQL
	SQL_COUNT
};

/* Counters since the file was made; their numbers are part of the file's format. */
enum total {
	TOTAL_TURN, /* of the obligation that came last */
	TOTAL_MERGED = 2,
	TOTAL_CAPTURED,
	TOTAL_REPEATS,
	TOTAL_LOST,
	TOTAL_LAST_DONE, /* wall time */
	TOTAL_UNSEEN,    /* programs */
	TOTAL_FOUND,     /* what had changed where they ran */
	TOTAL_STATUS = 10,
	TOTAL_WORK = 20,
	TOTAL_LAG = 40,
	TOTAL_OPENED = 60, /* obligations; = merged + closed, of each status, + rows of `open` */
	TOTAL_CLOSED,
	/* records: captured = told + noted + outside + unnamed */
	TOTAL_TOLD = 70,
	TOTAL_NOTED,
	TOTAL_OUTSIDE,
	TOTAL_UNNAMED,
	TOTAL_MADE,           /* changes, by posters */
	TOTAL_RESCANNED = 80, /* the turn when the last rescan for lost records had been ordered */
	TOTAL_COUNT
};

struct ledger {
	sqlite3 *db;
	sqlite3_stmt *statements[SQL_COUNT];
	int64_t totals[TOTAL_COUNT];
	bool dirty[TOTAL_COUNT];
	uint64_t now_ns; /* wall time of this transaction */
};

/* The column `stopping` of daemons; the numbers are part of the file's format. */
enum beat_life { BEAT_LIVES, BEAT_STOPPING, BEAT_STANDBY, BEAT_ACTIVE };

#define WORK_COUNT (sizeof(struct receipt_work) / sizeof(uint64_t))

static inline uint64_t *work_field(struct receipt_work *work, unsigned index)
{
	return &((uint64_t *)work)[index];
}

/* SQLite's words as ours. */
int sql_error(struct ledger *ledger, int code, struct why *why, const char *what);

/*
 * Runs a statement whose parameters are given by `types`: i int64_t, b struct span, n struct span
 * or NULL where its data is NULL, d struct ident (two parameters).  sql_run() is for those that
 * return nothing; sql_first() steps to the first row of *ret.  Columns are valid until the
 * statement is used again.
 */
int sql_run(struct ledger *ledger, struct why *why, enum sql which, const char *types, ...);
#define SQL_NONE 1
int sql_first(struct ledger *ledger, struct why *why, sqlite3_stmt **ret, enum sql which,
	const char *types, ...);
int sql_next(struct ledger *ledger, struct why *why, sqlite3_stmt *statement);
/* The one number that a query returns. */
int sql_number(struct ledger *ledger, struct why *why, int64_t *ret, enum sql which,
	const char *types, ...);

static inline int64_t column_int(sqlite3_stmt *statement, int column)
{
	return sqlite3_column_int64(statement, column);
}
static inline struct span column_span(sqlite3_stmt *statement, int column)
{
	const void *data = sqlite3_column_blob(statement, column);
	return (struct span){data, data ? (size_t)sqlite3_column_bytes(statement, column) : 0};
}
static inline struct ident column_ident(sqlite3_stmt *statement, int column)
{
	return (struct ident){(uint64_t)column_int(statement, column),
		(uint64_t)column_int(statement, column + 1)};
}

static inline void total_add(struct ledger *ledger, unsigned total, uint64_t count)
{
	ledger->totals[total] += (int64_t)count;
	ledger->dirty[total] = ledger->dirty[total] || count > 0;
}
