/* SPDX-License-Identifier: Apache-2.0 */
#include "rings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/why.h"

void rings_fail(const char *file, int line, const char *format, ...)
{
	va_list rest;
	va_start(rest, format);
	(void)fprintf(stderr, "%s:%d: ", file, line);
	(void)vfprintf(stderr, format, rest);
	(void)fputc('\n', stderr);
	va_end(rest);
	exit(1);
}

void rings_make(struct rings *rings)
{
	struct journal *journal = NULL;
	struct journal_writer writer = {0};
	struct why why = {""};
	bool shm = access("/dev/shm", W_OK) == 0;
	(void)snprintf(rings->directory, sizeof(rings->directory), "%s/test-journal-XXXXXX",
		shm ? "/dev/shm" : "/tmp");
	REQUIRE(mkdtemp(rings->directory), "mkdtemp %s", rings->directory);
	int r = journal_create(rings->directory, RINGS_SIZE, &journal, &why);
	REQUIRE(r == 0, "journal_create: %d %s", r, why.text);
	journal_destroy(journal);
	r = journal_attach(&writer, rings->directory);
	REQUIRE(r == 0, "journal_attach: %d", r);
	rings->ring = writer.ring;
}

void rings_remove(struct rings *rings)
{
	static const char *const names[] = {"ring", "lock", "ring.new"};
	char path[96];
	munmap(rings->ring, ring_file_bytes(rings->ring->size_bytes, rings->ring->drafts));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", rings->directory, names[i]);
		unlink(path);
	}
	rmdir(rings->directory);
}

/* The word of each unit that is free: of this lap from position on, of the next one before it. */
static uint64_t free_word(const struct journal_ring *ring, uint64_t position, uint64_t place)
{
	uint64_t begin = position - (position & (ring->size_bytes - 1));
	uint64_t at = begin + place + (begin + place < position ? ring->size_bytes : 0);
	return ring_word(ring_lap(ring->size_bytes, at), 0, 0, RING_FREE);
}

void rings_begin_at(struct rings *rings, uint64_t position)
{
	struct journal_ring *ring = rings->ring;
	for (uint64_t place = 0; place < ring->size_bytes; place += RING_UNIT) {
		*(uint64_t *)ring_at(ring, ring->size_bytes, place) =
			free_word(ring, position, place);
	}
	ring->head = ring->tail = ring->releasing = position;
}

bool rings_is_clean(const struct rings *rings)
{
	struct journal_ring *ring = rings->ring;
	bool clean = ring->head == ring->tail && ring->releasing == ring->tail;
	for (uint64_t place = 0; place < ring->size_bytes; place += RING_UNIT) {
		uint64_t word = *(uint64_t *)ring_at(ring, ring->size_bytes, place);
		clean = clean && word == free_word(ring, ring->tail, place);
	}
	for (uint64_t i = 0; i < ring->drafts; i++) {
		clean = clean && ring_draft(ring, i)->owner == 0;
	}
	return clean;
}
