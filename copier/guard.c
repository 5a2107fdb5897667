/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/vfs.h>

#include <xxhash.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "flow/place.h"

#define GUARD_PASS_NS CLOCK_S
#define MARKER        SPAN(".mirror")
#define MARKER_BYTES  16384

/* File systems of one node's kernel, whose answers are never older than the last change here. */
static bool is_coherent(const char *path)
{
	static const long magics[] = {0xef53 /* ext */, 0x58465342 /* XFS */,
		0x01021994 /* tmpfs */, 0x9123683e /* btrfs */, 0x2fc12fc1 /* ZFS */,
		0x794c7630 /* overlay */};
	struct statfs fs;
	if (statfs(path, &fs) < 0) {
		return false;
	}
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
		if (fs.f_type == magics[i]) {
			return true;
		}
	}
	return false;
}

int pair_open(struct pair *pair, struct loop *loop, const struct config *config,
	const struct tree *tree, struct why *why)
{
	const struct side_options options = {.config = config};
	pair->config = config;
	pair->tree = tree;
	pair->self.source = ident_source();
	pair->throttle.bucket.rate_bytes = tree->bandwidth_bytes;
	int r = side_create(loop, &tree->source, &options, &pair->source, why);
	if (r == 0) {
		r = side_create(loop, &tree->target, &options, &pair->target, why);
	}
	return r;
}

void pair_close(struct pair *pair)
{
	side_destroy(pair->source);
	side_destroy(pair->target);
	pair->source = pair->target = NULL;
}

/* A note in the state directory that this target has had its marker. */
static char *memory_file(const struct pair *pair)
{
	char name[64];
	struct span target = span_str(pair->tree->target.text);
	(void)snprintf(name, sizeof(name), "targets/%016" PRIx64,
		(uint64_t)XXH3_64bits(target.data, target.len));
	return place_state(pair->config->mirror, name);
}

static bool is_remembered(const struct pair *pair)
{
	CLEANUP(free_p) char *file = memory_file(pair);
	return file && access(file, F_OK) == 0;
}

static int remember(const struct pair *pair, struct why *why)
{
	CLEANUP(free_p) char *file = memory_file(pair);
	CLEANUP(free_p) char *directory = place_state(pair->config->mirror, "targets");
	if (!file || !directory) {
		return -ENOMEM;
	}
	int r = place_make(directory, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(fd_close) int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd >= 0 ? 0
		       : why_error(why, -errno, "cannot remember the target in %s: %s", file,
				 strerror(errno));
}

/* An empty target: nothing but our own names and what file systems put there. */
static int target_is_empty(struct pair *pair, bool *ret, struct why *why)
{
	CLEANUP(side_list_finish) struct side_list list = {0};
	int r = side_list(pair->target, SPAN(""), &list, why);
	*ret = true;
	for (size_t i = 0; r == 0 && i < list.count; i++) {
		struct span name = list.entries[i].name;
		*ret = *ret && (tree_is_our_name(name) || span_equal(name, SPAN("lost+found")));
	}
	return r;
}

static int marker_write(struct pair *pair, const struct side_attr *root, struct why *why)
{
	struct side_file *file = NULL;
	struct side_attr attr = {
		.type = SIDE_FILE, .mode = 0600, .mtime_ns = (int64_t)clock_wall()};
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	buf_printf(&text, "treemirror 1\nmirror %s\nsource %s\n", pair->config->mirror,
		pair->tree->source.text);
	if (root->has_inode) {
		buf_printf(&text, "root %" PRIu64 "\n", root->ino);
	}
	attr.size_bytes = text.len;
	int r = side_make(pair->target, MARKER, &file, why);
	if (r == 0) {
		r = side_write(file, 0, text.data, text.len, why);
	}
	if (r == 0) {
		return side_complete(file, &attr, false, why);
	}
	side_close(file);
	return r == -EEXIST ? 0 : r; /* another copier made it just now */
}

static int marker_make(struct pair *pair, const struct side_attr *root, struct why *why)
{
	const char *target = pair->tree->target.text;
	bool empty = false;
	if (is_remembered(pair)) {
		return why_error(why, -ENODEV,
			"target %s: its marker .mirror is missing: not mounted, or not "
			"the target of '%s' any more (if it is, put an empty file .mirror there)",
			target, pair->config->mirror);
	}
	int r = target_is_empty(pair, &empty, why);
	if (r == 0 && !empty) {
		return why_error(why, -ENOTEMPTY,
			"target %s is not empty and has no marker .mirror: is it "
			"really the target of '%s'? (if it is, put an empty file .mirror there)",
			target, pair->config->mirror);
	}
	static const char *const own[] = {".mirror-gone", ".mirror-links"};
	for (size_t i = 0; r == 0 && i < 2; i++) {
		r = side_mkdir(pair->target, span_str(own[i]), 0700, why);
		r = r == -EEXIST ? 0 : r;
	}
	return r < 0 ? r : marker_write(pair, root, why);
}

/* The word behind "key " at the begin of a line; empty: no such line. */
static struct span marker_line(struct span text, struct span key)
{
	while (text.len) {
		const char *end = memchr(text.data, '\n', text.len);
		struct span line = span_of(text.data, end ? (size_t)(end - text.data) : text.len);
		if (span_starts(line, key) && line.len > key.len && line.data[key.len] == ' ') {
			return span_skip(line, key.len + 1);
		}
		text = span_skip(text, line.len + 1);
	}
	return SPAN("");
}

static int marker_check(
	struct pair *pair, struct span text, const struct side_attr *root, struct why *why)
{
	struct span mirror = marker_line(text, SPAN("mirror")),
		    ino = marker_line(text, SPAN("root"));
	char number[24] = "";
	if (mirror.len && !span_equal(mirror, span_str(pair->config->mirror))) {
		return why_error(why, -EXDEV,
			"target %s belongs to the mirror '%.*s', not to '%s' (its "
			"marker .mirror says so)",
			pair->tree->target.text, SPAN_ARG(mirror), pair->config->mirror);
	}
	if (!ino.len || ino.len >= sizeof(number) || !root->has_inode) {
		return 0;
	}
	memcpy(number, ino.data, ino.len);
	if (strtoull(number, NULL, 10) != root->ino) {
		return why_error(why, -ESTALE,
			"source %s is another directory (inode %" PRIu64
			") than the one that was mirrored (inode %s): not mounted, or made anew "
			"(if it is right, "
			"remove the line 'root %s' from .mirror in %s)",
			pair->tree->source.text, root->ino, number, number,
			pair->tree->target.text);
	}
	return 0;
}

static int marker_read(struct pair *pair, struct buf *ret, struct why *why)
{
	struct side_file *file = NULL;
	size_t len = 0;
	int r = side_open(pair->target, MARKER, &file, &pair->marker, why);
	if (r < 0) {
		return r;
	}
	char *room = buf_reserve(ret, MARKER_BYTES);
	r = room ? side_read(file, 0, room, MARKER_BYTES, &len, why) : -ENOMEM;
	ret->len += len;
	side_close(file);
	return r;
}

static int guard_source(struct pair *pair, struct side_attr *ret, struct why *why)
{
	int r = side_lstat(pair->source, SPAN(""), ret, why);
	if (r < 0) {
		why_prefix(why, "source %s", pair->tree->source.text);
		return r;
	}
	if (ret->type != SIDE_DIRECTORY) {
		return why_error(
			why, -ENOTDIR, "source %s is not a directory", pair->tree->source.text);
	}
	return 0;
}

/* Whether the marker is the one that was read by this connection: one round trip tells. */
static bool marker_is_known(struct pair *pair)
{
	struct side_attr now;
	struct why ignored;
	return pair->marker.type == SIDE_FILE && pair->target_epoch == side_epoch(pair->target) &&
	       side_lstat(pair->target, MARKER, &now, &ignored) == 0 && now.type == SIDE_FILE &&
	       now.size_bytes == pair->marker.size_bytes && now.mtime_ns == pair->marker.mtime_ns &&
	       now.mode == pair->marker.mode;
}

static int guard_target(struct pair *pair, const struct side_attr *root, struct why *why)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	if (pair->guarded_ns && root->ino == pair->source_ino && marker_is_known(pair)) {
		return 0;
	}
	pair->marker.type = SIDE_NONE;
	int r = marker_read(pair, &text, why);
	if (r == -ENOENT) {
		r = marker_make(pair, root, why);
		if (r == 0) {
			r = marker_read(pair, &text, why);
		}
	}
	if (r == 0) {
		r = marker_check(pair, buf_span(&text), root, why);
	}
	return r;
}

static int look_now(struct pair *pair, struct why *why)
{
	struct side_attr root;
	int r = side_connect(pair->source, why); /* its words name it */
	if (r < 0) {
		why_prefix(why, "source");
		return r;
	}
	r = side_connect(pair->target, why);
	if (r < 0) {
		why_prefix(why, "target");
		return r;
	}
	r = guard_source(pair, &root, why);
	if (r == 0) {
		r = guard_target(pair, &root, why);
	}
	if (r == 0 && !pair->guarded_ns) {
		pair->source_coherent =
			!side_is_remote(pair->source) && is_coherent(pair->tree->source.path);
		r = remember(pair, why);
	}
	if (r == 0) {
		pair->guarded_ns = clock_now();
		pair->source_dev = root.dev;
		pair->source_ino = root.ino;
		pair->source_epoch = side_epoch(pair->source);
		pair->target_epoch = side_epoch(pair->target);
	}
	return r;
}

int guard_look(struct pair *pair, struct why *why)
{
	int r = look_now(pair, why);
	if (r < 0 && pair->guarded_ns) {
		pair->guarded_ns = 1; /* nobody else passes on the strength of an earlier look */
	}
	return r;
}

/* A connection that is made anew may lead to another target: so connect first, then compare. */
int guard_pass(struct pair *pair, struct why *why)
{
	struct why ignored;
	bool connected = side_connect(pair->source, &ignored) == 0 &&
			 side_connect(pair->target, &ignored) == 0;
	bool fresh = pair->guarded_ns && clock_now() - pair->guarded_ns < GUARD_PASS_NS;
	bool same = pair->source_epoch == side_epoch(pair->source) &&
		    pair->target_epoch == side_epoch(pair->target);
	if (connected && fresh && same) {
		return 0;
	}
	if (connected && same) {
		pair->guarded_ns = pair->guarded_ns ? clock_now() : 0; /* one looks for all */
	}
	return guard_look(pair, why);
}
