/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow-journal DIRECTORY WHERE BEGIN END   tells the journal in DIRECTORY that the files
 *                                          WHERE/NNNN/NNNNNNN of these numbers were written and
 *                                          closed, as fast as it can without ever finding the ring
 *                                          more than half full
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/journal.h"
#include "core/why.h"

#define AT_ONCE  100u
#define PAUSE_US 500

static void fail(const char *what)
{
	(void)fprintf(stderr, "flow-journal: %s\n", what);
	exit(1);
}

static void wait_for_room(const struct journal *journal)
{
	struct journal_facts facts;
	journal_facts(journal, &facts);
	while (facts.head - facts.released > facts.size_bytes / 2) {
		(void)usleep(PAUSE_US);
		journal_facts(journal, &facts);
	}
}

static void tell(struct journal_writer *writer, const char *where, unsigned number)
{
	char path[4096];
	(void)snprintf(path, sizeof(path), "%s/%04u/%07u", where, number / 1000, number);
	struct record record = {.kind = RECORD_CLOSE,
		.flags = RECORD_DIRTY,
		.time_ns = clock_wall(),
		.pid = (uint32_t)getpid(),
		.fd = -1,
		.path = span_str(path),
		.program = SPAN("bench")};
	if (journal_append(writer, &record) != 0) {
		fail("the journal took no record");
	}
}

int main(int argc, char **argv)
{
	struct journal_writer writer = {0};
	struct journal *journal = NULL;
	if (argc != 5) {
		fail("usage: flow-journal DIRECTORY WHERE BEGIN END");
	}
	if (journal_attach(&writer, argv[1]) != 0 || journal_peek(argv[1], &journal, NULL) != 0) {
		fail("there is no journal");
	}
	unsigned end = (unsigned)strtoul(argv[4], NULL, 10);
	for (unsigned i = (unsigned)strtoul(argv[3], NULL, 10); i < end; i++) {
		if (i % AT_ONCE == 0) {
			wait_for_room(journal);
		}
		tell(&writer, argv[2], i);
	}
	journal_destroy(journal);
	return 0;
}
