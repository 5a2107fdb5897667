/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the path that a program gave to the path that the mirror knows.
 *
 * Programs reach a tree by many ways: symlinks to it, "..", relative paths, bind mounts of its
 * parents.  names_find() asks the kernel for the canonical name and, where that lies below the
 * canonical root of a tree, says it in the words of the configuration: the tree's source path and
 * the rest.  A pull tree's path (sftp://…/path) is a local path here.
 *
 * The kernel answers for the present, records tell of the past: what was renamed or removed
 * meanwhile is found as far as it exists, and the rest is taken by its text.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/buf.h"
#include "core/span.h"
#include "flow/config.h"

#define NAMES_DEVICES_MAX 64

struct names;

/* The config must live as long.  Returns 0 or -ENOMEM. */
int names_create(const struct config *config, struct names **ret);
void names_destroy(struct names *names);

/* Looks where the roots are now.  To be called now and then: they may be mounted late. */
int names_refresh(struct names *names);
/*
 * The devices that hold the trees, mounts below their roots included.  *ret_count is 0 where
 * all devices are to be watched: a root is not there yet, there are too many, or the file system
 * gives files another device than its mount has (btrfs, overlayfs).
 */
void names_devices(
	const struct names *names, uint64_t devices[NAMES_DEVICES_MAX], size_t *ret_count);

/*
 * Appends the name of path, which starts from dir (the kernel's word) where it is relative. follow:
 * a symlink as the last component is what it points to.  pid: whose /proc/self and /dev/fd are
 * meant. Returns 0, -EINVAL (no absolute path), or -ENOMEM.
 */
int names_find(const struct names *names, struct span dir, struct span path, bool follow,
	uint32_t pid, struct buf *ret);
/* The same by the text alone, as if nothing on the way were a symlink. */
int names_text(const struct names *names, struct span dir, struct span path, struct buf *ret);
/* The tree in which path, found before, is mirrored; NULL: outside of all, or excluded. */
const struct tree *names_tree(const struct names *names, struct span path);

/* lstat() for paths of any length.  Returns 0 or -errno. */
int names_stat(struct span path, struct stat *ret);
/* Appends the text of a symlink.  Returns 0 or -errno. */
int names_readlink(struct span path, struct buf *ret);
