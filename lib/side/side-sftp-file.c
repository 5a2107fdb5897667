/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of files over SFTP.
 *
 * Writing: each WRITE has its callback; the first failure sticks to the file.  side_complete()
 * sends FSETSTAT and CLOSE right behind the WRITEs and then waits for all of them, so a small
 * file costs one round trip after its OPEN.  Large files: side-sftp-lanes.c.
 *
 * Reading: chunks asked for stand in a queue in order of offset; side_read() copies from its
 * head.  As long as reading is sequential the queue runs ahead, twice as far each time:
 *
 *   position        what was asked for                known size
 *      |--- head ---|--- chunk ---|--- chunk ---|          |
 *
 * What a large file has beyond split_size is asked for by several sessions (side-sftp-lanes.c), and
 * farther ahead; what one of them cannot answer, the file's own is asked for.  A chunk whose answer
 * nobody waits for any more is an orphan and frees itself.
 *
 * The file lives until its last request is answered.
 */
#include "side/side-sftp-file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/cleanup.h"
#include "core/clock.h"

#define COPY_PIECE_BYTES   (16U * 1024 * 1024) /* of one copy-data */
#define COPIES_AT_ONCE     4
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

static struct sftp_file *file_of(struct side_file *file)
{
	return (struct sftp_file *)file;
}

void sftp_file_unref(struct sftp_file *file)
{
	if (--file->references == 0) {
		sftp_lanes_free(file);
		sftp_unref(file->sftp);
		buf_finish(&file->path);
		free(file);
	}
}

/* As visit_result(), of a file that is open. */
static int file_result(struct sftp_file *file, int outcome, const char *what, struct why *why)
{
	struct visit visit = {.side = sftp_file_side(file), .sftp = file->sftp};
	return visit_result(&visit, outcome, what, buf_span(&file->path), why);
}

static int file_create(
	struct visit *visit, const struct sftp_handle *handle, struct sftp_file **ret)
{
	struct sftp_file *file = calloc(1, sizeof(*file));
	if (!file) {
		sftp_close_handle(visit->sftp, handle, NULL);
		return -ENOMEM;
	}
	file->file.side = &visit->side->side;
	file->sftp = sftp_ref(visit->sftp);
	file->handle = *handle;
	file->path = visit->path;
	visit->path = BUF_EMPTY;
	file->references = 1;
	file->tail = &file->head;
	file->begun_ns = clock_now();
	*ret = file;
	return 0;
}

/* --- reading ------------------------------------------------------------------------------ */

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

static bool is_split(const struct sftp_file *file)
{
	return !file->edited &&
	       file->moved_bytes >= sftp_file_side(file)->config->copier.split_bytes;
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
	if (is_split(file)) {
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
	while (file->head) {
		queue_pop(file);
	}
	file->position = file->asked = offset;
}

int sftp_file_read(struct side_file *side_file, uint64_t offset, void *buffer, size_t size_bytes,
	size_t *ret_len, struct why *why)
{
	struct sftp_file *file = file_of(side_file);
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
	return r == SFTP_EOF ? 0 : file_result(file, r, "read", why);
}

int sftp_file_next_data(struct side_file *side_file, uint64_t offset, uint64_t *ret_begin,
	uint64_t *ret_end, struct why *why)
{
	*ret_begin = offset;
	*ret_end = file_of(side_file)->size_bytes;
	return offset < *ret_end ? 0 : -ENXIO;
}

int sftp_file_attr(struct side_file *side_file, struct side_attr *ret, struct why *why)
{
	struct sftp_file *file = file_of(side_file);
	struct sftp_attr attr;
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(file->sftp, &call, SFTP_FSTAT, "s", sftp_handle_span(&file->handle));
	int r = sftp_wait_attr(&call, &attr);
	r = r == 0 ? sftp_side_attr(&attr, ret) : r;
	if (r == 0) {
		file->opened = file->opened.flags ? file->opened : attr;
		file->size_bytes = ret->size_bytes;
	}
	return file_result(file, r, "look at", why);
}

/* A server would follow a symlink and hang at a FIFO: it is asked to open files only. */
static int look_before_open(struct visit *visit)
{
	struct sftp_attr attr;
	int r = visit_lstat(visit, buf_span(&visit->path), &attr);
	if (r || S_ISREG(attr.mode)) {
		return r;
	}
	return S_ISLNK(attr.mode) ? -ELOOP : S_ISDIR(attr.mode) ? -EISDIR : -EINVAL;
}

static int open_file(struct side *side, struct span rel, uint32_t flags, struct side_file **ret,
	struct side_attr *ret_attr, struct why *why)
{
	const struct sftp_attr none = {0};
	struct sftp_handle handle;
	struct sftp_file *file = NULL;
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = look_before_open(&visit);
	if (r == 0) {
		r = sftp_open_handle(
			visit.sftp, &handle, SFTP_OPEN, buf_span(&visit.path), flags, &none);
	}
	if (r) {
		return visit_result(&visit, r, "open", buf_span(&visit.path), why);
	}
	r = file_create(&visit, &handle, &file);
	r = r == 0 ? sftp_file_attr(&file->file, ret_attr, why) : r;
	if (r < 0) {
		sftp_file_close(file ? &file->file : NULL);
		return r;
	}
	*ret = &file->file;
	return 0;
}

int sftp_file_open(struct side *side, struct span rel, struct side_file **ret,
	struct side_attr *ret_attr, struct why *why)
{
	return open_file(side, rel, SFTP_OPEN_READ, ret, ret_attr, why);
}

int sftp_file_edit(struct side *side, struct span rel, struct side_file **ret,
	struct side_attr *ret_attr, struct why *why)
{
	int r = open_file(side, rel, SFTP_OPEN_READ | SFTP_OPEN_WRITE, ret, ret_attr, why);
	if (r == 0) {
		file_of(*ret)->edited = true;
	}
	return r;
}

/* --- writing ------------------------------------------------------------------------------ */

static int learn_self(struct sftp_file *file)
{
	struct side_attr attr;
	struct sftp_side *s = sftp_file_side(file);
	int r = s->knows_self ? 0 : sftp_file_attr(&file->file, &attr, NULL);
	if (r == 0 && !s->knows_self) {
		s->knows_self = true;
		s->self_uid = attr.uid;
	}
	return r;
}

int sftp_file_make(struct side *side, struct span rel, struct side_file **ret, struct why *why)
{
	const struct sftp_attr private = {.flags = SFTP_ATTR_MODE, .mode = 0600};
	struct sftp_handle handle;
	struct sftp_file *file;
	struct sftp_attr attr;
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = sftp_open_handle(visit.sftp, &handle, SFTP_OPEN, buf_span(&visit.path),
		SFTP_OPEN_WRITE | SFTP_OPEN_CREATE | SFTP_OPEN_EXCL, &private);
	if (r == SFTP_FAILURE && visit_lstat(&visit, buf_span(&visit.path), &attr) == 0) {
		r = -EEXIST;
	}
	if (r) {
		return visit_result(&visit, r, "make", buf_span(&visit.path), why);
	}
	r = file_create(&visit, &handle, &file);
	if (r == 0) {
		(void)learn_self(file);
		*ret = &file->file;
	}
	return r;
}

int sftp_file_write_outcome(const struct sftp_reply *reply)
{
	struct sftp_reader reader = sftp_reader_of(reply->body);
	uint32_t status = reply->error ? 0 : sftp_take_u32(&reader);
	if (!reply->error && (reply->type != SFTP_STATUS || reader.bad || status)) {
		return status && status < 256 ? (int)status : SFTP_FAILURE;
	}
	return reply->error;
}

static void on_written(void *arg, const struct sftp_reply *reply)
{
	struct sftp_file *file = arg;
	int outcome = sftp_file_write_outcome(reply);
	file->failure = file->failure ? file->failure : outcome;
	file->writes--;
	task_wake(file->task);
	sftp_file_unref(file);
}

void sftp_file_write_block(struct sftp_file *file, uint64_t offset, struct span data)
{
	file->references++;
	file->writes++;
	int r = sftp_write(file->sftp, &file->handle, offset, data, on_written, file);
	if (r < 0) {
		file->writes--;
		file->references--;
		file->failure = r;
	}
}

int sftp_file_write(struct side_file *side_file, uint64_t offset, const void *data,
	size_t size_bytes, struct why *why)
{
	struct sftp_file *file = file_of(side_file);
	const size_t block = sftp_features(file->sftp)->write_bytes;
	for (size_t done = 0; done < size_bytes && !file->failure; done += block) {
		size_t len = size_bytes - done < block ? size_bytes - done : block;
		struct span part = span_of((const char *)data + done, len);
		if (!is_split(file) || !sftp_lanes_write(file, offset + done, part)) {
			sftp_file_write_block(file, offset + done, part);
		}
		file->moved_bytes += len;
	}
	return file_result(file, file->failure, "write", why);
}

/* The server does nothing else for this session while it copies a piece. */
static void start_copy(struct sftp_file *from, uint64_t from_offset, uint64_t len,
	struct sftp_file *to, uint64_t to_offset, struct sftp_call *call)
{
	sftp_start(to->sftp, call, SFTP_EXTENDED, "ssqqsq", SPAN("copy-data"),
		sftp_handle_span(&from->handle), from_offset, len, sftp_handle_span(&to->handle),
		to_offset);
}

int sftp_file_copy_data(struct side_file *side_from, uint64_t from_offset, uint64_t size_bytes,
	struct side_file *side_to, uint64_t to_offset, struct why *why)
{
	struct sftp_file *from = file_of(side_from), *to = file_of(side_to);
	struct sftp_call calls[COPIES_AT_ONCE] = {0};
	uint64_t asked = 0;
	size_t begun = 0, over = 0;
	int r = 0;
	if (from->sftp != to->sftp || !sftp_features(to->sftp)->copy_data) {
		return -EOPNOTSUPP;
	}
	while (asked < size_bytes || over < begun) {
		uint64_t left = size_bytes - asked;
		uint64_t len = left < COPY_PIECE_BYTES ? left : COPY_PIECE_BYTES;
		if (r == 0 && len && begun - over < COPIES_AT_ONCE) {
			start_copy(from, from_offset + asked, len, to, to_offset + asked,
				&calls[begun++ % COPIES_AT_ONCE]);
			asked += len;
			continue;
		}
		if (over == begun) {
			break; /* one has failed, and the others are over */
		}
		struct sftp_call *call = &calls[over++ % COPIES_AT_ONCE];
		int c = sftp_wait(call);
		r = r ? r : c;
		sftp_call_finish(call);
	}
	r = r == SFTP_UNSUPPORTED || r == SFTP_BAD_MESSAGE ? -EOPNOTSUPP : r;
	return file_result(to, r == SFTP_EOF ? -ENODATA : r, "copy within", why);
}

/* Whose it shall be, as far as the account can: root anybody's, others only of another group. */
static struct sftp_attr owner_of(const struct sftp_file *file, const struct side_attr *attr)
{
	const struct sftp_side *s = sftp_file_side(file);
	bool ordinary = s->knows_self && s->self_uid != 0;
	return (struct sftp_attr){.flags = SFTP_ATTR_OWNER,
		.uid = ordinary ? s->self_uid : attr->uid,
		.gid = attr->gid};
}

static int complete(struct sftp_file *file, const struct side_attr *attr, bool sync)
{
	struct span handle = sftp_handle_span(&file->handle);
	struct sftp_attr owner = owner_of(file, attr);
	struct sftp_attr told = sftp_mode_and_time(attr, SIDE_SET_MODE | SIDE_SET_MTIME);
	CLEANUP(sftp_call_finish) struct sftp_call own = SFTP_CALL;
	CLEANUP(sftp_call_finish) struct sftp_call set = SFTP_CALL;
	CLEANUP(sftp_call_finish) struct sftp_call flush = SFTP_CALL;
	CLEANUP(sftp_call_finish) struct sftp_call close = SFTP_CALL;
	told.flags |= SFTP_ATTR_SIZE;
	told.atime = attr->atime_s ? attr->atime_s : told.atime;
	told.size_bytes = attr->size_bytes;
	file->task = task_self();
	sftp_lanes_end(file);
	if (attr->has_owner) { /* before the mode: it takes set-id bits away */
		sftp_start(file->sftp, &own, SFTP_FSETSTAT, "sa", handle, &owner);
	}
	sftp_start(file->sftp, &set, SFTP_FSETSTAT, "sa", handle, &told);
	if (sync && sftp_features(file->sftp)->fsync) {
		sftp_start(
			file->sftp, &flush, SFTP_EXTENDED, "ss", SPAN("fsync@openssh.com"), handle);
	}
	sftp_close_handle(file->sftp, &file->handle, &close);
	while (file->writes) {
		task_wait();
	}
	file->task = NULL;
	int r = file->failure;
	if (attr->has_owner) {
		int o = sftp_wait(&own); /* refused: not ours to give away */
		r = r == 0 && o < 0 ? o : r;
	}
	r = r == 0 ? sftp_wait(&set) : r;
	r = r == 0 && flush.started ? sftp_wait(&flush) : r;
	return r == 0 ? sftp_wait(&close) : r;
}

int sftp_file_complete(
	struct side_file *side_file, const struct side_attr *attr, bool sync, struct why *why)
{
	struct sftp_file *file = file_of(side_file);
	int r = file_result(file, complete(file, attr, sync), "complete", why);
	sftp_file_unref(file);
	return r;
}

void sftp_file_close(struct side_file *side_file)
{
	if (!side_file) {
		return;
	}
	struct sftp_file *file = file_of(side_file);
	while (file->head) {
		queue_pop(file);
	}
	file->task = NULL;
	sftp_lanes_drop(file);
	sftp_close_handle(file->sftp, &file->handle, NULL);
	sftp_file_unref(file);
}
