/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system in memory, small and exact: names, inodes, hard links, symlinks, times.
 *
 * Paths are relative to its root, as in core/path.h; "" is the root.  Nothing is ever freed, so a
 * node that has lost its last name can still be written to.  Errors are negative errnos, those
 * that Linux gives.  Time is clock_wall(), in ticks of 4 ms.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/span.h"

enum { FS_FILE = 1, FS_DIRECTORY, FS_SYMLINK };

#define FS_CONTENT 160

struct fs_node {
	int type;
	uint64_t ino;
	uint32_t mode, nlink;
	int64_t mtime_ns, ctime_ns;
	uint32_t atime_s;         /* only as it is set */
	char content[FS_CONTENT]; /* of a file, or a symlink's text */
	size_t size;
	struct fs_entry *entries; /* of a directory, sorted by name */
	size_t entry_count;
	struct fs_node *parent; /* of a directory */
	unsigned writers;       /* that have it open */
	uint64_t by_name_ns;    /* when its attributes were last changed by name */
	bool haunted;           /* a directory whose mtime a ghost has changed last */
};

struct fs_entry {
	char *name;
	struct fs_node *node;
};

struct fs {
	struct fs_node *root;
	uint64_t next_ino;
	uint64_t escapes; /* how often a name led out of it: FS_FOLLOW */
};

void fs_init(struct fs *fs);

/*
 * The node that has this name; symlinks on the way are an error (-ELOOP), or, follow, taken as a
 * server takes them.  The last component is never followed.
 */
int fs_find(struct fs *fs, struct span rel, bool follow, struct fs_node **ret);
/*
 * The name with all symlinks on the way (and, last, at its end) replaced, and "." and ".." gone;
 * what does not exist is kept as text.  -EXDEV: it leads out of the file system.
 */
int fs_canonical(struct fs *fs, struct span rel, bool last, struct buf *ret);

/* Makes what is named; text: of a symlink. -EEXIST. */
int fs_make(struct fs *fs, struct span rel, bool follow, int type, uint32_t mode, struct span text,
	struct fs_node **ret);
int fs_link(struct fs *fs, struct span from, struct span to, bool follow);
int fs_unlink(struct fs *fs, struct span rel, bool follow);
int fs_rmdir(struct fs *fs, struct span rel, bool follow);
int fs_rename(struct fs *fs, struct span from, struct span to, bool follow);
int fs_exchange(struct fs *fs, struct span a, struct span b);

/* Writes below FS_CONTENT only. */
void fs_write(struct fs_node *node, size_t offset, const void *data, size_t size);
void fs_truncate(struct fs_node *node, size_t size);
void fs_set_mode(struct fs_node *node, uint32_t mode);
void fs_set_mtime(struct fs_node *node, int64_t mtime_ns);
