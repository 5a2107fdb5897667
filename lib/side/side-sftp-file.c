/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of files over SFTP.
 *
 * Writing: each WRITE has its callback; the first failure sticks to the file.  side_complete()
 * sends FSETSTAT and CLOSE right behind the WRITEs and then waits for all of them, so a small
 * file costs one round trip after its OPEN.  Large files: side-sftp-lanes.c.
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

#define COPY_PIECE_BYTES (16U * 1024 * 1024) /* of one copy-data */

void sftp_file_unref(struct sftp_file *file)
{
	if (--file->references == 0) {
		sftp_lanes_free(file);
		sftp_unref(file->sftp);
		buf_finish(&file->path);
		free(file);
	}
}

int sftp_file_result(struct sftp_file *file, int outcome, const char *what, struct why *why)
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

/* --- opening ------------------------------------------------------------------------------ */

int sftp_file_attr(struct side_file *side_file, struct side_attr *ret, struct why *why)
{
	struct sftp_file *file = sftp_file_of(side_file);
	struct sftp_attr attr;
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(file->sftp, &call, SFTP_FSTAT, "s", sftp_handle_span(&file->handle));
	int r = sftp_wait_attr(&call, &attr);
	r = r == 0 ? sftp_side_attr(&attr, ret) : r;
	if (r == 0) {
		file->opened = file->opened.flags ? file->opened : attr;
		file->size_bytes = ret->size_bytes;
	}
	return sftp_file_result(file, r, "look at", why);
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
		sftp_file_of(*ret)->edited = true;
	}
	return r;
}

/* --- writing ------------------------------------------------------------------------------ */

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
	struct sftp_file *file = sftp_file_of(side_file);
	const size_t block = sftp_features(file->sftp)->write_bytes;
	for (size_t done = 0; done < size_bytes && !file->failure; done += block) {
		size_t len = size_bytes - done < block ? size_bytes - done : block;
		struct span part = span_of((const char *)data + done, len);
		if (!sftp_file_is_split(file) || !sftp_lanes_write(file, offset + done, part)) {
			sftp_file_write_block(file, offset + done, part);
		}
		file->moved_bytes += len;
	}
	return sftp_file_result(file, file->failure, "write", why);
}

/* The server does nothing else for this session while it copies a piece. */
static void start_copy(struct sftp_file *from, uint64_t from_offset, uint64_t len,
	struct sftp_file *to, uint64_t to_offset, struct sftp_call *call)
{
	sftp_start(to->sftp, call, SFTP_EXTENDED, "ssqqsq", SPAN("copy-data"),
		sftp_handle_span(&from->handle), from_offset, len, sftp_handle_span(&to->handle),
		to_offset);
}

/* Waits until no more than `left` copies into the file are under way. */
static void wait_for_copies(struct sftp_file *to, size_t left)
{
	while (to->copies_begun - to->copies_over > left) {
		struct sftp_call *call = &to->copies[to->copies_over++ % SFTP_COPIES_AT_ONCE];
		int r = sftp_wait(call);
		sftp_call_finish(call);
		to->copied = to->copied ? to->copied : r;
	}
}

int sftp_file_copy_data(struct side_file *side_from, uint64_t from_offset, uint64_t size_bytes,
	struct side_file *side_to, uint64_t to_offset, struct why *why)
{
	struct sftp_file *from = sftp_file_of(side_from), *to = sftp_file_of(side_to);
	(void)why;
	if (from->sftp != to->sftp || !sftp_features(to->sftp)->copy_data) {
		return -EOPNOTSUPP;
	}
	for (uint64_t done = 0, len; done < size_bytes && !to->copied; done += len) {
		len = size_bytes - done < COPY_PIECE_BYTES ? size_bytes - done : COPY_PIECE_BYTES;
		wait_for_copies(to, SFTP_COPIES_AT_ONCE - 1);
		start_copy(from, from_offset + done, len, to, to_offset + done,
			&to->copies[to->copies_begun++ % SFTP_COPIES_AT_ONCE]);
	}
	return 0;
}

int sftp_file_copied(struct side_file *side_to, struct why *why)
{
	struct sftp_file *to = sftp_file_of(side_to);
	wait_for_copies(to, 0);
	int r = to->copied;
	r = r == SFTP_UNSUPPORTED || r == SFTP_BAD_MESSAGE ? -EOPNOTSUPP : r;
	return sftp_file_result(to, r == SFTP_EOF ? -ENODATA : r, "copy within", why);
}

/* What of the attributes the server refused; the others are set all the same. */
static int without_group(
	struct sftp_file *file, const struct side_attr *attr, unsigned what, int outcome)
{
	if (outcome != SFTP_PERMISSION_DENIED || !(what & SIDE_SET_OWNER)) {
		return outcome;
	}
	side_refuse_group(file->file.side, attr->gid);
	return 0;
}

static int complete(struct sftp_file *file, const struct side_attr *attr, bool sync)
{
	struct span handle = sftp_handle_span(&file->handle);
	unsigned what = SIDE_SET_MODE | SIDE_SET_MTIME | (attr->has_owner ? SIDE_SET_OWNER : 0);
	struct sftp_attr group = sftp_attr_to_set(attr, SIDE_SET_OWNER);
	CLEANUP(sftp_call_finish) struct sftp_call own = SFTP_CALL;
	CLEANUP(sftp_call_finish) struct sftp_call set = SFTP_CALL;
	CLEANUP(sftp_call_finish) struct sftp_call flush = SFTP_CALL;
	CLEANUP(sftp_call_finish) struct sftp_call close = SFTP_CALL;
	file->task = task_self();
	sftp_lanes_end(file);
	if (sftp_group_goes_first(attr, what)) {
		sftp_start(file->sftp, &own, SFTP_FSETSTAT, "sa", handle, &group);
		what &= ~(unsigned)SIDE_SET_OWNER;
	}
	struct sftp_attr told = sftp_attr_to_set(attr, what);
	told.flags |= SFTP_ATTR_SIZE;
	told.atime = attr->atime_s ? attr->atime_s : told.atime;
	told.size_bytes = attr->size_bytes;
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
	if (own.started) {
		int o = without_group(file, attr, SIDE_SET_OWNER, sftp_wait(&own));
		r = r == 0 ? o : r;
	}
	r = r == 0 ? without_group(file, attr, what, sftp_wait(&set)) : r;
	r = r == 0 && flush.started ? sftp_wait(&flush) : r;
	return r == 0 ? sftp_wait(&close) : r;
}

int sftp_file_complete(
	struct side_file *side_file, const struct side_attr *attr, bool sync, struct why *why)
{
	struct sftp_file *file = sftp_file_of(side_file);
	int r = sftp_file_result(file, complete(file, attr, sync), "complete", why);
	sftp_file_unref(file);
	return r;
}

void sftp_file_close(struct side_file *side_file)
{
	if (!side_file) {
		return;
	}
	struct sftp_file *file = sftp_file_of(side_file);
	sftp_file_forget_ahead(file);
	file->task = NULL;
	wait_for_copies(file, 0);
	sftp_lanes_drop(file);
	sftp_close_handle(file->sftp, &file->handle, NULL);
	sftp_file_unref(file);
}
