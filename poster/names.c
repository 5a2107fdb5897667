/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent directory is opened (O_PATH, symlinks followed) and the kernel's name of it read from
 * /proc/self/fd; the last component is added as it is.  So ".." and symlinks on the way mean what
 * they meant to the program, and one look-up does it.  Where the parent is gone, its own parent is
 * tried, and so on up; what could not be opened is appended by its text.  The directory that a
 * relative path starts from is the kernel's word already and taken as it is.
 *
 * Directories are opened in pieces of less than PATH_MAX, so that longer names work as well.
 */
#include "poster/names.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/path.h"

#define LINKS_MAX 8 /* symlinks as last component, one behind the other */
#define PIECE_MAX (PATH_MAX - 256)

struct root {
	struct span source; /* as configured */
	struct buf found;   /* canonical */
	bool there;
	bool all_devices; /* its st_dev says little */
	uint64_t dev;
};

struct names {
	const struct config *config;
	struct root *roots; /* one per tree */
};

/* ---- the kernel's view ------------------------------------------------------------------- */

/*
 * Opens what path leads to from *at, piece by piece, and puts it there instead.  resolve: flags of
 * openat2().  Returns 0 or -errno.
 */
static int descend(int *at, struct span path, uint64_t resolve)
{
	const struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = resolve};
	char piece[PATH_MAX];
	struct span rest = path, name;
	size_t used = 0;
	for (bool more = path_next(&rest, &name); more;) {
		if (name.len > NAME_MAX) {
			return -ENAMETOOLONG;
		}
		memcpy(piece + used, name.data, name.len);
		used += name.len;
		piece[used] = '\0';
		more = path_next(&rest, &name);
		if (more && used < PIECE_MAX) {
			piece[used++] = '/';
			continue;
		}
		int next = (int)syscall(SYS_openat2, *at, piece, &how, sizeof(how));
		if (next < 0) {
			return -errno;
		}
		fd_close(at);
		*at = next;
		used = 0;
	}
	return 0;
}

/* Opens the directory path below fixed.  Returns a descriptor or -errno. */
static int open_directory(struct span fixed, struct span path)
{
	CLEANUP(fd_close) int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = at < 0 ? -errno : descend(&at, fixed, RESOLVE_NO_SYMLINKS);
	if (r == 0) {
		r = descend(&at, path, 0);
	}
	return r < 0 ? r : STEAL_FD(at);
}

/* Appends the kernel's name of an open directory.  Returns 0 or -errno. */
static int name_of(int fd, struct buf *ret)
{
	char link[64], text[PATH_MAX + 64];
	struct stat st;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, text, sizeof(text));
	if (len < 0) {
		return -errno;
	}
	if (text[0] != '/' || fstat(fd, &st) < 0 || st.st_nlink == 0) {
		return -ENOENT;
	}
	buf_add(ret, span_of(text, (size_t)len));
	return ret->failed ? -ENOMEM : 0;
}

/*
 * Appends the name of the deepest directory above or at path (below fixed) that exists, and sets
 * *ret_rest to what of the path lies below it.  Returns 0 or -errno.
 */
static int name_of_deepest(
	struct span fixed, struct span path, struct buf *ret, struct span *ret_rest)
{
	struct span above = path;
	for (;;) {
		if (fixed.len && !above.len) {
			*ret_rest = path;
			buf_add(ret, fixed);
			return ret->failed ? -ENOMEM : 0;
		}
		CLEANUP(fd_close) int fd = open_directory(fixed, above);
		int r = fd < 0 ? fd : name_of(fd, ret);
		if (r >= 0) {
			*ret_rest = span_skip(path, above.len);
			return 0;
		}
		if (r == -ENOMEM || !above.len) {
			return r;
		}
		above = path_parent(above);
	}
}

int names_stat(struct span path, struct stat *ret)
{
	char name[NAME_MAX + 1];
	struct span last = path_name(path);
	if (last.len > NAME_MAX) {
		return -ENAMETOOLONG;
	}
	CLEANUP(fd_close) int parent = open_directory(SPAN_NONE, path_parent(path));
	if (parent < 0) {
		return parent;
	}
	memcpy(name, last.len ? last.data : ".", last.len ? last.len : 1);
	name[last.len ? last.len : 1] = '\0';
	return fstatat(parent, name, ret, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* ---- names ------------------------------------------------------------------------------- */

static struct span without_slashes(struct span path)
{
	while (path.len > 1 && path.data[path.len - 1] == '/') {
		path.len--;
	}
	return path;
}

/* Appends the text of the symlink `last`; -EINVAL where it is none. */
static int link_text_at(int parent, struct span last, struct buf *ret)
{
	char name[NAME_MAX + 1], text[PATH_MAX];
	memcpy(name, last.data, last.len);
	name[last.len] = '\0';
	ssize_t len = readlinkat(parent, name, text, sizeof(text));
	if (len < 0) {
		return -errno;
	}
	buf_add(ret, span_of(text, (size_t)len));
	return ret->failed ? -ENOMEM : 0;
}

static int link_text(struct span directory, struct span last, struct buf *ret)
{
	CLEANUP(fd_close) int fd = open_directory(directory, SPAN_NONE);
	return fd < 0 ? fd : link_text_at(fd, last, ret);
}

int names_readlink(struct span path, struct buf *ret)
{
	struct span last = path_name(path);
	if (!last.len || last.len > NAME_MAX) {
		return -EINVAL;
	}
	CLEANUP(fd_close) int parent = open_directory(SPAN_NONE, path_parent(path));
	return parent < 0 ? parent : link_text_at(parent, last, ret);
}

/* An absolute path as it is, but /proc/self and /dev/fd are those of the program, not ours. */
static void add_absolute(struct buf *whole, struct span path, uint32_t pid)
{
	static const struct {
		const char *own, *below;
	} special[] = {{"/proc/self", ""}, {"/proc/thread-self", ""}, {"/dev/fd", "/fd"},
		{"/dev/stdin", "/fd/0"}, {"/dev/stdout", "/fd/1"}, {"/dev/stderr", "/fd/2"}};
	struct span rel;
	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
		if (path_below(path, span_str(special[i].own), &rel)) {
			buf_printf(whole, "/proc/%u%s/", pid, special[i].below);
			buf_add(whole, rel);
			return;
		}
	}
	buf_add(whole, path);
}

/* Both together, by their text. */
static int textual(struct span fixed, struct span path, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf whole = BUF_EMPTY;
	path_join(&whole, fixed, path);
	return whole.failed ? -ENOMEM : path_normalise(ret, buf_span(&whole));
}

/*
 * The canonical name of a path, appended to ret.  It starts from fixed, a name that the kernel
 * gave: should a symlink have that name by now, it is not what was meant.  Or fixed is empty and
 * the path absolute.
 */
static int canonical(
	struct span fixed, struct span path, bool follow, unsigned links, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf target = BUF_EMPTY;
	path = without_slashes(path);
	struct span last = path_name(path), rest;
	if (span_equal(last, SPAN(".")) || span_equal(last, SPAN(".."))) {
		last = SPAN("");
	}
	struct span parent = last.len ? path_parent(path) : path;
	int r = name_of_deepest(fixed, parent, &name, &rest);
	if (r < 0) {
		return r == -ENOMEM ? r : textual(fixed, path, ret);
	}
	if (follow && links < LINKS_MAX && !rest.len && last.len && last.len <= NAME_MAX &&
		link_text(buf_span(&name), last, &target) == 0 && target.len) {
		bool absolute = target.data[0] == '/';
		return canonical(absolute ? SPAN_NONE : buf_span(&name), buf_span(&target), true,
			links + 1, ret);
	}
	buf_add_char(&name, '/');
	buf_add(&name, rest);
	buf_add_char(&name, '/');
	buf_add(&name, last);
	return name.failed ? -ENOMEM : path_normalise(ret, buf_span(&name));
}

/* The tree below whose root the canonical name lies, the deepest; NULL: none. */
static const struct root *root_of(const struct names *names, struct span name, struct span *ret_rel)
{
	const struct root *best = NULL;
	for (size_t i = 0; i < names->config->tree_count; i++) {
		const struct root *root = &names->roots[i];
		struct span rel;
		if (path_below(name, buf_span(&root->found), &rel) &&
			(!best || root->found.len > best->found.len)) {
			best = root;
			*ret_rel = rel;
		}
	}
	return best;
}

/* Says a canonical name in the words of the configuration. */
static int add_configured(const struct names *names, struct span name, struct buf *ret)
{
	struct span rel;
	const struct root *root = root_of(names, name, &rel);
	if (root) {
		path_join(ret, root->source, rel);
	} else {
		buf_add(ret, name);
	}
	return ret->failed ? -ENOMEM : 0;
}

int names_find(const struct names *names, struct span dir, struct span path, bool follow,
	uint32_t pid, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf absolute = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	bool relative = !path.len || path.data[0] != '/';
	if (!relative) {
		add_absolute(&absolute, path, pid);
	}
	if (absolute.failed) {
		return -ENOMEM;
	}
	struct span fixed = relative ? dir : SPAN_NONE;
	struct span from = relative ? path : buf_span(&absolute);
	if ((relative && (!dir.len || dir.data[0] != '/')) ||
		(dir.len && memchr(dir.data, '\0', dir.len)) ||
		(from.len && memchr(from.data, '\0', from.len))) {
		return -EINVAL;
	}
	int r = canonical(fixed, from, follow, 0, &name);
	return r < 0 ? r : add_configured(names, buf_span(&name), ret);
}

int names_text(const struct names *names, struct span dir, struct span path, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	bool relative = !path.len || path.data[0] != '/';
	int r = textual(relative ? dir : SPAN_NONE, path, &name);
	return r < 0 ? r : add_configured(names, buf_span(&name), ret);
}

const struct tree *names_tree(const struct names *names, struct span path)
{
	struct span rel;
	const struct tree *tree = config_tree(names->config, path, &rel);
	return tree && !tree_excludes(tree, rel) ? tree : NULL;
}

/* ---- roots and devices ------------------------------------------------------------------- */

int names_create(const struct config *config, struct names **ret)
{
	struct names *names = calloc(1, sizeof(*names));
	struct root *roots = calloc(config->tree_count + 1, sizeof(*roots));
	if (!names || !roots) {
		free(names);
		free(roots);
		return -ENOMEM;
	}
	names->config = config;
	names->roots = roots;
	for (size_t i = 0; i < config->tree_count; i++) {
		roots[i].source = span_str(config->trees[i].source.path);
	}
	int r = names_refresh(names);
	if (r < 0) {
		names_destroy(names);
		return r;
	}
	*ret = names;
	return 0;
}

void names_destroy(struct names *names)
{
	if (!names) {
		return;
	}
	for (size_t i = 0; i < names->config->tree_count; i++) {
		buf_finish(&names->roots[i].found);
	}
	free(names->roots);
	free(names);
}

static bool devices_say_little(int fd)
{
	struct statfs fs;
	return fstatfs(fd, &fs) < 0 || fs.f_type == BTRFS_SUPER_MAGIC ||
	       fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

int names_refresh(struct names *names)
{
	for (size_t i = 0; i < names->config->tree_count; i++) {
		struct root *root = &names->roots[i];
		CLEANUP(fd_close) int fd = open_directory(SPAN_NONE, root->source);
		struct stat st;
		buf_clear(&root->found);
		int r = canonical(SPAN_NONE, root->source, true, 0, &root->found);
		if (r < 0) {
			return r;
		}
		root->there = fd >= 0 && fstat(fd, &st) == 0;
		root->dev = root->there ? st.st_dev : 0;
		root->all_devices = !root->there || devices_say_little(fd);
	}
	return 0;
}

/* Adds what is not there yet; false: no room. */
static bool add_device(uint64_t *devices, size_t *count, uint64_t dev)
{
	for (size_t i = 0; i < *count; i++) {
		if (devices[i] == dev) {
			return true;
		}
	}
	if (*count == NAMES_DEVICES_MAX) {
		return false;
	}
	devices[(*count)++] = dev;
	return true;
}

/* The kernel writes blank, tab, newline and backslash as \ooo. */
static void unescape(const char *text, struct buf *ret)
{
	for (; *text; text++) {
		unsigned byte;
		if (text[0] == '\\' && sscanf(text + 1, "%3o", &byte) == 1) {
			buf_add_char(ret, (char)byte);
			text += 3;
		} else {
			buf_add_char(ret, *text);
		}
	}
}

/* The device of one line of mountinfo, if it is mounted below one of the roots. */
static bool mount_below(const struct names *names, const char *line, uint64_t *ret_dev)
{
	unsigned high, low;
	char point[2 * PATH_MAX];
	struct span rel;
	if (sscanf(line, "%*u %*u %u:%u %*s %8191s", &high, &low, point) != 3) {
		return false;
	}
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	unescape(point, &path);
	*ret_dev = makedev(high, low);
	return !path.failed && root_of(names, buf_span(&path), &rel);
}

void names_devices(
	const struct names *names, uint64_t devices[NAMES_DEVICES_MAX], size_t *ret_count)
{
	size_t count = 0, line_room = 0;
	CLEANUP(free_p) char *line = NULL;
	*ret_count = 0;
	for (size_t i = 0; i < names->config->tree_count; i++) {
		const struct root *root = &names->roots[i];
		if (root->all_devices || !add_device(devices, &count, root->dev)) {
			return;
		}
	}
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	bool room = mounts;
	while (room && getline(&line, &line_room, mounts) > 0) {
		uint64_t dev;
		room = !mount_below(names, line, &dev) || add_device(devices, &count, dev);
	}
	if (mounts) {
		(void)fclose(mounts);
	}
	*ret_count = room ? count : 0;
}
