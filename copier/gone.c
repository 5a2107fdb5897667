/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing is detaching: a rename to
 *
 *   .mirror-gone/HASH/SECONDS-RANDOM          HASH: XXH3 of the former name, 16 hex digits
 *   .mirror-gone/HASH/SECONDS-RANDOM.from     a symlink whose text is the former name
 *
 * One request takes a whole directory out of sight, a rename that comes later finds it again by
 * the hash of its former name, and a person can put it back.  purge.c deletes it after keep_gone.
 */
#include "reconcile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#include <xxhash.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"

#define MAKE_TRIES 3

static void gone_directory(struct span rel, struct buf *ret)
{
	buf_printf(ret, ".mirror-gone/%016" PRIx64, (uint64_t)XXH3_64bits(rel.data, rel.len));
}

static int make_gone_directory(struct job *job, struct span directory)
{
	struct side *target = job->pair->target;
	int r = side_mkdir(target, directory, 0700, &job->why);
	if (r == -ENOENT) {
		r = side_mkdir(target, SPAN(".mirror-gone"), 0700, &job->why);
		if (r == 0 || r == -EEXIST) {
			r = side_mkdir(target, directory, 0700, &job->why);
		}
	}
	return r == -EEXIST ? 0 : r;
}

/* A directory that we may not write into cannot be moved: its ".." would change. */
bool entry_opened(struct job *job, struct span rel)
{
	struct side_attr attr;
	if (side_lstat(job->pair->target, rel, &attr, &job->why) < 0 ||
		attr.type != SIDE_DIRECTORY || (attr.mode & 0200)) {
		return false;
	}
	attr.mode |= 0700;
	return side_set(job->pair->target, rel, &attr, SIDE_SET_MODE, &job->why) == 0;
}

/*
 * Writes the former name down, which also keeps the directory in being: until then the purger,
 * or whoever takes the last entry out, may remove it.
 */
static int note_former_name(
	struct job *job, struct span rel, struct span directory, struct span from)
{
	int r = -ENOENT;
	for (unsigned i = 0; r == -ENOENT && i < MAKE_TRIES; i++) {
		r = make_gone_directory(job, directory);
		if (r == 0) {
			r = side_symlink(job->pair->target, rel, from, &job->why);
		}
	}
	/* longer than this file system's symlinks may be: it can do without */
	return r == -ENAMETOOLONG || r == -EINVAL ? 0 : r == -ENOENT ? -EAGAIN : r;
}

int detach(struct job *job, struct span rel)
{
	struct side *target = job->pair->target;
	CLEANUP(buf_finish) struct buf directory = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf to = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf from = BUF_EMPTY;
	uint32_t random = 0;
	ssize_t got = getrandom(&random, sizeof(random), 0);
	(void)got;

	gone_directory(rel, &directory);
	buf_printf(
		&to, "%s/%" PRIu64 "-%08" PRIx32, directory.data, clock_wall() / CLOCK_S, random);
	buf_printf(&from, "%s.from", to.data);
	int r = note_former_name(job, rel, buf_span(&directory), buf_span(&from));
	if (r < 0) {
		return r;
	}
	r = side_rename(target, rel, buf_span(&to), &job->why);
	if (r == -EACCES && ((int)parent_opened(job, rel) | (int)entry_opened(job, rel))) {
		r = side_rename(target, rel, buf_span(&to), &job->why);
	}
	if (r < 0) {
		struct why ignored;
		side_unlink(target, buf_span(&from), &ignored);
		return r == -ENOENT ? 0 : r; /* gone by itself */
	}
	job->work.removals++;
	job->detached = true;
	return job_touched(job, rel);
}

int detached_find(struct job *job, struct span rel, struct buf *ret)
{
	CLEANUP(side_list_finish) struct side_list list = {0};
	CLEANUP(buf_finish) struct buf directory = BUF_EMPTY;
	struct span newest = SPAN_NONE;
	gone_directory(rel, &directory);
	int r = side_list(job->pair->target, buf_span(&directory), &list, &job->why);
	for (size_t i = 0; r == 0 && i < list.count; i++) {
		struct span name = list.entries[i].name;
		bool is_from = name.len > 5 && memcmp(name.data + name.len - 5, ".from", 5) == 0;
		if (!is_from) {
			newest = name; /* sorted, and the seconds come first */
		}
	}
	if (r < 0 || !newest.len) {
		return r < 0 && r != -ENOTDIR ? r : -ENOENT;
	}
	path_join(ret, buf_span(&directory), newest);
	return ret->failed ? -ENOMEM : 0;
}

void detached_taken(struct job *job, struct span path)
{
	CLEANUP(buf_finish) struct buf from = BUF_EMPTY;
	struct why ignored;
	buf_printf(&from, "%.*s.from", SPAN_ARG(path));
	side_unlink(job->pair->target, buf_span(&from), &ignored);
	side_rmdir(job->pair->target, path_parent(path), &ignored);
}
