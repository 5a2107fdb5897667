/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   missing  /fs/ops/a  file of 12 kB
 *   extra    /fs/ops/b  directory
 *   differs  /fs/ops/c  size 10 | 12, mode 0644 | 0600        source | target
 *   left     /fs/ops/.mirror-0199a2b3c4d5e6f7  file of 12 kB
 *
 * JSON has the same facts: {"path", "is", "what", "source", "target"}.
 */
#include "report.h"

#include <stdio.h>
#include <time.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/log.h"
#include "flow/wire.h"
#include "mirrorctl/term.h"
#include "mirrorctl/units.h"

static const struct {
	unsigned bit;
	const char *name;
} names[] = {
	{COMPARE_TYPE, "type"},
	{COMPARE_SIZE, "size"},
	{DIFFERS_CONTENT, "content"},
	{COMPARE_LINK, "link"},
	{COMPARE_MODE, "mode"},
	{COMPARE_OWNER, "owner"},
	{COMPARE_MTIME, "mtime"},
	{DIFFERS_GROUP, "hard links"},
};
#define NAMES (sizeof(names) / sizeof(names[0]))

static const char *type_name(enum side_type type)
{
	static const char *const types[] = {
		"nothing", "file", "directory", "symlink", "special file"};
	return types[type];
}

static const char *finding_kind(const struct finding *finding)
{
	return finding->left                            ? "left"
	       : finding->target.attr.type == SIDE_NONE ? "missing"
	       : finding->source.attr.type == SIDE_NONE ? "extra"
							: "differs";
}

/* UTC; the fraction only where there is one. */
static void add_time(struct buf *line, int64_t ns)
{
	time_t seconds = (time_t)(ns / 1000000000 - (ns % 1000000000 < 0));
	long rest = (long)(ns - (int64_t)seconds * 1000000000);
	struct tm tm;
	char text[64];
	if (!gmtime_r(&seconds, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm)) {
		(void)snprintf(text, sizeof(text), "@%lld", (long long)seconds);
	}
	buf_add_str(line, text);
	if (rest) {
		buf_printf(line, ".%09ld", rest);
	}
	buf_add_char(line, 'Z');
}

static void add_escaped(struct buf *line, struct span bytes)
{
	char text[16 * 1024];
	buf_add_str(line, log_escape(bytes, text, sizeof(text)));
}

static void add_value(struct buf *line, unsigned bit, const struct compare_entry *entry,
	const struct digest *digest)
{
	const struct side_attr *attr = &entry->attr;
	switch (bit) {
	case COMPARE_TYPE:
		buf_add_str(line, type_name(attr->type));
		break;
	case COMPARE_SIZE:
		buf_printf(line, "%llu", (unsigned long long)attr->size_bytes);
		break;
	case COMPARE_MTIME:
		add_time(line, attr->mtime_ns);
		break;
	case COMPARE_MODE:
		buf_printf(line, "%04o", attr->mode);
		break;
	case COMPARE_OWNER:
		buf_printf(line, "%u:%u", attr->uid, attr->gid);
		break;
	case COMPARE_LINK:
		add_escaped(line, entry->link);
		break;
	case DIFFERS_CONTENT:
		buf_printf(line, "%016llx%016llx", (unsigned long long)digest->high,
			(unsigned long long)digest->low);
		break;
	case DIFFERS_GROUP:
		buf_printf(line, "inode %llu", (unsigned long long)attr->ino);
		break;
	}
}

/* --- text --------------------------------------------------------------------------------- */

static void add_differences(struct buf *line, const struct finding *f)
{
	const char *between = "";
	for (size_t i = 0; i < NAMES; i++) {
		if (f->what & names[i].bit) {
			buf_printf(line, "%s%s ", between, names[i].name);
			add_value(line, names[i].bit, &f->source, &f->source_digest);
			buf_add_str(line, " | ");
			add_value(line, names[i].bit, &f->target, &f->target_digest);
			between = ", ";
		}
	}
}

static void print_text(const struct finding *f)
{
	CLEANUP(buf_finish) struct buf line = BUF_EMPTY;
	const struct side_attr *one = f->source.attr.type ? &f->source.attr : &f->target.attr;
	buf_printf(&line, "%-8s ", finding_kind(f));
	add_escaped(&line, f->path);
	buf_add_str(&line, "  ");
	if (f->source.attr.type && f->target.attr.type) {
		add_differences(&line, f);
	} else {
		buf_add_str(&line, type_name(one->type));
		if (one->type == SIDE_FILE) {
			buf_printf(&line, " of %s", units_bytes(one->size_bytes));
		}
	}
	(void)puts(line.failed ? "out of memory" : line.data);
}

/* --- JSON --------------------------------------------------------------------------------- */

static void add_text_key(struct buf *line, const char *key, const struct buf *text)
{
	wire_key(line, key);
	wire_text(line, buf_span(text));
}

static void add_side(struct buf *line, const char *key, const struct compare_entry *entry,
	const struct digest *digest, unsigned what)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	const struct side_attr *attr = &entry->attr;
	if (attr->type == SIDE_NONE) {
		wire_key(line, key);
		buf_add_str(line, "null");
		return;
	}
	wire_open(line, key);
	wire_key(line, "type");
	wire_text(line, span_str(type_name(attr->type)));
	wire_key(line, "size");
	buf_printf(line, "%llu", (unsigned long long)attr->size_bytes);
	buf_printf(&text, "%04o", attr->mode);
	add_text_key(line, "mode", &text);
	buf_clear(&text);
	add_time(&text, attr->mtime_ns);
	add_text_key(line, "mtime", &text);
	if (attr->type == SIDE_SYMLINK) {
		wire_key(line, "link");
		wire_bytes(line, entry->link);
	}
	if (attr->has_inode) {
		wire_key(line, "inode");
		buf_printf(line, "%llu", (unsigned long long)attr->ino);
	}
	if (what & DIFFERS_CONTENT) {
		buf_clear(&text);
		add_value(&text, DIFFERS_CONTENT, entry, digest);
		add_text_key(line, "xxh3", &text);
	}
	wire_close(line);
}

static void print_json(const struct finding *f)
{
	CLEANUP(buf_finish) struct buf line = BUF_EMPTY;
	const char *between = "";
	wire_open(&line, NULL);
	wire_key(&line, "path");
	wire_bytes(&line, f->path);
	wire_key(&line, "is");
	wire_text(&line, span_str(finding_kind(f)));
	wire_key(&line, "what");
	buf_add_char(&line, '[');
	for (size_t i = 0; i < NAMES; i++) {
		if (f->what & names[i].bit) {
			buf_printf(&line, "%s\"%s\"", between, names[i].name);
			between = ",";
		}
	}
	buf_add_char(&line, ']');
	add_side(&line, "source", &f->source, &f->source_digest, f->what);
	add_side(&line, "target", &f->target, &f->target_digest, f->what);
	wire_close(&line);
	(void)puts(line.failed ? "{}" : line.data);
}

/* --- all together ------------------------------------------------------------------------- */

void report_finding(struct report *report, const struct finding *finding)
{
	bool missing = finding->target.attr.type == SIDE_NONE;
	bool extra = finding->source.attr.type == SIDE_NONE;
	report->left += finding->left;
	report->missing += missing && !finding->left;
	report->extra += extra && !missing && !finding->left;
	report->differing += !missing && !extra && !finding->left;
	if (report->quiet) {
		return;
	}
	term_progress_end();
	if (report->json) {
		print_json(finding);
	} else {
		print_text(finding);
	}
}

void report_trouble(struct report *report, struct span path, const char *words)
{
	report->troubles++;
	term_progress_end();
	(void)fprintf(stderr, "mirror-audit: %s%s%s\n", path.data ? log_quote(path) : "",
		path.data ? ": " : "", words);
}

static void print_summary(const struct report *report, const char *result)
{
	uint64_t different = report->missing + report->extra + report->differing;
	(void)printf("%s: ", result);
	if (different) {
		(void)printf("%s of ", units_count(different));
	}
	(void)printf("%s %sentries, %s", units_count(report->entries),
		report->sampled ? "sampled " : "", units_bytes(report->bytes));
	if (different) {
		(void)printf("; %s missing, %s extra, %s different", units_count(report->missing),
			units_count(report->extra), units_count(report->differing));
	}
	if (report->left) {
		(void)printf("; %s left behind", units_count(report->left));
	}
	if (report->skipped) {
		(void)printf("; %s special files skipped", units_count(report->skipped));
	}
	if (report->troubles) {
		(void)printf("; %s could not be compared", units_count(report->troubles));
	}
	(void)putchar('\n');
}

static void print_json_summary(const struct report *report, const char *result)
{
	const struct {
		const char *key;
		uint64_t value;
	} counts[] = {{"entries", report->entries}, {"bytes", report->bytes},
		{"missing", report->missing}, {"extra", report->extra},
		{"different", report->differing}, {"left", report->left},
		{"skipped", report->skipped}, {"troubles", report->troubles}};
	(void)printf("{\"summary\":{\"result\":\"%s\",\"sampled\":%s", result,
		report->sampled ? "true" : "false");
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		(void)printf(",\"%s\":%llu", counts[i].key, (unsigned long long)counts[i].value);
	}
	(void)puts("}}");
}

int report_end(const struct report *report)
{
	bool differs = report->missing + report->extra + report->differing > 0;
	const char *result = differs ? "DIFFERS" : report->troubles ? "TROUBLE" : "IN SYNC";
	term_progress_end();
	if (!report->quiet && report->json) {
		print_json_summary(report, result);
	} else if (!report->quiet) {
		print_summary(report, result);
	}
	return report->troubles ? 2 : differs ? 1 : 0;
}
