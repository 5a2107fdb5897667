/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depth first: what is found in a directory waits on a stack; one directory is open at a time.
 */
#include "poster/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/clock.h"

#define CLOCK_EVERY 32 /* entries between two looks at the clock */

struct walk_directory {
	struct walk_directory *next;
	DIR *stream; /* NULL: not open yet */
	size_t len;
	char path[]; /* with NUL */
};

static int add(struct walk *walk, struct span path)
{
	struct walk_directory *it = malloc(sizeof(*it) + path.len + 1);
	if (!it) {
		return -ENOMEM;
	}
	it->stream = NULL;
	it->len = path.len;
	memcpy(it->path, path.data, path.len);
	it->path[path.len] = '\0';
	it->next = walk->waiting;
	walk->waiting = it;
	return 0;
}

static void drop(struct walk_directory *it)
{
	if (it && it->stream) {
		(void)closedir(it->stream);
	}
	free(it);
}

void walk_finish(struct walk *walk)
{
	while (walk->waiting) {
		struct walk_directory *it = walk->waiting;
		walk->waiting = it->next;
		drop(it);
	}
	drop(walk->open);
	*walk = (struct walk){0};
}

int walk_begin(struct walk *walk, struct span path, bool deep, walk_visit_fn visit, void *arg)
{
	struct stat st;
	*walk = (struct walk){.deep = deep};
	int r = add(walk, path);
	if (r < 0 || lstat(walk->waiting->path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		walk_finish(walk);
		return r;
	}
	r = visit(arg, path, &st);
	if (r != 0) {
		walk_finish(walk);
	}
	return r < 0 ? r : 0;
}

/* Opens the next one; what cannot be opened is gone or not ours to read. */
static void open_next(struct walk *walk)
{
	while (!walk->open && walk->waiting) {
		struct walk_directory *it = walk->waiting;
		walk->waiting = it->next;
		int fd = open(it->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		it->stream = fd < 0 ? NULL : fdopendir(fd);
		if (!it->stream) {
			fd_close(&fd);
			drop(it);
			continue;
		}
		walk->open = it;
	}
}

static int visit_entry(struct walk *walk, const char *name, walk_visit_fn visit, void *arg)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	struct stat st;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		fstatat(dirfd(walk->open->stream), name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		return 0;
	}
	buf_add(&path, span_of(walk->open->path, walk->open->len));
	buf_add_char(&path, '/');
	buf_add_str(&path, name);
	if (path.failed) {
		return -ENOMEM;
	}
	int r = visit(arg, buf_span(&path), &st);
	return r == 0 && walk->deep && S_ISDIR(st.st_mode) ? add(walk, buf_span(&path))
	       : r < 0                                     ? r
							   : 0;
}

int walk_step(struct walk *walk, uint64_t deadline_ns, walk_visit_fn visit, void *arg)
{
	for (unsigned count = 1;; count++) {
		open_next(walk);
		if (!walk->open) {
			return 0;
		}
		const struct dirent *entry = readdir(walk->open->stream);
		if (!entry) {
			drop(walk->open);
			walk->open = NULL;
			continue;
		}
		int r = visit_entry(walk, entry->d_name, visit, arg);
		if (r < 0) {
			return r;
		}
		if (count % CLOCK_EVERY == 0 && clock_now() >= deadline_ns) {
			return 1;
		}
	}
}
