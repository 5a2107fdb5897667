/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that change S, each one thing after the other, and note it as the shim does: the
 * record comes a moment after the deed, and others work in between.  Some die with files open.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/path.h"
#include "sim.h"

struct writer {
	uint32_t pid;
	unsigned left;        /* operations */
	struct fs_node *open; /* a file being written, or NULL */
	int fd;
	struct record record, second; /* to be noted next; kind NONE: nothing */
	char path[4][PATH_MAX];
};

#define UNREAD_NS (10 * CLOCK_S) /* by then the poster has read of it */

static uint32_t last_pid = 100;
static uint64_t version;

/* ---- names --------------------------------------------------------------------------------- */

static const char *const names[] = {"a", "b", "c", "d", "e"};
#define DEPTH 3

static const char *some_name(void)
{
	return names[dice(sizeof(names) / sizeof(names[0]))];
}

/* As open() does: what a symlink leads to. */
static int find_opened(const char *rel, struct fs_node **ret)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	int r = fs_canonical(&sim.s, span_str(rel), sim.options.symlinks, &name);
	return r < 0 ? r : fs_find(&sim.s, buf_span(&name), false, ret);
}

/* A name that may be there or not, mostly below a directory that is, perhaps by way of symlinks. */
static char *some_path(char *rel)
{
	struct fs_node *node = sim.s.root;
	rel[0] = '\0';
	for (unsigned depth = 0; depth < DEPTH; depth++) {
		const char *name = some_name();
		if (node->entry_count && !once_in(3)) {
			name = node->entries[dice(node->entry_count)].name;
		}
		size_t len = strlen(rel);
		(void)snprintf(rel + len, PATH_MAX - len, "%s%s", len ? "/" : "", name);
		bool found = find_opened(rel, &node) == 0;
		if (!found || node->type != FS_DIRECTORY || once_in(3)) {
			break;
		}
	}
	return rel;
}

static struct span absolute(char *room, const char *rel)
{
	(void)snprintf(room, PATH_MAX, "%s/%s", sim.tree.source.path, rel);
	return span_str(room);
}

/* ---- records ------------------------------------------------------------------------------- */

static void note(struct writer *writer, enum record_kind kind, const char *rel, const char *rel2)
{
	writer->record = (struct record){
		.kind = kind, .pid = writer->pid, .fd = -1, .path = absolute(writer->path[0], rel)};
	if (rel2) {
		writer->record.path2 = absolute(writer->path[1], rel2);
	}
}

static void add_inode(struct record *record, const struct fs_node *node)
{
	record->flags |= RECORD_HAS_INODE | RECORD_HAS_STAT;
	record->dev = 1;
	record->ino = node->ino;
	record->size_bytes = node->size;
	record->mtime_ns = node->mtime_ns;
	record->mode = node->mode | 0100000;
	record->nlink = node->nlink;
}

static int find(const char *rel, struct fs_node **ret)
{
	return fs_find(&sim.s, span_str(rel), true, ret);
}

/* ---- operations ---------------------------------------------------------------------------- */

static void scribble(struct fs_node *node)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%llu.", (unsigned long long)++version);
	size_t offset = once_in(2) || node->size < 12 ? node->size : dice(node->size - 8);
	if (offset + (size_t)len > 100) {
		offset = dice(60);
	}
	if (sim.options.hasty) {
		(void)snprintf(text, sizeof(text), "%08llu", (unsigned long long)version);
		offset = 0;
		len = 8;
	}
	fs_write(node, offset, text, (size_t)len);
}

static void open_file(struct writer *writer)
{
	char *rel = some_path(writer->path[2]);
	struct fs_node *node;
	bool fresh = false;
	int r = find_opened(rel, &node);
	if (r == 0 && node->type == FS_FILE && once_in(3)) {
		fs_truncate(node, 0);
		fresh = true;
	} else if (r < 0) {
		fresh = fs_make(&sim.s, span_str(rel), true, FS_FILE, 0644, SPAN_NONE, &node) == 0;
		if (!fresh) {
			return;
		}
	}
	if (node->type != FS_FILE) {
		return;
	}
	writer->open = node;
	node->writers++;
	writer->fd = 3 + (int)dice(3);
	note(writer, RECORD_OPEN, rel, NULL);
	writer->record.fd = writer->fd;
	writer->record.flags = fresh ? RECORD_CREATED : 0;
	add_inode(&writer->record, node);
}

static void go_on_writing(struct writer *writer)
{
	if (!once_in(3)) {
		scribble(writer->open);
		return;
	}
	writer->record = (struct record){
		.kind = RECORD_CLOSE, .pid = writer->pid, .fd = writer->fd, .flags = RECORD_DIRTY};
	add_inode(&writer->record, writer->open);
	writer->open->writers--;
	writer->open = NULL;
}

static void do_mkdir(struct writer *writer)
{
	char *rel = some_path(writer->path[2]);
	if (fs_make(&sim.s, span_str(rel), true, FS_DIRECTORY, 0755, SPAN_NONE, NULL) == 0) {
		note(writer, RECORD_MKDIR, rel, NULL);
	}
}

static void do_symlink(struct writer *writer)
{
	static const char *const texts[] = {"a", "b", "../a", "c/d", "/etc", "..", "nowhere"};
	char *rel = some_path(writer->path[2]);
	struct span text = span_str(texts[dice(sizeof(texts) / sizeof(texts[0]))]);
	if (fs_make(&sim.s, span_str(rel), true, FS_SYMLINK, 0777, text, NULL) == 0) {
		note(writer, RECORD_SYMLINK, rel, NULL);
		writer->record.path2 = text;
	}
}

/*
 * Who writes on when the name is gone, with another name left, may be missed, and so may a change
 * of attributes by a name that is gone before the poster has read of it (docs/LIMITS.md).
 */
static bool hides_a_change(const char *rel)
{
	struct fs_node *node;
	return find(rel, &node) == 0 && node->nlink > 1 &&
	       (node->writers || node->by_name_ns + UNREAD_NS > clock_now());
}

static void do_unlink(struct writer *writer)
{
	char *rel = some_path(writer->path[2]);
	if (hides_a_change(rel)) {
		return;
	}
	if (fs_unlink(&sim.s, span_str(rel), true) == 0) {
		note(writer, RECORD_UNLINK, rel, NULL);
	} else if (fs_rmdir(&sim.s, span_str(rel), true) == 0) {
		note(writer, RECORD_RMDIR, rel, NULL);
	}
}

/* Over SFTP nobody knows which names are one file (docs/LIMITS.md). */
static void do_link(struct writer *writer)
{
	char *from = some_path(writer->path[2]), *to = some_path(writer->path[3]);
	struct fs_node *node;
	if (!sim.options.pull && find(from, &node) == 0 && node->type != FS_DIRECTORY &&
		fs_link(&sim.s, span_str(from), span_str(to), true) == 0) {
		note(writer, RECORD_LINK, from, to);
	}
}

static void do_rename(struct writer *writer)
{
	char *from = some_path(writer->path[2]), *to = some_path(writer->path[3]);
	if (!hides_a_change(to) && fs_rename(&sim.s, span_str(from), span_str(to), true) == 0) {
		note(writer, RECORD_RENAME, from, to);
	}
}

static void do_exchange(struct writer *writer)
{
	char *a = some_path(writer->path[2]), *b = some_path(writer->path[3]);
	if (fs_exchange(&sim.s, span_str(a), span_str(b)) == 0) {
		note(writer, RECORD_EXCHANGE, a, b);
	}
}

static void do_chmod(struct writer *writer)
{
	char *rel = some_path(writer->path[2]);
	struct fs_node *node;
	if (find(rel, &node) == 0 && node->type != FS_SYMLINK) {
		fs_set_mode(node, once_in(2) ? 0700 : 0751);
		node->by_name_ns = clock_now();
		note(writer, RECORD_META, rel, NULL);
	}
}

/* Often the second that the file had, or nearly. */
static void do_utime(struct writer *writer)
{
	char *rel = some_path(writer->path[2]);
	struct fs_node *node;
	if (find(rel, &node) == 0 && node->type == FS_FILE) {
		node->by_name_ns = clock_now();
		fs_set_mtime(node, (int64_t)((clock_wall() / CLOCK_S - dice(3)) * CLOCK_S));
		note(writer, RECORD_META, rel, NULL);
	}
}

/* At one stroke what a program does in three: written within the same second, of the same size. */
static void do_rewrite(struct writer *writer)
{
	char *rel = some_path(writer->path[2]);
	struct fs_node *node;
	if (find(rel, &node) == 0 && node->type == FS_FILE && node->size) {
		char digit = (char)('0' + ++version % 10);
		fs_write(node, dice(node->size), &digit, 1);
		note(writer, RECORD_CLOSE, rel, NULL);
		writer->record.fd = 9;
		writer->record.flags = RECORD_DIRTY;
		add_inode(&writer->record, node);
	}
}

static void (*const operations[])(struct writer *) = {open_file, open_file, open_file, do_mkdir,
	do_mkdir, do_mkdir, do_symlink, do_unlink, do_unlink, do_link, do_rename, do_rename,
	do_rename, do_exchange, do_chmod, do_utime, do_rewrite, do_rewrite};

/* ---- processes ----------------------------------------------------------------------------- */

static void on_turn(void *arg);

static void die(struct writer *writer)
{
	poster_died(writer->pid);
	if (writer->open) {
		writer->open->writers--;
	}
	writer->open = NULL;
	writer->pid = ++last_pid;
}

static void on_noted(void *arg)
{
	struct writer *writer = arg;
	if (writer->record.kind) {
		trace("S by %u: kind %d %.*s %.*s", writer->pid, writer->record.kind,
			SPAN_ARG(writer->record.path), SPAN_ARG(writer->record.path2));
		poster_append(&writer->record);
	}
	if (once_in(30)) {
		die(writer);
	}
	uint64_t pause = sim.options.hasty ? dice(once_in(40) ? 5000 : 4)
			 : once_in(10)     ? dice(12000)
			 : once_in(2)      ? dice(500)
					   : dice(10);
	sim_after(pause * CLOCK_MS, on_turn, writer);
}

static void on_turn(void *arg)
{
	struct writer *writer = arg;
	if (sim.held_still) {
		sim_after(100 * CLOCK_MS, on_turn, writer);
		return;
	}
	writer->record.kind = RECORD_NONE;
	if (writer->left == 0) {
		die(writer);
		sim.writing--;
		return;
	}
	writer->left--;
	if (writer->open && !once_in(3)) {
		go_on_writing(writer);
	} else if (!writer->open) {
		operations[dice(sizeof(operations) / sizeof(operations[0]))](writer);
	}
	sim_after(once_in(10) ? dice(40) * CLOCK_MS : 0, on_noted, writer);
}

void writers_start(void)
{
	for (unsigned i = 0; i < sim.options.writers; i++) {
		struct writer *writer = calloc(1, sizeof(*writer));
		must(writer);
		writer->pid = ++last_pid;
		writer->left = sim.options.operations;
		sim.writing++;
		sim_after(dice(1000) * CLOCK_MS, on_turn, writer);
	}
}
