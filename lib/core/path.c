/* SPDX-License-Identifier: Apache-2.0 */
#include "core/path.h"

#include <errno.h>

struct span path_parent(struct span rel)
{
	const char *slash = rel.len ? memrchr(rel.data, '/', rel.len) : NULL;
	return slash ? span_of(rel.data, (size_t)(slash - rel.data)) : SPAN("");
}

struct span path_name(struct span rel)
{
	const char *slash = rel.len ? memrchr(rel.data, '/', rel.len) : NULL;
	return slash ? span_skip(rel, (size_t)(slash - rel.data) + 1) : rel;
}

bool path_below(struct span path, struct span root, struct span *ret_rel)
{
	if (span_equal(root, SPAN("/"))) {
		*ret_rel = span_skip(path, 1);
		return span_starts(path, root);
	}
	if (!span_starts(path, root) || (path.len > root.len && path.data[root.len] != '/')) {
		return false;
	}
	*ret_rel = span_skip(path, root.len + 1);
	return true;
}

void path_join(struct buf *buf, struct span a, struct span b)
{
	buf_add(buf, a);
	if (a.len && b.len && a.data[a.len - 1] != '/') {
		buf_add_char(buf, '/');
	}
	buf_add(buf, b);
}

bool path_next(struct span *rest, struct span *ret_name)
{
	while (rest->len && rest->data[0] == '/') {
		*rest = span_skip(*rest, 1);
	}
	if (!rest->len) {
		return false;
	}
	const char *slash = memchr(rest->data, '/', rest->len);
	*ret_name = span_of(rest->data, slash ? (size_t)(slash - rest->data) : rest->len);
	*rest = span_skip(*rest, ret_name->len);
	return true;
}

bool path_is_rel(struct span rel)
{
	size_t used = 0, count = 0;
	struct span rest = rel, name;
	if (rel.len && memchr(rel.data, '\0', rel.len)) {
		return false;
	}
	while (path_next(&rest, &name)) {
		if (name.len > 255 || span_equal(name, SPAN(".")) || span_equal(name, SPAN(".."))) {
			return false;
		}
		used += name.len;
		count++;
	}
	return count == 0 ? rel.len == 0 : used + count - 1 == rel.len;
}

int path_normalise(struct buf *buf, struct span path)
{
	struct span rest = path, name;
	size_t begin = buf->len;
	if (!path.len || path.data[0] != '/' || memchr(path.data, '\0', path.len)) {
		return -EINVAL;
	}
	while (path_next(&rest, &name)) {
		if (span_equal(name, SPAN(".."))) {
			while (buf->len > begin && buf->data[--buf->len] != '/') {
			}
			if (buf->data) {
				buf->data[buf->len] = '\0';
			}
		} else if (!span_equal(name, SPAN("."))) {
			buf_add_char(buf, '/');
			buf_add(buf, name);
		}
	}
	if (buf->len == begin) {
		buf_add_char(buf, '/');
	}
	return buf->failed ? -ENOMEM : 0;
}
