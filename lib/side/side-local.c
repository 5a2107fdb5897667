/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory here, through system calls.
 *
 * Every call has two steps: open the parent directory beneath the root without following any
 * symlink, then do one *at() call on the last component that does not follow one either:
 *
 *   local_parent("a/b/c") -> descriptor of a/b (O_PATH), name "c"; the root itself is "."
 *
 * openat2() resolves a parent in one call.  Where the kernel has no openat2() or the path is
 * longer than it takes, we go down component by component with O_NOFOLLOW, which is the same
 * promise at more cost.
 *
 * The root is held open by O_PATH.  side_connect() looks whether its path still names the same
 * directory and opens it again if not (a file system mounted late, or again), as a new epoch.
 *
 * System calls block the loop: a local file system answers soon, and a copier that waits for a
 * slow one has company (other instances).
 */
#include "side/side-ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/path.h"

struct local {
	struct side side;
	char *path;
	int root; /* O_PATH; -1 until it is there */
	dev_t dev;
	ino_t ino;
	bool no_openat2;
};

struct local_file {
	struct side_file file;
	int fd;
};

struct place {
	int dir;
	char name[256];
};
#define PLACE_NONE ((struct place){.dir = -1})

static void place_finish(struct place *place)
{
	fd_close(&place->dir);
}

static struct local *local_of(struct side *side)
{
	return (struct local *)side;
}

static int fd_of(const struct side_file *file)
{
	return ((const struct local_file *)file)->fd;
}

static unsigned local_can(const struct side *side)
{
	return SIDE_CAN_INODE | SIDE_CAN_NANOSECONDS | SIDE_CAN_REPLACE | SIDE_CAN_LINK |
	       SIDE_CAN_SET_LINK | SIDE_CAN_FSYNC | SIDE_CAN_HOLES | SIDE_CAN_COPY_DATA;
}

/* --- the root ----------------------------------------------------------------------------- */

static int local_connect(struct side *side, struct why *why)
{
	struct local *local = local_of(side);
	struct stat st;
	CLEANUP(fd_close) int root = open(local->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || fstat(root, &st) < 0) {
		return why_error(why, -errno, "cannot open the directory %s: %s", local->path,
			strerror(errno));
	}
	if (local->root >= 0 && st.st_dev == local->dev && st.st_ino == local->ino) {
		return 0;
	}
	fd_close(&local->root);
	local->root = STEAL_FD(root);
	local->dev = st.st_dev;
	local->ino = st.st_ino;
	side->epoch++;
	return 0;
}

static void local_destroy(struct side *side)
{
	struct local *local = local_of(side);
	fd_close(&local->root);
	free(local->path);
	free(local);
}

/* --- from a path to a directory and a name ------------------------------------------------ */

/* One component as a directory.  Tells a symlink (ELOOP) from other things (ENOTDIR). */
static int open_step(int dir, struct span name, int flags)
{
	char text[256];
	struct stat st;
	if (name.len >= sizeof(text)) {
		return -ENAMETOOLONG;
	}
	memcpy(text, name.data, name.len);
	text[name.len] = '\0';
	int fd = openat(dir, text, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0) {
		return fd;
	}
	int error = -errno;
	if (error == -ENOTDIR && fstatat(dir, text, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		S_ISLNK(st.st_mode)) {
		return -ELOOP;
	}
	return error;
}

/* Component by component; on failure *ret_bad_len says how much of rel names the bad one. */
static int open_steps(struct local *local, struct span rel, int flags, size_t *ret_bad_len)
{
	struct span rest = rel, name;
	CLEANUP(fd_close) int dir = openat(local->root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		return -errno;
	}
	while (path_next(&rest, &name)) {
		int fd = open_step(dir, name, rest.len ? O_PATH : flags);
		if (fd < 0) {
			*ret_bad_len = (size_t)(name.data + name.len - rel.data);
			return fd;
		}
		fd_close(&dir);
		dir = fd;
	}
	return rel.len ? STEAL_FD(dir) : openat(local->root, ".", flags | O_DIRECTORY | O_CLOEXEC);
}

/* The directory rel itself, beneath the root, without symlinks on the way. */
static int open_directory(struct local *local, struct span rel, int flags)
{
	char text[PATH_MAX];
	size_t bad_len;
	struct open_how how = {.flags = (uint64_t)(flags | O_DIRECTORY | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	if (rel.len >= sizeof(text) || local->no_openat2) {
		return open_steps(local, rel, flags, &bad_len);
	}
	memcpy(text, rel.len ? rel.data : ".", rel.len ? rel.len : 1);
	text[rel.len ? rel.len : 1] = '\0';
	long fd = syscall(SYS_openat2, local->root, text, &how, sizeof(how));
	if (fd >= 0) {
		return (int)fd;
	}
	if (errno == ENOSYS || errno == EPERM) {
		local->no_openat2 =
			true; /* an old kernel, or a sandbox that does not know the call */
		return open_steps(local, rel, flags, &bad_len);
	}
	return -errno;
}

static int local_ready(struct local *local, struct why *why)
{
	return local->root >= 0 ? 0 : local_connect(&local->side, why);
}

/* Where rel's parent is, and its name as C string. */
static int local_place(struct side *side, struct span rel, struct place *ret, struct why *why)
{
	struct span name = path_name(rel);
	int r = local_ready(local_of(side), why);
	if (r < 0) {
		return r;
	}
	if (name.len >= sizeof(ret->name)) {
		return side_error(why, -ENAMETOOLONG, "use", rel);
	}
	memcpy(ret->name, rel.len ? name.data : ".", rel.len ? name.len : 1);
	ret->name[rel.len ? name.len : 1] = '\0';
	ret->dir = open_directory(local_of(side), path_parent(rel), O_PATH);
	if (ret->dir < 0) {
		return side_error(why, ret->dir, "reach", path_parent(rel));
	}
	return 0;
}

static int local_check(struct side *side, struct span rel, size_t *ret_bad_len, struct why *why)
{
	int r = local_ready(local_of(side), why);
	if (r < 0) {
		return r;
	}
	CLEANUP(fd_close) int dir = open_directory(local_of(side), rel, O_PATH);
	if (dir < 0) {
		dir = open_steps(local_of(side), rel, O_PATH, ret_bad_len);
	}
	return dir < 0 ? side_error(why, dir, "enter", span_of(rel.data, *ret_bad_len)) : 0;
}

/* --- looking ------------------------------------------------------------------------------ */

static enum side_type type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return SIDE_FILE;
	case S_IFDIR:
		return SIDE_DIRECTORY;
	case S_IFLNK:
		return SIDE_SYMLINK;
	default:
		return SIDE_OTHER;
	}
}

static int64_t nanoseconds(struct timespec time)
{
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void attr_of(const struct stat *st, struct side_attr *ret)
{
	*ret = (struct side_attr){
		.type = type_of(st->st_mode),
		.mode = st->st_mode & 07777,
		.size_bytes = (uint64_t)st->st_size,
		.mtime_ns = nanoseconds(st->st_mtim),
		.has_owner = true,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.has_inode = true,
		.dev = st->st_dev,
		.ino = st->st_ino,
		.nlink = st->st_nlink,
		.allocated_bytes = (uint64_t)st->st_blocks * 512,
		.ctime_ns = nanoseconds(st->st_ctim),
	};
}

static int local_group_name(struct side *side, uint32_t gid, struct buf *ret, struct why *why)
{
	struct group entry, *found = NULL;
	CLEANUP(buf_finish) struct buf memory = BUF_EMPTY;
	size_t size = 1024;
	int r;
	(void)side;
	(void)why;
	do {
		size *= 2;
		buf_clear(&memory);
		char *room = buf_reserve(&memory, size);
		r = room ? getgrgid_r(gid, &entry, room, size, &found) : ENOMEM;
	} while (r == ERANGE);
	if (r == 0 && found) {
		buf_add_str(ret, entry.gr_name);
	}
	return r == ENOMEM ? -ENOMEM : 0;
}

static int local_lstat(struct side *side, struct span rel, struct side_attr *ret, struct why *why)
{
	struct stat st;
	CLEANUP(place_finish) struct place place = PLACE_NONE;
	int r = local_place(side, rel, &place, why);
	if (r < 0) {
		return r;
	}
	if (fstatat(place.dir, place.name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0) {
		return side_error(why, -errno, "look at", rel);
	}
	attr_of(&st, ret);
	return 0;
}

/* Reading must not change the access time, where the file is ours. */
static int open_quietly(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, flags | O_NOATIME | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EPERM) {
		fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

static void dir_close(DIR **dir)
{
	if (*dir) {
		closedir(*dir);
	}
}

static int list_entries(DIR *dir, struct side_list *list)
{
	size_t room = 0;
	struct dirent *entry;
	struct stat st;
	struct side_attr attr;
	while (errno = 0, (entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) {
			continue;
		}
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) <
			0) {
			if (errno == ENOENT) {
				continue; /* gone since it was read */
			}
			return -errno;
		}
		attr_of(&st, &attr);
		int r = side_listing_add(list, &room, span_str(entry->d_name), &attr);
		if (r < 0) {
			return r;
		}
	}
	return -errno;
}

static int local_list(struct side *side, struct span rel, struct side_list *ret, struct why *why)
{
	int r = local_ready(local_of(side), why);
	if (r < 0) {
		return r;
	}
	CLEANUP(fd_close) int path = open_directory(local_of(side), rel, O_PATH);
	CLEANUP(fd_close)
	int fd = path < 0 ? path : open_quietly(path, ".", O_RDONLY | O_DIRECTORY);
	if (fd < 0) {
		return side_error(why, fd, "list", rel);
	}
	CLEANUP(dir_close) DIR *dir = fdopendir(fd);
	if (!dir) {
		return side_error(why, -errno, "list", rel);
	}
	STEAL_FD(fd);
	r = list_entries(dir, ret);
	if (r < 0) {
		return side_error(why, r, "list", rel);
	}
	side_listing_done(ret);
	return 0;
}

/* --- reading a file ----------------------------------------------------------------------- */

static int file_create(struct side *side, int *fd, struct side_file **ret)
{
	struct local_file *file = malloc(sizeof(*file));
	if (!file) {
		return -ENOMEM;
	}
	file->file.side = side;
	file->fd = STEAL_FD(*fd);
	*ret = &file->file;
	return 0;
}

static int local_open(struct side *side, struct span rel, struct side_file **ret,
	struct side_attr *ret_attr, struct why *why)
{
	struct stat st;
	CLEANUP(place_finish) struct place place = PLACE_NONE;
	int r = local_place(side, rel, &place, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(fd_close)
	int fd = open_quietly(place.dir, place.name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0) {
		return side_error(why, fd < 0 ? fd : -errno, "open", rel);
	}
	if (!S_ISREG(st.st_mode)) {
		return side_error(why, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL, "read", rel);
	}
	attr_of(&st, ret_attr);
	return file_create(side, &fd, ret);
}

static int local_read(struct side_file *file, uint64_t offset, void *buffer, size_t size_bytes,
	size_t *ret_len, struct why *why)
{
	size_t done = 0;
	while (done < size_bytes) {
		ssize_t n = pread(fd_of(file), (char *)buffer + done, size_bytes - done,
			(off_t)(offset + done));
		if (n < 0 && errno != EINTR) {
			return why_error(why, -errno, "read: %s", strerror(errno));
		}
		if (n == 0) {
			break;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	*ret_len = done;
	return 0;
}

static int local_file_attr(struct side_file *file, struct side_attr *ret, struct why *why)
{
	struct stat st;
	if (fstat(fd_of(file), &st) < 0) {
		return why_error(why, -errno, "look at an open file: %s", strerror(errno));
	}
	attr_of(&st, ret);
	return 0;
}

static int local_next_data(struct side_file *file, uint64_t offset, uint64_t *ret_begin,
	uint64_t *ret_end, struct why *why)
{
	struct stat st;
	off_t begin = lseek(fd_of(file), (off_t)offset, SEEK_DATA);
	off_t end = begin < 0 ? -1 : lseek(fd_of(file), begin, SEEK_HOLE);
	if (end >= 0) {
		*ret_begin = (uint64_t)begin;
		*ret_end = (uint64_t)end;
		return 0;
	}
	if (errno != EINVAL && errno != EOPNOTSUPP) {
		return errno == ENXIO
			       ? -ENXIO
			       : why_error(why, -errno, "look for data: %s", strerror(errno));
	}
	if (fstat(fd_of(file), &st) < 0) { /* a file system without SEEK_DATA: all is data */
		return why_error(why, -errno, "look for data: %s", strerror(errno));
	}
	*ret_begin = offset;
	*ret_end = (uint64_t)st.st_size;
	return offset < *ret_end ? 0 : -ENXIO;
}

/* --- writing a file ----------------------------------------------------------------------- */

static int local_make(struct side *side, struct span rel, struct side_file **ret, struct why *why)
{
	CLEANUP(place_finish) struct place place = PLACE_NONE;
	int r = local_place(side, rel, &place, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(fd_close)
	int fd = openat(
		place.dir, place.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		return side_error(why, -errno, "make", rel);
	}
	return file_create(side, &fd, ret);
}

static int local_write(struct side_file *file, uint64_t offset, const void *data, size_t size_bytes,
	struct why *why)
{
	size_t done = 0;
	while (done < size_bytes) {
		ssize_t n = pwrite(fd_of(file), (const char *)data + done, size_bytes - done,
			(off_t)(offset + done));
		if (n < 0 && errno != EINTR) {
			return why_error(why, -errno, "write: %s", strerror(errno));
		}
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* copy_file_range() makes a reflink by itself where the file system can. */
static int local_copy_data(struct side_file *from, uint64_t from_offset, uint64_t size_bytes,
	struct side_file *to, uint64_t to_offset, struct why *why)
{
	off_t in = (off_t)from_offset, out = (off_t)to_offset;
	uint64_t left = size_bytes;
	while (left) {
		size_t step = left < (1U << 30) ? (size_t)left : 1U << 30;
		ssize_t n = copy_file_range(fd_of(from), &in, fd_of(to), &out, step, 0);
		if (n == 0) {
			return -ENODATA; /* the source ends here, or lies: reading tells */
		}
		if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS ||
				     errno == EOPNOTSUPP || errno == EPERM)) {
			return -EOPNOTSUPP;
		}
		if (n < 0 && errno != EINTR) {
			return why_error(why, -errno, "copy: %s", strerror(errno));
		}
		left -= n > 0 ? (uint64_t)n : 0;
	}
	return 0;
}

static int local_copy_range(struct side_file *from, struct side_file *to, uint64_t offset,
	uint64_t size_bytes, struct why *why)
{
	int r = local_copy_data(from, offset, size_bytes, to, offset, why);
	return r == -ENODATA ? -EOPNOTSUPP : r;
}

/* Not ours to give away: neither to that user, nor to that group. */
static int owner_refused(struct side *side, const struct side_attr *attr)
{
	if (errno != EPERM && errno != EINVAL) {
		return -errno;
	}
	side_refuse_group(side, attr->gid);
	return 0;
}

static int set_owner(struct side *side, int fd, const struct side_attr *attr)
{
	if (fchown(fd, attr->uid, attr->gid) == 0 || fchown(fd, (uid_t)-1, attr->gid) == 0) {
		return 0;
	}
	return owner_refused(side, attr);
}

static struct timespec mtime_of(const struct side_attr *attr)
{
	int64_t seconds = attr->mtime_ns / 1000000000, rest = attr->mtime_ns % 1000000000;
	if (rest < 0) {
		rest += 1000000000;
		seconds--;
	}
	return (struct timespec){.tv_sec = seconds, .tv_nsec = rest};
}

/* Owner before mode: chown takes set-id bits away.  Time last: all else changes it. */
static int complete_fd(struct side *side, int fd, const struct side_attr *attr, bool sync)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime_of(attr)};
	if (ftruncate(fd, (off_t)attr->size_bytes) < 0) {
		return -errno;
	}
	int r = attr->has_owner ? set_owner(side, fd, attr) : 0;
	if (r < 0) {
		return r;
	}
	if (fchmod(fd, attr->mode) < 0 || futimens(fd, times) < 0 || (sync && fsync(fd) < 0)) {
		return -errno;
	}
	return 0;
}

static int local_complete(
	struct side_file *side_file, const struct side_attr *attr, bool sync, struct why *why)
{
	struct local_file *file = (struct local_file *)side_file;
	int r = complete_fd(side_file->side, file->fd, attr, sync);
	if (close(file->fd) < 0 && r == 0 && errno != EINTR) {
		r = -errno;
	}
	free(file);
	return r < 0 ? why_error(why, r, "complete a file: %s", strerror(-r)) : 0;
}

static void local_close(struct side_file *side_file)
{
	struct local_file *file = (struct local_file *)side_file;
	fd_close(&file->fd);
	free(file);
}

/* --- extended attributes ------------------------------------------------------------------ */

/* What an ordinary user can give and what belongs to the file, not to the machine. */
static bool xattr_is_ours(const char *name)
{
	return !strncmp(name, "user.", 5) || !strcmp(name, "system.posix_acl_access") ||
	       !strcmp(name, "system.posix_acl_default");
}

static bool xattr_unknown(int error)
{
	return error == ENOTSUP || error == EPERM || error == EACCES;
}

/* The names, each with its NUL; empty where the file system has none. */
static int xattr_names(int fd, struct buf *ret)
{
	for (;;) {
		ssize_t size = flistxattr(fd, NULL, 0);
		char *room = size > 0 ? buf_reserve(ret, (size_t)size) : NULL;
		if (size <= 0) {
			return size == 0 || xattr_unknown(errno) ? 0 : -errno;
		}
		if (!room) {
			return -ENOMEM;
		}
		ssize_t got = flistxattr(fd, room, (size_t)size);
		if (got >= 0) {
			ret->len = (size_t)got;
			return 0;
		}
		if (errno != ERANGE) {
			return -errno;
		}
	}
}

static int xattr_copy_one(int from, int to, const char *name)
{
	CLEANUP(buf_finish) struct buf value = BUF_EMPTY;
	ssize_t size = fgetxattr(from, name, NULL, 0);
	char *room = size >= 0 ? buf_reserve(&value, (size_t)size) : NULL;
	ssize_t got = room ? fgetxattr(from, name, room, (size_t)size) : -1;
	if (got < 0) {
		return size >= 0 && !room                         ? -ENOMEM
		       : errno == ENODATA || xattr_unknown(errno) ? 0
								  : -errno;
	}
	if (fsetxattr(to, name, room, (size_t)got, 0) < 0 && !xattr_unknown(errno)) {
		return -errno;
	}
	return 0;
}

static bool names_have(const struct buf *names, const char *name)
{
	for (size_t at = 0; at < names->len; at += strlen(names->data + at) + 1) {
		if (!strcmp(names->data + at, name)) {
			return true;
		}
	}
	return false;
}

static int xattr_copy(int from, int to)
{
	CLEANUP(buf_finish) struct buf have = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf old = BUF_EMPTY;
	int r = xattr_names(from, &have);
	r = r < 0 ? r : xattr_names(to, &old);
	for (size_t at = 0; r == 0 && at < have.len; at += strlen(have.data + at) + 1) {
		if (xattr_is_ours(have.data + at)) {
			r = xattr_copy_one(from, to, have.data + at);
		}
	}
	/* A default ACL of the parent may have given the copy more than the original has. */
	for (size_t at = 0; r == 0 && at < old.len; at += strlen(old.data + at) + 1) {
		const char *name = old.data + at;
		if (xattr_is_ours(name) && !names_have(&have, name) && fremovexattr(to, name) < 0 &&
			errno != ENODATA && !xattr_unknown(errno)) {
			r = -errno;
		}
	}
	return r;
}

static int local_copy_xattrs(struct side_file *from, struct side_file *to, struct why *why)
{
	int r = xattr_copy(fd_of(from), fd_of(to));
	return r < 0 ? why_error(why, r, "copy extended attributes: %s", strerror(-r)) : 0;
}

static int local_copy_xattrs_at(struct side *from, struct span from_rel, struct side *to,
	struct span to_rel, struct why *why)
{
	CLEANUP(place_finish) struct place old = PLACE_NONE;
	CLEANUP(place_finish) struct place new = PLACE_NONE;
	const int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY;
	int r = local_place(from, from_rel, &old, why);
	r = r < 0 ? r : local_place(to, to_rel, &new, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(fd_close) int in = open_quietly(old.dir, old.name, flags);
	if (in < 0) {
		return side_error(why, in, "read extended attributes of", from_rel);
	}
	CLEANUP(fd_close) int out = open_quietly(new.dir, new.name, flags);
	if (out < 0) {
		return side_error(why, out, "set extended attributes of", to_rel);
	}
	r = xattr_copy(in, out);
	return r < 0 ? side_error(why, r, "copy extended attributes to", to_rel) : 0;
}

/* --- names -------------------------------------------------------------------------------- */

static int local_mkdir(struct side *side, struct span rel, uint32_t mode, struct why *why)
{
	CLEANUP(place_finish) struct place place = PLACE_NONE;
	int r = local_place(side, rel, &place, why);
	if (r < 0) {
		return r;
	}
	if (mkdirat(place.dir, place.name, mode) < 0 ||
		fchmodat(place.dir, place.name, mode, AT_SYMLINK_NOFOLLOW) < 0) { /* umask */
		return side_error(why, -errno, "make directory", rel);
	}
	return 0;
}

static int remove_name(struct side *side, struct span rel, int flags, struct why *why)
{
	CLEANUP(place_finish) struct place place = PLACE_NONE;
	int r = local_place(side, rel, &place, why);
	if (r < 0) {
		return r;
	}
	if (unlinkat(place.dir, place.name, flags) < 0) {
		return side_error(why, -errno, flags ? "remove directory" : "remove", rel);
	}
	return 0;
}

static int local_rmdir(struct side *side, struct span rel, struct why *why)
{
	return remove_name(side, rel, AT_REMOVEDIR, why);
}

static int local_unlink(struct side *side, struct span rel, struct why *why)
{
	return remove_name(side, rel, 0, why);
}

static int local_rename(struct side *side, struct span from, struct span to, struct why *why)
{
	CLEANUP(place_finish) struct place old = PLACE_NONE;
	CLEANUP(place_finish) struct place new = PLACE_NONE;
	int r = local_place(side, from, &old, why);
	r = r < 0 ? r : local_place(side, to, &new, why);
	if (r < 0) {
		return r;
	}
	if (renameat(old.dir, old.name, new.dir, new.name) < 0) {
		return side_error(why, -errno, "rename to", to);
	}
	return 0;
}

/* Where the file system knows no RENAME_NOREPLACE: as SFTP servers do it. */
static int rename_by_link(const struct place *old, const struct place *new)
{
	if (linkat(old->dir, old->name, new->dir, new->name, 0) < 0) {
		return -errno;
	}
	(void)unlinkat(old->dir, old->name, 0);
	return 0;
}

static int local_rename_new(struct side *side, struct span from, struct span to, struct why *why)
{
	CLEANUP(place_finish) struct place old = PLACE_NONE;
	CLEANUP(place_finish) struct place new = PLACE_NONE;
	int r = local_place(side, from, &old, why);
	r = r < 0 ? r : local_place(side, to, &new, why);
	if (r < 0) {
		return r;
	}
	if (renameat2(old.dir, old.name, new.dir, new.name, RENAME_NOREPLACE) < 0) {
		r = errno == EINVAL || errno == ENOSYS ? rename_by_link(&old, &new) : -errno;
	}
	return r < 0 ? side_error(why, r, "rename to", to) : 0;
}

static int local_link(struct side *side, struct span from, struct span to, struct why *why)
{
	CLEANUP(place_finish) struct place old = PLACE_NONE;
	CLEANUP(place_finish) struct place new = PLACE_NONE;
	int r = local_place(side, from, &old, why);
	r = r < 0 ? r : local_place(side, to, &new, why);
	if (r < 0) {
		return r;
	}
	if (linkat(old.dir, old.name, new.dir, new.name, 0) < 0) {
		return side_error(why, -errno, "link to", to);
	}
	return 0;
}

static int local_symlink(struct side *side, struct span text, struct span rel, struct why *why)
{
	CLEANUP(place_finish) struct place place = PLACE_NONE;
	CLEANUP(free_p) char *target = strndup(text.data, text.len);
	int r = target ? local_place(side, rel, &place, why) : -ENOMEM;
	if (r < 0) {
		return r;
	}
	if (symlinkat(target, place.dir, place.name) < 0) {
		return side_error(why, -errno, "make symlink", rel);
	}
	return 0;
}

static int local_readlink(
	struct side *side, struct span rel, char **ret, size_t *ret_len, struct why *why)
{
	char text[PATH_MAX];
	CLEANUP(place_finish) struct place place = PLACE_NONE;
	int r = local_place(side, rel, &place, why);
	if (r < 0) {
		return r;
	}
	ssize_t len = readlinkat(place.dir, place.name, text, sizeof(text));
	if (len < 0) {
		return side_error(why, -errno, "read symlink", rel);
	}
	*ret = strndup(text, (size_t)len);
	*ret_len = (size_t)len;
	return *ret ? 0 : -ENOMEM;
}

static int set_owner_at(struct side *side, const struct place *place, const struct side_attr *attr)
{
	const int flags = AT_SYMLINK_NOFOLLOW;
	if (fchownat(place->dir, place->name, attr->uid, attr->gid, flags) == 0 ||
		fchownat(place->dir, place->name, (uid_t)-1, attr->gid, flags) == 0) {
		return 0;
	}
	return owner_refused(side, attr);
}

/* A symlink has no mode of its own: fchmodat() says so, and that is fine. */
static int set_mode_at(const struct place *place, const struct side_attr *attr)
{
	if (fchmodat(place->dir, place->name, attr->mode, AT_SYMLINK_NOFOLLOW) == 0 ||
		errno == EOPNOTSUPP) {
		return 0;
	}
	return -errno;
}

static int local_set(struct side *side, struct span rel, const struct side_attr *attr,
	unsigned what, struct why *why)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, mtime_of(attr)};
	CLEANUP(place_finish) struct place place = PLACE_NONE;
	int r = local_place(side, rel, &place, why);
	if (r < 0) {
		return r;
	}
	r = what & SIDE_SET_OWNER ? set_owner_at(side, &place, attr) : 0;
	r = r == 0 && what & SIDE_SET_MODE ? set_mode_at(&place, attr) : r;
	if (r == 0 && what & SIDE_SET_MTIME &&
		utimensat(place.dir, place.name, times, AT_SYMLINK_NOFOLLOW) < 0) {
		r = -errno;
	}
	return r < 0 ? side_error(why, r, "set attributes of", rel) : 0;
}

static const struct side_ops local_ops = {
	.can = local_can,
	.remote = false,
	.destroy = local_destroy,
	.group_name = local_group_name,
	.connect = local_connect,
	.lstat = local_lstat,
	.check = local_check,
	.list = local_list,
	.open = local_open,
	.read = local_read,
	.next_data = local_next_data,
	.file_attr = local_file_attr,
	.make = local_make,
	.write = local_write,
	.copy_range = local_copy_range,
	.copy_data = local_copy_data,
	.copy_xattrs = local_copy_xattrs,
	.copy_xattrs_at = local_copy_xattrs_at,
	.complete = local_complete,
	.close = local_close,
	.mkdir = local_mkdir,
	.rmdir = local_rmdir,
	.unlink = local_unlink,
	.rename = local_rename,
	.rename_new = local_rename_new,
	.link = local_link,
	.symlink = local_symlink,
	.readlink = local_readlink,
	.set = local_set,
};

int side_create_local(const struct location *location, struct side **ret, struct why *why)
{
	struct local *local = calloc(1, sizeof(*local));
	if (!local || !(local->path = strdup(location->path))) {
		free(local);
		return -ENOMEM;
	}
	local->side.ops = &local_ops;
	local->root = -1;
	*ret = &local->side;
	return 0;
}
