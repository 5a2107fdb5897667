/* SPDX-License-Identifier: Apache-2.0 */
/* A file that is open over SFTP: side-sftp-file.c and side-sftp-read.c; large ones have lanes. */
#pragma once

#include "side/side-sftp.h"

#define SFTP_COPIES_AT_ONCE 4

struct chunk;
struct lanes;

struct sftp_file {
	struct side_file file;
	struct sftp *sftp;
	struct sftp_handle handle;
	struct buf path;     /* for words */
	unsigned references; /* the user's and one for each request under way */
	unsigned writes;     /* WRITEs under way */
	int failure;         /* of the first WRITE that failed */
	bool edited;         /* was there before: another file may have its name by now */
	struct task *task;   /* waits for an answer */

	struct sftp_call copies[SFTP_COPIES_AT_ONCE]; /* into it, within the server */
	size_t copies_begun, copies_over;
	int copied; /* of the first copy that failed */

	uint64_t begun_ns, moved_bytes; /* written, or read */
	struct lanes *lanes;            /* NULL: it is small, or there are none */

	struct sftp_attr opened; /* to be read: what it was then */
	uint64_t size_bytes;     /* as last told */
	struct chunk *head, **tail;
	uint64_t position; /* of the next byte to copy; asked for up to `asked` */
	uint64_t asked;
	uint64_t ahead_bytes;
};

static inline struct sftp_side *sftp_file_side(const struct sftp_file *file)
{
	return sftp_side_of(file->file.side);
}

static inline struct sftp_file *sftp_file_of(struct side_file *file)
{
	return (struct sftp_file *)file;
}

/* Whether what comes next may go over several sessions. */
static inline bool sftp_file_is_split(const struct sftp_file *file)
{
	return !file->edited &&
	       file->moved_bytes >= sftp_file_side(file)->config->copier.split_bytes;
}

void sftp_file_unref(struct sftp_file *file);
/* As visit_result(). */
int sftp_file_result(struct sftp_file *file, int outcome, const char *what, struct why *why);
/* What was asked for and not read yet. */
void sftp_file_forget_ahead(struct sftp_file *file);
/* What an answer to a WRITE says: 0, a positive status, or -errno. */
int sftp_file_write_outcome(const struct sftp_reply *reply);
/* Sends one WRITE by the session in which the file was made.  A failure sticks to the file. */
void sftp_file_write_block(struct sftp_file *file, uint64_t offset, struct span data);

/* --- side-sftp-strands.c, and the last one of side-sftp-lanes.c ----------------------------- */

/* Whether a lane has taken the block (of at most the server's size); else the caller sends it. */
bool sftp_lanes_write(struct sftp_file *file, uint64_t offset, struct span data);
/* By which session, and as which of its open files, to ask for the next block. */
void sftp_lanes_read(
	struct sftp_file *file, struct sftp **ret, const struct sftp_handle **ret_handle);
/* How many there are beside the session in which it was opened. */
size_t sftp_lanes_count(const struct sftp_file *file);
/* Waits for what is under way, sends again what a broken lane has lost, closes the lanes' handles
 * and waits for that, too. */
void sftp_lanes_end(struct sftp_file *file);
/* Closes without waiting. */
void sftp_lanes_drop(struct sftp_file *file);
/* With the last reference. */
void sftp_lanes_free(struct sftp_file *file);
/* When the side ends: its further sessions.  false: one is just being made, which uses the side. */
bool sftp_lanes_close_all(struct sftp_side *side);
