/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the SFTP side share; side-sftp.c has a map of them. */
#pragma once

#include "core/buf.h"
#include "side/sftp.h"
#include "side/side-ops.h"

struct sftp_side {
	struct side side;
	struct location location;
	const struct config *config;
	unsigned in_flight;

	struct sftp *sftp; /* NULL: not connected */
	struct sftp *old;  /* the one before, for files still open in it */
	unsigned can;      /* as of the last connection */
	char *root;        /* its real path; NULL: not known yet */
	bool connecting;
	struct connect_waiter *waiters;
	uint64_t not_before_ns; /* the next attempt */
	uint64_t pause_ns;      /* grows with each failure */

	struct lane_pool *lanes; /* further sessions, for large files; NULL: none yet */
	uint64_t buffered_bytes; /* read but not yet asked for, all files together */
};

static inline struct sftp_side *sftp_side_of(struct side *side)
{
	return (struct sftp_side *)side;
}

/* Makes one more session to the same place, as able as the present one. */
int sftp_side_session(struct sftp_side *side, struct sftp **ret, struct why *why);

/* A session held for the length of one call, and the full paths it is about. */
struct visit {
	struct sftp_side *side;
	struct sftp *sftp;
	struct buf path, second;
};
#define VISIT_NONE ((struct visit){0})
int visit_begin(struct side *side, struct span rel, struct visit *ret, struct why *why);
int visit_begin_two(struct side *side, struct span first, struct span second, struct visit *ret,
	struct why *why);
void visit_finish(struct visit *visit);

/* One request whose answer is a STATUS. */
int visit_status(struct visit *visit, enum sftp_type type, struct span path);
/* LSTAT; positive SFTP status or -errno as in sftp.h. */
int visit_lstat(struct visit *visit, struct span path, struct sftp_attr *ret);
/* The entries of the directory, sorted; the same. */
int visit_list(struct visit *visit, struct side_list *ret);

/*
 * Turns the outcome of a request about path into 0 or -errno with words.  What SFTP only calls
 * "failure" is looked into: a full or read-only file system is told as such.
 */
int visit_result(
	struct visit *visit, int outcome, const char *what, struct span path, struct why *why);

/* Of the server's attributes; -EPROTO where it does not tell the type. */
int sftp_side_attr(const struct sftp_attr *attr, struct side_attr *ret);
/* Of SIDE_SET_*; of an owner only the group. */
struct sftp_attr sftp_attr_to_set(const struct side_attr *attr, unsigned what);
/* The set-id bits of a file would be taken away by the group that is set in the same request. */
bool sftp_group_goes_first(const struct side_attr *attr, unsigned what);

/* --- the calls of side.h, for the table in side-sftp.c ------------------------------------- */

int side_sftp_connect(struct side *side, struct why *why);
int side_sftp_group_name(struct side *side, uint32_t gid, struct buf *ret, struct why *why);
int side_sftp_lstat(struct side *side, struct span rel, struct side_attr *ret, struct why *why);
int side_sftp_check(struct side *side, struct span rel, size_t *ret_bad_len, struct why *why);
int side_sftp_check_entry(struct side *side, struct span rel, struct side_attr *ret,
	size_t *ret_bad_len, struct why *why);
int side_sftp_list(struct side *side, struct span rel, struct side_list *ret, struct why *why);
int side_sftp_set(struct side *side, struct span rel, const struct side_attr *attr, unsigned what,
	struct why *why);
int side_sftp_mkdir(struct side *side, struct span rel, uint32_t mode, struct why *why);
int side_sftp_rmdir(struct side *side, struct span rel, struct why *why);
int side_sftp_unlink(struct side *side, struct span rel, struct why *why);
int side_sftp_rename(struct side *side, struct span from, struct span to, struct why *why);
int side_sftp_rename_new(struct side *side, struct span from, struct span to, struct why *why);
int side_sftp_link(struct side *side, struct span from, struct span to, struct why *why);
int side_sftp_symlink(struct side *side, struct span text, struct span rel, struct why *why);
int side_sftp_readlink(
	struct side *side, struct span rel, char **ret, size_t *ret_len, struct why *why);

int sftp_file_open(struct side *side, struct span rel, struct side_file **ret,
	struct side_attr *ret_attr, struct why *why);
int sftp_file_read(struct side_file *file, uint64_t offset, void *buffer, size_t size_bytes,
	size_t *ret_len, struct why *why);
int sftp_file_next_data(struct side_file *file, uint64_t offset, uint64_t *ret_begin,
	uint64_t *ret_end, struct why *why);
int sftp_file_attr(struct side_file *file, struct side_attr *ret, struct why *why);
int sftp_file_make(struct side *side, struct span rel, struct side_file **ret, struct why *why);
int sftp_file_edit(struct side *side, struct span rel, struct side_file **ret,
	struct side_attr *ret_attr, struct why *why);
int sftp_file_write(struct side_file *file, uint64_t offset, const void *data, size_t size_bytes,
	struct why *why);
int sftp_file_copy_data(struct side_file *from, uint64_t from_offset, uint64_t size_bytes,
	struct side_file *to, uint64_t to_offset, struct why *why);
int sftp_file_copied(struct side_file *to, struct why *why);
int sftp_file_complete(
	struct side_file *file, const struct side_attr *attr, bool sync, struct why *why);
void sftp_file_close(struct side_file *file);
