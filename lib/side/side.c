/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dispatch to the kind of side, and the little that all kinds share.
 *
 * The names of a listing lie in a chain of blocks: a block holds many and never moves, so spans
 * into it stay good while the listing grows.
 */
#include "side/side-ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/path.h"

int side_create(struct loop *loop, const struct location *location,
	const struct side_options *options, struct side **ret, struct why *why)
{
	struct side *side = NULL;
	int r = location->remote ? side_create_sftp(location, options, &side, why)
				 : side_create_local(location, &side, why);
	if (r < 0) {
		return r;
	}
	side->loop = loop;
	side->name = strdup(location->text ? location->text : location->path);
	if (!side->name) {
		side_destroy(side);
		return -ENOMEM;
	}
	*ret = side;
	return 0;
}

void side_destroy(struct side *side)
{
	if (side) {
		for (size_t i = 0; i < side->group_count; i++) {
			free(side->groups[i].name);
		}
		free(side->groups);
		free(side->name);
		side->ops->destroy(side);
	}
}

int side_connect(struct side *side, struct why *why)
{
	return side->ops->connect(side, why);
}

unsigned side_can(const struct side *side)
{
	return side->ops->can(side);
}

bool side_is_remote(const struct side *side)
{
	return side->ops->remote;
}

uint64_t side_epoch(const struct side *side)
{
	return side->epoch;
}

const char *side_name(const struct side *side)
{
	return side->name;
}

/* --- groups ------------------------------------------------------------------------------- */

static struct side_group *find_group(const struct side *side, uint32_t gid)
{
	for (size_t i = 0; i < side->group_count; i++) {
		if (side->groups[i].gid == gid) {
			return &side->groups[i];
		}
	}
	return NULL;
}

static struct side_group *add_group(struct side *side, uint32_t gid)
{
	struct side_group *found = find_group(side, gid);
	if (!found) {
		size_t size = (side->group_count + 1) * sizeof(*found);
		struct side_group *groups = realloc(side->groups, size);
		if (!groups) {
			return NULL;
		}
		side->groups = groups;
		found = &groups[side->group_count++];
		*found = (struct side_group){.gid = gid};
	}
	return found;
}

int side_group_name(struct side *side, uint32_t gid, const char **ret, struct why *why)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	struct side_group *group = find_group(side, gid);
	if (!group || !group->name) {
		int r = side->ops->group_name ? side->ops->group_name(side, gid, &name, why) : 0;
		buf_add_char(&name, 0);
		group = r == 0 && !name.failed ? add_group(side, gid)
					       : NULL; /* others ran meanwhile */
		if (group && !group->name) {
			group->name = strdup(name.data);
		}
		if (!group || !group->name) {
			return r < 0 ? r : -ENOMEM;
		}
	}
	*ret = group->name;
	return 0;
}

bool side_refuses_group(const struct side *side, uint32_t gid)
{
	const struct side_group *group = find_group(side, gid);
	return group && group->refused;
}

void side_refuse_group(struct side *side, uint32_t gid)
{
	struct side_group *group = add_group(side, gid);
	if (group) {
		group->refused = true;
	}
}

int side_error(struct why *why, int error, const char *what, struct span rel)
{
	char path[300];
	return why_error(why, error, "cannot %s '%s': %s", what,
		log_escape(rel.len ? rel : SPAN("."), path, sizeof(path)), strerror(-error));
}

/* --- listings ----------------------------------------------------------------------------- */

#define BLOCK_BYTES (64 * 1024)

struct block {
	struct block *next;
	size_t used;
	char bytes[BLOCK_BYTES];
};

static char *listing_name(struct side_list *list, struct span name)
{
	struct block *block = list->memory;
	if (!block || name.len > BLOCK_BYTES - block->used) {
		if (name.len > BLOCK_BYTES || !(block = malloc(sizeof(*block)))) {
			return NULL;
		}
		block->next = list->memory;
		block->used = 0;
		list->memory = block;
	}
	char *at = block->bytes + block->used;
	memcpy(at, name.data, name.len);
	block->used += name.len;
	return at;
}

int side_listing_add(
	struct side_list *list, size_t *room, struct span name, const struct side_attr *attr)
{
	if (list->count == *room) {
		size_t more = *room ? *room * 2 : 64;
		void *entries = realloc(list->entries, more * sizeof(*list->entries));
		if (!entries) {
			return -ENOMEM;
		}
		list->entries = entries;
		*room = more;
	}
	char *copy = listing_name(list, name);
	if (!copy) {
		return -ENOMEM;
	}
	list->entries[list->count++] = (struct side_entry){span_of(copy, name.len), *attr};
	return 0;
}

static int by_name(const void *a, const void *b)
{
	struct span x = ((const struct side_entry *)a)->name;
	struct span y = ((const struct side_entry *)b)->name;
	int r = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);
	return r ? r : (x.len > y.len) - (x.len < y.len);
}

void side_listing_done(struct side_list *list)
{
	if (list->count) {
		qsort(list->entries, list->count, sizeof(*list->entries), by_name);
	}
}

int side_list(struct side *side, struct span rel, struct side_list *ret, struct why *why)
{
	*ret = (struct side_list){0};
	int r = side->ops->list(side, rel, ret, why);
	if (r < 0) {
		side_list_finish(ret);
	}
	return r;
}

void side_list_finish(struct side_list *list)
{
	struct block *block = list->memory;
	while (block) {
		struct block *next = block->next;
		free(block);
		block = next;
	}
	free(list->entries);
	*list = (struct side_list){0};
}

/* --- the rest is dispatch ----------------------------------------------------------------- */

int side_lstat(struct side *side, struct span rel, struct side_attr *ret, struct why *why)
{
	return side->ops->lstat(side, rel, ret, why);
}

int side_check(struct side *side, struct span rel, size_t *ret_bad_len, struct why *why)
{
	return side->ops->check(side, rel, ret_bad_len, why);
}

int side_check_entry(struct side *side, struct span rel, struct side_attr *ret, size_t *ret_bad_len,
	struct why *why)
{
	if (side->ops->check_entry) {
		return side->ops->check_entry(side, rel, ret, ret_bad_len, why);
	}
	int r = side->ops->check(side, path_parent(rel), ret_bad_len, why);
	if (r < 0) {
		return r;
	}
	r = side->ops->lstat(side, rel, ret, why);
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP) {
		*ret = (struct side_attr){.type = SIDE_NONE};
		return 0;
	}
	return r;
}

int side_open(struct side *side, struct span rel, struct side_file **ret,
	struct side_attr *ret_attr, struct why *why)
{
	return side->ops->open(side, rel, ret, ret_attr, why);
}

int side_read(struct side_file *file, uint64_t offset, void *buffer, size_t size_bytes,
	size_t *ret_len, struct why *why)
{
	return file->side->ops->read(file, offset, buffer, size_bytes, ret_len, why);
}

int side_next_data(struct side_file *file, uint64_t offset, uint64_t *ret_begin, uint64_t *ret_end,
	struct why *why)
{
	return file->side->ops->next_data(file, offset, ret_begin, ret_end, why);
}

int side_file_attr(struct side_file *file, struct side_attr *ret, struct why *why)
{
	return file->side->ops->file_attr(file, ret, why);
}

int side_make(struct side *side, struct span rel, struct side_file **ret, struct why *why)
{
	return side->ops->make(side, rel, ret, why);
}

int side_edit(struct side *side, struct span rel, struct side_file **ret,
	struct side_attr *ret_attr, struct why *why)
{
	return side->ops->edit ? side->ops->edit(side, rel, ret, ret_attr, why) : -EOPNOTSUPP;
}

int side_write(struct side_file *file, uint64_t offset, const void *data, size_t size_bytes,
	struct why *why)
{
	return file->side->ops->write(file, offset, data, size_bytes, why);
}

int side_copy_range(struct side_file *from, struct side_file *to, uint64_t offset,
	uint64_t size_bytes, struct why *why)
{
	const struct side_ops *ops = from->side->ops;
	if (ops != to->side->ops || !ops->copy_range) {
		return -EOPNOTSUPP;
	}
	return ops->copy_range(from, to, offset, size_bytes, why);
}

int side_copy_data(struct side_file *from, uint64_t from_offset, uint64_t size_bytes,
	struct side_file *to, uint64_t to_offset, struct why *why)
{
	if (from->side != to->side) {
		return -EOPNOTSUPP;
	}
	return from->side->ops->copy_data(from, from_offset, size_bytes, to, to_offset, why);
}

int side_copied(struct side_file *to, struct why *why)
{
	return to->side->ops->copied ? to->side->ops->copied(to, why) : 0;
}

int side_copy_xattrs(struct side_file *from, struct side_file *to, struct why *why)
{
	const struct side_ops *ops = from->side->ops;
	if (ops != to->side->ops || !ops->copy_xattrs) {
		return -EOPNOTSUPP;
	}
	return ops->copy_xattrs(from, to, why);
}

int side_copy_xattrs_at(struct side *from, struct span from_rel, struct side *to,
	struct span to_rel, struct why *why)
{
	if (from->ops != to->ops || !from->ops->copy_xattrs_at) {
		return -EOPNOTSUPP;
	}
	return from->ops->copy_xattrs_at(from, from_rel, to, to_rel, why);
}

int side_complete(struct side_file *file, const struct side_attr *attr, bool sync, struct why *why)
{
	return file->side->ops->complete(file, attr, sync, why);
}

void side_close(struct side_file *file)
{
	if (file) {
		file->side->ops->close(file);
	}
}

int side_mkdir(struct side *side, struct span rel, uint32_t mode, struct why *why)
{
	return side->ops->mkdir(side, rel, mode, why);
}

int side_rmdir(struct side *side, struct span rel, struct why *why)
{
	return side->ops->rmdir(side, rel, why);
}

int side_unlink(struct side *side, struct span rel, struct why *why)
{
	return side->ops->unlink(side, rel, why);
}

int side_rename(struct side *side, struct span from, struct span to, struct why *why)
{
	return side->ops->rename(side, from, to, why);
}

int side_rename_new(struct side *side, struct span from, struct span to, struct why *why)
{
	return side->ops->rename_new(side, from, to, why);
}

int side_link(struct side *side, struct span from, struct span to, struct why *why)
{
	return side->ops->link(side, from, to, why);
}

int side_symlink(struct side *side, struct span text, struct span rel, struct why *why)
{
	return side->ops->symlink(side, text, rel, why);
}

int side_readlink(struct side *side, struct span rel, char **ret, size_t *ret_len, struct why *why)
{
	return side->ops->readlink(side, rel, ret, ret_len, why);
}

int side_set(struct side *side, struct span rel, const struct side_attr *attr, unsigned what,
	struct why *why)
{
	return side->ops->set(side, rel, attr, what, why);
}
