/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Version 3 has few words for errors: ENOTDIR and ELOOP are "no such file", EEXIST, ENOTEMPTY,
 * ENOSPC, EROFS and all the rest are "failure".  After a failure we look what is there and tell
 * what the system would have said.
 */
#include "side/side-sftp.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/path.h"

#define NEARLY_FULL_BYTES (1024 * 1024)

static int full_path(const struct sftp_side *s, struct span rel, struct buf *ret)
{
	path_join(ret, span_str(s->root), rel);
	return ret->failed ? -ENOMEM : 0;
}

int visit_begin(struct side *side, struct span rel, struct visit *ret, struct why *why)
{
	int r = side_sftp_connect(side, why);
	if (r < 0) {
		return r;
	}
	ret->side = sftp_side_of(side);
	ret->sftp = sftp_ref(ret->side->sftp);
	return full_path(ret->side, rel, &ret->path);
}

int visit_begin_two(struct side *side, struct span first, struct span second, struct visit *ret,
	struct why *why)
{
	int r = visit_begin(side, first, ret, why);
	return r < 0 ? r : full_path(ret->side, second, &ret->second);
}

void visit_finish(struct visit *visit)
{
	buf_finish(&visit->path);
	buf_finish(&visit->second);
	sftp_unref(STEAL(visit->sftp));
}

int visit_status(struct visit *visit, enum sftp_type type, struct span path)
{
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit->sftp, &call, type, "s", path);
	return sftp_wait(&call);
}

int visit_lstat(struct visit *visit, struct span path, struct sftp_attr *ret)
{
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit->sftp, &call, SFTP_LSTAT, "s", path);
	return sftp_wait_attr(&call, ret);
}

/* Whether the file system around path is full or read-only: 0 where it is neither or unknown. */
static int disk_trouble(struct visit *visit, struct span path)
{
	struct sftp_reader reader;
	uint64_t fields[11];
	struct span directory = path_parent(path);
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	if (!sftp_features(visit->sftp)->statvfs) {
		return 0;
	}
	sftp_start(visit->sftp, &call, SFTP_EXTENDED, "ss", SPAN("statvfs@openssh.com"),
		directory.len ? directory : SPAN("/"));
	if (sftp_wait_for(&call, SFTP_EXTENDED_REPLY, &reader) != 0) {
		return 0;
	}
	/* bsize frsize blocks bfree bavail files ffree favail fsid flag namemax */
	for (size_t i = 0; i < 11; i++) {
		fields[i] = sftp_take_u64(&reader);
	}
	if (reader.bad) {
		return 0;
	}
	if (fields[9] & 1) {
		return -EROFS;
	}
	bool few_blocks = fields[4] < NEARLY_FULL_BYTES / (fields[1] ? fields[1] : 1);
	bool no_inodes = fields[5] && !fields[7];
	return (fields[2] && few_blocks) || no_inodes ? -ENOSPC : 0;
}

static int error_of(struct visit *visit, int outcome, struct span path)
{
	static const struct {
		enum sftp_status status;
		int error;
	} known[] = {
		{SFTP_NO_SUCH_FILE, -ENOENT},
		{SFTP_NO_SUCH_PATH, -ENOENT},
		{SFTP_PERMISSION_DENIED, -EACCES},
		{SFTP_UNSUPPORTED, -EOPNOTSUPP},
		{SFTP_FILE_ALREADY_EXISTS, -EEXIST},
		{SFTP_WRITE_PROTECT, -EROFS},
		{SFTP_NO_SPACE, -ENOSPC},
		{SFTP_QUOTA_EXCEEDED, -EDQUOT},
		{SFTP_DIR_NOT_EMPTY, -ENOTEMPTY},
		{SFTP_NOT_A_DIRECTORY, -ENOTDIR},
		{SFTP_FILE_IS_A_DIRECTORY, -EISDIR},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if ((int)known[i].status == outcome) {
			return known[i].error;
		}
	}
	if (outcome == SFTP_BAD_MESSAGE) {
		return path.len + 1 >= PATH_MAX || path_name(path).len > NAME_MAX ? -ENAMETOOLONG
										  : -EINVAL;
	}
	outcome = disk_trouble(visit, path);
	return outcome ? outcome : -EIO;
}

int visit_result(
	struct visit *visit, int outcome, const char *what, struct span path, struct why *why)
{
	char text[300];
	if (outcome == 0) {
		return 0;
	}
	if (outcome < 0 && !sftp_is_up(visit->sftp)) {
		return why_error(why, -ENOTCONN, "%s: the connection broke: %s",
			visit->side->side.name, sftp_why(visit->sftp));
	}
	int error = outcome > 0 ? error_of(visit, outcome, path) : outcome;
	log_escape(path, text, sizeof(text));
	return why_error(why, error, "cannot %s '%s' on %s: %s%s", what, text,
		visit->side->side.name, strerror(-error),
		error == -EIO ? " (the server says only \"failure\"; a quota?)" : "");
}
