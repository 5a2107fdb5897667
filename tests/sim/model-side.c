/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A side whose every call takes time twice: until the request arrives, and until its answer does.
 * When the connection breaks in between, the caller gets -ENOTCONN, and a request that had not
 * arrived yet may be carried out all the same, within most of `settle`: an old server process
 * still has it.
 *
 * Remote: as SFTP shows things, seconds and no inodes; names are resolved as a server does it, so
 * that a symlink on the way is followed, and led out of the tree counts as an escape.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/path.h"
#include "flow/task.h"
#include "side/side-ops.h"
#include "sim.h"

struct model {
	struct side side;
	struct fs *fs;
	bool remote;
	struct request *under_way; /* not arrived yet */
};

struct model_file {
	struct side_file file;
	struct fs_node *node;
	uint64_t epoch;
};

enum verb { MKDIR, RMDIR, UNLINK, RENAME, RENAME_NEW, LINK, SYMLINK, SET, MAKE, WRITE, COMPLETE };

/* A request that changes something; its bytes are its own, for it may outlive the caller. */
struct request {
	struct request *next;
	struct model *model;
	enum verb verb;
	struct buf a, b;
	struct side_attr attr;
	unsigned what;
	struct fs_node *node;
	uint64_t offset;
};

static void set_attr(struct fs_node *node, const struct side_attr *attr, unsigned what, bool remote,
	bool complete)
{
	if (what & SIDE_SET_MODE && node->type != FS_SYMLINK) {
		fs_set_mode(node, attr->mode);
	}
	if (what & SIDE_SET_MTIME) {
		int64_t second = (int64_t)CLOCK_S;
		node->haunted = false;
		fs_set_mtime(node, remote ? attr->mtime_ns / second * second : attr->mtime_ns);
		node->atime_s = attr->atime_s && complete ? attr->atime_s
							  : (uint32_t)(clock_wall() / CLOCK_S);
	}
}

static int act(struct request *it, struct fs_node **ret)
{
	struct fs *fs = it->model->fs;
	bool follow = it->model->remote;
	struct span a = buf_span(&it->a), b = buf_span(&it->b);
	struct fs_node *node;
	int r;
	switch (it->verb) {
	case MKDIR:
		return fs_make(fs, a, follow, FS_DIRECTORY, it->attr.mode, SPAN_NONE, NULL);
	case RMDIR:
		return fs_rmdir(fs, a, follow);
	case UNLINK:
		return fs_unlink(fs, a, follow);
	case RENAME:
		return fs_rename(fs, a, b, follow);
	case RENAME_NEW:
		r = fs_link(fs, a, b, follow);
		return r < 0 ? r : fs_unlink(fs, a, follow);
	case LINK:
		return fs_link(fs, a, b, follow);
	case SYMLINK:
		return fs_make(fs, b, follow, FS_SYMLINK, 0777, a, NULL);
	case MAKE:
		return fs_make(fs, a, follow, FS_FILE, 0600, SPAN_NONE, ret);
	case SET:
		r = fs_find(fs, a, follow, &node);
		if (r == 0) {
			set_attr(node, &it->attr, it->what, it->model->remote, false);
		}
		return r;
	case WRITE:
		fs_write(it->node, it->offset, it->a.data, it->a.len);
		return 0;
	case COMPLETE:
		fs_truncate(it->node, it->attr.size_bytes);
		set_attr(it->node, &it->attr, SIDE_SET_MODE | SIDE_SET_MTIME, it->model->remote,
			true);
		return 0;
	}
	return -ENOSYS;
}

/* To look outside of the target is harmless, to touch something there is not. */
static int carry_out(struct request *it, struct fs_node **ret)
{
	uint64_t before = it->model->fs->escapes;
	int r = act(it, ret);
	if (it->model->fs->escapes != before) {
		sim.escapes++;
		trace("%d '%s' leads out", it->verb, it->a.data);
	}
	return r;
}

static void request_free(struct request *it)
{
	buf_finish(&it->a);
	buf_finish(&it->b);
	free(it);
}

/* A temporary name is removed late (docs/LIMITS.md): the directory keeps the mtime of that. */
static void haunt(struct request *it)
{
	struct fs_node *directory;
	if (it->verb == UNLINK && tree_is_our_name(buf_span(&it->a)) &&
		fs_find(it->model->fs, path_parent(buf_span(&it->a)), it->model->remote,
			&directory) == 0) {
		directory->haunted = true;
	}
}

static void as_ghost(void *arg)
{
	struct request *it = arg;
	int r = carry_out(it, NULL);
	if (r == 0) {
		haunt(it);
	}
	trace("ghost %d '%s' '%s': %d", it->verb, it->a.data, it->b.len ? it->b.data : "", r);
	sim.ghosts--;
	request_free(it);
}

static void travel(void)
{
	uint64_t until = clock_now() + sim_latency();
	while (clock_now() < until) {
		task_wait_until(until);
	}
}

static void leave_behind(struct request *it)
{
	if (once_in(2)) {
		request_free(it);
		return;
	}
	sim.ghosts++;
	sim_after(dice(sim.config.settle_ns / 10 * 8), as_ghost, it);
}

static void arrived(struct request *it)
{
	struct request **at = &it->model->under_way;
	while (*at != it) {
		at = &(*at)->next;
	}
	*at = it->next;
}

static int perform(struct request *request, struct fs_node **ret, struct why *why)
{
	struct request *it = malloc(sizeof(*it));
	must(it);
	*it = *request;
	struct side *side = &it->model->side;
	uint64_t epoch = side->epoch;
	it->next = it->model->under_way;
	it->model->under_way = it;
	travel();
	arrived(it);
	if (side->epoch != epoch) {
		leave_behind(it);
		return why_error(why, -ENOTCONN, "broken");
	}
	int r = carry_out(it, ret);
	if (it->verb != WRITE || r < 0) {
		trace("%s %d '%s' '%s': %d", side->name, it->verb,
			it->a.len && it->verb != WRITE ? it->a.data : "",
			it->b.len ? it->b.data : "", r);
	}
	request_free(it);
	travel();
	return side->epoch != epoch ? why_error(why, -ENOTCONN, "broken")
	       : r < 0              ? why_error(why, r, "%s", strerror(-r))
				    : 0;
}

static struct buf copy_of(struct span bytes)
{
	struct buf buf = BUF_EMPTY;
	buf_add(&buf, bytes);
	buf_reserve(&buf, 1);
	return buf;
}

static struct request request_of(struct side *side, enum verb verb, struct span a, struct span b)
{
	return (struct request){
		.model = (struct model *)side, .verb = verb, .a = copy_of(a), .b = copy_of(b)};
}

/* ---- looking ------------------------------------------------------------------------------ */

/* Both ways of a request that changes nothing. */
static int ask(struct side *side, struct why *why)
{
	uint64_t epoch = side->epoch;
	travel();
	return side->epoch == epoch ? 0 : why_error(why, -ENOTCONN, "broken");
}

static void fill(const struct model *model, const struct fs_node *node, struct side_attr *ret)
{
	static const enum side_type types[] = {SIDE_NONE, SIDE_FILE, SIDE_DIRECTORY, SIDE_SYMLINK};
	int64_t second = (int64_t)CLOCK_S;
	*ret = (struct side_attr){.type = types[node->type],
		.mode = node->mode,
		.size_bytes = node->size,
		.mtime_ns = model->remote ? node->mtime_ns / second * second : node->mtime_ns};
	if (model->remote) {
		ret->atime_s = node->atime_s;
	} else {
		ret->has_inode = true;
		ret->dev = 1;
		ret->ino = node->ino;
		ret->nlink = node->nlink;
		ret->ctime_ns = node->ctime_ns;
	}
}

static int model_find(struct side *side, struct span rel, struct fs_node **ret, struct why *why)
{
	struct model *model = (struct model *)side;
	int r = ask(side, why);
	r = r < 0 ? r : fs_find(model->fs, rel, model->remote, ret);
	return r < 0 && r != -ENOTCONN ? why_error(why, r, "%s", strerror(-r)) : r;
}

static int model_lstat(struct side *side, struct span rel, struct side_attr *ret, struct why *why)
{
	struct fs_node *node;
	int r = model_find(side, rel, &node, why);
	if (r == 0) {
		fill((struct model *)side, node, ret);
		r = ask(side, why);
	}
	return r;
}

static int model_check(struct side *side, struct span rel, size_t *ret_bad_len, struct why *why)
{
	struct model *model = (struct model *)side;
	int r = ask(side, why);
	for (size_t len = 0; r == 0 && len <= rel.len; len++) {
		struct fs_node *node;
		if (len < rel.len && rel.data[len] != '/') {
			continue;
		}
		r = fs_find(model->fs, span_of(rel.data, len), false, &node);
		r = r < 0                        ? r
		    : node->type == FS_DIRECTORY ? 0
		    : node->type == FS_SYMLINK   ? -ELOOP
						 : -ENOTDIR;
		if (r < 0) {
			*ret_bad_len = len;
			return why_error(why, r, "%s", strerror(-r));
		}
	}
	return r < 0 ? r : ask(side, why);
}

static int model_list(struct side *side, struct span rel, struct side_list *ret, struct why *why)
{
	struct fs_node *node;
	size_t room = 0;
	int r = model_find(side, rel, &node, why);
	if (r == 0 && node->type != FS_DIRECTORY) {
		r = why_error(why, node->type == FS_SYMLINK ? -ELOOP : -ENOTDIR, "not a directory");
	}
	for (size_t i = 0; r == 0 && i < node->entry_count; i++) {
		struct side_attr attr;
		fill((struct model *)side, node->entries[i].node, &attr);
		r = side_listing_add(ret, &room, span_str(node->entries[i].name), &attr);
	}
	if (r == 0) {
		side_listing_done(ret);
		r = ask(side, why);
	}
	return r;
}

static int model_readlink(
	struct side *side, struct span rel, char **ret, size_t *ret_len, struct why *why)
{
	struct fs_node *node;
	int r = model_find(side, rel, &node, why);
	if (r == 0 && node->type != FS_SYMLINK) {
		r = why_error(why, -EINVAL, "not a symlink");
	}
	if (r == 0) {
		*ret_len = node->size;
		*ret = strndup(node->content, node->size);
		must(*ret);
		r = ask(side, why);
		if (r < 0) {
			free(*ret);
			*ret = NULL;
		}
	}
	return r;
}

/* ---- files -------------------------------------------------------------------------------- */

static struct side_file *file_of(struct side *side, struct fs_node *node)
{
	struct model_file *file = calloc(1, sizeof(*file));
	must(file);
	*file = (struct model_file){{side}, node, side->epoch};
	return &file->file;
}

static int model_open(struct side *side, struct span rel, struct side_file **ret,
	struct side_attr *ret_attr, struct why *why)
{
	struct fs_node *node;
	int r = model_find(side, rel, &node, why);
	if (r == 0 && node->type == FS_SYMLINK) {
		r = why_error(why, -ELOOP, "a symlink");
	}
	if (r == 0) {
		fill((struct model *)side, node, ret_attr);
		*ret = file_of(side, node);
		r = ask(side, why);
		if (r < 0) {
			free(*ret);
			*ret = NULL;
		}
	}
	return r;
}

static int alive(const struct model_file *file, struct why *why)
{
	return file->epoch == file->file.side->epoch ? 0 : why_error(why, -ENOTCONN, "broken");
}

static int model_read(struct side_file *file, uint64_t offset, void *buffer, size_t size_bytes,
	size_t *ret_len, struct why *why)
{
	struct model_file *it = (struct model_file *)file;
	int r = ask(file->side, why);
	r = r < 0 ? r : alive(it, why);
	if (r == 0) {
		size_t left = it->node->size > offset ? it->node->size - (size_t)offset : 0;
		/* a little at a time, so that a version can be torn */
		size_t half = left > 8 && size_bytes > 8 ? left / 2 : left;
		*ret_len = left < size_bytes ? left : size_bytes;
		if (half > *ret_len) {
			half = *ret_len;
		}
		memcpy(buffer, it->node->content + offset, half);
		r = ask(file->side, why);
		left = it->node->size > offset ? it->node->size - (size_t)offset : 0;
		if (left < *ret_len) {
			*ret_len = left;
		}
		if (*ret_len > half) {
			memcpy((char *)buffer + half, it->node->content + offset + half,
				*ret_len - half);
		}
	}
	return r;
}

static int model_next_data(struct side_file *file, uint64_t offset, uint64_t *ret_begin,
	uint64_t *ret_end, struct why *why)
{
	*ret_begin = offset;
	*ret_end = UINT64_MAX;
	return 0;
}

static int model_file_attr(struct side_file *file, struct side_attr *ret, struct why *why)
{
	struct model_file *it = (struct model_file *)file;
	int r = ask(file->side, why);
	fill((struct model *)file->side, it->node, ret);
	return r < 0 ? r : alive(it, why);
}

static int model_make(struct side *side, struct span rel, struct side_file **ret, struct why *why)
{
	struct request request = request_of(side, MAKE, rel, SPAN_NONE);
	struct fs_node *node = NULL;
	int r = perform(&request, &node, why);
	if (r == 0) {
		*ret = file_of(side, node);
	}
	return r;
}

static int model_write(struct side_file *file, uint64_t offset, const void *data, size_t size_bytes,
	struct why *why)
{
	struct model_file *it = (struct model_file *)file;
	struct request request =
		request_of(file->side, WRITE, span_of(data, size_bytes), SPAN_NONE);
	request.node = it->node;
	request.offset = offset;
	int r = alive(it, why);
	return r < 0 ? r : perform(&request, NULL, why);
}

static void model_close(struct side_file *file)
{
	free(file);
}

static int model_complete(
	struct side_file *file, const struct side_attr *attr, bool sync, struct why *why)
{
	struct model_file *it = (struct model_file *)file;
	struct request request = request_of(file->side, COMPLETE, SPAN_NONE, SPAN_NONE);
	request.node = it->node;
	request.attr = *attr;
	int r = alive(it, why);
	r = r < 0 ? r : perform(&request, NULL, why);
	free(file);
	return r;
}

/* ---- names -------------------------------------------------------------------------------- */

static int model_mkdir(struct side *side, struct span rel, uint32_t mode, struct why *why)
{
	struct request request = request_of(side, MKDIR, rel, SPAN_NONE);
	request.attr.mode = mode;
	return perform(&request, NULL, why);
}

static int model_rmdir(struct side *side, struct span rel, struct why *why)
{
	struct request request = request_of(side, RMDIR, rel, SPAN_NONE);
	return perform(&request, NULL, why);
}

static int model_unlink(struct side *side, struct span rel, struct why *why)
{
	struct request request = request_of(side, UNLINK, rel, SPAN_NONE);
	return perform(&request, NULL, why);
}

static int model_rename(struct side *side, struct span from, struct span to, struct why *why)
{
	struct request request = request_of(side, RENAME, from, to);
	return perform(&request, NULL, why);
}

static int model_rename_new(struct side *side, struct span from, struct span to, struct why *why)
{
	struct request request = request_of(side, RENAME_NEW, from, to);
	return perform(&request, NULL, why);
}

static int model_link(struct side *side, struct span from, struct span to, struct why *why)
{
	struct request request = request_of(side, LINK, from, to);
	return perform(&request, NULL, why);
}

static int model_symlink(struct side *side, struct span text, struct span rel, struct why *why)
{
	struct request request = request_of(side, SYMLINK, text, rel);
	return perform(&request, NULL, why);
}

static int model_set(struct side *side, struct span rel, const struct side_attr *attr,
	unsigned what, struct why *why)
{
	struct request request = request_of(side, SET, rel, SPAN_NONE);
	request.attr = *attr;
	request.what = what;
	return perform(&request, NULL, why);
}

/* There are none in this model. */
static int model_copy_xattrs(struct side_file *from, struct side_file *to, struct why *why)
{
	return 0;
}

static int model_copy_xattrs_at(struct side *from, struct span from_rel, struct side *to,
	struct span to_rel, struct why *why)
{
	return 0;
}

/* ---- the side ----------------------------------------------------------------------------- */

static unsigned can_local(const struct side *side)
{
	return SIDE_CAN_INODE | SIDE_CAN_NANOSECONDS | SIDE_CAN_REPLACE | SIDE_CAN_LINK |
	       SIDE_CAN_SET_LINK;
}

static unsigned can_remote(const struct side *side)
{
	return SIDE_CAN_REPLACE | SIDE_CAN_LINK | SIDE_CAN_SET_LINK;
}

static int model_connect(struct side *side, struct why *why)
{
	return 0;
}

static void model_destroy(struct side *side)
{
}

#define OPS                                                                                        \
	.destroy = model_destroy, .connect = model_connect, .lstat = model_lstat,                  \
	.check = model_check, .list = model_list, .open = model_open, .read = model_read,          \
	.next_data = model_next_data, .file_attr = model_file_attr, .make = model_make,            \
	.write = model_write, .complete = model_complete, .close = model_close,                    \
	.mkdir = model_mkdir, .rmdir = model_rmdir, .unlink = model_unlink,                        \
	.rename = model_rename, .rename_new = model_rename_new, .link = model_link,                \
	.symlink = model_symlink, .readlink = model_readlink, .set = model_set

static const struct side_ops local_ops = {.can = can_local,
	.remote = false,
	.copy_xattrs = model_copy_xattrs,
	.copy_xattrs_at = model_copy_xattrs_at,
	OPS};
static const struct side_ops remote_ops = {.can = can_remote, .remote = true, OPS};

struct side *model_side(struct fs *fs, bool remote, const char *name)
{
	struct model *model = calloc(1, sizeof(*model));
	must(model);
	*model = (struct model){
		.side = {.ops = remote ? &remote_ops : &local_ops, .loop = sim.loop, .epoch = 1},
		.fs = fs,
		.remote = remote};
	model->side.name = strdup(name);
	return &model->side;
}

void model_side_break(struct side *side)
{
	side->epoch++;
}

void model_side_abandon(struct side *side)
{
	struct model *model = (struct model *)side;
	while (model->under_way) {
		struct request *it = model->under_way;
		model->under_way = it->next;
		leave_behind(it);
	}
}
