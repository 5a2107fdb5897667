/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile SFTP server.  Whatever it answers, every operation of a side returns, and what it
 * returns is sound: names that a directory can hold, no more data than was asked for.
 *
 * The input is what the server says, in pieces, each an answer to the next request:
 *
 *   u8 type   the type of the packet; 255: the bytes go out as they are, without length and id
 *   u16 len   of the body that follows, little-endian; the id of the request is put before it
 *
 * When the input is at its end the connection is, too; also when we wait for the rest of an answer
 * and so ask for nothing.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "core/clock.h"
#include "core/path.h"
#include "flow/task.h"
#include "side/sftp-wire.h"
#include "side/side.h"
#include "side/stream.h"

#define RAW         255
#define PATIENCE_NS (20 * CLOCK_MS)

struct server {
	struct ssh_stream stream;
	struct loop *loop;
	struct span input;
	struct buf asked, answers;
	bool event_due, is_open, moved;
};

static struct server server;

/* --- the stream --------------------------------------------------------------------------- */

static void answer(uint32_t id, bool greeting)
{
	struct span in = server.input;
	if (in.len < 3) {
		server.input = SPAN("");
		return;
	}
	uint8_t type = (uint8_t)in.data[0];
	size_t len = (uint8_t)in.data[1] | (size_t)(uint8_t)in.data[2] << 8;
	in = span_skip(in, 3);
	struct span body = span_of(in.data, len < in.len ? len : in.len);
	server.input = span_skip(in, body.len);
	if (type == RAW) {
		buf_add(&server.answers, body);
		return;
	}
	size_t begin = sftp_packet_begin(&server.answers, type, id);
	if (greeting) {
		server.answers.len -= 4; /* a greeting has no id */
	}
	buf_add(&server.answers, body);
	sftp_packet_end(&server.answers, begin);
}

static void on_event(void *arg)
{
	server.event_due = false;
	if (server.is_open && server.stream.event) {
		server.stream.event(server.stream.arg);
	}
}

static void event_soon(void)
{
	if (!server.event_due) {
		server.event_due = true;
		fuzz_require(loop_defer(server.loop, on_event, NULL) == 0);
	}
}

static ssize_t server_read(
	struct ssh_stream *stream, void *buffer, size_t size_bytes, struct why *why)
{
	size_t len = server.answers.len < size_bytes ? server.answers.len : size_bytes;
	if (len == 0) {
		return server.input.len ? -EAGAIN : why_error(why, -ENOTCONN, "the end");
	}
	server.moved = true;
	memcpy(buffer, server.answers.data, len);
	buf_drop(&server.answers, len);
	return (ssize_t)len;
}

/* What we ask must be well-formed, always. */
static ssize_t server_write(
	struct ssh_stream *stream, const void *data, size_t size_bytes, struct why *why)
{
	uint8_t type;
	struct span body;
	int len;
	server.moved = true;
	buf_add(&server.asked, span_of(data, size_bytes));
	while ((len = sftp_packet_split(buf_span(&server.asked), &type, &body)) > 0) {
		struct sftp_reader reader = sftp_reader_of(body);
		uint32_t id = sftp_take_u32(&reader);
		fuzz_require(!reader.bad);
		answer(id, type == SFTP_INIT);
		buf_drop(&server.asked, (size_t)len);
	}
	fuzz_require(len == 0);
	event_soon();
	return (ssize_t)size_bytes;
}

static void server_close(struct ssh_stream *stream)
{
	server.is_open = false;
}

static const struct ssh_stream_ops ops = {
	.read = server_read, .write = server_write, .close = server_close};

/* In place of the library's: these carry no bytes anywhere. */
int ssh_stream_open_ssh(struct loop *loop, const struct location *location,
	const struct config *config, struct ssh_stream **ret, struct why *why)
{
	server.stream = (struct ssh_stream){.ops = &ops};
	server.is_open = true;
	*ret = &server.stream;
	return 0;
}

int ssh_stream_open_libssh2(struct loop *loop, const struct location *location,
	const struct config *config, struct ssh_stream **ret, struct why *why)
{
	return ssh_stream_open_ssh(loop, location, config, ret, why);
}

/* --- what is tried ------------------------------------------------------------------------ */

static void try_list(struct side *side)
{
	struct side_list list;
	struct why why;
	if (side_list(side, SPAN("d"), &list, &why) == 0) {
		for (size_t i = 0; i < list.count; i++) {
			fuzz_require(path_is_rel(list.entries[i].name) && list.entries[i].name.len);
			fuzz_require(
				!memchr(list.entries[i].name.data, '/', list.entries[i].name.len));
		}
		side_list_finish(&list);
	}
}

static void try_read(struct side *side)
{
	static char buffer[100000];
	struct side_file *file;
	struct side_attr attr;
	struct why why;
	size_t len;
	if (side_open(side, SPAN("f"), &file, &attr, &why) < 0) {
		return;
	}
	for (uint64_t at = 0; at < 4 * sizeof(buffer); at += sizeof(buffer)) {
		if (side_read(file, at, buffer, sizeof(buffer), &len, &why) == 0) {
			fuzz_require(len <= sizeof(buffer));
		}
	}
	side_close(file);
}

static void try_write(struct side *side)
{
	const struct side_attr attr = {.type = SIDE_FILE, .mode = 0644, .has_owner = true};
	struct side_file *file;
	struct why why;
	if (side_make(side, SPAN("n"), &file, &why) == 0) {
		(void)side_write(file, 0, "content", 7, &why);
		(void)side_complete(file, &attr, true, &why);
	}
}

static void try_write_and_leave(struct side *side)
{
	struct side_file *file;
	struct why why;
	if (side_make(side, SPAN("m"), &file, &why) == 0) {
		(void)side_write(file, 0, "content", 7, &why);
		side_close(file);
	}
}

static void try_check(struct side *side)
{
	struct why why;
	size_t bad_len;
	if (side_check(side, SPAN("a/b/c"), &bad_len, &why) < 0) {
		fuzz_require(bad_len <= 5);
	}
}

static void try_readlink(struct side *side)
{
	struct why why;
	char *text;
	size_t len;
	if (side_readlink(side, SPAN("l"), &text, &len, &why) == 0) {
		fuzz_require(strlen(text) == len);
		free(text);
	}
}

static void try_lstat(struct side *side)
{
	struct side_attr got;
	(void)side_lstat(side, SPAN("a"), &got, NULL);
}

static void try_mkdir(struct side *side)
{
	(void)side_mkdir(side, SPAN("d"), 0755, NULL);
}

static void try_rename(struct side *side)
{
	(void)side_rename(side, SPAN("a"), SPAN("b"), NULL);
}

static void try_link(struct side *side)
{
	(void)side_link(side, SPAN("a"), SPAN("b"), NULL);
}

static void try_symlink(struct side *side)
{
	(void)side_symlink(side, SPAN("a"), SPAN("b"), NULL);
}

static void try_set(struct side *side)
{
	const struct side_attr attr = {.type = SIDE_FILE, .mode = 0644, .has_owner = true};
	(void)side_set(
		side, SPAN("a"), &attr, SIDE_SET_MODE | SIDE_SET_MTIME | SIDE_SET_OWNER, NULL);
}

static void try_unlink(struct side *side)
{
	(void)side_unlink(side, SPAN("a"), NULL);
}

static void try_rmdir(struct side *side)
{
	(void)side_rmdir(side, SPAN("a"), NULL);
}

/* While the first connection lives: for a second one the side would pause. */
static void try_all(void *arg)
{
	void (*const steps[])(struct side * side) = {try_lstat, try_check, try_readlink, try_mkdir,
		try_rename, try_link, try_symlink, try_set, try_unlink, try_rmdir, try_list,
		try_read, try_write, try_write_and_leave};
	struct side *side = arg;
	int r = side_connect(side, NULL);
	for (size_t i = 0; r == 0 && server.is_open && i < sizeof(steps) / sizeof(steps[0]); i++) {
		steps[i](side);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct config config = {.copier = {.allow_non_atomic = true}};
	static const struct location location = {.remote = true,
		.host = (char *)"h",
		.path = (char *)"/r",
		.text = (char *)"sftp://h/r"};
	const struct side_options options = {.config = &config};
	struct task_pool *pool;
	struct side *side;
	struct why why;
	server = (struct server){.input = span_of(data, size)};
	fuzz_require(loop_create(&server.loop) == 0);
	fuzz_require(task_pool_create(server.loop, 4, 256 * 1024, &pool) == 0);
	fuzz_require(side_create(server.loop, &location, &options, &side, &why) == 0);
	fuzz_require(task_start(pool, try_all, side) == 0);
	while (task_pool_running(pool)) {
		server.moved = false;
		fuzz_require(loop_turn(server.loop, clock_now() + PATIENCE_NS) == 0);
		if (!server.moved && !server.event_due) {
			server.input = SPAN("");
			event_soon();
		}
	}
	side_destroy(side);
	fuzz_require(loop_turn(server.loop, 0) == 0);
	task_pool_destroy(pool);
	loop_destroy(server.loop);
	buf_finish(&server.asked);
	buf_finish(&server.answers);
	return 0;
}
