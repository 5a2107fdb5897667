/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One list of cases against every kind of side: a local directory, sftp-server as a child, and a
 * real sshd on loopback through ssh and through libssh2.
 */
#include "check.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <sys/mount.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/task.h"
#include "side/side.h"
#include "sshd.h"

enum kind { LOCAL, SERVER, SSH, LIBSSH2, KINDS };
static const char *const kind_names[] = {"local", "sftp-server", "ssh", "libssh2"};

struct world {
	enum kind kind;
	char directory[200]; /* of everything; the side's root is directory/root */
	char script[256];
	struct sshd sshd;
	struct config config;
	struct location location;
	struct loop *loop;
	struct task_pool *pool;
	struct side *side;
	void (*steps)(struct world *world);
	bool ended;
};

#define S(text) span_str(text)

/* --- the world ---------------------------------------------------------------------------- */

static void write_text(const char *path, const char *text, int mode)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, (mode_t)mode), 0);
}

static void use_server(struct world *w, const char *command)
{
	char text[600];
	(void)snprintf(w->script, sizeof(w->script), "%s/server", w->directory);
	(void)snprintf(text, sizeof(text), "#!/bin/sh\nexec %s\n", command);
	write_text(w->script, text, 0700);
	w->config.copier.transport = TRANSPORT_SSH;
	w->config.copier.ssh_command = w->script;
}

static void open_side(struct world *w)
{
	struct why why = {""};
	const struct side_options options = {.config = &w->config};
	int r = side_create(w->loop, &w->location, &options, &w->side, &why);
	if (r < 0) {
		fail_msg("%s", why.text);
	}
}

static void make_world(struct world *w, enum kind kind)
{
	static char path[256];
	*w = (struct world){.kind = kind};
	(void)snprintf(w->directory, sizeof(w->directory), "/tmp/test-side-XXXXXX");
	assert_non_null(mkdtemp(w->directory));
	(void)snprintf(path, sizeof(path), "%s/root", w->directory);
	assert_int_equal(mkdir(path, 0755), 0);
	w->location = (struct location){.remote = kind != LOCAL,
		.host = (char *)"127.0.0.1",
		.path = path,
		.text = (char *)kind_names[kind]};
	if (kind == SERVER) {
		use_server(w, "/usr/lib/openssh/sftp-server");
	}
	if (kind == SSH || kind == LIBSSH2) {
		assert_true(sshd_start(&w->sshd, w->directory, ""));
		w->location.port = w->sshd.port;
		w->config.copier.transport = kind == SSH ? TRANSPORT_SSH : TRANSPORT_LIBSSH2;
		w->config.copier.identity = w->sshd.identity;
		w->config.copier.known_hosts = w->sshd.known_hosts;
	}
	assert_int_equal(loop_create(&w->loop), 0);
	assert_int_equal(task_pool_create(w->loop, 1100, 256 * 1024, &w->pool), 0);
	open_side(w);
}

static void end_world(struct world *w)
{
	side_destroy(w->side);
	(void)loop_turn(w->loop, 0);
	task_pool_destroy(w->pool);
	loop_destroy(w->loop);
	sshd_stop(&w->sshd);
	assert_true(shell("chmod -R u+rwx %s; rm -rf %s", w->directory, w->directory));
}

static void task_main(void *arg)
{
	struct world *w = arg;
	w->steps(w);
	w->ended = true;
}

static void run(struct world *w, void (*steps)(struct world *))
{
	uint64_t deadline = clock_now() + 60 * CLOCK_S;
	w->steps = steps;
	w->ended = false;
	assert_int_equal(task_start(w->pool, task_main, w), 0);
	while (task_pool_running(w->pool)) {
		assert_int_equal(loop_turn(w->loop, clock_now() + CLOCK_S), 0);
		assert_true(clock_now() < deadline);
	}
	assert_true(w->ended);
}

/* --- small steps -------------------------------------------------------------------------- */

#define good(call)                                                                                 \
	do {                                                                                       \
		struct why why_ = {""}, *why = &why_;                                              \
		int r_ = (call);                                                                   \
		if (r_ != 0) {                                                                     \
			fail_msg("%s: %d %s", #call, r_, why_.text);                               \
		}                                                                                  \
	} while (0)

#define bad(error, call)                                                                           \
	do {                                                                                       \
		struct why why_ = {""}, *why = &why_;                                              \
		int r_ = (call);                                                                   \
		if (r_ != (error)) {                                                               \
			fail_msg("%s: %d instead of %d: %s", #call, r_, (error), why_.text);       \
		}                                                                                  \
	} while (0)

static void new_side(struct world *w)
{
	side_destroy(w->side);
	open_side(w);
}

static void put(struct side *side, struct span rel, const void *data, size_t len)
{
	struct side_file *file;
	const struct side_attr attr = {.type = SIDE_FILE,
		.mode = 0640,
		.size_bytes = len,
		.mtime_ns = INT64_C(1234567890) * 1000000000};
	good(side_make(side, rel, &file, why));
	good(side_write(file, 0, data, len, why));
	good(side_complete(file, &attr, false, why));
}

static void assert_content(struct side *side, struct span rel, const char *data, size_t len)
{
	struct side_file *file;
	struct side_attr attr;
	size_t got, at = 0;
	CLEANUP(free_p) char *buffer = malloc(len + 100000);
	good(side_open(side, rel, &file, &attr, why));
	assert_int_equal(attr.size_bytes, len);
	do {
		good(side_read(
			file, at, buffer + at, 77777 < len + 10 ? 77777 : len + 10, &got, why));
		at += got;
	} while (got > 0 && at < len);
	assert_int_equal(at, len);
	assert_memory_equal(buffer, data, len);
	side_close(file);
}

static char *pattern(size_t len)
{
	char *data = malloc(len + 1);
	for (size_t i = 0; i < len; i++) {
		data[i] = (char)(i * 2654435761U >> 13);
	}
	return data;
}

/* --- cases -------------------------------------------------------------------------------- */

static void odd_names(struct world *w)
{
	struct side_list list;
	struct side_attr attr;
	char name[4];
	for (int c = 1; c < 256; c++) {
		if (c == '/') {
			continue;
		}
		name[0] = 'x';
		name[1] = (char)c;
		put(w->side, span_of(name, 2), name, 2);
	}
	put(w->side, S("-rf *"), "a", 1);
	put(w->side, S("..."), "b", 1);
	good(side_list(w->side, S(""), &list, why));
	assert_int_equal(list.count, 254 + 2);
	for (size_t i = 1; i < list.count; i++) {
		struct span a = list.entries[i - 1].name, b = list.entries[i].name;
		size_t len = a.len < b.len ? a.len : b.len;
		assert_true(memcmp(a.data, b.data, len) < 0 || a.len < b.len);
	}
	for (size_t i = 0; i < list.count; i++) {
		good(side_lstat(w->side, list.entries[i].name, &attr, why));
		assert_int_equal(attr.type, SIDE_FILE);
		assert_int_equal(attr.mode, 0640);
		good(side_unlink(w->side, list.entries[i].name, why));
	}
	side_list_finish(&list);
	good(side_list(w->side, S(""), &list, why));
	assert_int_equal(list.count, 0);
	side_list_finish(&list);
}

static void long_names(struct world *w)
{
	char name[257];
	memset(name, 'n', sizeof(name));
	put(w->side, span_of(name, 255), "x", 1);
	assert_content(w->side, span_of(name, 255), "x", 1);
	struct side_attr attr;
	bad(-ENAMETOOLONG, side_lstat(w->side, span_of(name, 256), &attr, why));
}

/* As deep as one system call of the server can reach; locally deeper. */
static void deep_paths(struct world *w)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	size_t limit = w->kind == LOCAL ? 6000 : 4000, bad_len;
	struct side_attr attr;
	while (path.len + 101 < limit) {
		buf_add_str(&path, path.len ? "/" : "");
		for (int i = 0; i < 100; i++) {
			buf_add_char(&path, (char)('a' + i % 26));
		}
		good(side_mkdir(w->side, buf_span(&path), 0750, why));
	}
	good(side_check(w->side, buf_span(&path), &bad_len, why));
	buf_add_str(&path, "/f");
	put(w->side, buf_span(&path), "deep", 4);
	assert_content(w->side, buf_span(&path), "deep", 4);
	good(side_lstat(w->side, buf_span(&path), &attr, why));
	if (w->kind != LOCAL) {
		memset(buf_reserve(&path, 255), 'g', 255);
		bad(-ENAMETOOLONG,
			side_lstat(w->side, span_of(path.data, path.len + 200), &attr, why));
	}
}

static void sizes(struct world *w)
{
	static const size_t at[] = {0, 1, 4095, 4096, 32767, 32768, 32769, 65536, 255 * 1024 - 1,
		255 * 1024, 255 * 1024 + 1, 3 * 1024 * 1024 + 17};
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		CLEANUP(free_p) char *data = pattern(at[i]);
		put(w->side, S("f"), data, at[i]);
		assert_content(w->side, S("f"), data, at[i]);
		good(side_unlink(w->side, S("f"), why));
	}
}

static void holes(struct world *w)
{
	struct side_file *file;
	uint64_t begin, end;
	char byte;
	size_t got;
	struct side_attr attr = {.type = SIDE_FILE, .mode = 0600, .size_bytes = 64 << 20};
	good(side_make(w->side, S("sparse"), &file, why));
	good(side_write(file, 10 << 20, "data", 4, why));
	good(side_complete(file, &attr, true, why));
	good(side_open(w->side, S("sparse"), &file, &attr, why));
	assert_int_equal(attr.size_bytes, 64 << 20);
	good(side_read(file, (10 << 20) + 1, &byte, 1, &got, why));
	assert_int_equal(byte, 'a');
	good(side_next_data(file, 0, &begin, &end, why));
	if (side_can(w->side) & SIDE_CAN_HOLES) {
		assert_int_equal(begin, 10 << 20);
		assert_true(end < 11 << 20);
		bad(-ENXIO, side_next_data(file, end, &begin, &end, why));
		assert_true(attr.allocated_bytes < 1 << 20);
	} else {
		assert_int_equal(end, 64 << 20);
	}
	bad(-ENXIO, side_next_data(file, 64 << 20, &begin, &end, why));
	side_close(file);
}

/* The old version's blocks, and new ones between them, as a delta would place them. */
static void copying_within(struct world *w)
{
	enum { SIZE = 40 << 20, CUT = 17 << 20 };
	struct side_file *from, *to;
	struct side_attr attr;
	CLEANUP(free_p) char *data = pattern(SIZE);
	put(w->side, S("old"), data, SIZE);
	good(side_open(w->side, S("old"), &from, &attr, why));
	assert_true(side_can(w->side) & SIDE_CAN_COPY_DATA);
	good(side_make(w->side, S("new"), &to, why));
	good(side_copy_data(from, 0, CUT, to, 0, why));
	good(side_write(to, CUT, "between", 7, why));
	good(side_copy_data(from, CUT, SIZE - CUT, to, CUT + 7, why));
	good(side_copy_data(from, 5, 0, to, 0, why));
	if (w->kind == LOCAL) { /* OpenSSH's server says nothing */
		bad(-ENODATA, side_copy_data(from, SIZE, 2, to, SIZE + 7, why));
	}
	good(side_copied(to, why));
	side_close(from);
	attr.size_bytes = SIZE + 7;
	good(side_complete(to, &attr, false, why));
	CLEANUP(free_p) char *whole = malloc(SIZE + 7);
	memcpy(whole, data, CUT);
	memcpy(whole + CUT, "between", 7);
	memcpy(whole + CUT + 7, data + CUT, SIZE - CUT);
	assert_content(w->side, S("new"), whole, SIZE + 7);
}

static void copying_within_refused(struct world *w)
{
	struct side_file *from, *to;
	struct side_attr attr;
	use_server(w, "/usr/lib/openssh/sftp-server -P copy-data");
	new_side(w);
	put(w->side, S("old"), "12345", 5);
	good(side_open(w->side, S("old"), &from, &attr, why));
	assert_false(side_can(w->side) & SIDE_CAN_COPY_DATA);
	good(side_make(w->side, S("new"), &to, why));
	bad(-EOPNOTSUPP, side_copy_data(from, 0, 5, to, 0, why));
	side_close(from);
	side_close(to);
}

static void reading_anywhere(struct world *w)
{
	struct side_file *file;
	struct side_attr attr;
	const size_t len = 2000000;
	CLEANUP(free_p) char *data = pattern(len);
	char part[5000];
	size_t got;
	put(w->side, S("f"), data, len);
	good(side_open(w->side, S("f"), &file, &attr, why));
	for (size_t i = 0; i < 200; i++) {
		size_t at = i % 3 == 0 ? i * 7919 % len : i * 5000;
		good(side_read(file, at, part, sizeof(part), &got, why));
		assert_int_equal(got, sizeof(part));
		assert_memory_equal(part, data + at, got);
	}
	good(side_read(file, len - 100, part, sizeof(part), &got, why));
	assert_int_equal(got, 100);
	good(side_read(file, len + 100, part, sizeof(part), &got, why));
	assert_int_equal(got, 0);
	good(side_read(file, 0, part, sizeof(part), &got, why));
	side_close(file); /* what was read ahead is dropped */
}

static void attributes(struct world *w)
{
	struct side_attr attr = {
		.type = SIDE_FILE, .mode = 04751, .mtime_ns = INT64_C(1600000000) * 1000000000};
	struct side_attr now;
	put(w->side, S("f"), "x", 1);
	good(side_lstat(w->side, S("f"), &now, why));
	assert_int_equal(now.mtime_ns / 1000000000, 1234567890);
	good(side_set(w->side, S("f"), &attr, SIDE_SET_MODE | SIDE_SET_MTIME, why));
	good(side_lstat(w->side, S("f"), &now, why));
	assert_int_equal(now.mode, 04751);
	assert_int_equal(now.mtime_ns, attr.mtime_ns);
	attr.mode = 0700;
	good(side_set(w->side, S("f"), &attr, SIDE_SET_MODE, why));
	attr.has_owner = true;
	attr.uid = now.uid;
	attr.gid = now.gid;
	good(side_set(w->side, S("f"), &attr, SIDE_SET_OWNER, why));
	assert_false(side_refuses_group(w->side, attr.gid));
	bad(-ENOENT, side_set(w->side, S("nothing"), &attr, SIDE_SET_MODE, why));
	good(side_mkdir(w->side, S("d"), 02777, why));
	good(side_lstat(w->side, S("d"), &now, why));
	assert_int_equal(now.type, SIDE_DIRECTORY);
	assert_int_equal(now.mode & 0777, 0777);
	good(side_set(w->side, S(""), &attr, SIDE_SET_MTIME, why));
	good(side_lstat(w->side, S(""), &now, why));
	assert_int_equal(now.mtime_ns, attr.mtime_ns);
	good(side_symlink(w->side, S("f"), S("l"), why));
	attr.type = SIDE_SYMLINK;
	good(side_set(w->side, S("l"), &attr, SIDE_SET_MODE | SIDE_SET_MTIME, why));
	good(side_lstat(w->side, S("l"), &now, why));
	assert_int_equal(now.mtime_ns, attr.mtime_ns);
	good(side_lstat(w->side, S("f"), &now, why));
	assert_int_equal(now.mode, 0700);
}

/* One that this account is in, and one that it is not in: then the rest is set all the same. */
static void groups(struct world *w)
{
	struct side_attr now, attr = {.type = SIDE_FILE,
				      .mode = 0640,
				      .mtime_ns = INT64_C(1600000000) * 1000000000,
				      .has_owner = true,
				      .uid = getuid()};
	struct side_file *file;
	const char *name, *nobody, *again;
	good(side_group_name(w->side, getegid(), &name, why));
	assert_true(!*name || strcmp(name, getgrgid(getegid())->gr_name) == 0);
	good(side_group_name(w->side, 4000000000, &nobody, why));
	assert_string_equal(nobody, "");
	good(side_group_name(w->side, getegid(), &again, why));
	assert_true(name == again);
	if (geteuid() == 0 || !*name) {
		return; /* the reconciler never asks for more there */
	}
	put(w->side, S("f"), "x", 1);
	good(side_set(w->side, S("f"), &attr, SIDE_SET_OWNER | SIDE_SET_MODE, why));
	assert_true(side_refuses_group(w->side, 0));
	good(side_lstat(w->side, S("f"), &now, why));
	assert_int_equal(now.mode, 0640);
	assert_int_equal(now.gid, getegid());
	attr.mode = 06755;
	good(side_make(w->side, S("g"), &file, why));
	good(side_complete(file, &attr, false, why));
	good(side_lstat(w->side, S("g"), &now, why));
	assert_int_equal(now.mode, 06755);
	assert_int_equal(now.mtime_ns, attr.mtime_ns);
	assert_int_equal(now.gid, getegid());
	assert_false(side_refuses_group(w->side, getegid()));
}

static void names(struct world *w)
{
	struct side_attr a, b;
	struct side_file *file;
	good(side_mkdir(w->side, S("d"), 0755, why));
	bad(-EEXIST, side_mkdir(w->side, S("d"), 0755, why));
	bad(-ENOENT, side_mkdir(w->side, S("x/y"), 0755, why));
	put(w->side, S("d/f"), "1", 1);
	bad(-EEXIST, side_make(w->side, S("d/f"), &file, why));
	bad(-ENOENT, side_make(w->side, S("x/f"), &file, why));
	bad(-ENOTEMPTY, side_rmdir(w->side, S("d"), why));
	bad(-ENOTDIR, side_rmdir(w->side, S("d/f"), why));
	bad(-EISDIR, side_unlink(w->side, S("d"), why));
	bad(-ENOENT, side_unlink(w->side, S("x"), why));
	bad(-ENOENT, side_rename(w->side, S("x"), S("y"), why));
	put(w->side, S("g"), "22", 2);
	good(side_rename(w->side, S("g"), S("d/f"), why));
	assert_content(w->side, S("d/f"), "22", 2);
	good(side_mkdir(w->side, S("e"), 0755, why));
	bad(-ENOTEMPTY, side_rename(w->side, S("e"), S("d"), why));
	bad(-EISDIR, side_rename(w->side, S("d/f"), S("e"), why));
	bad(-ENOTDIR, side_rename(w->side, S("e"), S("d/f"), why));
	good(side_rename(w->side, S("d"), S("e"), why));
	good(side_link(w->side, S("e/f"), S("h"), why));
	bad(-EEXIST, side_link(w->side, S("e/f"), S("h"), why));
	bad(-ENOENT, side_link(w->side, S("x"), S("y"), why));
	good(side_lstat(w->side, S("e/f"), &a, why));
	good(side_lstat(w->side, S("h"), &b, why));
	assert_true(!a.has_inode || (a.ino == b.ino && a.nlink == 2));
	bad(-ENOENT, side_lstat(w->side, S("x"), &a, why));
	good(side_unlink(w->side, S("h"), why));
	good(side_unlink(w->side, S("e/f"), why));
	good(side_rmdir(w->side, S("e"), why));
}

static void new_names_replace_nothing(struct world *w)
{
	struct side_attr attr;
	put(w->side, S("a"), "1", 1);
	put(w->side, S("b"), "2", 1);
	good(side_mkdir(w->side, S("d"), 0755, why));
	bad(-EEXIST, side_rename_new(w->side, S("a"), S("b"), why));
	bad(-EEXIST, side_rename_new(w->side, S("a"), S("d"), why));
	bad(-ENOENT, side_rename_new(w->side, S("a"), S("none/c"), why));
	assert_content(w->side, S("b"), "2", 1);
	good(side_rename_new(w->side, S("a"), S("c"), why));
	assert_content(w->side, S("c"), "1", 1);
	bad(-ENOENT, side_lstat(w->side, S("a"), &attr, why));
	bad(-ENOENT, side_rename_new(w->side, S("a"), S("e"), why));
}

static void symlinks(struct world *w)
{
	char *text;
	size_t len, bad_len;
	struct side_file *file;
	struct side_attr attr;
	struct side_list list;
	char long_text[3001];
	memset(long_text, 't', 3000);
	long_text[3000] = '\0';
	good(side_symlink(w->side, S("../\xff\n target"), S("l"), why));
	good(side_readlink(w->side, S("l"), &text, &len, why));
	assert_span(span_of(text, len), "../\xff\n target");
	free(text);
	good(side_symlink(w->side, S(long_text), S("long"), why));
	good(side_readlink(w->side, S("long"), &text, &len, why));
	assert_span(span_of(text, len), long_text);
	free(text);
	bad(-EEXIST, side_symlink(w->side, S("a"), S("l"), why));
	bad(-EINVAL, side_readlink(w->side, S(""), &text, &len, why));
	good(side_mkdir(w->side, S("d"), 0755, why));
	put(w->side, S("d/f"), "x", 1);
	good(side_symlink(w->side, S("d"), S("to-d"), why));
	good(side_symlink(w->side, S("d/f"), S("to-f"), why));
	bad(-ELOOP, side_open(w->side, S("to-f"), &file, &attr, why));
	bad(-ELOOP, side_list(w->side, S("to-d"), &list, why));
	bad(-EISDIR, side_open(w->side, S("d"), &file, &attr, why));
	bad(-ENOTDIR, side_list(w->side, S("d/f"), &list, why));
	bad(-EEXIST, side_make(w->side, S("to-f"), &file, why));
	good(side_check(w->side, S(""), &bad_len, why));
	good(side_check(w->side, S("d"), &bad_len, why));
	bad(-ELOOP, side_check(w->side, S("to-d"), &bad_len, why));
	assert_int_equal(bad_len, 4);
	good(side_mkdir(w->side, S("d/e"), 0755, why));
	bad(-ELOOP, side_check(w->side, S("to-d/e"), &bad_len, why));
	assert_int_equal(bad_len, 4);
	bad(-ENOTDIR, side_check(w->side, S("d/f"), &bad_len, why));
	assert_int_equal(bad_len, 3);
	bad(-ENOENT, side_check(w->side, S("d/x/y"), &bad_len, why));
	assert_int_equal(bad_len, 3);
	if (w->kind == LOCAL) {
		bad(-ELOOP, side_lstat(w->side, S("to-d/f"), &attr, why));
		bad(-ELOOP, side_unlink(w->side, S("to-d/f"), why));
	}
}

static void special_files(struct world *w)
{
	struct side_file *file;
	struct side_attr attr;
	char path[300];
	(void)snprintf(path, sizeof(path), "%s/fifo", w->location.path);
	assert_int_equal(mkfifo(path, 0600), 0);
	good(side_lstat(w->side, S("fifo"), &attr, why));
	assert_int_equal(attr.type, SIDE_OTHER);
	bad(-EINVAL, side_open(w->side, S("fifo"), &file, &attr, why));
}

static void big_directory(struct world *w)
{
	struct side_list list;
	assert_true(shell("cd %s && mkdir big && cd big && seq -f '%%05g' 1 3000 | xargs touch",
		w->location.path));
	good(side_list(w->side, S("big"), &list, why));
	assert_int_equal(list.count, 3000);
	assert_memory_equal(list.entries[0].name.data, "00001", 5);
	assert_memory_equal(list.entries[2999].name.data, "03000", 5);
	side_list_finish(&list);
}

static void no_rights(struct world *w)
{
	struct side_file *file;
	struct side_list list;
	if (geteuid() == 0) {
		return;
	}
	good(side_mkdir(w->side, S("closed"), 0, why));
	bad(-EACCES, side_make(w->side, S("closed/f"), &file, why));
	bad(-EACCES, side_list(w->side, S("closed"), &list, why));
}

struct one {
	struct world *world;
	int number;
};

static void one_of_many(void *arg)
{
	struct one *one = arg;
	struct side *side = one->world->side;
	char name[40], final[40];
	(void)snprintf(name, sizeof(name), "t%d", one->number);
	(void)snprintf(final, sizeof(final), "many%d", one->number);
	put(side, S(name), final, strlen(final));
	good(side_rename(side, S(name), S(final), why));
	assert_content(side, S(final), final, strlen(final));
}

static void many_at_once(struct world *w)
{
	static struct one ones[1000];
	struct side_list list;
	for (int i = 0; i < 1000; i++) {
		ones[i] = (struct one){w, i};
		assert_int_equal(task_start(w->pool, one_of_many, &ones[i]), 0);
	}
	while (task_pool_running(w->pool) > 1) {
		task_wait_until(clock_now() + 10 * CLOCK_MS);
	}
	good(side_list(w->side, S(""), &list, why));
	assert_int_equal(list.count, 1000);
	side_list_finish(&list);
}

/* --- who waits for whom ------------------------------------------------------------------- */

enum { CROWD = 200, BLOCK = 255 * 1024 };

static struct crowd {
	struct world *world;
	char block[BLOCK];
	unsigned started, writing, blocks;
	bool enough;
} crowd;

/* One of a bulk pass: writes and writes. */
static void one_of_a_crowd(void *arg)
{
	struct side_file *file;
	char name[16];
	(void)arg;
	(void)snprintf(name, sizeof(name), "c%u", crowd.started++);
	task_set_patient(true);
	good(side_make(crowd.world->side, S(name), &file, why));
	for (crowd.writing++; !crowd.enough; crowd.blocks++) {
		good(side_write(file, 0, crowd.block, BLOCK, why));
	}
	side_close(file);
}

/* While a bulk pass has the connection full, a small file waits for what is in flight (16 blocks,
 * at each of its few requests), not for its turn among all who wait (184). */
static void live_before_bulk(struct world *w)
{
	crowd = (struct crowd){.world = w};
	for (int i = 0; i < CROWD; i++) {
		assert_int_equal(task_start(w->pool, one_of_a_crowd, NULL), 0);
	}
	while (crowd.writing < CROWD) {
		task_wait_until(clock_now() + CLOCK_MS);
	}
	unsigned before = crowd.blocks;
	put(w->side, S("live"), "live", 4);
	assert_in_range(crowd.blocks - before, 0, 120);
	crowd.enough = true;
	while (task_pool_running(w->pool) > 1) {
		task_wait_until(clock_now() + CLOCK_MS);
	}
}

/* --- only where there is a connection ------------------------------------------------------ */

static void break_connections(struct world *w)
{
	assert_true(w->kind == SERVER ? shell("pkill -KILL -P %d sftp-server", getpid())
				      : sshd_cut(&w->sshd));
}

static void connection_killed(struct world *w)
{
	struct side_file *file;
	struct side_attr attr = {.type = SIDE_FILE, .mode = 0600, .size_bytes = 8 << 20};
	CLEANUP(free_p) char *data = pattern(8 << 20);
	struct why words = {""};
	good(side_connect(w->side, why));
	uint64_t epoch = side_epoch(w->side);
	good(side_make(w->side, S("f"), &file, why));
	good(side_write(file, 0, data, 1 << 20, why));
	break_connections(w);
	int r = 0;
	for (int i = 1; i < 8 && r == 0; i++) {
		r = side_write(file, (uint64_t)i << 20, data, 1 << 20, &words);
	}
	r = side_complete(file, &attr, false, &words);
	assert_int_equal(r, -ENOTCONN);
	assert_true(strlen(words.text) > 0);
	good(side_lstat(w->side, S("f"), &attr, why));
	assert_true(side_epoch(w->side) > epoch);
}

static void root_missing(struct world *w)
{
	char gone[300];
	struct side_attr attr;
	(void)snprintf(gone, sizeof(gone), "%s-gone", w->location.path);
	assert_int_equal(rename(w->location.path, gone), 0);
	bad(-ENOENT, side_connect(w->side, why));
	bad(-ENOENT, side_lstat(w->side, S(""), &attr, why));
	assert_int_equal(rename(gone, w->location.path), 0);
	good(side_connect(w->side, why));
	good(side_lstat(w->side, S(""), &attr, why));
}

/* --- servers and keys that are wrong ------------------------------------------------------- */

/* The connection is refused with this error, and the words name what helps. */
static void refused(struct world *w, int error, const char *words)
{
	struct why why = {""};
	new_side(w);
	int r = side_connect(w->side, &why);
	if (r != error || !strstr(why.text, words)) {
		fail_msg("%d instead of %d, or '%s' not in: %s", r, error, words, why.text);
	}
}

static void unknown_host_key(struct world *w)
{
	assert_true(shell(": > %s", w->sshd.known_hosts));
	refused(w, -EKEYREJECTED, "ssh-keyscan");
}

static void changed_host_key(struct world *w)
{
	assert_true(shell(
		"cd %s && ssh-keygen -q -t ed25519 -N '' -f other && "
		"printf '[127.0.0.1]:%u %%s\n' \"$(cut -d' ' -f1,2 other.pub)\" > known_hosts",
		w->directory, w->sshd.port));
	refused(w, -EKEYREJECTED, w->kind == LIBSSH2 ? "CHANGED" : "verification failed");
}

static void revoked_host_key(struct world *w)
{
	assert_true(
		shell("cd %s && sed 's/^/@revoked /' known_hosts >> known_hosts", w->directory));
	refused(w, -EKEYREJECTED, w->kind == LIBSSH2 ? "revoked" : "verification failed");
}

/* Names may be hashed, and other lines may be beyond libssh2. */
static void hashed_host_key(struct world *w)
{
	assert_true(shell("cd %s && ssh-keygen -q -H -f known_hosts > /dev/null 2>&1 && "
			  "{ echo nonsense; echo '@cert-authority *.example ssh-rsa AAAA'; "
			  "cat known_hosts; } > new && mv new known_hosts",
		w->directory));
	good(side_connect(w->side, why));
}

static void wrong_user_key(struct world *w)
{
	char other[300];
	assert_true(shell("cd %s && ssh-keygen -q -t ed25519 -N '' -f stranger", w->directory));
	(void)snprintf(other, sizeof(other), "%s/stranger", w->directory);
	w->config.copier.identity = other;
	refused(w, -EACCES, w->kind == LIBSSH2 ? "stranger: refused" : "Permission denied");
}

static void encrypted_user_key(struct world *w)
{
	assert_true(shell("cd %s && ssh-keygen -q -p -N secret -f key > /dev/null", w->directory));
	refused(w, -EACCES, w->kind == LIBSSH2 ? "ssh-agent" : "Permission denied");
}

/* The encrypted key is in an agent. */
static void key_in_agent(struct world *w)
{
	char path[300];
	assert_true(
		shell("cd %s && ssh-agent -a $PWD/agent > agent.sh && . ./agent.sh > /dev/null && "
		      "ssh-add -q key && ssh-keygen -q -p -N secret -f key > /dev/null",
			w->directory));
	(void)snprintf(path, sizeof(path), "%s/agent", w->directory);
	setenv("SSH_AUTH_SOCK", path, 1);
	struct why words = {""};
	int r = side_connect(w->side, &words);
	unsetenv("SSH_AUTH_SOCK");
	assert_true(shell(". %s/agent.sh > /dev/null; kill $SSH_AGENT_PID", w->directory));
	good(why_error(why, r, "%s", words.text));
}

/* sshd_config begins with these lines from now on: its first word about a thing counts. */
static void reconfigure(struct world *w, const char *lines)
{
	assert_true(shell("cd %s && { printf '%s'; cat sshd_config; } > new && mv new sshd_config",
		w->directory, lines));
	sshd_stop(&w->sshd);
	assert_true(sshd_run(&w->sshd));
}

static void use_user_key(struct world *w, const char *kind)
{
	assert_true(shell(
		"cd %s && rm key key.pub && ssh-keygen -q -t %s -N '' -f key", w->directory, kind));
}

static void use_host_key(struct world *w, const char *kind)
{
	assert_true(shell("cd %s && rm host host.pub && ssh-keygen -q -t %s -N '' -f host && "
			  "printf '[127.0.0.1]:%u %%s\\n' \"$(cut -d' ' -f1,2 host.pub)\" > "
			  "known_hosts",
		w->directory, kind, w->sshd.port));
	reconfigure(w, "");
}

static void ecdsa_keys(struct world *w)
{
	use_user_key(w, "ecdsa");
	use_host_key(w, "ecdsa");
	new_side(w);
	good(side_connect(w->side, why));
}

/* Servers of today take no RSA signature that libssh2 1.10 can make or check. */
static void rsa_user_key(struct world *w)
{
	use_user_key(w, "rsa");
	if (w->kind == LIBSSH2) {
		refused(w, -EACCES, "copier.transport: ssh");
		return;
	}
	new_side(w);
	good(side_connect(w->side, why));
}

static void rsa_host_key(struct world *w)
{
	use_host_key(w, "rsa");
	if (w->kind == LIBSSH2) {
		refused(w, -EPROTO, "copier.transport: ssh");
		return;
	}
	new_side(w);
	good(side_connect(w->side, why));
}

static void ciphers_of_today(struct world *w)
{
	reconfigure(w, "Ciphers aes128-gcm@openssh.com,chacha20-poly1305@openssh.com\\n");
	if (w->kind == LIBSSH2) {
		refused(w, -EPROTO, "copier.transport: ssh");
		return;
	}
	new_side(w);
	good(side_connect(w->side, why));
}

/* The server renews the keys every MiB, in the middle of everything. */
static void keys_are_renewed(struct world *w)
{
	enum { SIZE = 8 << 20 };
	CLEANUP(free_p) char *data = pattern(SIZE);
	reconfigure(w, "RekeyLimit 1M\\n");
	new_side(w);
	good(side_connect(w->side, why));
	uint64_t epoch = side_epoch(w->side);
	for (unsigned i = 0; i < 2; i++) {
		char name[8];
		(void)snprintf(name, sizeof(name), "f%u", i);
		put(w->side, S(name), data, SIZE);
		assert_content(w->side, S(name), data, SIZE);
	}
	assert_int_equal(side_epoch(w->side), epoch);
}

static void nobody_listens(struct world *w)
{
	good(side_connect(w->side, why)); /* sshd is past its start */
	sshd_stop(&w->sshd);
	refused(w, -ECONNREFUSED, "refused");
	assert_true(sshd_run(&w->sshd));
	good(side_connect(w->side, why));
}

/* sshd goes and comes back; the orders of that time only wait. */
static void sshd_restarts(struct world *w)
{
	struct side_attr attr;
	good(side_lstat(w->side, S(""), &attr, why));
	assert_true(sshd_cut(&w->sshd));
	sshd_stop(&w->sshd);
	bad(-ENOTCONN, side_lstat(w->side, S(""), &attr, why));
	bad(-ECONNREFUSED, side_lstat(w->side, S(""), &attr, why));
	assert_true(sshd_run(&w->sshd));
	good(side_lstat(w->side, S(""), &attr, why));
}

static void without_posix_rename(struct world *w)
{
	struct side_attr attr;
	use_server(w, "/usr/lib/openssh/sftp-server -P posix-rename");
	refused(w, -EPROTO, "allow_non_atomic");
	w->config.copier.allow_non_atomic = true;
	new_side(w);
	good(side_connect(w->side, why));
	assert_false(side_can(w->side) & SIDE_CAN_REPLACE);
	put(w->side, S("a"), "1", 1);
	put(w->side, S("b"), "2", 1);
	good(side_rename(w->side, S("a"), S("b"), why));
	assert_content(w->side, S("b"), "1", 1);
	bad(-ENOENT, side_lstat(w->side, S("a"), &attr, why));
	good(side_mkdir(w->side, S("d"), 0755, why));
	good(side_mkdir(w->side, S("e"), 0755, why));
	good(side_rename(w->side, S("d"), S("e"), why));
	put(w->side, S("e/f"), "2", 1);
	good(side_mkdir(w->side, S("d"), 0755, why));
	bad(-ENOTEMPTY, side_rename(w->side, S("d"), S("e"), why));
}

/* As an old server: no extension at all. */
static void without_extensions(struct world *w)
{
	use_server(w, "/usr/lib/openssh/sftp-server -P "
		      "posix-rename,hardlink,fsync,lsetstat,limits,statvfs");
	w->config.copier.allow_non_atomic = true;
	new_side(w);
	good(side_mkdir(w->side, S("d"), 0700, why));
	put(w->side, S("d/f"), "1", 1);
	assert_content(w->side, S("d/f"), "1", 1);
}

/* Each thing that OpenSSH's server may be told to leave out. */
static void without_one_extension(struct world *w)
{
	static const char *const names[] = {"posix-rename", "hardlink", "fsync", "lsetstat",
		"limits", "statvfs", "copy-data", "users-groups-by-id@openssh.com",
		"home-directory"};
	w->config.copier.allow_non_atomic = true;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char command[200], name[16];
		struct side_attr attr;
		(void)snprintf(
			command, sizeof(command), "/usr/lib/openssh/sftp-server -P %s", names[i]);
		(void)snprintf(name, sizeof(name), "d%zu", i);
		use_server(w, command);
		new_side(w);
		good(side_mkdir(w->side, S(name), 0755, why));
		put(w->side, S("new"), name, strlen(name));
		good(side_rename(w->side, S("new"), S("f"), why));
		assert_content(w->side, S("f"), name, strlen(name));
		good(side_lstat(w->side, S(name), &attr, why));
		assert_int_equal(attr.mode, 0755);
		attr.mtime_ns = INT64_C(1234567890) * 1000000000;
		good(side_set(w->side, S(name), &attr, SIDE_SET_MODE | SIDE_SET_MTIME, why));
		good(side_lstat(w->side, S(name), &attr, why));
		assert_int_equal(attr.mtime_ns / 1000000000, 1234567890);
		assert_int_equal(!!(side_can(w->side) & SIDE_CAN_LINK), i != 1);
		assert_int_equal(!!(side_can(w->side) & SIDE_CAN_FSYNC), i != 2);
	}
}

/* One of each thing that an extension is for; `all`: the server has them. */
static void use_each_extension(struct world *w, bool all)
{
	const struct side_attr attr = {.type = SIDE_FILE, .mode = 0644, .size_bytes = 4};
	struct side_file *from, *to;
	struct side_attr now;
	new_side(w);
	good(side_mkdir(w->side, S("d"), 0755, why));
	good(side_set(w->side, S("d"), &attr, SIDE_SET_MTIME, why));
	good(side_make(w->side, S("d/f"), &to, why));
	good(side_write(to, 0, "text", 4, why));
	good(side_complete(to, &attr, true, why));
	good(side_rename(w->side, S("d/f"), S("d/g"), why));
	bad(all ? 0 : -EOPNOTSUPP, side_link(w->side, S("d/g"), S("d/h"), why));
	good(side_open(w->side, S("d/g"), &from, &now, why));
	good(side_make(w->side, S("d/i"), &to, why));
	bad(all ? 0 : -EOPNOTSUPP, side_copy_data(from, 0, 4, to, 0, why));
	good(side_copied(to, why));
	side_close(from);
	good(side_complete(to, &attr, false, why));
}

/* The server's own log says what it was asked for. */
static void extensions_are_used_where_offered(struct world *w)
{
	static const char *const asked[] = {
		"limits", "posix-rename", "hardlink", "fsync", "lsetstat", "copy-data"};
	w->config.copier.allow_non_atomic = true;
	for (unsigned all = 0; all < 2; all++) {
		use_server(
			w, all ? "/usr/lib/openssh/sftp-server -e -l DEBUG3 2>>\"$0.log\""
			       : "/usr/lib/openssh/sftp-server -e -l DEBUG3 -P limits,posix-rename,"
				 "hardlink,fsync,lsetstat,copy-data 2>>\"$0.log\"");
		use_each_extension(w, all);
		side_destroy(w->side); /* its server has written all by the end */
		for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
			bool was =
				shell("grep -q 'request [0-9]*: %s' %s.log", asked[i], w->script);
			if (was != (bool)all) {
				fail_msg("%s: %s", asked[i], was ? "asked for" : "not asked for");
			}
		}
		open_side(w);
		assert_true(shell("rm -r %s/d", w->location.path));
	}
}

/* Another server than OpenSSH's, in place of the one that listens. */
static bool use_proftpd(struct world *w, pid_t *ret)
{
	char config[300];
	if (access("/usr/sbin/proftpd", X_OK) < 0) {
		print_message("no proftpd here: skipped\n");
		return false;
	}
	(void)snprintf(config, sizeof(config), "%s/proftpd.conf", w->directory);
	assert_true(shell(
		"cd %s && mkdir keys && ssh-keygen -e -f key.pub -m RFC4716 > keys/someone && "
		"echo \"someone:x:$(id -u):$(id -g)::$PWD:/bin/sh\" > users && chmod 600 users && "
		"printf '%%s\\n' 'ServerType standalone' 'DefaultAddress 127.0.0.1' 'Port %u' "
		"\"User $(id -un)\" \"Group $(id -gn)\" 'UseIPv6 off' 'DelayEngine off' "
		"'ModulePath /usr/lib/proftpd' 'LoadModule mod_sftp.c' \"PidFile $PWD/pid\" "
		"\"ScoreboardFile $PWD/scoreboard\" 'RootLogin on' 'RequireValidShell off' "
		"'AuthOrder mod_auth_file.c' \"AuthUserFile $PWD/users\" 'SFTPEngine on' "
		"\"SFTPHostKey $PWD/host\" \"SFTPAuthorizedUserKeys file:$PWD/keys/%%u\" "
		"'SFTPAuthMethods publickey' 'AllowOverwrite on' > %s",
		w->directory, w->sshd.port, config));
	sshd_stop(&w->sshd);
	*ret = fork();
	if (*ret == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)freopen("/dev/null", "w", stderr);
		execl("/usr/sbin/proftpd", "proftpd", "-n", "-c", config, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 1000 && !can_connect(w->sshd.port); i++) {
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	return true;
}

static void another_server(struct world *w)
{
	enum { SIZE = 3 << 20 };
	CLEANUP(free_p) char *data = pattern(SIZE);
	struct side_list list;
	struct side_attr attr;
	pid_t pid;
	if (!use_proftpd(w, &pid)) {
		return;
	}
	w->location.user = (char *)"someone";
	new_side(w);
	good(side_connect(w->side, why));
	assert_true(side_can(w->side) & SIDE_CAN_REPLACE);
	good(side_mkdir(w->side, S("d"), 0755, why));
	bad(-EEXIST, side_mkdir(w->side, S("d"), 0755, why));
	put(w->side, S("d/a"), data, SIZE);
	assert_content(w->side, S("d/a"), data, SIZE);
	put(w->side, S("d/b"), "2", 1);
	good(side_rename(w->side, S("d/a"), S("d/b"), why));
	assert_content(w->side, S("d/b"), data, SIZE);
	put(w->side, S("d/c"), "3", 1);
	bad(-EEXIST, side_rename_new(w->side, S("d/c"), S("d/b"), why));
	good(side_link(w->side, S("d/c"), S("d/e"), why));
	good(side_symlink(w->side, S("c"), S("d/l"), why));
	/* its LSTAT follows symlinks: docs/LIMITS.md */
	good(side_lstat(w->side, S("d/b"), &attr, why));
	assert_int_equal(attr.size_bytes, SIZE);
	assert_int_equal(attr.mtime_ns / 1000000000, 1234567890);
	good(side_list(w->side, S("d"), &list, why));
	assert_int_equal(list.count, 4);
	side_list_finish(&list);
	good(side_unlink(w->side, S("d/l"), why));
	bad(-ENOTEMPTY, side_rmdir(w->side, S("d"), why));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void server_that_prints(struct world *w)
{
	use_server(w, "echo 'Welcome to hpc2!'");
	refused(w, -EPROTO, "Welcome");
}

static void server_that_ends(struct world *w)
{
	use_server(w, "sh -c 'echo cannot go on >&2; exit 1'");
	refused(w, -ENOTCONN, "cannot go on");
}

static void full_disk(struct world *w)
{
	struct side_file *file;
	struct side_attr attr = {.type = SIDE_FILE, .mode = 0600, .size_bytes = 4 << 20};
	CLEANUP(free_p) char *data = pattern(4 << 20);
	if (mount("small", w->location.path, "tmpfs", 0, "size=2m") < 0) {
		print_message("not allowed to mount a small file system: skipped\n");
		return;
	}
	new_side(w);
	struct why words = {""};
	good(side_make(w->side, S("f"), &file, why));
	int r = side_write(file, 0, data, 4 << 20, &words);
	if (r == 0) {
		r = side_complete(file, &attr, false, &words);
	} else {
		side_close(file);
	}
	assert_int_equal(umount2(w->location.path, MNT_DETACH), 0);
	assert_int_equal(r, -ENOSPC);
	assert_true(strstr(words.text, "No space left"));
}

/* --- the table ---------------------------------------------------------------------------- */

enum where {
	ON_LOCAL = 1 << LOCAL,
	ON_SERVER = 1 << SERVER,
	ON_SSHD = 1 << SSH | 1 << LIBSSH2,
	ON_REMOTE = ON_SERVER | ON_SSHD,
	ON_ALL = ON_LOCAL | ON_REMOTE,
};

static const struct {
	const char *name;
	void (*steps)(struct world *world);
	enum where where;
} cases[] = {
	{"odd names", odd_names, ON_ALL},
	{"long names", long_names, ON_ALL},
	{"deep paths", deep_paths, ON_ALL},
	{"sizes", sizes, ON_ALL},
	{"holes", holes, ON_ALL},
	{"copying within", copying_within, ON_ALL},
	{"copying within refused", copying_within_refused, ON_SERVER},
	{"reading anywhere", reading_anywhere, ON_ALL},
	{"attributes", attributes, ON_ALL},
	{"groups", groups, ON_ALL},
	{"names", names, ON_ALL},
	{"new names replace nothing", new_names_replace_nothing, ON_ALL},
	{"symlinks", symlinks, ON_ALL},
	{"special files", special_files, ON_ALL},
	{"big directory", big_directory, ON_ALL},
	{"no rights", no_rights, ON_ALL},
	{"many at once", many_at_once, ON_ALL},
	{"live before bulk", live_before_bulk, ON_REMOTE},
	{"root missing", root_missing, ON_ALL},
	{"full disk", full_disk, ON_LOCAL | ON_SERVER},
	{"connection killed", connection_killed, ON_REMOTE},
	{"without posix-rename", without_posix_rename, ON_SERVER},
	{"without extensions", without_extensions, ON_SERVER},
	{"without one extension", without_one_extension, ON_SERVER},
	{"extensions are used where offered", extensions_are_used_where_offered, ON_SERVER},
	{"another server", another_server, ON_SSHD},
	{"server that prints", server_that_prints, ON_SERVER},
	{"server that ends", server_that_ends, ON_SERVER},
	{"unknown host key", unknown_host_key, ON_SSHD},
	{"changed host key", changed_host_key, ON_SSHD},
	{"revoked host key", revoked_host_key, ON_SSHD},
	{"hashed host key", hashed_host_key, ON_SSHD},
	{"wrong user key", wrong_user_key, ON_SSHD},
	{"encrypted user key", encrypted_user_key, ON_SSHD},
	{"key in the agent", key_in_agent, ON_SSHD},
	{"ecdsa keys", ecdsa_keys, ON_SSHD},
	{"rsa user key", rsa_user_key, ON_SSHD},
	{"rsa host key", rsa_host_key, ON_SSHD},
	{"ciphers of today", ciphers_of_today, ON_SSHD},
	{"keys are renewed", keys_are_renewed, ON_SSHD},
	{"nobody listens", nobody_listens, ON_SSHD},
	{"sshd restarts", sshd_restarts, ON_SSHD},
};
#define CASES (sizeof(cases) / sizeof(cases[0]))

struct test {
	enum kind kind;
	size_t number;
	char name[80];
};

static void run_case(void **state)
{
	struct test *test = *state;
	struct world world;
	make_world(&world, test->kind);
	run(&world, cases[test->number].steps);
	end_world(&world);
}

int main(int argc, char **argv)
{
	static struct test tests[KINDS * CASES];
	static struct CMUnitTest all[KINDS * CASES];
	size_t count = 0;
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < KINDS * CASES; i++) {
		struct test *test = &tests[i];
		test->kind = (enum kind)(i / CASES);
		test->number = i % CASES;
		(void)snprintf(test->name, sizeof(test->name), "%s: %s", kind_names[test->kind],
			cases[test->number].name);
		if (cases[test->number].where & 1 << test->kind &&
			(argc < 2 || strstr(test->name, argv[1]))) {
			all[count++] = (struct CMUnitTest){
				.name = test->name, .test_func = run_case, .initial_state = test};
		}
	}
	return _cmocka_run_group_tests("side", all, count, NULL, NULL);
}
