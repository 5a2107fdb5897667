/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table row per figure of the ledger's summary; families that have labels of their own (lag,
 * receipts, trees, daemons) follow.  Names begin with treemirror_, units stand in the names,
 * counters end in _total.
 */
#include "tally/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "core/cleanup.h"
#include "core/clock.h"

struct page {
	struct buf *out;
	struct buf labels; /* mirror="demo" */
};

enum kind { GAUGE, COUNTER };

struct row {
	const char *name, *help;
	enum kind kind;
	size_t offset; /* of a uint64_t in struct ledger_summary */
};

#define AT(field) offsetof(struct ledger_summary, field)

static const struct row rows[] = {
	{"open", "changes that are not on the target yet", GAUGE, AT(open)},
	{"open_bulk", "of these, changes of bulk passes", GAUGE, AT(open_bulk)},
	{"failed", "orders that failed and wait for a person", GAUGE, AT(failed)},
	{"captured", "records read by posters", COUNTER, AT(captured)},
	{"told", "records that became changes", COUNTER, AT(told)},
	{"noted", "records that say only which files are open", COUNTER, AT(noted)},
	{"outside", "records of paths in no tree", COUNTER, AT(outside)},
	{"unnamed", "records of files without a name; lost", COUNTER, AT(unnamed)},
	{"changes", "changes published", COUNTER, AT(changes)},
	{"merged", "changes that became part of another", COUNTER, AT(merged)},
	{"coalesced", "repeats that were dropped or merged", COUNTER, AT(coalesced)},
	{"lost", "journal records lost; each loss is followed by a rescan", COUNTER, AT(lost)},
	{"unseen_programs", "programs run that no shim is in", COUNTER, AT(unseen)},
	{"unseen_found", "changes found where such programs ran", COUNTER, AT(found)},
	{"files", "files made or changed at the target", COUNTER, AT(work.files)},
	{"directories", "directories made or changed", COUNTER, AT(work.directories)},
	{"links", "hard and symbolic links made", COUNTER, AT(work.links)},
	{"renames", "entries moved instead of copied", COUNTER, AT(work.renames)},
	{"removals", "entries removed", COUNTER, AT(work.removals)},
	{"unchanged", "entries looked at and found equal", COUNTER, AT(work.unchanged)},
	{"skipped", "FIFOs, sockets and devices", COUNTER, AT(work.skipped)},
	{"sent_bytes", "content sent", COUNTER, AT(work.bytes)},
	{"saved_bytes", "content that was there already or was moved", COUNTER,
		AT(work.bytes_saved)},
};

static void family(struct page *page, const char *name, const char *type, const char *help)
{
	buf_printf(page->out, "# TYPE treemirror_%s %s\n# HELP treemirror_%s %s.\n", name, type,
		name, help);
}

static void add_label(struct buf *out, const char *name, struct span value)
{
	buf_printf(out, "%s%s=\"", out->len ? "," : "", name);
	for (size_t i = 0; i < value.len; i++) {
		char c = value.data[i];
		if (c == '\\' || c == '"') {
			buf_add_char(out, '\\');
		}
		buf_add_str(out, c == '\n' ? "\\n" : "");
		if (c != '\n') {
			buf_add_char(out, c);
		}
	}
	buf_add_char(out, '"');
}

/* One line; `name` and `value` are a further label unless name is NULL. */
static void sample(struct page *page, const char *family_name, const char *suffix, const char *name,
	struct span value, uint64_t number)
{
	CLEANUP(buf_finish) struct buf labels = BUF_EMPTY;
	buf_add(&labels, buf_span(&page->labels));
	if (name) {
		add_label(&labels, name, value);
	}
	page->out->failed |= labels.failed;
	buf_printf(page->out, "treemirror_%s%s{%.*s} %" PRIu64 "\n", family_name, suffix,
		SPAN_ARG(buf_span(&labels)), number);
}

static void print_rows(struct page *page, const struct ledger_summary *summary)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t number;
		memcpy(&number, (const char *)summary + rows[i].offset, sizeof(number));
		family(page, rows[i].name, rows[i].kind == GAUGE ? "gauge" : "counter",
			rows[i].help);
		sample(page, rows[i].name, rows[i].kind == GAUGE ? "" : "_total", NULL, SPAN_NONE,
			number);
	}
}

static void print_status(struct page *page, const struct ledger_summary *summary)
{
	family(page, "orders", "counter", "orders answered, by what became of them");
	for (unsigned i = 0; i < RECEIPT_STATUS_COUNT; i++) {
		sample(page, "orders", "_total", "status",
			span_str(receipt_status_name((enum receipt_status)i)),
			summary->by_status[i]);
	}
}

static void print_lag(struct page *page, const struct ledger_summary *summary)
{
	uint64_t count = 0;
	family(page, "lag_seconds", "histogram",
		"from a change until it was on the target, live orders");
	for (unsigned i = 0; i < LEDGER_LAG_BUCKETS; i++) {
		char bound[32] = "+Inf";
		count += summary->lag_count[i];
		if (i < LEDGER_LAG_BUCKETS - 1) {
			(void)snprintf(bound, sizeof(bound), "%" PRIu64 ".0",
				ledger_lag_bound_ns(i) / CLOCK_S);
		}
		sample(page, "lag_seconds", "_bucket", "le", span_str(bound), count);
	}
}

static void print_oldest(struct page *page, const struct ledger_summary *summary, uint64_t wall_ns)
{
	uint64_t oldest = summary->oldest_ns;
	family(page, "oldest_seconds", "gauge", "age of the oldest live change that is open");
	sample(page, "oldest_seconds", "", NULL, SPAN_NONE,
		oldest && oldest < wall_ns ? (wall_ns - oldest) / CLOCK_S : 0);
	family(page, "rescan", "gauge", "whether some poster owes a rescan");
	sample(page, "rescan", "", NULL, SPAN_NONE, summary->rescan);
}

static int tree_files(void *arg, const struct ledger_share *share)
{
	sample(arg, "tree_files", "_total", "tree", share->key, share->work.files);
	return 0;
}

static int tree_bytes(void *arg, const struct ledger_share *share)
{
	sample(arg, "tree_sent_bytes", "_total", "tree", share->key, share->work.bytes);
	return 0;
}

static int tree_orders(void *arg, const struct ledger_share *share)
{
	sample(arg, "tree_orders", "_total", "tree", share->key, share->orders);
	return 0;
}

static int print_trees(struct page *page, struct ledger *ledger, struct why *why)
{
	family(page, "tree_orders", "counter", "orders answered, by tree");
	int r = ledger_each_share(ledger, "tree", tree_orders, page, why);
	family(page, "tree_files", "counter", "files made or changed, by tree");
	r = r < 0 ? r : ledger_each_share(ledger, "tree", tree_files, page, why);
	family(page, "tree_sent_bytes", "counter", "content sent, by tree");
	return r < 0 ? r : ledger_each_share(ledger, "tree", tree_bytes, page, why);
}

int metrics_print(struct ledger *ledger, const char *mirror, struct buf *ret, struct why *why)
{
	struct ledger_summary summary;
	CLEANUP(buf_finish) struct buf labels = BUF_EMPTY;
	add_label(&labels, "mirror", span_str(mirror));
	struct page page = {.out = ret, .labels = labels};
	int r = ledger_summary(ledger, &summary, why);
	if (r < 0) {
		return r;
	}
	print_rows(&page, &summary);
	print_status(&page, &summary);
	print_lag(&page, &summary);
	print_oldest(&page, &summary, clock_wall());
	r = print_trees(&page, ledger, why);
	buf_add_str(ret, "# EOF\n");
	return r < 0 ? r : ret->failed || labels.failed ? -ENOMEM : 0;
}

static int write_all(int fd, struct span text)
{
	while (text.len > 0) {
		ssize_t n = write(fd, text.data, text.len);
		if (n < 0 && errno != EINTR) {
			return -errno;
		}
		text = span_skip(text, n < 0 ? 0 : (size_t)n);
	}
	return 0;
}

static int replace(const char *file, struct span text, struct why *why)
{
	CLEANUP(buf_finish) struct buf beside = BUF_EMPTY;
	buf_printf(&beside, "%s.new", file);
	if (beside.failed) {
		return -ENOMEM;
	}
	CLEANUP(fd_close)
	int fd = open(beside.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int r = fd < 0 ? -errno : write_all(fd, text);
	if (r == 0 && rename(beside.data, file) < 0) {
		r = -errno;
	}
	return r < 0 ? why_error(why, r, "write %s: %s", file, strerror(-r)) : 0;
}

int metrics_write(struct ledger *ledger, const char *mirror, const char *file, struct why *why)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	int r = metrics_print(ledger, mirror, &text, why);
	return r < 0 ? r : replace(file, buf_span(&text), why);
}
