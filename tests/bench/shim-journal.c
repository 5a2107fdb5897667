/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim-journal read DIRECTORY     a poster that does nothing: is there, and for each line of
 *                                 standard input takes what is in the journal and prints how many
 *                                 records that were; a line of numbers sets the devices first
 * shim-journal speed DIRECTORY PROCESSES
 *                                 fills a ring and empties it, and prints records a second of each
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/journal.h"
#include "core/why.h"

#define SIZE_BYTES    (UINT64_C(64) << 20)
#define BATCH         256u
#define ROUNDS        9
#define PROCESSES_MAX 64u

static void must(int r, const struct why *why)
{
	if (r < 0) {
		(void)fprintf(stderr, "shim-journal: %s\n", why->text);
		exit(1);
	}
}

/* As the poster does: releases in batches.  Returns how many. */
static uint64_t take_all(struct journal *journal)
{
	struct record record;
	struct why why = {""};
	uint64_t count = 0;
	int r;
	while ((r = journal_next(journal, &record, &why)) == 0) {
		if (++count % BATCH == 0) {
			journal_release(journal, record.end);
		}
	}
	must(r, &why);
	journal_release(journal, journal_cursor(journal));
	return count;
}

static void read_on_demand(struct journal *journal)
{
	char line[256];
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t device = strtoull(line, NULL, 10);
		if (device) {
			journal_set_devices(journal, &device, 1);
		}
		(void)printf("%llu\n", (unsigned long long)take_all(journal));
		(void)fflush(stdout);
	}
}

/* ---- speed ------------------------------------------------------------------------------- */

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A close as the shim tells it, until the ring is full.  Says when it could begin; waits for go. */
static void append_until_full(const char *directory, int ready, int go)
{
	char word = 0;
	struct journal_writer writer = {0};
	struct record record = {.kind = RECORD_CLOSE,
		.flags = RECORD_DIRTY | RECORD_HAS_STAT | RECORD_HAS_INODE,
		.pid = (uint32_t)getpid(),
		.dev = 1,
		.ino = 1,
		.size_bytes = 4096,
		.program = SPAN("model"),
		.job = SPAN("123456")};
	if (journal_attach(&writer, directory) != 0) {
		_exit(1);
	}
	(void)madvise(writer.ring, writer.map_bytes, MADV_POPULATE_WRITE);
	if (write(ready, &word, 1) < 0 || read(go, &word, 1) < 0) {
		_exit(1);
	}
	while (journal_append(&writer, &record) == 0) {
		record.ino++;
	}
	_exit(0);
}

static double fill_s(const char *directory, unsigned processes)
{
	int ready[2], go[2];
	char words[PROCESSES_MAX] = "";
	if (pipe(ready) < 0 || pipe(go) < 0) {
		exit(1);
	}
	for (unsigned i = 0; i < processes; i++) {
		if (fork() == 0) {
			append_until_full(directory, ready[1], go[0]);
		}
	}
	for (unsigned i = 0; i < processes; i++) {
		if (read(ready[0], words, 1) != 1) {
			exit(1);
		}
	}
	double began_s = now_s();
	if (write(go[1], words, processes) != processes) {
		exit(1);
	}
	for (unsigned i = 0; i < processes; i++) {
		int status;
		if (wait(&status) < 0 || status != 0) {
			exit(1);
		}
	}
	double took_s = now_s() - began_s;
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
	return took_s;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void speed(struct journal *journal, const char *directory, unsigned processes)
{
	double filled[ROUNDS], taken[ROUNDS];
	(void)fill_s(directory, 1); /* every page is there afterwards */
	(void)take_all(journal);
	for (int i = 0; i < ROUNDS; i++) {
		filled[i] = fill_s(directory, processes);
		double began_s = now_s();
		double count = (double)take_all(journal);
		taken[i] = count / (now_s() - began_s);
		filled[i] = count / filled[i];
	}
	qsort(filled, ROUNDS, sizeof(double), by_size);
	qsort(taken, ROUNDS, sizeof(double), by_size);
	(void)printf("%.0f %.0f\n", filled[ROUNDS / 2], taken[ROUNDS / 2]);
}

int main(int argc, char **argv)
{
	struct journal *journal = NULL;
	struct why why = {""};
	unsigned processes = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1;
	if (argc < 3 || processes < 1 || processes > PROCESSES_MAX) {
		(void)fprintf(stderr, "usage: shim-journal read|speed DIRECTORY [PROCESSES]\n");
		return 2;
	}
	must(journal_create(argv[2], SIZE_BYTES, &journal, &why), &why);
	if (strcmp(argv[1], "read") == 0) {
		read_on_demand(journal);
	} else {
		speed(journal, argv[2], processes);
	}
	journal_destroy(journal);
	return 0;
}
