/* SPDX-License-Identifier: Apache-2.0 */
#include "status.h"

#include <string.h>

#include "core/clock.h"
#include "flow/place.h"
#include "table.h"
#include "term.h"
#include "units.h"

#define LABEL      11
#define JOBS_SHOWN 5 /* the latest; --json has more */

static void print_answer(const struct view *view, FILE *out)
{
	static const enum style styles[] = {
		[ANSWER_IN_SYNC] = STYLE_GOOD,
		[ANSWER_LAGGING] = STYLE_BUSY,
		[ANSWER_FAILED] = STYLE_BAD,
		[ANSWER_STALLED] = STYLE_BAD,
		[ANSWER_UNKNOWN] = STYLE_BUSY,
		[ANSWER_STOPPED] = STYLE_BOLD,
	};
	const struct verdict *verdict = &view->verdict;
	(void)fprintf(
		out, "%s%s", term_style(out, styles[verdict->answer]), judge_name(verdict->answer));
	if (verdict->answer == ANSWER_FAILED) {
		(void)fprintf(out, " %s", units_count(view->facts.failed));
	} else if (verdict->lag_ns && verdict->answer == ANSWER_LAGGING) {
		(void)fprintf(out, " %s", units_duration(verdict->lag_ns));
	}
	(void)fputs(term_style(out, STYLE_NONE), out);
	if (verdict->words[0]) {
		(void)fprintf(out, " (%s)", verdict->words);
	}
	(void)fprintf(out, "  %smirror %s on %s%s\n", term_style(out, STYLE_DIM),
		view->config->mirror, place_host(), term_style(out, STYLE_NONE));
}

/* What a stage did per second between two looks; -1: not known. */
static double rate(const struct view *view, const struct view *before, int stage)
{
	if (before && view->now_ns > before->now_ns) {
		uint64_t now = view->stages[stage].done, then = before->stages[stage].done;
		double seconds = (double)(view->now_ns - before->now_ns) / (double)CLOCK_S;
		return now >= then ? (double)(now - then) / seconds : -1;
	}
	return -1;
}

static void cell_rate(struct table *table, double per_second)
{
	table_cell(table, "%s", per_second < 0 ? "-" : units_rate(per_second));
}

static void stage_row(
	const struct view *view, const struct view *before, int index, struct table *table)
{
	const struct stage_view *stage = &view->stages[index];
	double files = rate(view, before, index);
	/* What the tally has in hand is committed within a second: its beat is older. */
	uint64_t waiting = stage->queued + (index == STAGE_TALLY ? 0 : stage->backlog);
	bool copier = index == STAGE_COPIER && view->has_ledger;
	if (copier && files < 0) {
		files = (double)view->sum.files_per_minute / 60;
	}
	table_cell(table, "%s", gather_stages[index]);
	table_cell(table, "%u/%u", stage->ready, stage->wanted);
	table_cell(table, "%s",
		stage->has_queue || index == STAGE_POSTER ? units_count(waiting) : "-");
	table_cell(table, "%s", stage->lag_ns ? units_duration(stage->lag_ns) : "-");
	cell_rate(table, index == STAGE_BROKER ? -1 : files);
	table_cell(table, "%s%s", copier ? units_bytes(view->sum.bytes_per_minute / 60) : "-",
		copier ? "/s" : "");
	table_cell(table, "%s", copier ? units_bytes(view->sum.work.bytes) : "-");
	table_cell(table, "%s", stage->use.rss_bytes ? units_duration(stage->use.cpu_ns) : "-");
	table_cell(table, "%s", stage->use.rss_bytes ? units_bytes(stage->use.rss_bytes) : "-");
}

static void print_stages(const struct view *view, const struct view *before, FILE *out)
{
	struct table table = TABLE_EMPTY;
	table_head(&table, "<STAGE >UP >WAITING >LAG >RATE >SPEED >BYTES >CPU >MEMORY");
	for (int i = 0; i < STAGE_COUNT; i++) {
		stage_row(view, before, i, &table);
	}
	(void)fputc('\n', out);
	table_print(&table, out);
	table_finish(&table);
}

static bool same_hosts(const struct shard_view *a, const struct shard_view *b)
{
	return strcmp(a->active, b->active) == 0 && strcmp(a->standby, b->standby) == 0;
}

/* "0-4  node-a; node-b stands by", where it is not simply this host's winnows that have them. */
static void print_shards(const struct view *view, FILE *out)
{
	const char *label = "shards";
	size_t count = (size_t)view->config->winnow.shards, end;
	bool others = false;
	for (size_t i = 0; i < count; i++) {
		const struct shard_view *shard = &view->shards[i];
		others = others || shard->standby[0] ||
			 (shard->active[0] && strcmp(shard->active, place_host()) != 0);
	}
	for (size_t i = 0; others && i < count; i = end) {
		const struct shard_view *shard = &view->shards[i];
		char range[32] = "";
		for (end = i + 1; end < count && same_hosts(shard, &view->shards[end]); end++) {
			(void)snprintf(range, sizeof(range), "-%zu", end);
		}
		(void)fprintf(out, "%s%-*s %zu%s on %s%s%s%s\n", i ? "" : "\n", LABEL, label, i,
			range, shard->active[0] ? shard->active : "nobody yet",
			shard->standby[0] ? "; " : "", shard->standby,
			!shard->standby[0]            ? ""
			: strchr(shard->standby, ',') ? " stand by"
						      : " stands by");
		label = "";
	}
}

static void print_problems(const struct view *view, FILE *out)
{
	for (size_t i = 0; i < view->problem_count; i++) {
		(void)fprintf(out, "%s%s! %s%s\n", i ? "" : "\n", term_style(out, STYLE_BAD),
			term_style(out, STYLE_NONE), view->problems[i]);
	}
}

static const char *plural(uint64_t count, const char *one, const char *many)
{
	return count == 1 ? one : many;
}

/* "3 files, 1 rename" */
static void print_work(const struct receipt_work *work, FILE *out)
{
	const struct {
		uint64_t count;
		const char *one, *many;
	} parts[] = {
		{work->files, "file", "files"},
		{work->directories, "directory", "directories"},
		{work->links, "link", "links"},
		{work->renames, "rename", "renames"},
		{work->removals, "removal", "removals"},
	};
	const char *comma = "";
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (parts[i].count) {
			(void)fprintf(out, "%s%s %s", comma, units_count(parts[i].count),
				plural(parts[i].count, parts[i].one, parts[i].many));
			comma = ", ";
		}
	}
	(void)fputs(comma[0] ? "" : "nothing yet", out);
}

/* "3 programs (12 files found)" */
static void print_unseen(uint64_t programs, uint64_t found, FILE *out)
{
	(void)fprintf(out, "%s %s", units_count(programs), plural(programs, "program", "programs"));
	(void)fprintf(out, " (%s %s found)", units_count(found), plural(found, "file", "files"));
}

static void print_jobs(const struct view *view, FILE *out)
{
	for (size_t i = 0; i < view->job_count && i < JOBS_SHOWN; i++) {
		const struct job_view *job = &view->jobs[i];
		(void)fprintf(out, "%-*s %s: ", LABEL, i ? "" : "jobs", job->id);
		print_work(&job->work, out);
		if (job->unseen) {
			(void)fputs("; unseen ", out);
			print_unseen(job->unseen, job->found, out);
		}
		(void)fputc('\n', out);
	}
}

/* Within which time so many in a hundred orders were done. */
static const char *lag_within(const struct ledger_summary *sum, uint64_t total, unsigned percent)
{
	uint64_t count = 0;
	for (unsigned i = 0; i + 1 < LEDGER_LAG_BUCKETS; i++) {
		count += sum->lag_count[i];
		if (count * 100 >= total * percent) {
			return units_duration(ledger_lag_bound_ns(i));
		}
	}
	return "more than an hour";
}

static void print_lag(const struct ledger_summary *sum, FILE *out)
{
	uint64_t total = 0;
	for (unsigned i = 0; i < LEDGER_LAG_BUCKETS; i++) {
		total += sum->lag_count[i];
	}
	if (total) {
		(void)fprintf(out, "%-*s half within %s, 99 %% within %s\n", LABEL, "lag so far",
			lag_within(sum, total, 50), lag_within(sum, total, 99));
	}
}

static void print_owed(const struct view *view, FILE *out)
{
	const struct ledger_summary *sum = &view->sum;
	if (sum->open) {
		(void)fprintf(out, "%-*s %s", LABEL, "open", units_count(sum->open));
		(void)fprintf(out, sum->open_bulk ? ", %s of a bulk pass\n" : "\n",
			units_count(sum->open_bulk));
	}
	if (view->facts.dirty) {
		(void)fprintf(out, "%-*s %s being written\n", LABEL, "files",
			units_count(view->facts.dirty));
	}
	if (sum->failed) {
		(void)fprintf(out, "%-*s %s order%s; mirrorctl failed\n", LABEL, "failed",
			units_count(sum->failed), sum->failed == 1 ? "" : "s");
	}
	if (view->gone) {
		(void)fprintf(out, "%-*s %u poster%s, silent for more than an hour\n", LABEL,
			"gone", view->gone, view->gone == 1 ? "" : "s");
	}
	if (sum->lost) {
		(void)fprintf(out, "%-*s %s record%s (%s)\n", LABEL, "lost", units_count(sum->lost),
			sum->lost == 1 ? "" : "s",
			sum->rescan || sum->mending ? "a rescan looks for what they told"
						    : "made good by rescans");
	}
	if (view->unreadable) {
		(void)fprintf(out,
			"%-*s %s message%s that nobody can read, dropped (the logs of winnows and "
			"copiers tell)\n",
			LABEL, "unreadable", units_count(view->unreadable),
			view->unreadable == 1 ? "" : "s");
	}
	if (sum->by_status[RECEIPT_DROPPED]) {
		(void)fprintf(out, "%-*s %s order%s for paths outside of the trees, or excluded\n",
			LABEL, "refused", units_count(sum->by_status[RECEIPT_DROPPED]),
			sum->by_status[RECEIPT_DROPPED] == 1 ? "" : "s");
	}
	if (view->oldest_path[0]) {
		(void)fprintf(out, "%-*s %s  (%s old)\n", LABEL, "oldest", view->oldest_path,
			units_duration(view->now_ns - view->facts.open_since_ns));
	}
}

struct part {
	uint64_t count;
	const char *words;
};

/* "records     12 = 7 told + 5 of open files" */
static void print_sum(const char *what, uint64_t whole, const struct part *parts, FILE *out)
{
	const char *sign = "=";
	(void)fprintf(out, "%-*s %s", LABEL, what, units_count(whole));
	for (; parts->words; parts++) {
		if (parts->count) {
			(void)fprintf(
				out, " %s %s %s", sign, units_count(parts->count), parts->words);
			sign = "+";
		}
	}
	(void)fputc('\n', out);
}

static void print_sums(const struct ledger_summary *sum, FILE *out)
{
	uint64_t orders = sum->changes - sum->merged;
	const struct part records[] = {{sum->told, "told"}, {sum->noted, "of open files"},
		{sum->outside, "of no tree"}, {sum->unnamed, "without a name"}, {0}};
	const struct part changes[] = {{sum->merged, "merged"}, {orders, "ordered"}, {0}};
	const struct part ends[] = {{sum->closed[RECEIPT_DONE], "done"},
		{sum->closed[RECEIPT_RETRY], "again later"},
		{sum->closed[RECEIPT_FAILED], "failed"},
		{sum->closed[RECEIPT_DROPPED], "not mirrored"}, {sum->open, "on their way"}, {0}};
	(void)fputc('\n', out);
	print_sum("records", sum->captured, records, out);
	print_sum("changes", sum->changes, changes, out);
	print_sum("orders", orders, ends, out);
}

static void print_totals(const struct view *view, FILE *out)
{
	const struct ledger_summary *sum = &view->sum;
	print_sums(sum, out);
	(void)fprintf(out, "%-*s ", LABEL, "mirrored");
	print_work(&sum->work, out);
	(void)fputc('\n', out);
	if (sum->unseen) {
		(void)fprintf(out, "%-*s ", LABEL, "unseen");
		print_unseen(sum->unseen, sum->found, out);
		(void)fputc('\n', out);
	}
	(void)fprintf(out, "%-*s %s moved, %s saved\n", LABEL, "bytes",
		units_bytes(sum->work.bytes), units_bytes(sum->work.bytes_saved));
	print_lag(sum, out);
	print_owed(view, out);
	print_jobs(view, out);
}

void status_text(const struct view *view, const struct view *before, FILE *out)
{
	print_answer(view, out);
	if (view->facts.runs) {
		print_stages(view, before, out);
		print_shards(view, out);
	} else if (view->journal_bytes) {
		(void)fprintf(out, "\n%s in this host's journal wait for mirrorctl start\n",
			units_bytes(view->journal_bytes));
	}
	print_problems(view, out);
	if (view->has_ledger) {
		print_totals(view, out);
	}
}
