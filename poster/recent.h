/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happened lately: names that were written to, and renames.
 *
 * A rename on the target moves the old content.  What was written under the old name shortly
 * before may not have been copied yet and may hide behind an equal size and time, so it is
 * published once more, forced, under the new name.  And a record that names a file by a path that
 * was renamed meanwhile is found through the renames.
 *
 * Pure; times are those of the records.  Bounded: recent_is_blind() tells when writes of the last
 * horizon may have been forgotten, so that a rename must be forced as a whole.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/span.h"

#define RECENT_WRITES  65536
#define RECENT_RENAMES 256

struct recent;

/* horizon: how long a write is remembered.  blind_ns: nothing is known of what was before. */
struct recent *recent_create(uint64_t horizon_ns, uint64_t blind_ns, size_t writes_max);
void recent_destroy(struct recent *recent);

/* links: the file has other names.  Returns 0 or -ENOMEM. */
int recent_wrote(struct recent *recent, struct span path, uint64_t time_ns, bool links);
/* The name is gone, or is another file now.  Returns whether it was written to lately and has other
 * names. */
bool recent_forget(struct recent *recent, struct span path);
/* Whether a write of it is remembered that was told at time_ns or later. */
bool recent_covers(const struct recent *recent, struct span path, uint64_t time_ns);

/*
 * from is to now; deep: with all below.  What was written lately goes by its new name from then
 * on, and `moved` is told each new name.  Returns 0 or -ENOMEM.
 */
typedef int (*recent_moved_fn)(void *arg, struct span path, uint64_t written_ns);
int recent_renamed(struct recent *recent, struct span from, struct span to, uint64_t time_ns,
	bool deep, recent_moved_fn moved, void *arg);
/* Both names have changed hands.  Returns 0 or -ENOMEM. */
int recent_exchanged(struct recent *recent, struct span a, struct span b, uint64_t time_ns);
/* Whether what has this name got it lately by a rename, itself or with a directory above. */
bool recent_moved(const struct recent *recent, struct span name, uint64_t time_ns);
bool recent_is_blind(const struct recent *recent, uint64_t time_ns);

/*
 * Something new has the name.  What had it before and was renamed lately may be taken for it:
 * appends what that is called now, once, and when it was renamed.  Returns 0, -ENOENT, or -ENOMEM.
 */
int recent_reused(struct recent *recent, struct span name, uint64_t time_ns, struct buf *ret,
	uint64_t *ret_renamed_ns);

/*
 * The names that what was called path may have by now: as of the last rename that took something
 * from there, then of the one before, and so on.  *cursor begins as 0.  Returns 0, -ENOENT (no
 * more), or -ENOMEM.
 */
int recent_name(const struct recent *recent, struct span path, size_t *cursor, struct buf *ret);
