/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl journal: what this host's journals hold and the poster has not taken yet.  Looks
 * only: neither the poster nor any job notices.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "control.h"
#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/journal.h"
#include "core/record-text.h"
#include "flow/place.h"
#include "term.h"
#include "units.h"
#include "verb.h"

#define FOLLOW_US 200000

static void print_header(const char *directory, const struct journal_facts *facts)
{
	uint64_t used = facts->head - facts->released;
	char reader[40] = "no reader";
	if (facts->reader_pid) {
		(void)snprintf(reader, sizeof(reader), "reader pid %" PRIu32, facts->reader_pid);
	}
	printf("%s%s%s: %s of %s (%.0f %%), %s; dropped %s, torn %s\n",
		term_style(stdout, STYLE_BOLD), directory, term_style(stdout, STYLE_NONE),
		units_bytes(used), units_bytes(facts->size_bytes),
		100.0 * (double)used / (double)(facts->size_bytes ? facts->size_bytes : 1), reader,
		units_count(facts->dropped), units_count(facts->torn));
	if (facts->dropped_since_ns) {
		printf("  full since %s: a rescan will make good what was dropped\n",
			units_time(facts->dropped_since_ns));
	}
}

static void print_header_json(const char *directory, const struct journal_facts *facts)
{
	CLEANUP(control_drop)
	json_t *object = json_pack("{s:o, s:I, s:I, s:I, s:I, s:f, s:I, s:I}", "journal",
		control_text(directory), "size_bytes", (json_int_t)facts->size_bytes, "head",
		(json_int_t)facts->head, "released", (json_int_t)facts->released, "dropped",
		(json_int_t)facts->dropped, "dropped_since",
		(double)facts->dropped_since_ns / (double)CLOCK_S, "torn", (json_int_t)facts->torn,
		"reader_pid", (json_int_t)facts->reader_pid);
	(void)json_dumpf(object, stdout, JSON_COMPACT);
	(void)putchar('\n');
}

/* Prints what there is now. */
static int print_records(struct journal *journal, bool json, struct why *why)
{
	CLEANUP(buf_finish) struct buf line = BUF_EMPTY;
	struct record record;
	int r;
	while ((r = journal_next(journal, &record, why)) == 0 && !ferror(stdout)) {
		buf_clear(&line);
		if (json) {
			record_json(&line, &record);
		} else {
			record_text(&line, &record);
		}
		buf_add_char(&line, '\n');
		(void)fwrite(line.data, 1, line.len, stdout);
	}
	(void)fflush(stdout);
	return r < 0 ? r : 0;
}

static int show(const char *directory, const struct command *command, bool *ret_found)
{
	struct journal *journal = NULL;
	struct journal_facts facts;
	struct why why = {0};
	bool json = command_has(command, "json");
	int r = journal_peek(directory, &journal, &why);
	if (r == -ENOENT) {
		return EXIT_DONE;
	}
	if (r < 0) {
		return say(EXIT_FAILED, "%s: %s", directory, why.text[0] ? why.text : strerror(-r));
	}
	*ret_found = true;
	journal_facts(journal, &facts);
	if (json) {
		print_header_json(directory, &facts);
	} else {
		print_header(directory, &facts);
	}
	do {
		r = print_records(journal, json, &why);
	} while (r == 0 && command_has(command, "follow") && !ferror(stdout) &&
		 usleep(FOLLOW_US) == 0);
	journal_destroy(journal);
	return r < 0 ? say(EXIT_FAILED, "%s: %s", directory, why.text) : EXIT_DONE;
}

static int journal_run(struct command *command)
{
	const struct config *config = command->config;
	bool found = false;
	int status = EXIT_DONE;
	for (size_t i = 0; config->journal[i]; i++) {
		CLEANUP(free_p) char *directory = place_journal(config, i);
		int one = directory ? show(directory, command, &found) : EXIT_FAILED;
		status = one ? one : status;
	}
	if (!found && status == EXIT_DONE) {
		return say(EXIT_FAILED,
			"mirror %s has no journal on this host yet: it is made by "
			"mirrorctl start, or by the first job under the shim",
			config->mirror);
	}
	return status;
}

static const struct option_row journal_options[] = {
	{"follow", 'f', NULL, false, "go on with what comes, until Ctrl-C"},
	{"json", 0, NULL, false, "for programs: one JSON object a line"},
	{0},
};

const struct verb verb_journal = {
	.name = "journal",
	.summary = "print what this host's journal holds",
	.options = journal_options,
	.run = journal_run,
};
