/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One side of a tree: a directory here, or one at the other end of SFTP, seen alike.
 *
 * All calls run in a task (flow/task.h) and return when the answer is there; many tasks may use
 * one side at once, and on SFTP their requests share one pipelined channel.  Paths are relative
 * to the root (core/path.h "rel").  No call ever follows a symlink below the root or leaves it:
 * locally by openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), on SFTP because the parent was
 * checked (see side_check) right before.
 *
 * Returns 0, or -errno with words.  The ones that mean something to callers:
 *   -ENOENT -ENOTDIR -EEXIST -ENOTEMPTY -EISDIR  as the system's (SFTP v3 says only "failure" for
 *              many: then the side looks again and reports what it finds)
 *   -ELOOP     a symlink where a directory had to be
 *   -ENOTCONN  the connection broke while this was under way: it may or may not have happened
 *   -ENOSPC -EDQUOT -EROFS -EACCES -EPERM -EIO   the system's word; SFTP's -EIO where it says no
 * more
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/span.h"
#include "core/why.h"
#include "flow/config.h"
#include "flow/loop.h"

enum side_type { SIDE_NONE, SIDE_FILE, SIDE_DIRECTORY, SIDE_SYMLINK, SIDE_OTHER };

struct side_attr {
	enum side_type type;
	uint32_t mode; /* 07777 only */
	uint64_t size_bytes;
	int64_t mtime_ns; /* SFTP: whole seconds */
	uint32_t atime_s; /* SFTP: as told; side_complete() sets it where it is not 0; else 0 */
	bool has_owner;
	uint32_t uid, gid; /* where they are set over SFTP: only the group */
	bool has_inode;    /* local only: dev, ino, nlink, allocated, ctime */
	uint64_t dev, ino, nlink;
	uint64_t allocated_bytes;
	int64_t ctime_ns;
};

struct side;
struct side_file;

/* What this side can do; constant once connected. */
enum side_can {
	SIDE_CAN_INODE = 1 << 0, /* attr.has_inode */
	SIDE_CAN_NANOSECONDS = 1 << 1,
	SIDE_CAN_REPLACE = 1 << 2, /* rename is atomic over an existing name */
	SIDE_CAN_LINK = 1 << 3,
	SIDE_CAN_SET_LINK = 1 << 4, /* times of a symlink itself */
	SIDE_CAN_FSYNC = 1 << 5,
	SIDE_CAN_HOLES = 1 << 6,     /* side_next_data() knows holes */
	SIDE_CAN_COPY_DATA = 1 << 7, /* side_copy_data() may work */
};

struct side_options {
	const struct config *config; /* copier.* for SFTP */
	unsigned in_flight;          /* requests at once on SFTP; 0: default */
};

/* Touches nothing yet: the root is opened, or the connection made, by the first call. */
int side_create(struct loop *loop, const struct location *location,
	const struct side_options *options, struct side **ret, struct why *why);
void side_destroy(struct side *side);
/*
 * Connected and the root is a directory, or says why not: -ENOENT (no such root), -EACCES (login
 * refused), -EKEYREJECTED (unknown or changed host key), -EHOSTUNREACH, -ECONNREFUSED,
 * -ETIMEDOUT, -EPROTO (server without what we need; words say which setting helps) …
 * Cheap when connected.  A broken connection is made anew by the next call, not sooner than a
 * growing pause after the last failure.
 */
int side_connect(struct side *side, struct why *why);
unsigned side_can(const struct side *side);
bool side_is_remote(const struct side *side);
/* Changes with each new connection; equal before and after means nothing broke in between. */
uint64_t side_epoch(const struct side *side);
/* The location's text, for messages. */
const char *side_name(const struct side *side);

/*
 * What a group is called there, as it was when first asked for; "" where it has no name or the side
 * cannot tell.  *ret is the side's.
 */
int side_group_name(struct side *side, uint32_t gid, const char **ret, struct why *why);
/* side_complete() or side_set() could not give something to that group. */
bool side_refuses_group(const struct side *side, uint32_t gid);

/* The entry itself, symlinks not followed; rel "" is the root. */
int side_lstat(struct side *side, struct span rel, struct side_attr *ret, struct why *why);

/*
 * Whether directory rel exists as real directories all the way.  Returns 0; or -ENOENT, -ELOOP,
 * -ENOTDIR with *ret_bad_len: how much of rel names the topmost ancestor that is not a directory;
 * or another error.
 */
int side_check(struct side *side, struct span rel, size_t *ret_bad_len, struct why *why);
/*
 * side_check() of rel's parent, and the entry itself (type SIDE_NONE: there is none), in one round
 * trip.  rel is not the root.
 */
int side_check_entry(struct side *side, struct span rel, struct side_attr *ret, size_t *ret_bad_len,
	struct why *why);

struct side_entry {
	struct span name;
	struct side_attr attr;
};
struct side_list {
	struct side_entry *entries; /* sorted by name (bytes); without . and .. */
	size_t count;
	void *memory;
};
int side_list(struct side *side, struct span rel, struct side_list *ret, struct why *why);
void side_list_finish(struct side_list *list);

/* --- reading a file ---------------------------------------------------------------------- */

int side_open(struct side *side, struct span rel, struct side_file **ret,
	struct side_attr *ret_attr, struct why *why);
/* Fills buffer from offset, short only at the end of the file. SFTP reads ahead when sequential. */
int side_read(struct side_file *file, uint64_t offset, void *buffer, size_t size_bytes,
	size_t *ret_len, struct why *why);
/* The next range with data at or after offset; -ENXIO: none until the end.  Without
 * SIDE_CAN_HOLES the whole rest is data. */
int side_next_data(struct side_file *file, uint64_t offset, uint64_t *ret_begin, uint64_t *ret_end,
	struct why *why);
/* What the open file is now (fstat). */
int side_file_attr(struct side_file *file, struct side_attr *ret, struct why *why);

/* --- writing a file ---------------------------------------------------------------------- */

/* Makes a new file (O_EXCL) with mode 0600. */
int side_make(struct side *side, struct span rel, struct side_file **ret, struct why *why);
/* Takes a copy and returns soon: waits only while the window is full.  A failure shows up in a
 * later call, at the latest in side_complete(). */
int side_write(struct side_file *file, uint64_t offset, const void *data, size_t size_bytes,
	struct why *why);
/* Both local: in the kernel (reflink, copy_file_range) where it can; else -EOPNOTSUPP. */
int side_copy_range(struct side_file *from, struct side_file *to, uint64_t offset,
	uint64_t size_bytes, struct why *why);
/*
 * From one open file of a side to another (another name) of the same side, without the bytes coming
 * here: copy-data on SFTP, the kernel locally.  What side_write() wrote before stands before it.
 * May return when it has only begun: then side_copied() tells how it ended.  Both return 0;
 * -EOPNOTSUPP where this side, or these two files, cannot: then read and write; -ENODATA where
 * `from` ends earlier.  A server may not say so (OpenSSH 9.2 does not): look at the size of `from`
 * afterwards.
 */
int side_copy_data(struct side_file *from, uint64_t from_offset, uint64_t size_bytes,
	struct side_file *to, uint64_t to_offset, struct why *why);
/* Waits for all that was begun into `to`; before side_complete(), and while `from` is open. */
int side_copied(struct side_file *to, struct why *why);
/* Both local: xattrs and ACLs, ignoring what the file system does not know; else -EOPNOTSUPP.
 * Before side_complete(), which sets the mode. */
int side_copy_xattrs(struct side_file *from, struct side_file *to, struct why *why);
/* The same of a file or directory by name, before side_set(); -EACCES where one may not be read. */
int side_copy_xattrs_at(struct side *from, struct span from_rel, struct side *to,
	struct span to_rel, struct why *why);
/*
 * Waits until every write is good, sets size, mode, mtime and (where set and allowed) owner, and
 * closes; 0 or the first error.  sync: to stable storage first, where the side can.
 * The file is released whatever is returned.
 */
int side_complete(struct side_file *file, const struct side_attr *attr, bool sync, struct why *why);
/* Closes without caring. NULL is ignored. */
void side_close(struct side_file *file);

/*
 * Opens a file that is there, to be read and to be written where it stands: side_write() and
 * side_complete() act on that file, whatever has its name by then.  -EOPNOTSUPP where this kind of
 * side never does that.
 */
int side_edit(struct side *side, struct span rel, struct side_file **ret,
	struct side_attr *ret_attr, struct why *why);

/* --- names ------------------------------------------------------------------------------- */

int side_mkdir(struct side *side, struct span rel, uint32_t mode, struct why *why);
int side_rmdir(struct side *side, struct span rel, struct why *why);
int side_unlink(struct side *side, struct span rel, struct why *why);
/* Replaces `to` atomically where SIDE_CAN_REPLACE. */
int side_rename(struct side *side, struct span from, struct span to, struct why *why);
/* -EEXIST where `to` is taken.  Needs SIDE_CAN_LINK; else -EOPNOTSUPP.  Of files only. */
int side_rename_new(struct side *side, struct span from, struct span to, struct why *why);
int side_link(struct side *side, struct span from, struct span to, struct why *why);
int side_symlink(struct side *side, struct span text, struct span rel, struct why *why);
/* Heap copy, the caller frees. */
int side_readlink(struct side *side, struct span rel, char **ret, size_t *ret_len, struct why *why);
enum side_set { SIDE_SET_MODE = 1, SIDE_SET_MTIME = 2, SIDE_SET_OWNER = 4 };
/* Of the entry itself; what a symlink cannot have there is skipped. */
int side_set(struct side *side, struct span rel, const struct side_attr *attr, unsigned what,
	struct why *why);
