/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries and their attributes over SFTP.
 *
 * The server follows symlinks in all but the last component, and some requests in that one too.
 * So paths begin with the root's real path, callers check the parent right before (side_check),
 * and requests that would follow the last component are sent after an LSTAT, or in the form that
 * does not follow (lsetstat@openssh.com).
 */
#include "side/side-sftp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/cleanup.h"

/* What a "failure" to make path means when something is there. */
static int exists_already(struct visit *visit, int outcome, struct span path)
{
	struct sftp_attr attr;
	if (outcome != SFTP_FAILURE) {
		return outcome;
	}
	int r = visit_lstat(visit, path, &attr);
	return r == 0 ? -EEXIST : r < 0 ? r : outcome;
}

struct sftp_attr sftp_attr_to_set(const struct side_attr *attr, unsigned what)
{
	struct sftp_attr told = {
		.uid = UINT32_MAX, /* as chown() has it: stays as it is */
		.gid = attr->gid,
		.mode = attr->mode,
		.atime = (uint32_t)time(NULL),
		.mtime =
			(uint32_t)(attr->mtime_ns / 1000000000 - (attr->mtime_ns % 1000000000 < 0)),
	};
	told.flags = (what & SIDE_SET_MODE ? SFTP_ATTR_MODE : 0) |
		     (what & SIDE_SET_MTIME ? SFTP_ATTR_TIMES : 0) |
		     (what & SIDE_SET_OWNER ? SFTP_ATTR_OWNER : 0);
	return told;
}

bool sftp_group_goes_first(const struct side_attr *attr, unsigned what)
{
	return (what & SIDE_SET_OWNER) && attr->type == SIDE_FILE && (attr->mode & 06000);
}

static int set_attr(struct visit *visit, const struct sftp_attr *attr, bool follow)
{
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	if (follow) {
		sftp_start(visit->sftp, &call, SFTP_SETSTAT, "sa", buf_span(&visit->path), attr);
	} else {
		sftp_start(visit->sftp, &call, SFTP_EXTENDED, "ssa", SPAN("lsetstat@openssh.com"),
			buf_span(&visit->path), attr);
	}
	return sftp_wait(&call);
}

/*
 * lsetstat@ never follows.  Old systems cannot do all of it, and servers may not have it: then a
 * look at what is there comes first, and a symlink is left as it is.
 */
static int set_attr_safely(struct visit *visit, const struct sftp_attr *attr)
{
	struct sftp_attr now;
	int r = SFTP_UNSUPPORTED;
	if (sftp_features(visit->sftp)->lsetstat) {
		r = set_attr(visit, attr, false);
		if (r != SFTP_UNSUPPORTED && r != SFTP_FAILURE) {
			return r;
		}
	}
	r = visit_lstat(visit, buf_span(&visit->path), &now);
	if (r) {
		return r;
	}
	return S_ISLNK(now.mode) ? 0 : set_attr(visit, attr, true);
}

/* Where the group is refused, the rest is set without it. */
static int set_or_refuse(struct visit *visit, const struct side_attr *attr, unsigned what)
{
	struct sftp_attr told = sftp_attr_to_set(attr, what);
	int r = told.flags ? set_attr_safely(visit, &told) : 0;
	if (r == SFTP_PERMISSION_DENIED && (what & SIDE_SET_OWNER)) {
		told = sftp_attr_to_set(attr, what & ~(unsigned)SIDE_SET_OWNER);
		r = told.flags ? set_attr_safely(visit, &told) : 0;
		if (r == 0) {
			side_refuse_group(&visit->side->side, attr->gid);
		}
	}
	return r;
}

int side_sftp_set(struct side *side, struct span rel, const struct side_attr *attr, unsigned what,
	struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	if (attr->type == SIDE_SYMLINK) {
		what &= ~(unsigned)SIDE_SET_MODE;
	}
	if (sftp_group_goes_first(attr, what)) {
		r = set_or_refuse(&visit, attr, SIDE_SET_OWNER);
		what &= ~(unsigned)SIDE_SET_OWNER;
	}
	r = r == 0 ? set_or_refuse(&visit, attr, what) : r;
	return visit_result(&visit, r, "set attributes of", buf_span(&visit.path), why);
}

int side_sftp_mkdir(struct side *side, struct span rel, uint32_t mode, struct why *why)
{
	const struct sftp_attr attr = {.flags = SFTP_ATTR_MODE, .mode = mode};
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit.sftp, &call, SFTP_MKDIR, "sa", buf_span(&visit.path), &attr);
	r = exists_already(&visit, sftp_wait(&call), buf_span(&visit.path));
	r = r == 0 ? set_attr_safely(&visit, &attr) : r; /* the server's umask */
	return visit_result(&visit, r, "make directory", buf_span(&visit.path), why);
}

int side_sftp_rmdir(struct side *side, struct span rel, struct why *why)
{
	struct sftp_attr attr;
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = visit_status(&visit, SFTP_RMDIR, buf_span(&visit.path));
	if ((r == SFTP_FAILURE || r == SFTP_NO_SUCH_FILE) &&
		visit_lstat(&visit, buf_span(&visit.path), &attr) == 0) {
		CLEANUP(side_list_finish) struct side_list list = {0};
		if (!S_ISDIR(attr.mode)) {
			r = -ENOTDIR;
		} else if (visit_list(&visit, &list) == 0 && list.count) {
			r = -ENOTEMPTY;
		}
	}
	return visit_result(&visit, r, "remove directory", buf_span(&visit.path), why);
}

int side_sftp_unlink(struct side *side, struct span rel, struct why *why)
{
	struct sftp_attr attr;
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = visit_status(&visit, SFTP_REMOVE, buf_span(&visit.path));
	if (r == SFTP_FAILURE && visit_lstat(&visit, buf_span(&visit.path), &attr) == 0 &&
		S_ISDIR(attr.mode)) {
		r = -EISDIR;
	}
	return visit_result(&visit, r, "remove", buf_span(&visit.path), why);
}

static int rename_once(struct visit *visit)
{
	struct span from = buf_span(&visit->path), to = buf_span(&visit->second);
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	if (sftp_features(visit->sftp)->posix_rename) {
		sftp_start(visit->sftp, &call, SFTP_EXTENDED, "sss",
			SPAN("posix-rename@openssh.com"), from, to);
	} else {
		sftp_start(visit->sftp, &call, SFTP_RENAME, "ss", from, to);
	}
	return sftp_wait(&call);
}

/* Version 3's own RENAME does not replace: first away with what is there, as rename(2) may. */
static int rename_twice(struct visit *visit, bool from_directory)
{
	int r = visit_status(
		visit, from_directory ? SFTP_RMDIR : SFTP_REMOVE, buf_span(&visit->second));
	return r ? r : rename_once(visit);
}

/* What the system would have said. */
static int rename_trouble(struct visit *visit, int outcome)
{
	struct sftp_attr from, to;
	if (visit_lstat(visit, buf_span(&visit->path), &from) ||
		visit_lstat(visit, buf_span(&visit->second), &to)) {
		return outcome;
	}
	if (S_ISDIR(from.mode) != S_ISDIR(to.mode)) {
		return S_ISDIR(from.mode) ? -ENOTDIR : -EISDIR;
	}
	if (!sftp_features(visit->sftp)->posix_rename) {
		outcome = rename_twice(visit, S_ISDIR(from.mode));
	}
	return outcome == SFTP_FAILURE && S_ISDIR(to.mode) ? -ENOTEMPTY : outcome;
}

int side_sftp_rename(struct side *side, struct span from, struct span to, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin_two(side, from, to, &visit, why);
	if (r < 0) {
		return r;
	}
	r = rename_once(&visit);
	if (r == SFTP_FAILURE || r == SFTP_NO_SUCH_FILE) {
		r = rename_trouble(&visit, r);
	}
	return visit_result(&visit, r, "rename to", buf_span(&visit.second), why);
}

/* Version 3's own RENAME; a server that knows hard links carries it out by link and unlink. */
int side_sftp_rename_new(struct side *side, struct span from, struct span to, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin_two(side, from, to, &visit, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	if (!sftp_features(visit.sftp)->hardlink) {
		r = -EOPNOTSUPP;
	} else {
		sftp_start(visit.sftp, &call, SFTP_RENAME, "ss", buf_span(&visit.path),
			buf_span(&visit.second));
		r = exists_already(&visit, sftp_wait(&call), buf_span(&visit.second));
	}
	return visit_result(&visit, r, "rename to", buf_span(&visit.second), why);
}

int side_sftp_link(struct side *side, struct span from, struct span to, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin_two(side, from, to, &visit, why);
	if (r < 0) {
		return r;
	}
	if (!sftp_features(visit.sftp)->hardlink) {
		return visit_result(&visit, -EOPNOTSUPP, "link to", buf_span(&visit.second), why);
	}
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit.sftp, &call, SFTP_EXTENDED, "sss", SPAN("hardlink@openssh.com"),
		buf_span(&visit.path), buf_span(&visit.second));
	r = exists_already(&visit, sftp_wait(&call), buf_span(&visit.second));
	return visit_result(&visit, r, "link to", buf_span(&visit.second), why);
}

int side_sftp_symlink(struct side *side, struct span text, struct span rel, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit.sftp, &call, SFTP_SYMLINK, "ss", text,
		buf_span(&visit.path)); /* OpenSSH's order */
	r = exists_already(&visit, sftp_wait(&call), buf_span(&visit.path));
	return visit_result(&visit, r, "make symlink", buf_span(&visit.path), why);
}

int side_sftp_readlink(
	struct side *side, struct span rel, char **ret, size_t *ret_len, struct why *why)
{
	struct span text;
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit.sftp, &call, SFTP_READLINK, "s", buf_span(&visit.path));
	r = sftp_wait_name(&call, &text);
	if (r) {
		return visit_result(&visit, r, "read symlink", buf_span(&visit.path), why);
	}
	*ret = strndup(text.data, text.len);
	*ret_len = text.len;
	return *ret ? 0 : -ENOMEM;
}
