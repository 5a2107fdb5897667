/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   place of a living process ──unseen_look()───▶ copy ─┐
 *   place of a dead one ────────unseen_ended()──────────┴▶ queue ──▶ walk, a slice at a time
 *
 * Each entry of the queue is an intent of its own, whose opened_ns is the time from which on it
 * looks; one that lies within another that waits becomes part of it.
 *
 * Who is started by such a program is as little seen as it is, unless the shim is in it after all.
 * Children are found by their parent's number while it lives, and what it left behind by its
 * session: so the look for a dead one waits for the next sweep.
 */
#include "poster/unseen.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "core/pid.h"
#include "flow/change.h"
#include "poster/names.h"
#include "poster/walk.h"

#define SLICE_NS (5 * CLOCK_MS)
#define PAUSE_NS (20 * CLOCK_MS) /* at most a fifth of the time is for looking */
#define SLACK_NS (2 * CLOCK_S)
#define SHIM     "libmirrorshim.so"

struct look {
	struct look *next;
	struct intent *place;
	uint64_t number;
	bool alone; /* nothing it left behind is to be found any more */
};

struct share {
	struct share *next;
	struct span job;
	uint64_t programs, found;
};

struct unseen {
	struct unseen_options options;
	struct look *first, *last; /* first is being walked, if walking */
	uint64_t waiting, number;
	struct walk walk;
	bool walking;
	uint64_t next_ns;
	struct share *shares;
	struct span told; /* the job of the note given out last */
};

static void look_destroy(struct look *look)
{
	intent_destroy(look->place);
	free(look);
}

static void drop_first(struct unseen *unseen)
{
	struct look *look = unseen->first;
	unseen->first = look->next;
	unseen->last = unseen->first ? unseen->last : NULL;
	unseen->waiting--;
	look_destroy(look);
}

static void drop_share(struct unseen *unseen)
{
	struct share *share = unseen->shares;
	unseen->shares = share->next;
	free((void *)unseen->told.data);
	unseen->told = share->job;
	free(share);
}

int unseen_create(const struct unseen_options *options, struct unseen **ret)
{
	struct unseen *unseen = calloc(1, sizeof(*unseen));
	if (!unseen) {
		return -ENOMEM;
	}
	unseen->options = *options;
	*ret = unseen;
	return 0;
}

void unseen_destroy(struct unseen *unseen)
{
	if (!unseen) {
		return;
	}
	walk_finish(&unseen->walk);
	while (unseen->first) {
		drop_first(unseen);
	}
	while (unseen->shares) {
		drop_share(unseen);
	}
	free((void *)unseen->told.data);
	free(unseen);
}

/* ---- counting ---------------------------------------------------------------------------- */

static struct share *share_of(struct unseen *unseen, struct span job)
{
	struct share *share = unseen->shares;
	while (share && !span_equal(share->job, job)) {
		share = share->next;
	}
	if (!share && (share = calloc(1, sizeof(*share)))) {
		if (change_set(&share->job, job) < 0) {
			free(share);
			return NULL;
		}
		share->next = unseen->shares;
		unseen->shares = share;
	}
	return share;
}

int unseen_run(struct unseen *unseen, struct span job)
{
	struct share *share = share_of(unseen, job);
	if (share) {
		share->programs++;
	}
	return share ? 0 : -ENOMEM;
}

int unseen_found(struct unseen *unseen, struct span job)
{
	struct share *share = share_of(unseen, job);
	if (share) {
		share->found++;
	}
	return share ? 0 : -ENOMEM;
}

bool unseen_next_share(struct unseen *unseen, struct note *note)
{
	const struct share *share = unseen->shares;
	if (!share) {
		return false;
	}
	note->programs = share->programs;
	note->found = share->found;
	drop_share(unseen);
	note->job = unseen->told;
	return true;
}

/* ---- the queue --------------------------------------------------------------------------- */

/* One that has not begun and covers the place. */
static struct look *waiting_for(struct unseen *unseen, const struct intent *place)
{
	struct look *look = unseen->first;
	struct span rel;
	if (look && unseen->walking) {
		look = look->next;
	}
	while (look && !(path_below(place->path, look->place->path, &rel) &&
			       span_equal(place->job, look->place->job))) {
		look = look->next;
	}
	return look;
}

/* Takes over the place, also where it fails. */
static int ask(struct unseen *unseen, struct intent *place, bool alone)
{
	struct look *look = waiting_for(unseen, place);
	if (look) {
		struct intent *wider = look->place;
		wider->opened_ns =
			place->opened_ns < wider->opened_ns ? place->opened_ns : wider->opened_ns;
		look->alone = look->alone && alone;
		intent_destroy(place);
		return 0;
	}
	look = calloc(1, sizeof(*look));
	if (!look) {
		intent_destroy(place);
		return -ENOMEM;
	}
	*look = (struct look){NULL, place, unseen->number++, alone};
	if (unseen->last) {
		unseen->last->next = look;
	} else {
		unseen->first = look;
	}
	unseen->last = look;
	unseen->waiting++;
	return 0;
}

int unseen_ended(struct unseen *unseen, struct intent *place)
{
	return ask(unseen, place, false);
}

int unseen_look(struct unseen *unseen, struct intent *place, uint64_t wall_ns)
{
	struct intent *copy = intent_copy(place);
	int r = copy ? ask(unseen, copy, true) : -ENOMEM;
	if (r == 0) {
		place->opened_ns = wall_ns;
	}
	return r;
}

uint64_t unseen_asked(const struct unseen *unseen)
{
	return unseen->number;
}

uint64_t unseen_done(const struct unseen *unseen)
{
	return unseen->first ? unseen->first->number : unseen->number;
}

uint64_t unseen_waiting(const struct unseen *unseen)
{
	return unseen->waiting;
}

void unseen_save(const struct unseen *unseen, struct buf *ret)
{
	for (const struct look *look = unseen->first; look; look = look->next) {
		intent_save(look->place, ret);
	}
}

/* ---- looking ----------------------------------------------------------------------------- */

static int visit(void *arg, struct span path, const struct stat *st)
{
	struct unseen *unseen = arg;
	return unseen->options.visit(unseen->options.arg, unseen->first->place, path, st);
}

/*
 * A directory is walked through.  Of a file, or of what is gone, the directory that is left above
 * it is read, for there may be others beside it by now.
 */
static int begin(struct unseen *unseen)
{
	struct span path = unseen->first->place->path;
	struct stat st;
	bool deep = names_stat(path, &st) == 0 && S_ISDIR(st.st_mode);
	while (path.len && (names_stat(path, &st) < 0 || !S_ISDIR(st.st_mode))) {
		path = path_parent(path);
	}
	return walk_begin(&unseen->walk, path, deep, visit, unseen);
}

int unseen_step(struct unseen *unseen, uint64_t now_ns)
{
	if (now_ns < unseen->next_ns || !unseen->first ||
		!(unseen->walking || unseen->first->alone)) {
		return 0;
	}
	int r = unseen->walking ? 0 : begin(unseen);
	unseen->walking = true;
	r = r < 0 ? r : walk_step(&unseen->walk, now_ns + SLICE_NS, visit, unseen);
	if (r == 0) {
		walk_finish(&unseen->walk);
		unseen->walking = false;
		drop_first(unseen);
	}
	unseen->next_ns = clock_now() + PAUSE_NS;
	return r < 0 ? r : 0;
}

/* ---- children and orphans ---------------------------------------------------------------- */

struct process {
	uint32_t pid, parent, session;
};

/* Whether the shim is in it.  What we may not read has gained privileges. */
static bool is_seen(uint32_t pid)
{
	char file[32];
	(void)snprintf(file, sizeof(file), "/proc/%u/maps", pid);
	FILE *maps = fopen(file, "re");
	CLEANUP(free_p) char *line = NULL;
	size_t room = 0;
	bool found = false;
	while (maps && !found && getline(&line, &room, maps) > 0) {
		found = strstr(line, SHIM);
	}
	if (maps) {
		(void)fclose(maps);
	}
	return found;
}

static int add_place(struct unseen *unseen, const struct process *process,
	const struct intent *like, struct span path)
{
	struct record record = {.kind = RECORD_UNSEEN,
		.pid = process->pid,
		.nlink = process->session,
		.time_ns = like->opened_ns,
		.program = like->program,
		.job = like->job};
	return intents_place(unseen->options.intents, &record, path);
}

/* Where it is now: a shell may have gone on to another directory. */
static int add_directory(
	struct unseen *unseen, const struct process *process, const struct intent *like)
{
	char file[32], text[PATH_MAX];
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	(void)snprintf(file, sizeof(file), "/proc/%u/cwd", process->pid);
	ssize_t len = readlink(file, text, sizeof(text));
	if (len <= 0 || (size_t)len == sizeof(text)) {
		return 0;
	}
	int r = unseen->options.place(unseen->options.arg, span_of(text, (size_t)len), &path);
	r = r == 0 ? add_place(unseen, process, like, buf_span(&path)) : r;
	return r == -ENOENT ? 0 : r;
}

static int adopt(struct unseen *unseen, const struct process *process, const struct intent *place)
{
	int r = add_place(unseen, process, place, place->path);
	r = r < 0 ? r : unseen->options.watch(unseen->options.arg, process->pid, place->opened_ns);
	return r < 0 ? r : add_directory(unseen, process, place);
}

/* Its places, if it is a child. */
static int adopt_child(struct unseen *unseen, const struct process *process)
{
	const struct intent *place = intents_first(unseen->options.intents, process->parent);
	int r = 0;
	for (; place && r == 0; place = place->next) {
		r = place->fd == INTENT_PLACE ? adopt(unseen, process, place) : 0;
	}
	return r;
}

static int adopt_orphan(struct unseen *unseen, const struct process *process)
{
	uint64_t started_ns = 0;
	int r = 0;
	for (const struct look *look = unseen->first; look && r == 0; look = look->next) {
		if (look->alone || look->place->session != process->session) {
			continue;
		}
		started_ns = started_ns ? started_ns : pid_started_ns(process->pid);
		if (started_ns + SLACK_NS >= look->place->opened_ns) {
			r = adopt(unseen, process, look->place);
		}
	}
	return r;
}

static bool has_place(const struct unseen *unseen, uint32_t pid, const struct intent **ret)
{
	const struct intent *it = intents_first(unseen->options.intents, pid);
	while (it && it->fd != INTENT_PLACE) {
		it = it->next;
	}
	*ret = it;
	return it;
}

static bool may_be_orphan(const struct unseen *unseen, const struct process *process)
{
	const struct look *look = unseen->first;
	while (look && (look->alone || look->place->session != process->session)) {
		look = look->next;
	}
	return look;
}

static int sweep_one(struct unseen *unseen, uint32_t pid)
{
	struct process process = {.pid = pid};
	const struct intent *own, *parents;
	if (!pid_origin(pid, &process.parent, &process.session)) {
		return 0;
	}
	if (has_place(unseen, pid, &own)) {
		return add_directory(unseen, &process, own);
	}
	bool child = has_place(unseen, process.parent, &parents);
	if ((!child && !may_be_orphan(unseen, &process)) || is_seen(pid)) {
		return 0;
	}
	return child ? adopt_child(unseen, &process) : adopt_orphan(unseen, &process);
}

int unseen_sweep(struct unseen *unseen)
{
	int r = 0;
	if (!intents_places(unseen->options.intents) && !unseen->first) {
		return 0;
	}
	DIR *processes = opendir("/proc");
	for (const struct dirent *it; processes && r == 0 && (it = readdir(processes));) {
		unsigned long pid = strtoul(it->d_name, NULL, 10);
		r = pid ? sweep_one(unseen, (uint32_t)pid) : 0;
	}
	if (processes) {
		(void)closedir(processes);
	}
	for (struct look *look = unseen->first; look; look = look->next) {
		look->alone = true;
	}
	return r;
}
