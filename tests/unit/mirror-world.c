/* SPDX-License-Identifier: Apache-2.0 */
#include "mirror-world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "flow/place.h"
#include "flow/task.h"
#include "guard.h"
#include "purge.h"
#include "reconcile.h"

struct world w;
bool push, pull;
const char *server_command = "/usr/lib/openssh/sftp-server";

char *at(const char *side, const char *rel)
{
	static char buffers[4][PATH_ROOM];
	static unsigned turn;
	char *buffer = buffers[turn++ % 4];
	(void)snprintf(buffer, sizeof(buffers[0]), "%s/%s%s%s", w.base, side, *rel ? "/" : "", rel);
	return buffer;
}

void queue_add(struct change *change)
{
	if (w.count == w.room) {
		w.room = w.room ? w.room * 2 : 64;
		w.queue = realloc(w.queue, w.room * sizeof(struct change *));
	}
	w.queue[w.count++] = change;
}

struct change *hint(enum change_op op, const char *rel, unsigned facts)
{
	struct change *change = change_create();
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	path_join(&path, span_str(w.tree.source.path), span_str(rel));
	change->id = (struct ident){1, w.pair.self.number++};
	change->op = op;
	change->facts = facts;
	change->time_ns = clock_wall();
	change_set(&change->path, buf_span(&path));
	change_set(&change->host, span_str(place_host()));
	queue_add(change);
	return change;
}

void hint_pair(enum change_op op, const char *rel, const char *from, const char *to, unsigned force)
{
	unsigned facts = op == CHANGE_LINK ? 0 : CHANGE_DEEP | CHANGE_DELETE | force;
	struct change *change = hint(op, rel, facts);
	CLEANUP(buf_finish) struct buf a = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf b = BUF_EMPTY;
	path_join(&a, span_str(w.tree.source.path), span_str(from));
	path_join(&b, span_str(w.tree.source.path), span_str(to));
	(op == CHANGE_LINK ? change_add_link : change_add_pair)(change, buf_span(&a), buf_span(&b));
}

const char *race;

static void race_now(void)
{
	FILE *file = race ? fopen(at("t", race), "w") : NULL;
	if (file) {
		(void)fputs("newer", file);
		(void)fclose(file);
		race = NULL;
	}
}

static int collect(void *arg, struct follow *follows, size_t count, struct why *why)
{
	(void)arg;
	(void)why;
	race_now();
	for (size_t i = 0; i < count; i++) {
		queue_add(follows[i].change);
	}
	return 0;
}

static void work(void *arg)
{
	struct job job = {.pair = &w.pair,
		.order = w.order,
		.again = w.again,
		.detached = w.again,
		.hands = w.pool,
		.publish = collect};
	(void)arg;
	config_tree(&w.config, w.order->path, &job.rel);
	w.result = reconcile(&job);
	w.why = job.why;
	w.work = job.work;
	w.blocked = job.blocked;
	w.bytes += job.work.bytes;
	w.saved += job.work.bytes_saved;
	for (size_t i = 0; w.result == 0 && i < job.touched_count; i++) {
		job_follow(&job, span_str(job.touched[i]), 0, 0);
	}
	job_publish(&job);
	job_finish(&job);
	w.busy = false;
}

int carry_out(size_t i)
{
	w.order = w.queue[i];
	w.queue[i] = w.queue[--w.count];
	w.busy = true;
	assert_int_equal(task_start(w.pool, work, NULL), 0);
	for (w.turns = 0; w.busy; w.turns++) {
		assert_int_equal(loop_turn(w.loop, CLOCK_NEVER), 0);
	}
	if (w.result < 0) {
		print_message("# %.*s: %s\n", SPAN_ARG(w.order->path), w.why.text);
	}
	change_destroy(w.order);
	return w.result;
}

void carry_out_all(void)
{
	for (unsigned turns = 0; w.count; turns++) {
		assert_true(turns < 100000);
		assert_int_equal(carry_out(0), 0);
	}
}

void put(const char *rel, const char *text)
{
	FILE *file = fopen(at("s", rel), "w");
	assert_non_null(file);
	(void)fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

void set_mtime(const char *side, const char *rel, time_t second)
{
	const struct timespec times[2] = {{second, 0}, {second, 0}};
	assert_int_equal(utimensat(AT_FDCWD, at(side, rel), times, AT_SYMLINK_NOFOLLOW), 0);
}

struct stat stat_of(const char *side, const char *rel)
{
	struct stat st;
	assert_int_equal(lstat(at(side, rel), &st), 0);
	return st;
}

static void purge_work(void *arg)
{
	(void)arg;
	w.result = purge_round(&w.pair, &w.why);
	w.busy = false;
}

int purge(void)
{
	w.busy = true;
	assert_int_equal(task_start(w.pool, purge_work, NULL), 0);
	while (w.busy) {
		assert_int_equal(loop_turn(w.loop, CLOCK_NEVER), 0);
	}
	return w.result;
}

/* ---- comparing ---------------------------------------------------------------------------- */

static bool same_file(const char *a, const char *b)
{
	char x[4096], y[4096];
	FILE *f = fopen(a, "r"), *g = fopen(b, "r");
	bool same = f && g;
	while (same) {
		size_t n = fread(x, 1, sizeof(x), f), m = fread(y, 1, sizeof(y), g);
		same = n == m && memcmp(x, y, n) == 0;
		if (n == 0) {
			break;
		}
	}
	if (f) {
		(void)fclose(f);
	}
	if (g) {
		(void)fclose(g);
	}
	return same;
}

static int differ(const char *rel, const char *what)
{
	print_message("# differs: '%s' %s\n", rel, what);
	return 1;
}

static int compare_names(const char *rel, const char *side, const char *other)
{
	char directory[4096], name[4096];
	struct stat st;
	int count = 0;
	(void)snprintf(directory, sizeof(directory), "%s", at(side, rel));
	DIR *d = opendir(directory);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			(!*rel && strncmp(e->d_name, ".mirror", 7) == 0)) {
			continue;
		}
		(void)snprintf(name, sizeof(name), "%s%s%s", rel, *rel ? "/" : "", e->d_name);
		if (lstat(at(other, name), &st) < 0) {
			count += differ(name, *side == 's' ? "missing" : "extra");
		} else if (*side == 's') {
			count += differences(name);
		}
	}
	closedir(d);
	return count;
}

/* SFTP tells seconds, modulo 2^32. */
static bool same_time(const struct stat *s, const struct stat *t)
{
	return push || pull ? (uint32_t)s->st_mtim.tv_sec == (uint32_t)t->st_mtim.tv_sec
			    : s->st_mtim.tv_sec == t->st_mtim.tv_sec &&
				      s->st_mtim.tv_nsec == t->st_mtim.tv_nsec;
}

int differences(const char *rel)
{
	struct stat s, t;
	assert_int_equal(lstat(at("s", rel), &s), 0);
	assert_int_equal(lstat(at("t", rel), &t), 0);
	if ((s.st_mode & S_IFMT) != (t.st_mode & S_IFMT)) {
		return differ(rel, "type");
	}
	int count = s.st_mode != t.st_mode ? differ(rel, "mode") : 0;
	if (!same_time(&s, &t)) {
		count += differ(rel, "mtime");
	}
	if (S_ISDIR(s.st_mode)) {
		return count + compare_names(rel, "s", "t") + compare_names(rel, "t", "s");
	}
	if (S_ISLNK(s.st_mode)) {
		char a[4096] = "", b[4096] = "";
		(void)!readlink(at("s", rel), a, sizeof(a) - 1);
		(void)!readlink(at("t", rel), b, sizeof(b) - 1);
		return count + (strcmp(a, b) ? differ(rel, "text") : 0);
	}
	return count + (same_file(at("s", rel), at("t", rel)) ? 0 : differ(rel, "content"));
}

void assert_mirrored(void)
{
	assert_int_equal(differences(""), 0);
}

void mirror_all(void)
{
	hint(CHANGE_LOOK, "", CHANGE_DEEP | CHANGE_DELETE);
	carry_out_all();
	assert_mirrored();
}

/* ---- the world ------------------------------------------------------------------------------ */

/* What stands in for ssh runs the server at once: the same engine, no network. */
static void serve_sftp(void)
{
	FILE *script = fopen(at("ssh", ""), "w");
	assert_non_null(script);
	(void)fprintf(script, "#!/bin/sh\nexec %s\n", server_command);
	(void)fclose(script);
	chmod(at("ssh", ""), 0700);
	w.config.copier.transport = TRANSPORT_SSH;
	w.config.copier.ssh_command = strdup(at("ssh", ""));
	w.config.copier.in_flight = 64;
	w.config.copier.window_bytes = 1 << 20;
	w.tree.target.remote = push;
	w.tree.source.remote = pull;
	w.tree.target.host = w.tree.source.host = (char *)"localhost";
}

void world_open(void)
{
	assert_int_equal(loop_create(&w.loop), 0);
	assert_int_equal(task_pool_create(w.loop, 4, 256 * 1024, &w.pool), 0);
	assert_int_equal(pair_open(&w.pair, w.loop, &w.config, &w.tree, &w.why), 0);
}

void world_close(void)
{
	pair_close(&w.pair);
	task_pool_destroy(w.pool);
	loop_destroy(w.loop);
}

int set_up(void **state)
{
	static uint64_t retry = CLOCK_S;
	static char *no_exclude[] = {NULL};
	(void)state;
	memset(&w, 0, sizeof(w));
	strcpy(w.base, "/tmp/test-reconcile-XXXXXX");
	assert_non_null(mkdtemp(w.base));
	assert_int_equal(mkdir(at("s", ""), 0755), 0);
	assert_int_equal(mkdir(at("t", ""), 0755), 0);
	setenv("XDG_STATE_HOME", at("state", ""), 1);
	w.config = (struct config){.mirror = (char *)"test",
		.trees = &w.tree,
		.tree_count = 1,
		.settle_ns = CLOCK_S,
		.keep_gone_ns = 3600 * CLOCK_S,
		.max_delete = 100,
		.retry_ns = &retry,
		.retry_count = 1};
	w.tree.exclude = no_exclude;
	w.tree.source.path = strdup(at("s", ""));
	w.tree.target.path = strdup(at("t", ""));
	w.tree.source.text = w.tree.source.path;
	w.tree.target.text = w.tree.target.path;
	if (push || pull) {
		serve_sftp();
	}
	world_open();
	hint(CHANGE_LOOK, "", CHANGE_DEEP);
	return 0;
}

int tear_down(void **state)
{
	char command[192];
	(void)state;
	world_close();
	while (w.count) {
		change_destroy(w.queue[--w.count]);
	}
	free(w.queue);
	free(w.config.copier.ssh_command);
	free(w.tree.source.path);
	free(w.tree.target.path);
	(void)snprintf(command, sizeof(command), "chmod -R u+rwx %s; rm -rf %s", w.base, w.base);
	return system(command);
}

bool world_begin(const char *sides)
{
	push = strcmp(sides, "sftp") == 0 || strcmp(sides, "afar") == 0;
	pull = strcmp(sides, "pull") == 0 || strcmp(sides, "afar") == 0;
	return geteuid() != 0 ||
	       (setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
}
