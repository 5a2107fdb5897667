/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading over SFTP.  Chunks asked for stand in a queue in order of offset; side_read() copies from
 * its head.  As long as reading is sequential the queue runs ahead, twice as far each time:
 *
 *   position        what was asked for                known size
 *      |--- head ---|--- chunk ---|--- chunk ---|          |
 *
 * What a large file has beyond split_size is asked for by several sessions (side-sftp-lanes.c), and
 * farther ahead; what one of them cannot answer, the file's own is asked for.  A chunk whose answer
 * nobody waits for any more is an orphan and frees itself.
 */
#include "side/side-sftp-file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"

#define AHEAD_MAX_BYTES    (2U * 1024 * 1024)  /* with each session */
#define BUFFERED_MAX_BYTES (32U * 1024 * 1024) /* of all files of a side, read ahead */

struct chunk {
	struct chunk *next;
	struct sftp_file *file;
	struct sftp *sftp; /* who was asked */
	struct sftp_handle handle;
	uint64_t offset;
	uint32_t wanted, got;
	bool done, orphan;
	int failure;
	char data[];
};

static void chunk_destroy(struct chunk *chunk)
{
	struct sftp_file *file = chunk->file;
	sftp_file_side(file)->buffered_bytes -= chunk->wanted;
	sftp_unref(chunk->sftp);
	free(chunk);
	sftp_file_unref(file);
}

static void on_read(void *arg, const struct sftp_reply *reply);

/* Takes what a DATA answer holds; asks for the rest where it is short. */
static void chunk_fill(struct chunk *chunk, struct span body)
{
	struct sftp_reader reader = sftp_reader_of(body);
	struct span data = sftp_take_string(&reader);
	if (reader.bad || data.len == 0 || data.len > chunk->wanted - chunk->got) {
		chunk->failure = -ENOTCONN;
		sftp_end(chunk->sftp, -EPROTO, "the server's data does not fit the request");
		return;
	}
	memcpy(chunk->data + chunk->got, data.data, data.len);
	chunk->got += (uint32_t)data.len;
	chunk->done = chunk->got == chunk->wanted || chunk->orphan;
	if (!chunk->done) {
		chunk->failure = sftp_read_again(chunk->sftp, &chunk->handle,
			chunk->offset + chunk->got, chunk->wanted - chunk->got, on_read, chunk);
	}
}

static void on_read(void *arg, const struct sftp_reply *reply)
{
	struct chunk *chunk = arg;
	struct sftp_reader reader = sftp_reader_of(reply->body);
	if (reply->error) {
		chunk->failure = reply->error;
	} else if (reply->type == SFTP_DATA) {
		chunk_fill(chunk, reply->body);
	} else {
		uint32_t status = sftp_take_u32(&reader);
		bool end = reply->type == SFTP_STATUS && status == SFTP_EOF;
		chunk->failure = end ? 0 : status > 255 || !status ? SFTP_FAILURE : (int)status;
		chunk->done = true;
	}
	chunk->done |= chunk->failure != 0;
	if (chunk->done && chunk->orphan) {
		chunk_destroy(chunk);
	} else if (chunk->done) {
		task_wake(chunk->file->task);
	}
}

static void queue_pop(struct sftp_file *file)
{
	struct chunk *chunk = file->head;
	file->head = chunk->next;
	if (!file->head) {
		file->tail = &file->head;
	}
	if (chunk->done) {
		chunk_destroy(chunk);
	} else {
		chunk->orphan = true;
	}
}

void sftp_file_forget_ahead(struct sftp_file *file)
{
	while (file->head) {
		queue_pop(file);
	}
}

/* Asks for what it still lacks. */
static int chunk_ask(struct chunk *chunk, struct sftp *sftp, const struct sftp_handle *handle)
{
	sftp_ref(sftp);
	sftp_unref(chunk->sftp);
	chunk->sftp = sftp;
	chunk->handle = *handle;
	chunk->done = false;
	chunk->failure = 0;
	return sftp_read(sftp, &chunk->handle, chunk->offset + chunk->got,
		chunk->wanted - chunk->got, on_read, chunk);
}

/* Where a lane did not answer, or not well, the file's own session is asked. */
static int chunk_wait(struct chunk *chunk)
{
	struct sftp_file *file = chunk->file;
	for (;;) {
		while (!chunk->done) {
			task_wait();
		}
		if (!chunk->failure || chunk->sftp == file->sftp) {
			return chunk->failure;
		}
		int r = chunk_ask(chunk, file->sftp, &file->handle);
		if (r < 0) {
			chunk->done = true;
			chunk->failure = r;
		}
	}
}

static int queue_push(struct sftp_file *file, uint64_t offset, uint32_t len)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + len);
	struct sftp *sftp = file->sftp;
	const struct sftp_handle *handle = &file->handle;
	if (!chunk) {
		return -ENOMEM;
	}
	*chunk = (struct chunk){.file = file, .offset = offset, .wanted = len};
	file->references++;
	sftp_file_side(file)->buffered_bytes += len;
	if (sftp_file_is_split(file)) {
		sftp_lanes_read(file, &sftp, &handle);
	}
	int r = chunk_ask(chunk, sftp, handle);
	if (r < 0 && sftp != file->sftp) {
		r = chunk_ask(chunk, file->sftp, &file->handle);
	}
	if (r < 0) {
		chunk_destroy(chunk);
		return r;
	}
	*file->tail = chunk;
	file->tail = &chunk->next;
	file->asked = offset + len;
	return 0;
}

/* Asks for all up to end, and ahead of it as far as reading was sequential. */
static int ask(struct sftp_file *file, uint64_t end)
{
	const uint32_t block = sftp_features(file->sftp)->read_bytes;
	uint64_t ahead =
		sftp_file_side(file)->buffered_bytes < BUFFERED_MAX_BYTES ? file->ahead_bytes : 0;
	uint64_t want = end + ahead < file->size_bytes ? end + ahead : file->size_bytes;
	int r = 0;
	/* Ahead in whole blocks only: bits of a block would cost a request each. */
	while (r == 0 && file->asked < want &&
		(file->asked < end || want - file->asked >= block || want == file->size_bytes)) {
		uint64_t len = want - file->asked;
		r = queue_push(file, file->asked, len < block ? (uint32_t)len : block);
	}
	return r;
}

/* Copies from the head, once it is there.  Returns 0, SFTP_EOF, another status or -errno. */
static int copy_head(struct sftp_file *file, char *buffer, size_t size_bytes, size_t *ret_len)
{
	struct chunk *head = file->head;
	*ret_len = 0;
	int r = chunk_wait(head);
	if (r) {
		return r;
	}
	size_t from = (size_t)(file->position - head->offset);
	size_t len = head->got > from ? head->got - from : 0;
	len = len < size_bytes ? len : size_bytes;
	memcpy(buffer, head->data + from, len);
	file->position += len;
	file->moved_bytes += len;
	*ret_len = len;
	bool is_short = head->got < head->wanted, is_used = from + len == head->got;
	if (is_used && !is_short) {
		queue_pop(file);
	}
	return is_used && is_short ? SFTP_EOF : 0;
}

static void seek(struct sftp_file *file, uint64_t offset)
{
	if (offset == file->position && file->head) {
		uint64_t more = file->ahead_bytes ? file->ahead_bytes * 2
						  : sftp_features(file->sftp)->read_bytes;
		uint64_t most = (sftp_lanes_count(file) + 1) * (uint64_t)AHEAD_MAX_BYTES;
		file->ahead_bytes = more < most ? more : most;
		return;
	}
	if (offset != file->position) {
		file->ahead_bytes = 0;
	} else if (offset) {
		file->ahead_bytes = sftp_features(file->sftp)->read_bytes;
	}
	sftp_file_forget_ahead(file);
	file->position = file->asked = offset;
}

int sftp_file_read(struct side_file *side_file, uint64_t offset, void *buffer, size_t size_bytes,
	size_t *ret_len, struct why *why)
{
	struct sftp_file *file = sftp_file_of(side_file);
	uint64_t left = file->size_bytes > offset ? file->size_bytes - offset : 0;
	uint64_t end = offset + (left < size_bytes ? left : size_bytes);
	int r = 0;
	*ret_len = 0;
	file->task = task_self();
	seek(file, offset);
	while (r == 0 && offset + *ret_len < end) {
		size_t len = 0;
		r = ask(file, end);
		if (r == 0) {
			r = copy_head(
				file, (char *)buffer + *ret_len, end - offset - *ret_len, &len);
		}
		*ret_len += len;
	}
	file->task = NULL;
	return r == SFTP_EOF ? 0 : sftp_file_result(file, r, "read", why);
}

int sftp_file_next_data(struct side_file *side_file, uint64_t offset, uint64_t *ret_begin,
	uint64_t *ret_end, struct why *why)
{
	*ret_begin = offset;
	*ret_end = sftp_file_of(side_file)->size_bytes;
	return offset < *ret_end ? 0 : -ENXIO;
}
