/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each kind of side (local, SFTP) provides to side.c.  Nobody else includes this.
 *
 * A kind embeds struct side and struct side_file as the first member of its own.  The operations
 * mean what side.h says of the function with the same name.
 */
#pragma once

#include "core/buf.h"
#include "side/side.h"

struct side_ops {
	unsigned (*can)(const struct side *side);
	bool remote;
	void (*destroy)(struct side *side);
	/* Into an empty buf, which stays empty where there is no name.  NULL: names nothing. */
	int (*group_name)(struct side *side, uint32_t gid, struct buf *ret, struct why *why);
	int (*connect)(struct side *side, struct why *why);
	int (*lstat)(struct side *side, struct span rel, struct side_attr *ret, struct why *why);
	int (*check)(struct side *side, struct span rel, size_t *ret_bad_len, struct why *why);
	/* NULL: by check() and lstat(). */
	int (*check_entry)(struct side *side, struct span rel, struct side_attr *ret,
		size_t *ret_bad_len, struct why *why);
	int (*list)(struct side *side, struct span rel, struct side_list *ret, struct why *why);

	int (*open)(struct side *side, struct span rel, struct side_file **ret,
		struct side_attr *ret_attr, struct why *why);
	int (*read)(struct side_file *file, uint64_t offset, void *buffer, size_t size_bytes,
		size_t *ret_len, struct why *why);
	int (*next_data)(struct side_file *file, uint64_t offset, uint64_t *ret_begin,
		uint64_t *ret_end, struct why *why);
	int (*file_attr)(struct side_file *file, struct side_attr *ret, struct why *why);

	int (*make)(struct side *side, struct span rel, struct side_file **ret, struct why *why);
	/* NULL where the kind never can. */
	int (*edit)(struct side *side, struct span rel, struct side_file **ret,
		struct side_attr *ret_attr, struct why *why);
	int (*write)(struct side_file *file, uint64_t offset, const void *data, size_t size_bytes,
		struct why *why);
	/* NULL where the kind never can; both files are of this kind. */
	int (*copy_range)(struct side_file *from, struct side_file *to, uint64_t offset,
		uint64_t size_bytes, struct why *why);
	int (*copy_data)(struct side_file *from, uint64_t from_offset, uint64_t size_bytes,
		struct side_file *to, uint64_t to_offset, struct why *why);
	/* NULL where copy_data() returns when it is done. */
	int (*copied)(struct side_file *to, struct why *why);
	int (*copy_xattrs)(struct side_file *from, struct side_file *to, struct why *why);
	int (*copy_xattrs_at)(struct side *from, struct span from_rel, struct side *to,
		struct span to_rel, struct why *why);
	int (*complete)(
		struct side_file *file, const struct side_attr *attr, bool sync, struct why *why);
	void (*close)(struct side_file *file);

	int (*mkdir)(struct side *side, struct span rel, uint32_t mode, struct why *why);
	int (*rmdir)(struct side *side, struct span rel, struct why *why);
	int (*unlink)(struct side *side, struct span rel, struct why *why);
	int (*rename)(struct side *side, struct span from, struct span to, struct why *why);
	int (*rename_new)(struct side *side, struct span from, struct span to, struct why *why);
	int (*link)(struct side *side, struct span from, struct span to, struct why *why);
	int (*symlink)(struct side *side, struct span text, struct span rel, struct why *why);
	int (*readlink)(
		struct side *side, struct span rel, char **ret, size_t *ret_len, struct why *why);
	int (*set)(struct side *side, struct span rel, const struct side_attr *attr, unsigned what,
		struct why *why);
};

struct side_group {
	uint32_t gid;
	bool refused;
	char *name; /* NULL: not asked for yet */
};

struct side {
	const struct side_ops *ops;
	struct loop *loop;
	char *name;
	uint64_t epoch;
	struct side_group *groups; /* that were met */
	size_t group_count;
};

struct side_file {
	struct side *side;
};

int side_create_local(const struct location *location, struct side **ret, struct why *why);
int side_create_sftp(const struct location *location, const struct side_options *options,
	struct side **ret, struct why *why);

/* Remembers that the account may not give files to this group; without memory it is tried again. */
void side_refuse_group(struct side *side, uint32_t gid);

/* Fills words like "cannot make directory 'a/b': File exists"; returns error. */
int side_error(struct why *why, int error, const char *what, struct span rel);

/* Adds a copy of the name; *room begins as 0 with an empty list.  Returns 0 or -ENOMEM. */
int side_listing_add(
	struct side_list *list, size_t *room, struct span name, const struct side_attr *attr);
/* Sorts by name. */
void side_listing_done(struct side_list *list);
