/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of one copy on its way from S to a temporary name: between file.c, which has the
 * steps around it, and what moves the bytes.
 */
#pragma once

#include "reconcile.h"

struct delta;

/* How S looked when it was opened, and where it goes. */
struct copy {
	struct job *job;
	struct span to;
	struct side_file *from_file, *to_file;
	struct side_attr s;
	const struct side_attr *only; /* see file_copy() */
	char *buffer;
	bool no_delta;       /* what the target has was of no use, or other than it was taken for */
	struct delta *delta; /* of a large file */
	uint32_t tag;        /* the atime that T gets, or 0: now */
};

/* content.c: data goes over, holes stay holes.  Returns 0, FILE_CHANGED (S became shorter), or
 * -errno. */
int content_copy(struct copy *copy);
/* Writes what S has at offset; its zeros become holes, where zeros is set. */
int content_write(struct copy *copy, uint64_t offset, const char *data, size_t len, bool zeros);
/* How much at the beginning of data is of one kind: blocks of zeros, or others. */
size_t content_run(const char *data, size_t len, bool *ret_zero);
/* The loop gets a turn, and with it the broker's heartbeat. */
void content_pause(void);
/* Looks at the temporary as the tree's `verify` says.  -EBADMSG: it is not what was sent. */
int content_verify(struct copy *copy, struct span temporary);

/*
 * delta.c: large files, of which only what changed is sent.
 *
 *   delta_begin()    whether this file is one; then delta_copy() in place of content_copy()
 *   delta_done()     T has its name: remembers its blocks
 *   delta_finish()
 */
bool delta_begin(struct copy *copy);
int delta_copy(struct copy *copy);
void delta_done(struct copy *copy);
void delta_finish(struct copy *copy);

/*
 * patch.c: overwrites in T itself what has changed, where the tree's `in_place` allows it and it is
 * worth while.  Returns 0, *ret_made: T is S; PATCH_NOT: nothing was done; FILE_CHANGED or -errno:
 * T may be a mixture, which copying it whole mends.
 */
#define PATCH_NOT 2
int patch_copy(struct copy *copy, bool *ret_made);

/* file.c: S looks as it did before. */
bool file_held_still(const struct side_attr *before, const struct side_attr *now);
/* T's mtime knows only seconds: waits until that of S's mtime is over. */
void file_wait_for_second(struct job *job, const struct side_attr *s);
