/* SPDX-License-Identifier: Apache-2.0 */
#include "status.h"

#include <errno.h>

#include "control.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/place.h"

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *seconds(uint64_t ns)
{
	return json_real((double)ns / (double)CLOCK_S);
}

/* Seconds since 1970; null where there is none. */
static json_t *moment(uint64_t wall_ns)
{
	return wall_ns ? seconds(wall_ns) : json_null();
}

static json_t *stages(const struct view *view)
{
	json_t *list = json_array();
	for (int i = 0; i < STAGE_COUNT; i++) {
		const struct stage_view *stage = &view->stages[i];
		json_array_append_new(list,
			json_pack("{s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "stage",
				gather_stages[i], "wanted", (int)stage->wanted, "ready",
				(int)stage->ready, "queued", number(stage->queued), "backlog",
				number(stage->backlog), "done", number(stage->done), "lag_seconds",
				seconds(stage->lag_ns), "cpu_seconds", seconds(stage->use.cpu_ns),
				"rss_bytes", number(stage->use.rss_bytes)));
	}
	return list;
}

static json_t *queues(const struct view *view)
{
	json_t *list = json_array();
	for (size_t i = 0; i < view->queue_count; i++) {
		json_array_append_new(
			list, json_pack("{s:s, s:o, s:i}", "name", view->queues[i].name, "messages",
				      number(view->queues[i].messages), "consumers",
				      (int)view->queues[i].consumers));
	}
	return list;
}

/* "a, b" as a list. */
static json_t *names(const char *text)
{
	json_t *list = json_array();
	while (*text) {
		size_t len = strcspn(text, ",");
		json_array_append_new(list, json_stringn_nocheck(text, len));
		text += len;
		text += strspn(text, ", ");
	}
	return list;
}

/* Who has each shard, and who is ready for it. */
static json_t *shards(const struct view *view)
{
	json_t *list = json_array();
	for (size_t i = 0; i < view->config->winnow.shards; i++) {
		const struct shard_view *shard = &view->shards[i];
		json_t *active = shard->active[0] ? control_text(shard->active) : json_null();
		json_array_append_new(list, json_pack("{s:i, s:o, s:o}", "shard", (int)i, "active",
						    active, "standby", names(shard->standby)));
	}
	return list;
}

static json_t *problems(const struct view *view)
{
	json_t *list = json_array();
	for (size_t i = 0; i < view->problem_count; i++) {
		json_array_append_new(list, control_text(view->problems[i]));
	}
	return list;
}

static json_t *work(const struct receipt_work *work)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "files",
		number(work->files), "directories", number(work->directories), "links",
		number(work->links), "renames", number(work->renames), "removals",
		number(work->removals), "bytes", number(work->bytes), "bytes_saved",
		number(work->bytes_saved), "unchanged", number(work->unchanged), "skipped",
		number(work->skipped));
}

static json_t *by_status(const uint64_t *counts)
{
	json_t *object = json_object();
	for (int i = 0; i < RECEIPT_STATUS_COUNT; i++) {
		json_object_set_new(object, receipt_status_name(i), number(counts[i]));
	}
	return object;
}

/* What became of every record and every change. */
static json_t *sums(const struct view *view)
{
	const struct ledger_summary *sum = &view->sum;
	json_t *orders = by_status(sum->closed);
	if (!view->has_ledger) {
		json_decref(orders);
		return json_null();
	}
	json_object_set_new(orders, "all", number(sum->changes - sum->merged));
	json_object_set_new(orders, "open", number(sum->open));
	return json_pack("{s:b, s:{s:o, s:o, s:o, s:o, s:o}, s:{s:o, s:o}, s:{s:o, s:o, s:o}, s:o}",
		"balanced", ledger_balances(sum), "records", "read", number(sum->captured), "told",
		number(sum->told), "noted", number(sum->noted), "outside", number(sum->outside),
		"unnamed", number(sum->unnamed), "posted", "made", number(sum->made), "repeats",
		number(sum->repeats), "changes", "all", number(sum->changes), "merged",
		number(sum->merged), "ordered", number(sum->changes - sum->merged), "orders",
		orders);
}

static json_t *lag(const struct ledger_summary *sum)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < LEDGER_LAG_BUCKETS; i++) {
		uint64_t bound = ledger_lag_bound_ns(i);
		json_array_append_new(
			list, json_pack("{s:o, s:o}", "up_to_seconds",
				      bound == UINT64_MAX ? json_null() : seconds(bound), "orders",
				      number(sum->lag_count[i])));
	}
	return list;
}

static json_t *totals(const struct view *view)
{
	const struct ledger_summary *sum = &view->sum;
	if (!view->has_ledger) {
		return json_null();
	}
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"captured", number(sum->captured), "unseen_programs", number(sum->unseen),
		"unseen_found", number(sum->found), "changes", number(sum->changes), "coalesced",
		number(sum->coalesced), "lost", number(sum->lost), "orders", number(sum->orders),
		"by_status", by_status(sum->by_status), "again", number(sum->again), "work",
		work(&sum->work), "lag", lag(sum), "files_per_minute",
		number(sum->files_per_minute), "bytes_per_minute", number(sum->bytes_per_minute),
		"last_done", moment(sum->last_done_ns));
}

static json_t *jobs(const struct view *view)
{
	json_t *list = json_array();
	for (size_t i = 0; i < view->job_count; i++) {
		const struct job_view *job = &view->jobs[i];
		json_array_append_new(list,
			json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "job", control_text(job->id),
				"orders", number(job->orders), "work", work(&job->work),
				"unseen_programs", number(job->unseen), "unseen_found",
				number(job->found), "last", moment(job->last_ns)));
	}
	return list;
}

static json_t *journal(const struct view *view)
{
	return json_pack("{s:o, s:o, s:o}", "unread_bytes", number(view->journal_bytes),
		"unread_since", moment(view->journal_since_ns), "dropped",
		number(view->journal_dropped));
}

int status_json(const struct view *view, FILE *out)
{
	const struct facts *facts = &view->facts;
	const struct verdict *verdict = &view->verdict;
	CLEANUP(control_drop)
	json_t *object = json_pack(
		"{s:s, s:s, s:i, s:o, s:s, s:s, s:o, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:s,"
		" s:b, s:b, s:o, s:i, s:O?, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"answer", judge_name(verdict->answer), "words", verdict->words, "exit",
		verdict->exit_status, "lag_seconds", seconds(verdict->lag_ns), "mirror",
		view->config->mirror, "host", place_host(), "time", moment(view->now_ns), "running",
		facts->runs, "stopped_on_purpose", view->stopped_flag, "open", number(facts->open),
		"open_bulk", number(facts->open_bulk), "failed", number(facts->failed), "dirty",
		number(facts->dirty), "oldest", moment(facts->oldest_ns), "oldest_path",
		view->oldest_path, "rescan", facts->rescan, "mending", view->sum.mending,
		"unreadable", number(view->unreadable), "posters_gone", (int)view->gone,
		"supervisor", view->supervisor, "stages", stages(view), "shards", shards(view),
		"queues", queues(view), "journal", journal(view), "totals", totals(view), "sums",
		sums(view), "jobs", jobs(view), "problems", problems(view));
	if (!object || json_dumpf(object, out, JSON_COMPACT) < 0) {
		return -EIO;
	}
	(void)fputc('\n', out);
	return 0;
}
