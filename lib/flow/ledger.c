/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is told by the flow: obligations, what was done, who lives.
 *
 * An obligation is one row of `open`.  It is closed by its receipt, or by becoming part of
 * another, which inherits its rank; then `recent` remembers it, so that a copy that comes late
 * opens nothing.  `into` of a merged note is opened again if it was closed: the winnow holds it
 * once more (redelivered after a crash), and an order with that id is still to come.
 *
 * What is found on the way of an order ranks as the order does.  If the order's id was moved in
 * the meantime (the winnow crashed and merged it once more), the heir is asked instead.  Copies
 * may overtake each other on their way here: a change that is seen only after it was moved hands
 * its rank on to its heir, and one whose cause was never heard of ranks first of all, which may
 * make a barrier wait for more than it must.  So does one whose cause is closed: that order is
 * carried out once more, and has undone for a moment what a barrier may have counted as done.
 *
 * `job` narrows a barrier to one batch job.  Where changes of several jobs have met in one
 * obligation it is NULL, which counts for every job: later than needed, never too early.
 */
#include <errno.h>

#include "flow/ledger-sql.h"

#define REMEMBERED_NS (UINT64_C(3600) * 1000000000)
#define DAY_NS        (24 * REMEMBERED_NS)

enum share_kind { SHARE_TREE, SHARE_HOST, SHARE_JOB };

/* --- obligations -------------------------------------------------------------------------- */

struct open_row {
	int64_t rank;
	bool seen, several; /* jobs */
	char job[256];
	size_t job_len;
};

/* As parameter n: NULL where there are several. */
static struct span job_of(const struct open_row *row)
{
	return row->several ? SPAN_NONE : span_of(row->job, row->job_len);
}

/* Returns 0, SQL_NONE, or -errno. */
static int find_open(struct ledger *ledger, struct ident id, struct open_row *ret, struct why *why)
{
	sqlite3_stmt *row;
	int r = sql_first(ledger, why, &row, SQL_OPEN_GET, "d", id);
	if (r) {
		return r;
	}
	struct span job = column_span(row, 1);
	*ret = (struct open_row){.rank = column_int(row, 0), .seen = column_int(row, 2)};
	ret->several = sqlite3_column_type(row, 1) == SQLITE_NULL || job.len > sizeof(ret->job);
	if (!ret->several && job.len > 0) {
		memcpy(ret->job, job.data, job.len);
		ret->job_len = job.len;
	}
	sqlite3_reset(row);
	return 0;
}

/* Returns 0 where the id was closed lately, SQL_NONE, or -errno. */
static int find_recent(struct ledger *ledger, struct ident id, struct why *why)
{
	int64_t one;
	return sql_number(ledger, why, &one, SQL_RECENT_KNOWN, "d", id);
}

#define HEIR_UNKNOWN 2 /* not seen yet, so its rank may still change */

/*
 * The open row that stands for *id, which becomes its id: its own, or of what it was moved into.
 * Returns 0, SQL_NONE where that is settled, HEIR_UNKNOWN, or -errno.
 */
static int find_heir(struct ledger *ledger, struct ident *id, struct open_row *ret, struct why *why)
{
	for (unsigned hops = 0; hops < 64; hops++) {
		sqlite3_stmt *row;
		int r = find_open(ledger, *id, ret, why);
		if (r != SQL_NONE) {
			return r == 0 && !ret->seen ? HEIR_UNKNOWN : r;
		}
		r = sql_first(ledger, why, &row, SQL_RECENT_INTO, "d", *id);
		if (r == SQL_NONE) {
			r = find_recent(ledger, *id, why);
			return r == SQL_NONE ? HEIR_UNKNOWN : r < 0 ? r : SQL_NONE;
		}
		if (r < 0) {
			return r;
		}
		*id = column_ident(row, 0);
		sqlite3_reset(row);
	}
	return SQL_NONE;
}

/* Where a change comes in, and whose it is, as its cause has it. */
static int rank_of(
	struct ledger *ledger, const struct change *change, struct open_row *ret, struct why *why)
{
	struct ident cause = change->cause;
	bool caused = !ident_is_none(cause);
	int r = caused ? find_heir(ledger, &cause, ret, why) : SQL_NONE;
	if (r < 0) {
		return r;
	}
	if (r != 0) {
		*ret = (struct open_row){.rank = caused ? 0 : INT64_MAX};
	}
	struct span job = change->job;
	if (r != 0 || (job.len > 0 && ret->job_len == 0 && !ret->several)) {
		ret->several = job.len > sizeof(ret->job);
		ret->job_len = ret->several ? 0 : job.len;
		memcpy(ret->job, job.len ? job.data : "", ret->job_len);
	} else if (job.len > 0) {
		ret->several = ret->several || !span_equal(job, job_of(ret));
	}
	return 0;
}

static int64_t next_turn(struct ledger *ledger)
{
	total_add(ledger, TOTAL_TURN, 1);
	return ledger->totals[TOTAL_TURN];
}

static int open_new(struct ledger *ledger, const struct change *change, struct why *why)
{
	struct open_row row;
	int64_t turn = next_turn(ledger);
	total_add(ledger, TOTAL_OPENED, 1);
	int r = rank_of(ledger, change, &row, why);
	return r < 0 ? r
		     : sql_run(ledger, why, SQL_OPEN_ADD, "diiiiibn", change->id,
			       row.rank < turn ? row.rank : turn, (int64_t)1,
			       (int64_t) !!(change->facts & CHANGE_BULK), (int64_t)change->time_ns,
			       (int64_t)change->op, change->path, job_of(&row));
}

/* The open obligation id stands for this change too. */
static int join(
	struct ledger *ledger, const struct change *change, struct ident id, struct why *why)
{
	struct open_row row;
	int r = rank_of(ledger, change, &row, why);
	return r < 0 ? r : sql_run(ledger, why, SQL_OPEN_JOIN, "ind", row.rank, job_of(&row), id);
}

/* A merged note spoke of it before. */
static int fill_in(struct ledger *ledger, const struct change *change, struct why *why)
{
	int r = sql_run(ledger, why, SQL_OPEN_SEEN, "iiibd",
		(int64_t) !!(change->facts & CHANGE_BULK), (int64_t)change->time_ns,
		(int64_t)change->op, change->path, change->id);
	return r < 0 ? r : join(ledger, change, change->id, why);
}

/* Closed already; if it was moved before it was seen, its heir has not got its rank yet. */
static int saw_late(struct ledger *ledger, const struct change *change, struct why *why)
{
	struct open_row heir;
	struct ident id = change->id;
	int r = find_heir(ledger, &id, &heir, why);
	return r == SQL_NONE ? 0 : r < 0 ? r : join(ledger, change, id, why);
}

int ledger_saw(struct ledger *ledger, const struct change *change, struct why *why)
{
	struct open_row row;
	int r = find_open(ledger, change->id, &row, why);
	if (r < 0 || (r == 0 && row.seen)) {
		return r;
	}
	if (r == SQL_NONE) {
		r = find_recent(ledger, change->id, why);
		if (r <= 0) {
			return r < 0 ? r : saw_late(ledger, change, why);
		}
	}
	return r == 0 ? fill_in(ledger, change, why) : open_new(ledger, change, why);
}

/* Neither id nor into has been seen yet: their copies come late. */
static int open_unseen(struct ledger *ledger, struct ident id, struct why *why)
{
	total_add(ledger, TOTAL_OPENED, 1);
	return sql_run(ledger, why, SQL_OPEN_ADD, "diiiiinn", id, next_turn(ledger), (int64_t)0,
		(int64_t)0, (int64_t)ledger->now_ns, (int64_t)CHANGE_LOOK, SPAN_NONE, SPAN_NONE);
}

/* into owes what id owed. */
static int inherit(struct ledger *ledger, struct ident id, const struct open_row *row,
	struct ident into, struct why *why)
{
	int r = sql_run(ledger, why, SQL_OPEN_JOIN, "ind", row->rank, job_of(row), into);
	if (r < 0 || sqlite3_changes(ledger->db) > 0) {
		return r;
	}
	r = find_recent(ledger, into, why);
	if (r < 0) {
		return r;
	}
	total_add(ledger, TOTAL_OPENED, 1);
	r = sql_run(ledger, why, SQL_OPEN_HEIR, "did", into, (int64_t)(r == 0), id);
	return r < 0 ? r : sql_run(ledger, why, SQL_RECENT_REOPEN, "d", into);
}

static int remember_moved(
	struct ledger *ledger, struct ident id, struct ident into, struct why *why)
{
	total_add(ledger, TOTAL_MERGED, 1);
	return sql_run(ledger, why, SQL_RECENT_MOVED, "ddi", id, into, (int64_t)ledger->now_ns);
}

int ledger_moved(struct ledger *ledger, struct ident id, struct ident into, struct why *why)
{
	struct open_row row, other;
	int r = ident_equal(id, into) ? SQL_NONE : find_open(ledger, id, &row, why);
	if (r == 0) {
		r = inherit(ledger, id, &row, into, why);
		r = r < 0 ? r : sql_run(ledger, why, SQL_OPEN_END, "d", id);
		return r < 0 ? r : remember_moved(ledger, id, into, why);
	}
	if (r < 0 || ident_equal(id, into) || (r = find_recent(ledger, id, why)) <= 0) {
		return r;
	}
	if ((r = find_open(ledger, into, &other, why)) == SQL_NONE &&
		(r = find_recent(ledger, into, why)) == SQL_NONE) {
		r = open_unseen(ledger, into, why);
	}
	total_add(ledger, TOTAL_OPENED, 1); /* id, whose copy comes late, and opens nothing then */
	return r < 0 ? r : remember_moved(ledger, id, into, why);
}

int ledger_shared(struct ledger *ledger, struct ident id, struct ident into, struct why *why)
{
	struct open_row row, heir;
	int r = find_open(ledger, id, &row, why);
	if (r == 0) {
		r = find_heir(ledger, &into, &heir, why);
	}
	if (r < 0 || (r != 0 && r != HEIR_UNKNOWN)) {
		return r < 0 ? r : 0;
	}
	return sql_run(ledger, why, SQL_OPEN_JOIN, "ind", row.rank, job_of(&row), into);
}

/* --- receipts ----------------------------------------------------------------------------- */

uint64_t ledger_lag_bound_ns(unsigned bucket)
{
	static const unsigned seconds[LEDGER_LAG_BUCKETS - 1] = {
		1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 21600};
	return bucket < LEDGER_LAG_BUCKETS - 1 ? seconds[bucket] * UINT64_C(1000000000)
					       : UINT64_MAX;
}

static void count_lag(struct ledger *ledger, const struct receipt *receipt)
{
	uint64_t lag =
		receipt->done_ns > receipt->time_ns ? receipt->done_ns - receipt->time_ns : 0;
	unsigned bucket = 0;
	while (lag > ledger_lag_bound_ns(bucket)) {
		bucket++;
	}
	total_add(ledger, TOTAL_LAG + bucket, 1);
	if ((int64_t)receipt->done_ns > ledger->totals[TOTAL_LAST_DONE]) {
		ledger->totals[TOTAL_LAST_DONE] = (int64_t)receipt->done_ns;
		ledger->dirty[TOTAL_LAST_DONE] = true;
	}
}

static int count_share(struct ledger *ledger, enum share_kind kind, struct span key,
	const struct receipt_work *w, struct why *why)
{
	if (key.len == 0) {
		return 0;
	}
	return sql_run(ledger, why, SQL_SHARE_ADD, "ibiiiiiiiiii", (int64_t)kind, key,
		(int64_t)w->files, (int64_t)w->directories, (int64_t)w->links, (int64_t)w->renames,
		(int64_t)w->removals, (int64_t)w->bytes, (int64_t)w->bytes_saved,
		(int64_t)w->unchanged, (int64_t)w->skipped, (int64_t)ledger->now_ns);
}

static int count_work(
	struct ledger *ledger, const struct receipt *receipt, struct span tree, struct why *why)
{
	struct receipt_work work = receipt->work;
	for (unsigned i = 0; i < WORK_COUNT; i++) {
		total_add(ledger, TOTAL_WORK + i, *work_field(&work, i));
	}
	int r = count_share(ledger, SHARE_TREE, tree, &work, why);
	r = r < 0 ? r : count_share(ledger, SHARE_HOST, receipt->host, &work, why);
	r = r < 0 ? r : count_share(ledger, SHARE_JOB, receipt->job, &work, why);
	if (r < 0 || (work.files == 0 && work.bytes == 0)) {
		return r;
	}
	return sql_run(ledger, why, SQL_SECOND_ADD, "iii",
		(int64_t)(ledger->now_ns / UINT64_C(1000000000)), (int64_t)work.files,
		(int64_t)work.bytes);
}

/* Failed stays visible until something later was done about the path. */
static int note_failed(struct ledger *ledger, const struct receipt *receipt, struct why *why)
{
	if (receipt->status != RECEIPT_FAILED) {
		return sql_run(ledger, why, SQL_FAILED_END, "bi", receipt->path,
			(int64_t)receipt->done_ns);
	}
	return sql_run(ledger, why, SQL_FAILED_ADD, "bdbbbiiii", receipt->path, receipt->id,
		receipt->why, receipt->host, receipt->job, (int64_t)receipt->done_ns,
		(int64_t)receipt->attempt, (int64_t)receipt->facts, (int64_t)receipt->op);
}

/* Where it was closed before, the order has been carried out once more. */
static int close_answered(
	struct ledger *ledger, const struct receipt *receipt, bool known, struct why *why)
{
	int r = sql_run(ledger, why, SQL_OPEN_END, "d", receipt->id);
	bool open = r == 0 && sqlite3_changes(ledger->db) > 0;
	if (open || (r == 0 && !known)) {
		total_add(ledger, TOTAL_OPENED, !open); /* its copy comes late, and opens nothing */
		total_add(ledger, TOTAL_CLOSED + receipt->status, 1);
	}
	return r;
}

int ledger_settled(
	struct ledger *ledger, const struct receipt *receipt, struct span tree, struct why *why)
{
	int known = find_recent(ledger, receipt->id, why);
	int r = known < 0 ? known
			  : sql_run(ledger, why, SQL_RECENT_SETTLED, "dii", receipt->id,
				    (int64_t)receipt->done_ns, (int64_t)ledger->now_ns);
	if (r < 0 || sqlite3_changes(ledger->db) == 0) {
		return r; /* counted before */
	}
	total_add(ledger, TOTAL_STATUS + receipt->status, 1);
	if (receipt->status == RECEIPT_DONE && !(receipt->facts & CHANGE_BULK)) {
		count_lag(ledger, receipt);
	}
	r = close_answered(ledger, receipt, known == 0, why);
	r = r < 0 ? r : note_failed(ledger, receipt, why);
	return r < 0 ? r : count_work(ledger, receipt, tree, why);
}

/* --- what nobody told of ------------------------------------------------------------------ */

int ledger_unseen(struct ledger *ledger, const struct note *note, struct why *why)
{
	int r = sql_run(ledger, why, SQL_RECENT_SETTLED, "dii", note->id, (int64_t)note->time_ns,
		(int64_t)ledger->now_ns);
	if (r < 0 || sqlite3_changes(ledger->db) == 0) {
		return r; /* counted before */
	}
	total_add(ledger, TOTAL_UNSEEN, note->programs);
	total_add(ledger, TOTAL_FOUND, note->found);
	return note->job.len == 0 ? 0
				  : sql_run(ledger, why, SQL_UNSEEN_ADD, "biii", note->job,
					    (int64_t)note->programs, (int64_t)note->found,
					    (int64_t)ledger->now_ns);
}

/* --- daemons ------------------------------------------------------------------------------ */

/* Of a poster's beat; the totals are the sums over all series of what each has told last. */
static const struct {
	enum total total;
	size_t offset;
} figures[] = {
	{TOTAL_CAPTURED, offsetof(struct note, captured)},
	{TOTAL_TOLD, offsetof(struct note, told)},
	{TOTAL_NOTED, offsetof(struct note, noted)},
	{TOTAL_OUTSIDE, offsetof(struct note, outside)},
	{TOTAL_UNNAMED, offsetof(struct note, unnamed)},
	{TOTAL_MADE, offsetof(struct note, made)},
	{TOTAL_REPEATS, offsetof(struct note, repeats)},
	{TOTAL_LOST, offsetof(struct note, lost)},
};

/* A poster that was killed counts again from where it begins to read: less than it had told. */
static int count_figures(struct ledger *ledger, const struct note *beat, struct why *why)
{
	int64_t series = (int64_t)beat->id.source;
	int r = 0;
	for (size_t i = 0; series && r >= 0 && i < sizeof(figures) / sizeof(figures[0]); i++) {
		int64_t total = figures[i].total, before = 0;
		const uint64_t *now = (const void *)((const char *)beat + figures[i].offset);
		r = sql_number(ledger, why, &before, SQL_COUNT_GET, "ii", series, total);
		if (r >= 0) {
			total_add(ledger, figures[i].total, *now - (uint64_t)before);
			r = sql_run(ledger, why, SQL_COUNT_SET, "iiii", series, total,
				(int64_t)*now, (int64_t)ledger->now_ns);
		}
	}
	return r < 0 ? r : 0;
}

/*
 * A rescan that is not owed any more has been ordered: its changes were confirmed, so are here,
 * before the beat that says so was published.  What is open now must end before it counts as done.
 */
static int watch_rescan(
	struct ledger *ledger, const struct note *beat, int64_t lost_before, struct why *why)
{
	int64_t owed = 0;
	int r = sql_number(ledger, why, &owed, SQL_DAEMON_RESCAN, "bbi", beat->stage, beat->host,
		(int64_t)beat->instance);
	if (r < 0) {
		return r;
	}
	if (owed || beat->rescan || ledger->totals[TOTAL_LOST] > lost_before) {
		ledger->totals[TOTAL_RESCANNED] = ledger->totals[TOTAL_TURN];
		ledger->dirty[TOTAL_RESCANNED] = true;
	}
	return 0;
}

static int count_poster(struct ledger *ledger, const struct note *beat, struct why *why)
{
	int64_t lost = ledger->totals[TOTAL_LOST];
	int r = count_figures(ledger, beat, why);
	r = r < 0 ? r : watch_rescan(ledger, beat, lost, why);
	if (r < 0) {
		return r;
	}
	if (!beat->stopping) {
		return sql_run(
			ledger, why, SQL_BARRIER_EXPECT, "bi", beat->host, (int64_t)beat->instance);
	}
	r = sql_run(ledger, why, SQL_BARRIER_LEFT, "bi", beat->host, (int64_t)beat->instance);
	return r < 0 ? r : sql_run(ledger, why, SQL_BARRIER_FIX, "i", ledger->totals[TOTAL_TURN]);
}

static enum beat_life life_of(const struct note *beat)
{
	return beat->stopping  ? BEAT_STOPPING
	       : beat->standby ? BEAT_STANDBY
	       : beat->active  ? BEAT_ACTIVE
			       : BEAT_LIVES;
}

int ledger_beat(struct ledger *ledger, const struct note *beat, struct why *why)
{
	int r = span_equal(beat->stage, SPAN("poster")) ? count_poster(ledger, beat, why) : 0;
	if (r < 0) {
		return r;
	}
	return sql_run(ledger, why, SQL_DAEMON_SET, "bbiiibiiiiiiii", beat->stage, beat->host,
		(int64_t)beat->instance, (int64_t)beat->pid, (int64_t)ledger->now_ns, beat->problem,
		(int64_t)life_of(beat), (int64_t)beat->backlog, (int64_t)beat->dirty,
		(int64_t)beat->captured, (int64_t)beat->published, (int64_t)beat->dropped,
		(int64_t)beat->lost, (int64_t)beat->rescan);
}

int ledger_forget(struct ledger *ledger, struct span host, struct why *why)
{
	int r = sql_run(ledger, why, SQL_DAEMON_FORGET, "b", host);
	r = r < 0 ? r : sql_run(ledger, why, SQL_BARRIER_FORGET, "b", host);
	return r < 0 ? r : sql_run(ledger, why, SQL_BARRIER_FIX, "i", ledger->totals[TOTAL_TURN]);
}

/* --- sweeping ----------------------------------------------------------------------------- */

static int64_t ago(const struct ledger *ledger, uint64_t ns)
{
	return ledger->now_ns > ns ? (int64_t)(ledger->now_ns - ns) : 0;
}

int ledger_sweep(struct ledger *ledger, struct why *why)
{
	int r = sql_run(ledger, why, SQL_RECENT_SWEEP, "i", ago(ledger, REMEMBERED_NS));
	r = r < 0 ? r
		  : sql_run(ledger, why, SQL_SECOND_SWEEP, "i",
			    ago(ledger, REMEMBERED_NS) / INT64_C(1000000000));
	r = r < 0 ? r : sql_run(ledger, why, SQL_EXPECTED_SWEEP, "");
	r = r < 0 ? r : sql_run(ledger, why, SQL_SHARE_SWEEP, "i", ago(ledger, 30 * DAY_NS));
	r = r < 0 ? r : sql_run(ledger, why, SQL_UNSEEN_SWEEP, "i", ago(ledger, 30 * DAY_NS));
	r = r < 0 ? r : sql_run(ledger, why, SQL_COUNT_SWEEP, "i", ago(ledger, 30 * DAY_NS));
	return r < 0 ? r : sql_run(ledger, why, SQL_DAEMON_SWEEP, "i", ago(ledger, 7 * DAY_NS));
}

/* --- notes -------------------------------------------------------------------------------- */

static int write_merged(struct ledger *ledger, const struct note *note, struct why *why)
{
	int r = 0;
	for (size_t i = 0; i < note->merged_count && r == 0; i++) {
		struct ident id = note->merged[2 * i], into = note->merged[2 * i + 1];
		r = note->kind == NOTE_SHARED ? ledger_shared(ledger, id, into, why)
					      : ledger_moved(ledger, id, into, why);
	}
	return r;
}

int ledger_note(struct ledger *ledger, const struct note *note, struct why *why)
{
	switch (note->kind) {
	case NOTE_SHARED:
	case NOTE_MERGED:
		return write_merged(ledger, note, why);
	case NOTE_BEAT:
		return ledger_beat(ledger, note, why);
	case NOTE_FLUSH:
		return ledger_barrier_begin(ledger, note, why);
	case NOTE_MARKER:
		return ledger_barrier_answered(ledger, note, why);
	case NOTE_UNSEEN:
		return ledger_unseen(ledger, note, why);
	case NOTE_FORGET:
		return ledger_forget(ledger, note->host, why);
	default:
		return 0;
	}
}
