/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   path = /WWWWWWWW.SSSSSSSSSSSSSSSS.CCCCCCCCCCCCCCCC.filler
 *
 * in hexadecimal: writer, sequence, checksum over these two and the filler.
 */
#include "marked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"

#define FRONT_LEN 44u /* "/" 8 "." 16 "." 16 "." */

uint64_t marked_noise(uint64_t *seed, uint64_t limit)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (*seed >> 33) % limit;
}

static uint64_t seed_of(uint32_t writer, uint64_t sequence)
{
	return ((uint64_t)writer << 40 ^ sequence) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* Mostly short, as paths are; one in sixteen is long. */
static size_t length_of(uint64_t *seed)
{
	size_t most = marked_noise(seed, 16) ? 120 : MARKED_PATH_MAX - FRONT_LEN;
	return FRONT_LEN + marked_noise(seed, most);
}

static uint64_t sum_of(const char *filler, size_t len, uint64_t sum)
{
	for (size_t i = 0; i < len; i++) {
		sum = (sum ^ (unsigned char)filler[i]) * UINT64_C(0x100000001b3);
	}
	return sum;
}

static size_t write_path(char *path, uint32_t writer, uint64_t sequence)
{
	uint64_t seed = seed_of(writer, sequence);
	size_t len = length_of(&seed);
	for (size_t i = FRONT_LEN; i < len; i++) {
		path[i] = (char)('a' + marked_noise(&seed, 26));
	}
	char front[FRONT_LEN + 1];
	uint64_t sum = sum_of(path + FRONT_LEN, len - FRONT_LEN, seed);
	(void)snprintf(front, sizeof(front), "/%08" PRIx32 ".%016" PRIx64 ".%016" PRIx64 ".",
		writer, sequence, sum);
	memcpy(path, front, FRONT_LEN);
	return len;
}

void marked_make(struct marked *marked, uint32_t writer, uint64_t sequence)
{
	uint64_t seed = seed_of(writer, sequence) ^ 1;
	size_t len = write_path(marked->path, writer, sequence);
	marked->record = (struct record){.kind = RECORD_UNLINK,
		.flags = RECORD_HAS_INODE,
		.time_ns = clock_wall(),
		.pid = (uint32_t)getpid(),
		.fd = (int32_t)marked_noise(&seed, 1024),
		.dev = marked_noise(&seed, UINT64_C(1) << 31),
		.ino = sequence,
		.size_bytes = marked_noise(&seed, UINT64_C(1) << 31),
		.mtime_ns = -(int64_t)marked_noise(&seed, UINT64_C(1) << 31),
		.mode = writer,
		.nlink = (uint32_t)marked_noise(&seed, 9),
		.path = span_of(marked->path, len),
		.program = SPAN("torture"),
		.job = SPAN("4711")};
}

bool marked_read_names(const struct record *record, uint32_t *ret_writer, uint64_t *ret_sequence)
{
	char path[MARKED_PATH_MAX], front[FRONT_LEN + 1] = "";
	if (record->path.len < FRONT_LEN || record->path.len > sizeof(path)) {
		return false;
	}
	memcpy(front, record->path.data, FRONT_LEN);
	if (sscanf(front, "/%8" SCNx32 ".%16" SCNx64, ret_writer, ret_sequence) != 2) {
		return false;
	}
	size_t len = write_path(path, *ret_writer, *ret_sequence);
	return span_equal(record->path, span_of(path, len)) &&
	       span_equal(record->program, SPAN("torture")) &&
	       span_equal(record->job, SPAN("4711"));
}

bool marked_read(const struct record *record, uint32_t *ret_writer, uint64_t *ret_sequence)
{
	struct marked should;
	const struct record *is = record, *it = &should.record;
	if (!marked_read_names(record, ret_writer, ret_sequence)) {
		return false;
	}
	marked_make(&should, *ret_writer, *ret_sequence);
	return is->kind == it->kind && is->flags == it->flags && is->fd == it->fd &&
	       is->dev == it->dev && is->ino == it->ino && is->size_bytes == it->size_bytes &&
	       is->mtime_ns == it->mtime_ns && is->mode == it->mode && is->nlink == it->nlink &&
	       is->dir.len == 0 && is->dir2.len == 0 && is->path2.len == 0;
}

void marked_draft(const struct marked *marked, struct journal_draft *draft)
{
	const struct record *record = &marked->record;
	char *to = draft->bytes;
	draft->kind = (uint16_t)record->kind;
	draft->flags = (uint16_t)record->flags;
	draft->time_ns = record->time_ns;
	draft->program_len = (uint8_t)record->program.len;
	draft->job_len = (uint8_t)record->job.len;
	draft->path_len = (uint16_t)record->path.len;
	draft->dir_len = draft->dir2_len = draft->path2_len = 0;
	memcpy(to, record->program.data, record->program.len);
	memcpy(to + record->program.len, record->job.data, record->job.len);
	memcpy(to + record->program.len + record->job.len, record->path.data, record->path.len);
}
