/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of its own for each record: a head, then the hashes.  Written beside and renamed, and
 * checked by a hash over all, so that one that was torn by a crash is no record.  Read by the
 * machine that wrote it, so bytes are in its order.
 */
#include "record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/place.h"

#define MAGIC           UINT64_C(0x31746c64726d7274)
#define BLOCK_MIN_BYTES (64U * 1024)
#define BLOCK_MAX_BYTES (64U * 1024 * 1024)
#define BLOCKS          32768U /* about so many at most */
#define BLOCKS_MAX      (4U * BLOCKS)
#define RECORDS_MAX     4096
#define TAG_AHEAD_S     (366U * 86400U) /* readers leave a time of the future alone */
#define TAG_BITS        27              /* some four years */

struct head {
	uint64_t magic;
	uint32_t tag, block_bytes;
	uint64_t size_bytes, count;
	int64_t mtime_s;
	uint64_t check; /* of all else */
};

uint32_t record_tag(void)
{
	uint32_t random = 0;
	ssize_t got = getrandom(&random, sizeof(random), 0);
	(void)got; /* so few bytes never fail */
	return (uint32_t)(clock_wall() / CLOCK_S) + TAG_AHEAD_S + (random >> (32 - TAG_BITS));
}

static uint32_t block_for(uint64_t size_bytes)
{
	uint32_t bytes = BLOCK_MIN_BYTES;
	while (bytes < BLOCK_MAX_BYTES && size_bytes / bytes > BLOCKS) {
		bytes *= 2;
	}
	return bytes;
}

int record_init(struct record *record, uint64_t size_bytes, uint32_t block_bytes)
{
	if (!block_bytes || size_bytes / block_bytes >= BLOCKS_MAX) {
		block_bytes = block_for(size_bytes);
	}
	*record = (struct record){.size_bytes = size_bytes, .block_bytes = block_bytes};
	record->count = (size_t)((size_bytes + block_bytes - 1) / block_bytes);
	record->hashes = calloc(record->count + 1, sizeof(*record->hashes));
	return record->hashes ? 0 : -ENOMEM;
}

uint64_t record_block_end(const struct record *record, size_t i)
{
	uint64_t end = (uint64_t)(i + 1) * record->block_bytes;
	return end < record->size_bytes ? end : record->size_bytes;
}

bool record_same_block(const struct record *old, const struct record *made, size_t i)
{
	return i < old->count && record_block_end(old, i) == record_block_end(made, i) &&
	       XXH128_isEqual(old->hashes[i], made->hashes[i]);
}

void record_finish(struct record *record)
{
	free(record->hashes);
	*record = (struct record){0};
}

static char *directory_of(const struct pair *pair)
{
	return place_state(pair->config->mirror, "delta");
}

static void name_of(const struct pair *pair, uint32_t tag, uint64_t size_bytes, struct buf *ret)
{
	struct span tree = span_str(pair->tree->target.text);
	CLEANUP(free_p) char *directory = directory_of(pair);
	buf_printf(ret, "%s/%016" PRIx64 "-%08" PRIx32 "-%" PRIx64, directory ? directory : "",
		(uint64_t)XXH3_64bits(tree.data, tree.len), tag, size_bytes);
	ret->failed = ret->failed || !directory;
}

static uint64_t check_of(struct head head, const XXH128_hash_t *hashes)
{
	head.check = XXH3_64bits(hashes, head.count * sizeof(*hashes));
	return XXH3_64bits(&head, sizeof(head));
}

/* --- reading ------------------------------------------------------------------------------ */

static int read_record(int fd, struct record *ret)
{
	struct head head;
	if (read(fd, &head, sizeof(head)) != (ssize_t)sizeof(head) || head.magic != MAGIC ||
		head.block_bytes < BLOCK_MIN_BYTES || head.block_bytes > BLOCK_MAX_BYTES ||
		record_init(ret, head.size_bytes, head.block_bytes) < 0) {
		return -ENOENT;
	}
	size_t bytes = ret->count * sizeof(*ret->hashes);
	if (ret->block_bytes != head.block_bytes || ret->count != head.count ||
		read(fd, ret->hashes, bytes) != (ssize_t)bytes ||
		check_of(head, ret->hashes) != head.check) {
		return -ENOENT;
	}
	ret->tag = head.tag;
	ret->mtime_s = head.mtime_s;
	return 0;
}

int record_load(const struct pair *pair, const struct side_attr *t, struct record *ret)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	name_of(pair, t->atime_s, t->size_bytes, &name);
	*ret = (struct record){0};
	if (name.failed || !t->atime_s) {
		return -ENOENT;
	}
	CLEANUP(fd_close) int fd = open(name.data, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return -ENOENT;
	}
	int r = read_record(fd, ret);
	if (r == 0 && (ret->tag != t->atime_s || ret->size_bytes != t->size_bytes ||
			      ret->mtime_s != t->mtime_ns / 1000000000)) {
		r = -ENOENT;
	}
	if (r < 0) {
		record_finish(ret);
		unlink(name.data);
	}
	return r;
}

void record_drop(const struct pair *pair, const struct record *record)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	name_of(pair, record->tag, record->size_bytes, &name);
	if (!name.failed) {
		unlink(name.data);
	}
}

/* --- writing ------------------------------------------------------------------------------ */

struct stock {
	uint64_t bytes, count;
	int64_t oldest_ns;
	char oldest[256];
};

static int64_t ns_of(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void take_stock(const char *directory, struct stock *ret)
{
	*ret = (struct stock){.oldest_ns = INT64_MAX};
	DIR *d = opendir(directory);
	for (struct dirent *e; d && (e = readdir(d));) {
		struct stat st;
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			!S_ISREG(st.st_mode)) {
			continue;
		}
		ret->count++;
		ret->bytes += (uint64_t)st.st_size;
		if (ns_of(st.st_mtim) < ret->oldest_ns) {
			ret->oldest_ns = ns_of(st.st_mtim);
			(void)snprintf(ret->oldest, sizeof(ret->oldest), "%s", e->d_name);
		}
	}
	if (d) {
		closedir(d);
	}
}

/* The oldest go until there is room; a few at a time, so that no order waits for long. */
static bool make_room(const struct pair *pair, const char *directory, size_t bytes)
{
	uint64_t most = pair->config->copier.delta_room_bytes;
	for (unsigned i = 0; i < 16; i++) {
		struct stock stock;
		CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
		take_stock(directory, &stock);
		if (stock.count < RECORDS_MAX && stock.bytes + bytes <= most) {
			return true;
		}
		buf_printf(&path, "%s/%s", directory, stock.oldest);
		if (!stock.count || path.failed || unlink(path.data) < 0) {
			return false;
		}
	}
	return false;
}

static int write_record(const char *path, const struct head *head, const struct record *record)
{
	size_t bytes = record->count * sizeof(*record->hashes);
	CLEANUP(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd >= 0 && write(fd, head, sizeof(*head)) == (ssize_t)sizeof(*head) &&
			       write(fd, record->hashes, bytes) == (ssize_t)bytes
		       ? 0
		       : -EIO;
}

void record_save(const struct pair *pair, const struct record *record)
{
	struct head head = {MAGIC, record->tag, record->block_bytes, record->size_bytes,
		record->count, record->mtime_s, 0};
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf beside = BUF_EMPTY;
	CLEANUP(free_p) char *directory = directory_of(pair);
	struct why why;
	head.check = check_of(head, record->hashes);
	name_of(pair, record->tag, record->size_bytes, &name);
	buf_printf(&beside, "%s.%d", name.failed ? "" : name.data, (int)getpid());
	size_t bytes = sizeof(head) + record->count * sizeof(*record->hashes);
	if (name.failed || beside.failed || place_make(directory, &why) < 0 ||
		!make_room(pair, directory, bytes)) {
		return;
	}
	if (write_record(beside.data, &head, record) < 0 || rename(beside.data, name.data) < 0) {
		unlink(beside.data);
	}
}
