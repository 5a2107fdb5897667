/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths as bytes, without touching the disk.
 *
 * A relative path ("rel") names something below a root: no leading or trailing slash, no empty,
 * "." or ".." component; the root itself is the empty span.
 */
#pragma once

#include <stdbool.h>

#include "core/buf.h"
#include "core/span.h"

/* "a/b/c" -> "a/b"; "a" and "" -> "". */
struct span path_parent(struct span rel);

/* "a/b/c" -> "c". */
struct span path_name(struct span rel);

/* Whether path is root itself or lies below it, both absolute; *ret_rel is the rest. */
bool path_below(struct span path, struct span root, struct span *ret_rel);

/* Appends a, a slash where both are not empty and a does not end in one, and b. */
void path_join(struct buf *buf, struct span a, struct span b);

/* Whether rel has the form described above and every component is at most 255 bytes. */
bool path_is_rel(struct span rel);

/*
 * Appends the absolute path without empty, "." and ".." components: /a/./b//../c becomes /a/c.
 * Purely textual.  Returns 0, or -EINVAL where path does not begin with a slash or has a NUL.
 */
int path_normalise(struct buf *buf, struct span path);

/* One component after the other: false at the end.  *rest begins as the path. */
bool path_next(struct span *rest, struct span *ret_name);
