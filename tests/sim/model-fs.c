/* SPDX-License-Identifier: Apache-2.0 */
#include "model-fs.h"

#include <errno.h>
#include <stdlib.h>

#include "check-sim.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"

#define TICK_NS   (4 * CLOCK_MS)
#define LINKS_MAX 8

static int64_t fs_now(void)
{
	return (int64_t)(clock_wall() / TICK_NS * TICK_NS);
}

static struct fs_node *new_node(struct fs *fs, int type, uint32_t mode)
{
	struct fs_node *node = calloc(1, sizeof(*node));
	must(node);
	node->type = type;
	node->mode = mode;
	node->ino = ++fs->next_ino;
	node->nlink = 1;
	node->mtime_ns = node->ctime_ns = fs_now();
	return node;
}

void fs_init(struct fs *fs)
{
	*fs = (struct fs){0};
	fs->root = new_node(fs, FS_DIRECTORY, 0755);
	fs->root->parent = fs->root;
}

/* ---- entries ------------------------------------------------------------------------------ */

static size_t place_of(const struct fs_node *directory, struct span name, bool *ret_there)
{
	size_t i = 0;
	*ret_there = false;
	for (; i < directory->entry_count; i++) {
		struct span other = span_str(directory->entries[i].name);
		size_t len = other.len < name.len ? other.len : name.len;
		int order = memcmp(other.data, name.data, len);
		order = order ? order : (other.len > name.len) - (other.len < name.len);
		if (order >= 0) {
			*ret_there = order == 0;
			break;
		}
	}
	return i;
}

static struct fs_node *entry_of(const struct fs_node *directory, struct span name)
{
	bool there;
	size_t i = place_of(directory, name, &there);
	return there ? directory->entries[i].node : NULL;
}

static void touch(struct fs_node *directory)
{
	directory->mtime_ns = directory->ctime_ns = fs_now();
}

static void entry_add(struct fs_node *directory, struct span name, struct fs_node *node)
{
	bool there;
	size_t i = place_of(directory, name, &there);
	must(!there);
	directory->entries =
		realloc(directory->entries, (directory->entry_count + 1) * sizeof(struct fs_entry));
	must(directory->entries);
	memmove(directory->entries + i + 1, directory->entries + i,
		(directory->entry_count++ - i) * sizeof(struct fs_entry));
	directory->entries[i] = (struct fs_entry){strndup(name.data, name.len), node};
	if (node->type == FS_DIRECTORY) {
		node->parent = directory;
	}
	touch(directory);
}

static void entry_remove(struct fs_node *directory, struct span name)
{
	bool there;
	size_t i = place_of(directory, name, &there);
	must(there);
	free(directory->entries[i].name);
	memmove(directory->entries + i, directory->entries + i + 1,
		(--directory->entry_count - i) * sizeof(struct fs_entry));
	touch(directory);
}

/* ---- names -------------------------------------------------------------------------------- */

/* One component further; done has a directory's canonical name. */
static int step(struct fs *fs, struct buf *done, struct span name, bool last, unsigned *links);

static int walk(struct fs *fs, struct buf *done, struct span rest, bool last, unsigned *links)
{
	struct span name;
	while (path_next(&rest, &name)) {
		int r = step(fs, done, name, last || rest.len, links);
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

static int find_plain(struct fs *fs, struct span rel, struct fs_node **ret)
{
	struct fs_node *node = fs->root;
	struct span rest = rel, name;
	while (path_next(&rest, &name)) {
		if (node->type == FS_SYMLINK) {
			return -ELOOP;
		}
		if (node->type != FS_DIRECTORY) {
			return -ENOTDIR;
		}
		node = entry_of(node, name);
		if (!node) {
			return -ENOENT;
		}
	}
	*ret = node;
	return 0;
}

static int step(struct fs *fs, struct buf *done, struct span name, bool follow, unsigned *links)
{
	struct fs_node *node;
	if (span_equal(name, SPAN("."))) {
		return 0;
	}
	if (span_equal(name, SPAN(".."))) {
		if (!done->len) {
			fs->escapes++;
			return -EXDEV;
		}
		done->len = path_parent(buf_span(done)).len;
		return 0;
	}
	size_t before = done->len;
	CLEANUP(buf_finish) struct buf whole = BUF_EMPTY;
	path_join(&whole, buf_span(done), name);
	buf_clear(done);
	buf_add(done, buf_span(&whole));
	if (!follow || find_plain(fs, buf_span(done), &node) < 0 || node->type != FS_SYMLINK) {
		return 0;
	}
	if (++*links > LINKS_MAX) {
		return -ELOOP;
	}
	if (node->size && node->content[0] == '/') {
		fs->escapes++;
		return -EXDEV;
	}
	done->len = before;
	return walk(fs, done, span_of(node->content, node->size), true, links);
}

int fs_canonical(struct fs *fs, struct span rel, bool last, struct buf *ret)
{
	unsigned links = 0;
	return walk(fs, ret, rel, last, &links);
}

int fs_find(struct fs *fs, struct span rel, bool follow, struct fs_node **ret)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	int r = follow ? fs_canonical(fs, rel, false, &name) : 0;
	return r < 0 ? r : find_plain(fs, follow ? buf_span(&name) : rel, ret);
}

/* The directory that has, or shall have, the name. */
static int find_parent(struct fs *fs, struct span rel, bool follow, struct fs_node **ret)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	struct span parent = path_parent(rel);
	int r = follow ? fs_canonical(fs, parent, true, &name) : 0;
	r = r < 0 ? r : find_plain(fs, follow ? buf_span(&name) : parent, ret);
	if (r == 0 && (*ret)->type != FS_DIRECTORY) {
		r = (*ret)->type == FS_SYMLINK ? -ELOOP : -ENOTDIR;
	}
	return r;
}

/* ---- changes ------------------------------------------------------------------------------ */

int fs_make(struct fs *fs, struct span rel, bool follow, int type, uint32_t mode, struct span text,
	struct fs_node **ret)
{
	struct fs_node *parent;
	int r = find_parent(fs, rel, follow, &parent);
	if (r < 0) {
		return r;
	}
	if (!rel.len || entry_of(parent, path_name(rel))) {
		return -EEXIST;
	}
	struct fs_node *node = new_node(fs, type, mode);
	must(text.len <= FS_CONTENT);
	if (text.len) {
		memcpy(node->content, text.data, text.len);
	}
	node->size = text.len;
	entry_add(parent, path_name(rel), node);
	if (ret) {
		*ret = node;
	}
	return 0;
}

int fs_link(struct fs *fs, struct span from, struct span to, bool follow)
{
	struct fs_node *parent, *node;
	int r = fs_find(fs, from, follow, &node);
	r = r < 0 ? r : find_parent(fs, to, follow, &parent);
	if (r < 0) {
		return r;
	}
	if (node->type == FS_DIRECTORY) {
		return -EPERM;
	}
	if (entry_of(parent, path_name(to))) {
		return -EEXIST;
	}
	entry_add(parent, path_name(to), node);
	node->nlink++;
	node->ctime_ns = fs_now();
	return 0;
}

static int find_entry(struct fs *fs, struct span rel, bool follow, struct fs_node **ret_parent,
	struct fs_node **ret)
{
	int r = rel.len ? find_parent(fs, rel, follow, ret_parent) : -EBUSY;
	if (r == 0) {
		*ret = entry_of(*ret_parent, path_name(rel));
		r = *ret ? 0 : -ENOENT;
	}
	return r;
}

static void lose_name(struct fs_node *node)
{
	node->nlink--;
	node->ctime_ns = fs_now();
}

int fs_unlink(struct fs *fs, struct span rel, bool follow)
{
	struct fs_node *parent, *node;
	int r = find_entry(fs, rel, follow, &parent, &node);
	if (r == 0 && node->type == FS_DIRECTORY) {
		r = -EISDIR;
	}
	if (r == 0) {
		entry_remove(parent, path_name(rel));
		lose_name(node);
	}
	return r;
}

int fs_rmdir(struct fs *fs, struct span rel, bool follow)
{
	struct fs_node *parent, *node;
	int r = find_entry(fs, rel, follow, &parent, &node);
	if (r == 0 && node->type != FS_DIRECTORY) {
		r = -ENOTDIR;
	}
	if (r == 0 && node->entry_count) {
		r = -ENOTEMPTY;
	}
	if (r == 0) {
		entry_remove(parent, path_name(rel));
		lose_name(node);
	}
	return r;
}

static bool is_below(const struct fs_node *node, const struct fs_node *top)
{
	while (node != top && node->parent != node) {
		node = node->parent;
	}
	return node == top;
}

/* Whether node may take the place of there. */
static int may_replace(const struct fs_node *node, const struct fs_node *there)
{
	if (!there) {
		return 0;
	}
	if (node->type == FS_DIRECTORY && there->type != FS_DIRECTORY) {
		return -ENOTDIR;
	}
	if (node->type != FS_DIRECTORY && there->type == FS_DIRECTORY) {
		return -EISDIR;
	}
	return there->entry_count ? -ENOTEMPTY : 0;
}

int fs_rename(struct fs *fs, struct span from, struct span to, bool follow)
{
	struct fs_node *old_parent, *new_parent, *node, *there;
	int r = find_entry(fs, from, follow, &old_parent, &node);
	r = r < 0 ? r : to.len ? find_parent(fs, to, follow, &new_parent) : -EBUSY;
	if (r < 0) {
		return r;
	}
	if (node->type == FS_DIRECTORY && is_below(new_parent, node)) {
		return -EINVAL;
	}
	there = entry_of(new_parent, path_name(to));
	if (there == node) {
		return 0;
	}
	r = may_replace(node, there);
	if (r < 0) {
		return r;
	}
	if (there) {
		entry_remove(new_parent, path_name(to));
		lose_name(there);
	}
	entry_remove(old_parent, path_name(from));
	entry_add(new_parent, path_name(to), node);
	node->ctime_ns = fs_now();
	return 0;
}

int fs_exchange(struct fs *fs, struct span a, struct span b)
{
	struct fs_node *a_parent, *b_parent, *x, *y;
	int r = find_entry(fs, a, false, &a_parent, &x);
	r = r < 0 ? r : find_entry(fs, b, false, &b_parent, &y);
	if (r < 0 || x == y) {
		return r;
	}
	if ((x->type == FS_DIRECTORY && is_below(b_parent, x)) ||
		(y->type == FS_DIRECTORY && is_below(a_parent, y))) {
		return -EINVAL;
	}
	entry_remove(a_parent, path_name(a));
	entry_remove(b_parent, path_name(b));
	entry_add(a_parent, path_name(a), y);
	entry_add(b_parent, path_name(b), x);
	x->ctime_ns = y->ctime_ns = fs_now();
	return 0;
}

void fs_write(struct fs_node *node, size_t offset, const void *data, size_t size)
{
	must(offset + size <= FS_CONTENT);
	memcpy(node->content + offset, data, size);
	if (offset + size > node->size) {
		node->size = offset + size;
	}
	node->mtime_ns = node->ctime_ns = fs_now();
}

void fs_truncate(struct fs_node *node, size_t size)
{
	must(size <= FS_CONTENT);
	if (size > node->size) {
		memset(node->content + node->size, 0, size - node->size);
	}
	node->size = size;
	node->mtime_ns = node->ctime_ns = fs_now();
}

void fs_set_mode(struct fs_node *node, uint32_t mode)
{
	node->mode = mode & 07777;
	node->ctime_ns = fs_now();
}

void fs_set_mtime(struct fs_node *node, int64_t mtime_ns)
{
	node->mtime_ns = mtime_ns;
	node->ctime_ns = fs_now();
}
