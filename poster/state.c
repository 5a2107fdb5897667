/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file: struct header, the intents, the symlinks, and the XXH64 of all before.  Integers as in
 * memory: the file never leaves its node.  Version 2 had no symlinks.
 */
#include "poster/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "core/cleanup.h"
#include "core/clock.h"

#define STATE_MAGIC   "TMPOSTER"
#define STATE_VERSION 3
#define STATE_MAX     (UINT64_C(1) << 30)

struct header {
	char magic[8];
	uint32_t version;
	uint32_t rescan; /* 0, 1, or seconds since 1970: one for records lost since then */
	uint64_t generation;
	uint64_t torn;
	uint64_t intents_len;
	uint64_t links_len;
};

void state_finish(struct state *state)
{
	buf_finish(&state->intents);
	buf_finish(&state->links);
}

static int read_all(const char *file, struct buf *ret, uint64_t *ret_saved_ns)
{
	CLEANUP(fd_close) int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0) {
		return -errno;
	}
	*ret_saved_ns = (uint64_t)st.st_mtim.tv_sec * CLOCK_S;
	for (;;) {
		char *at = buf_reserve(ret, 65536);
		ssize_t len = at ? read(fd, at, 65536) : 0;
		if (!at || ret->len > STATE_MAX) {
			return -ENOMEM;
		}
		if (len <= 0) {
			return len < 0 ? -errno : 0;
		}
		ret->len += (size_t)len;
	}
}

static size_t header_len(uint32_t version)
{
	return version == STATE_VERSION ? sizeof(struct header)
	       : version == 2           ? offsetof(struct header, links_len)
					: 0;
}

/* Cuts the header and the sum off. */
static bool is_whole(struct span *bytes, struct header *ret)
{
	uint64_t sum;
	*ret = (struct header){.version = 0};
	if (bytes->len < offsetof(struct header, links_len) + sizeof(sum)) {
		return false;
	}
	size_t summed = bytes->len - sizeof(sum);
	memcpy(ret, bytes->data, offsetof(struct header, links_len));
	size_t len = header_len(ret->version);
	if (len == 0 || len > summed || memcmp(ret->magic, STATE_MAGIC, sizeof(ret->magic)) != 0) {
		return false;
	}
	memcpy(ret, bytes->data, len);
	memcpy(&sum, bytes->data + summed, sizeof(sum));
	bool right = sum == XXH64(bytes->data, summed, 0);
	*bytes = span_of(bytes->data + len, summed - len);
	return right && ret->intents_len <= bytes->len &&
	       ret->links_len == bytes->len - ret->intents_len;
}

int state_load(const char *file, struct state *ret, struct why *why)
{
	CLEANUP(buf_finish) struct buf bytes = BUF_EMPTY;
	struct header header;
	*ret = STATE_EMPTY;
	int r = read_all(file, &bytes, &ret->saved_ns);
	if (r == -ENOENT) {
		return r;
	}
	if (r < 0) {
		return why_error(why, r, "read '%s': %s", file, strerror(-r));
	}
	struct span rest = buf_span(&bytes);
	if (!is_whole(&rest, &header)) {
		return why_error(why, -EBADMSG, "'%s' is damaged or of another version", file);
	}
	ret->generation = header.generation;
	ret->torn = header.torn;
	ret->rescan = header.rescan != 0;
	ret->since_ns = header.rescan > 1 ? header.rescan * (uint64_t)CLOCK_S : 0;
	buf_add(&ret->intents, span_of(rest.data, header.intents_len));
	buf_add(&ret->links, span_skip(rest, header.intents_len));
	return ret->intents.failed || ret->links.failed ? -ENOMEM : 0;
}

static int write_all(int fd, struct span bytes)
{
	while (bytes.len) {
		ssize_t len = write(fd, bytes.data, bytes.len);
		if (len < 0 && errno != EINTR) {
			return -errno;
		}
		bytes = span_skip(bytes, len > 0 ? (size_t)len : 0);
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* The rename itself must be on disk too. */
static int sync_parent(const char *file)
{
	struct buf parent = BUF_EMPTY;
	const char *slash = strrchr(file, '/');
	buf_add(&parent, span_of(file, slash ? (size_t)(slash - file) : 0));
	buf_add_char(&parent, '/');
	CLEANUP(fd_close)
	int fd = parent.failed ? -1 : open(parent.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 || fsync(fd) < 0 ? -errno : 0;
	buf_finish(&parent);
	return r == -EINVAL ? 0 : r; /* a file system that cannot sync directories */
}

static int replace(const char *file, struct span bytes)
{
	CLEANUP(buf_finish) struct buf temporary = BUF_EMPTY;
	buf_printf(&temporary, "%s.new", file);
	if (temporary.failed) {
		return -ENOMEM;
	}
	CLEANUP(fd_close)
	int fd = open(temporary.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = fd < 0 ? -errno : write_all(fd, bytes);
	if (r == 0 && rename(temporary.data, file) < 0) {
		r = -errno;
	}
	return r < 0 ? r : sync_parent(file);
}

int state_save(const char *file, const struct state *state, struct why *why)
{
	CLEANUP(buf_finish) struct buf bytes = BUF_EMPTY;
	uint64_t since_s = state->since_ns / CLOCK_S;
	uint32_t rescan = !state->rescan ? 0 : since_s ? (uint32_t)since_s : 1;
	struct header header = {STATE_MAGIC, STATE_VERSION, rescan, state->generation, state->torn,
		state->intents.len, state->links.len};
	buf_add(&bytes, span_of(&header, sizeof(header)));
	buf_add(&bytes, buf_span(&state->intents));
	buf_add(&bytes, buf_span(&state->links));
	if (bytes.failed) {
		return -ENOMEM;
	}
	uint64_t sum = XXH64(bytes.data, bytes.len, 0);
	buf_add(&bytes, span_of(&sum, sizeof(sum)));
	int r = bytes.failed ? -ENOMEM : replace(file, buf_span(&bytes));
	return r < 0 ? why_error(why, r, "write '%s': %s", file, strerror(-r)) : 0;
}
