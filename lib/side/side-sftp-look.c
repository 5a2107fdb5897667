/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking and listing over SFTP.  The server follows symlinks in all but the last component: so
 * side_check() says whether a directory's real path is the one that was asked for.
 */
#include "side/side-sftp.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/cleanup.h"
#include "core/path.h"

#define READDIR_AT_ONCE 16

static enum side_type type_of(uint32_t mode)
{
	return S_ISREG(mode)   ? SIDE_FILE
	       : S_ISDIR(mode) ? SIDE_DIRECTORY
	       : S_ISLNK(mode) ? SIDE_SYMLINK
			       : SIDE_OTHER;
}

int sftp_side_attr(const struct sftp_attr *attr, struct side_attr *ret)
{
	*ret = (struct side_attr){
		.type = type_of(attr->mode),
		.mode = attr->mode & 07777,
		.size_bytes = attr->size_bytes,
		.mtime_ns = (int64_t)attr->mtime * 1000000000,
		.atime_s = attr->flags & SFTP_ATTR_TIMES ? attr->atime : 0,
		.has_owner = attr->flags & SFTP_ATTR_OWNER,
		.uid = attr->uid,
		.gid = attr->gid,
	};
	return attr->flags & SFTP_ATTR_MODE ? 0 : -EPROTO;
}

/* users-groups-by-id@openssh.com: a string of ids each for users and groups, and of names back. */
int side_sftp_group_name(struct side *side, uint32_t gid, struct buf *ret, struct why *why)
{
	const char id[] = {(char)(gid >> 24), (char)(gid >> 16), (char)(gid >> 8), (char)gid};
	struct sftp_reader reader;
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, SPAN(""), &visit, why);
	if (r < 0 || !sftp_features(visit.sftp)->names) {
		return r;
	}
	sftp_start(visit.sftp, &call, SFTP_EXTENDED, "sss", SPAN("users-groups-by-id@openssh.com"),
		SPAN(""), span_of(id, sizeof(id)));
	r = sftp_wait_for(&call, SFTP_EXTENDED_REPLY, &reader);
	if (r == 0) {
		(void)sftp_take_string(&reader); /* users */
		struct sftp_reader names = sftp_reader_of(sftp_take_string(&reader));
		buf_add(ret, sftp_take_string(&names));
	}
	return r < 0 ? visit_result(&visit, r, "ask for a group's name at", SPAN(""), why) : 0;
}

int side_sftp_lstat(struct side *side, struct span rel, struct side_attr *ret, struct why *why)
{
	struct sftp_attr attr;
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = visit_lstat(&visit, buf_span(&visit.path), &attr);
	r = r == 0 ? sftp_side_attr(&attr, ret) : r;
	return visit_result(&visit, r, "look at", buf_span(&visit.path), why);
}

/* The topmost of rel's ancestors, or rel, that is not a directory; all are asked at once. */
static int find_bad(struct visit *visit, struct span rel, size_t *ret_bad_len)
{
	size_t count = 0, root_len = visit->path.len - rel.len;
	struct span rest = rel, name;
	int r = 0;
	while (path_next(&rest, &name)) {
		count++;
	}
	struct sftp_call *calls = calloc(count ? count : 1, sizeof(*calls));
	if (!calls) {
		return -ENOMEM;
	}
	rest = rel;
	for (size_t i = 0; i < count && path_next(&rest, &name); i++) {
		size_t len = root_len + (size_t)(name.data + name.len - rel.data);
		sftp_start(visit->sftp, &calls[i], SFTP_LSTAT, "s", span_of(visit->path.data, len));
	}
	rest = rel;
	for (size_t i = 0; r == 0 && i < count && path_next(&rest, &name); i++) {
		struct sftp_attr attr;
		r = sftp_wait_attr(&calls[i], &attr);
		*ret_bad_len = (size_t)(name.data + name.len - rel.data);
		if (r == 0 && !S_ISDIR(attr.mode)) {
			r = S_ISLNK(attr.mode) ? -ELOOP : -ENOTDIR;
		}
	}
	for (size_t i = 0; i < count; i++) {
		sftp_call_finish(&calls[i]);
	}
	free(calls);
	return r;
}

/* Real path and type in one round trip: 0, 1 (look closer), or the end of the session.  entry: what
 * is asked with them, behind them; empty: nothing.  What it is stands in call. */
static int check_with(
	struct visit *visit, struct span path, struct span entry, struct sftp_call *call)
{
	struct span name;
	struct sftp_attr attr = {0};
	CLEANUP(sftp_call_finish) struct sftp_call real = SFTP_CALL;
	CLEANUP(sftp_call_finish) struct sftp_call look = SFTP_CALL;
	sftp_start(visit->sftp, &real, SFTP_REALPATH, "s", path);
	sftp_start(visit->sftp, &look, SFTP_LSTAT, "s", path);
	if (entry.len) {
		sftp_start(visit->sftp, call, SFTP_LSTAT, "s", entry);
	}
	int r = sftp_wait_name(&real, &name);
	int l = sftp_wait_attr(&look, &attr);
	if (r < 0 || l < 0) {
		return -ENOTCONN;
	}
	return r || l || !S_ISDIR(attr.mode) || !span_equal(name, path);
}

static int check_quickly(struct visit *visit, struct span path)
{
	CLEANUP(sftp_call_finish) struct sftp_call none = SFTP_CALL;
	return check_with(visit, path, SPAN(""), &none);
}

int side_sftp_check(struct side *side, struct span rel, size_t *ret_bad_len, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	*ret_bad_len = 0;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = check_quickly(&visit, buf_span(&visit.path));
	if (r != 1) {
		return visit_result(&visit, r, "enter", buf_span(&visit.path), why);
	}
	r = find_bad(&visit, rel, ret_bad_len);
	if (r == 0 && check_quickly(&visit, buf_span(&visit.path)) != 0) {
		/* Directories all the way, and yet elsewhere: the root is not what it was, or
		 * somebody moved one of them in between. */
		size_t root_len = visit.path.len - rel.len - (rel.len > 0);
		r = -ENOENT;
		if (check_quickly(&visit, span_of(visit.path.data, root_len)) != 0) {
			sftp_end(visit.sftp, -ENOTCONN, "the root now has another real path");
			r = -ENOTCONN;
		}
	}
	size_t len = visit.path.len - rel.len + *ret_bad_len;
	return visit_result(&visit, r, "enter", span_of(visit.path.data, len), why);
}

static int entry_attr(struct sftp_call *call, struct side_attr *ret)
{
	struct sftp_attr attr;
	int r = sftp_wait_attr(call, &attr);
	if (r == SFTP_NO_SUCH_FILE || r == SFTP_NO_SUCH_PATH) {
		*ret = (struct side_attr){.type = SIDE_NONE};
		return 0;
	}
	return r == 0 ? sftp_side_attr(&attr, ret) : r;
}

int side_sftp_check_entry(struct side *side, struct span rel, struct side_attr *ret,
	size_t *ret_bad_len, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	int r = visit_begin_two(side, path_parent(rel), rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = check_with(&visit, buf_span(&visit.path), buf_span(&visit.second), &call);
	int l = entry_attr(&call, ret);
	if (r == 1) {
		r = side_sftp_check(side, path_parent(rel), ret_bad_len, why);
		return r < 0 ? r : side_sftp_lstat(side, rel, ret, why);
	}
	return visit_result(&visit, r ? r : l, "look at", buf_span(&visit.second), why);
}

/* Entries of one NAME answer. */
static int add_names(struct sftp_reader *reader, struct side_list *list, size_t *room)
{
	uint32_t count = sftp_take_u32(reader);
	if (count == 0) {
		return -EPROTO;
	}
	while (count-- && !reader->bad) {
		struct side_attr attr;
		struct span name = sftp_take_string(reader);
		(void)sftp_take_string(reader); /* the line of ls -l */
		struct sftp_attr told = sftp_take_attr(reader);
		if (span_equal(name, SPAN(".")) || span_equal(name, SPAN(".."))) {
			continue;
		}
		if (reader->bad || !sftp_name_possible(name) || sftp_side_attr(&told, &attr) < 0) {
			return -EPROTO;
		}
		int r = side_listing_add(list, room, name, &attr);
		if (r < 0) {
			return r;
		}
	}
	return reader->bad ? -EPROTO : 0;
}

/* Several READDIRs under way at once; the server carries them out one after the other. */
static int read_names(struct visit *visit, const struct sftp_handle *handle, struct side_list *list)
{
	struct sftp_call calls[READDIR_AT_ONCE] = {0};
	size_t room = 0;
	int r = 0;
	for (size_t width = 2; r == 0; width = width < READDIR_AT_ONCE ? width * 2 : width) {
		struct sftp_reader reader;
		for (size_t i = 0; i < width; i++) {
			sftp_start(visit->sftp, &calls[i], SFTP_READDIR, "s",
				sftp_handle_span(handle));
		}
		for (size_t i = 0; i < width; i++) {
			r = r ? r : sftp_wait_for(&calls[i], SFTP_NAME, &reader);
			r = r ? r : add_names(&reader, list, &room);
			sftp_call_finish(&calls[i]);
		}
	}
	return r == SFTP_EOF ? 0 : r;
}

/* Positive SFTP status or -errno, no words. */
int visit_list(struct visit *visit, struct side_list *ret)
{
	struct sftp_handle handle;
	struct sftp_attr attr = {0};
	struct span path = buf_span(&visit->path);
	CLEANUP(sftp_call_finish) struct sftp_call look = SFTP_CALL;
	sftp_start(visit->sftp, &look, SFTP_LSTAT, "s", path);
	int o = sftp_open_handle(visit->sftp, &handle, SFTP_OPENDIR, path, 0, NULL);
	int r = sftp_wait_attr(&look, &attr);
	if (r == 0 && !S_ISDIR(attr.mode)) {
		r = S_ISLNK(attr.mode) ? -ELOOP : -ENOTDIR;
	}
	if (o == 0) {
		r = r ? r : read_names(visit, &handle, ret);
		sftp_close_handle(visit->sftp, &handle, NULL);
	}
	side_listing_done(ret);
	return r ? r : o;
}

int side_sftp_list(struct side *side, struct span rel, struct side_list *ret, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	return visit_result(&visit, visit_list(&visit, ret), "list", buf_span(&visit.path), why);
}
