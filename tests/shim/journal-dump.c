/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal-dump make DIRECTORY SIZE     makes an empty journal
 * journal-dump take DIRECTORY          prints all records as JSON lines and takes them
 * journal-dump show DIRECTORY          prints all records for people and leaves them
 * journal-dump facts DIRECTORY         prints counters as one JSON object
 * journal-dump devices DIRECTORY N…    sets the devices of interest
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/journal.h"
#include "core/record-text.h"
#include "core/why.h"

static int print(
	struct journal *journal, void (*form)(struct buf *, const struct record *), struct why *why)
{
	struct record record;
	struct buf line = BUF_EMPTY;
	int r;
	while ((r = journal_next(journal, &record, why)) == 0) {
		buf_clear(&line);
		form(&line, &record);
		(void)puts(line.data);
	}
	buf_finish(&line);
	return r < 0 ? r : 0;
}

static int print_facts(const struct journal *journal)
{
	struct journal_facts facts;
	journal_facts(journal, &facts);
	(void)printf("{\"head\":%" PRIu64 ",\"released\":%" PRIu64 ",\"dropped\":%" PRIu64
		     ",\"torn\":%" PRIu64 ",\"reader\":%" PRIu32 "}\n",
		facts.head, facts.released, facts.dropped, facts.torn, facts.reader_pid);
	return 0;
}

static int set_devices(struct journal *journal, int count, char **texts)
{
	uint64_t devices[64];
	for (int i = 0; i < count && i < 64; i++) {
		devices[i] = strtoull(texts[i], NULL, 10);
	}
	journal_set_devices(journal, devices, (size_t)count);
	return 0;
}

static int run(const char *verb, struct journal *journal, int count, char **rest, struct why *why)
{
	if (strcmp(verb, "take") == 0) {
		int r = print(journal, record_json, why);
		journal_release(journal, journal_cursor(journal));
		return r;
	}
	if (strcmp(verb, "devices") == 0) {
		return set_devices(journal, count, rest);
	}
	if (strcmp(verb, "facts") == 0) {
		return print_facts(journal);
	}
	return strcmp(verb, "show") == 0 ? print(journal, record_text, why) : 0;
}

int main(int argc, char **argv)
{
	struct journal *journal = NULL;
	struct why why = {""};
	if (argc < 3) {
		(void)fprintf(
			stderr, "usage: journal-dump make|take|show|facts|devices DIRECTORY\n");
		return 2;
	}
	bool make = strcmp(argv[1], "make") == 0;
	uint64_t size_bytes = make && argc > 3 ? strtoull(argv[3], NULL, 10) : UINT64_C(1) << 20;
	bool peek = strcmp(argv[1], "show") == 0 || strcmp(argv[1], "facts") == 0;
	int r = peek ? journal_peek(argv[2], &journal, &why)
		     : journal_create(argv[2], size_bytes, &journal, &why);
	if (r == 0) {
		r = run(argv[1], journal, argc - 3, argv + 3, &why);
	}
	journal_destroy(journal);
	if (r < 0) {
		(void)fprintf(stderr, "journal-dump: %s\n", why.text);
		return 1;
	}
	return 0;
}
