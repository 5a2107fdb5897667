/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal-changes JOURNAL TREE...: what a poster would publish of these records.
 *
 * Takes all records of the journal through the poster's own translation, as if every process of
 * them had died by now, and prints each change as it would stand in a message, one a line.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/journal.h"
#include "flow/message.h"
#include "poster/intents.h"
#include "poster/names.h"
#include "poster/translate.h"
#include "poster/unseen.h"

#define TREES_MAX 8

static int print(void *arg, struct change *change)
{
	struct buf line = BUF_EMPTY;
	(void)arg;
	message_encode_change(change, &line);
	int r = line.failed ? -ENOMEM : 0;
	if (r == 0) {
		(void)puts(line.data);
	}
	buf_finish(&line);
	change_destroy(change);
	return r;
}

/* A draft tells when its call began; it is read, and published, after the process has died. */
static void date_draft(struct record *record)
{
	if (record->position == record->end) {
		record->time_ns = clock_wall();
	}
}

struct reader {
	struct intents *intents;
	struct names *names;
	struct unseen *unseen;
	struct translate *translate;
};

static int visit(void *arg, const struct intent *place, struct span path, const struct stat *st)
{
	return translate_visit(((struct reader *)arg)->translate, place, path, st);
}

static int watch(void *arg, uint32_t pid, uint64_t since_ns)
{
	return 0;
}

static int place(void *arg, struct span directory, struct buf *ret)
{
	return translate_place(((struct reader *)arg)->translate, directory, ret);
}

static int take_records(struct journal *journal, struct translate *translate, struct why *why)
{
	struct record record;
	int r;
	while ((r = journal_next(journal, &record, why)) == 0) {
		date_draft(&record);
		r = translate_record(translate, &record, clock_now());
		if (r < 0) {
			return why_error(why, r, "translating failed");
		}
	}
	journal_release(journal, journal_cursor(journal));
	return r < 0 ? r : 0;
}

/* All processes die, and what unseen programs may have changed is looked for. */
static int settle(struct reader *reader)
{
	size_t cursor = 0;
	int r = 0;
	for (uint32_t pid; r == 0 && (pid = intents_next_pid(reader->intents, &cursor));) {
		r = translate_died(reader->translate, pid, clock_now(), clock_wall());
		cursor = 0;
	}
	r = r < 0 ? r : unseen_sweep(reader->unseen);
	while (r == 0 && unseen_waiting(reader->unseen)) {
		r = unseen_step(reader->unseen, clock_now());
		(void)usleep(1000);
	}
	return r < 0 ? r : translate_settle(reader->translate, CLOCK_NEVER, clock_wall());
}

static int run(struct journal *journal, const struct config *config, struct why *why)
{
	struct reader reader = {.intents = intents_create(300 * CLOCK_S)};
	const struct unseen_options unseen = {reader.intents, visit, watch, place, &reader};
	int r = reader.intents ? names_create(config, &reader.names) : -ENOMEM;
	r = r < 0 ? r : unseen_create(&unseen, &reader.unseen);
	struct translate_options options = {.config = config,
		.names = reader.names,
		.intents = reader.intents,
		.unseen = reader.unseen,
		.host = "here",
		.emit = print};
	r = r < 0 ? r : translate_create(&options, &reader.translate);
	r = r < 0 ? r : take_records(journal, reader.translate, why);
	r = r < 0 ? r : settle(&reader);
	translate_destroy(reader.translate);
	unseen_destroy(reader.unseen);
	names_destroy(reader.names);
	intents_destroy(reader.intents);
	return r;
}

int main(int argc, char **argv)
{
	struct tree trees[TREES_MAX] = {0};
	static char *none[] = {NULL};
	struct config config = {.trees = trees, .delay_ns = 30 * CLOCK_S};
	struct journal *journal = NULL;
	struct why why = {""};
	if (argc < 3 || argc > 2 + TREES_MAX) {
		(void)fprintf(stderr, "usage: journal-changes JOURNAL TREE...\n");
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		trees[config.tree_count++] =
			(struct tree){.source = {.path = argv[i]}, .exclude = none};
	}
	int r = journal_create(argv[1], UINT64_C(1) << 20, &journal, &why);
	r = r < 0 ? r : run(journal, &config, &why);
	journal_destroy(journal);
	if (r < 0) {
		(void)fprintf(stderr, "journal-changes: %s\n", why.text);
		return 1;
	}
	return 0;
}
