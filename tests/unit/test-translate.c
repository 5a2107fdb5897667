/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each test does something to a real tree, says so in records, and compares the changes with what
 * they should be, one per line: operation, facts, path, and the pair.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "poster/intents.h"
#include "poster/names.h"
#include "poster/translate.h"
#include "poster/unseen.h"

#define GENERATION 0xabcdef
#define BEGIN      (UINT64_C(1700000000) * CLOCK_S)

struct world {
	char top[64]; /* holds tree, other, and outside */
	char tree[80], other[80];
	struct tree trees[2];
	char *exclude[3];
	struct config config;
	struct names *names;
	struct intents *intents;
	struct unseen *unseen;
	struct translate *translate;
	struct buf told;
	struct ident last;
	struct change_seen seen;
	uint64_t position;
	uint64_t time_ns;
};

static void tell_path(struct world *w, struct span path)
{
	struct span rel;
	bool below = path_below(path, span_str(w->top), &rel);
	buf_add(&w->told, below ? rel : path);
}

static int collect(void *arg, struct change *change)
{
	static const char letters[] = "FDXSBZ"; /* force, deep, delete, soon, bulk, settled */
	struct world *w = arg;
	buf_add_str(&w->told, change_op_name(change->op));
	buf_add_char(&w->told, ' ');
	for (unsigned i = 0; letters[i]; i++) {
		if (change->facts & 1u << i) {
			buf_add_char(&w->told, letters[i]);
		}
	}
	buf_add_char(&w->told, ' ');
	tell_path(w, change->path);
	for (unsigned i = 0; i < change->pair_count; i++) {
		buf_add_str(&w->told, " (");
		tell_path(w, change->pairs[i].from);
		buf_add_str(&w->told, " > ");
		tell_path(w, change->pairs[i].to);
		buf_add_str(&w->told, ")");
	}
	if (change->group_count) {
		buf_printf(&w->told, " and %u", change->group_count);
	}
	if (change->link.len) {
		buf_add_str(&w->told, " -> ");
		buf_add(&w->told, change->link);
	}
	buf_add_char(&w->told, '\n');
	w->last = change->id;
	w->seen = change->seen;
	assert_span(change->host, "here");
	change_destroy(change);
	return 0;
}

/* What was told since the last time. */
#define assert_told(w, text)                                                                       \
	do {                                                                                       \
		assert_string_equal((w)->told.data ? (w)->told.data : "", text);                   \
		buf_clear(&(w)->told);                                                             \
	} while (0)

static int visit(void *arg, const struct intent *place, struct span path, const struct stat *st)
{
	return translate_visit(((struct world *)arg)->translate, place, path, st);
}

static int watch(void *arg, uint32_t pid, uint64_t since_ns)
{
	return 0;
}

static int place(void *arg, struct span directory, struct buf *ret)
{
	return translate_place(((struct world *)arg)->translate, directory, ret);
}

static void restart(struct world *w, uint64_t blind_ns)
{
	struct translate_options options = {
		&w->config, w->names, w->intents, NULL, "here", GENERATION, blind_ns, collect, w};
	const struct unseen_options unseen = {w->intents, visit, watch, place, w};
	translate_destroy(w->translate);
	unseen_destroy(w->unseen);
	assert_int_equal(unseen_create(&unseen, &w->unseen), 0);
	options.unseen = w->unseen;
	assert_int_equal(translate_create(&options, &w->translate), 0);
}

static const char *at(struct world *w, const char *rel)
{
	static char paths[8][512];
	static unsigned turn;
	char *path = paths[turn++ % 8];
	(void)snprintf(path, sizeof(paths[0]), "%s/%s", w->top, rel);
	return path;
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	strcpy(w->top, "/tmp/test-translate-XXXXXX");
	assert_non_null(mkdtemp(w->top));
	(void)snprintf(w->tree, sizeof(w->tree), "%s/tree", w->top);
	(void)snprintf(w->other, sizeof(w->other), "%s/other", w->top);
	assert_int_equal(
		mkdir(w->tree, 0755) | mkdir(w->other, 0755) | mkdir(at(w, "outside"), 0755), 0);
	static char swap_files[] = "*.swp", scratch[] = "scratch/";
	w->exclude[0] = swap_files;
	w->exclude[1] = scratch;
	w->trees[0] = (struct tree){.source = {.path = w->tree}, .exclude = w->exclude};
	w->trees[1] = (struct tree){
		.source = {.path = w->other, .remote = true}, .exclude = w->exclude + 2};
	w->config = (struct config){.trees = w->trees, .tree_count = 2, .delay_ns = 30 * CLOCK_S};
	assert_int_equal(names_create(&w->config, &w->names), 0);
	w->intents = intents_create(300 * CLOCK_S);
	w->time_ns = BEGIN;
	restart(w, 0);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[128];
	translate_destroy(w->translate);
	unseen_destroy(w->unseen);
	intents_destroy(w->intents);
	names_destroy(w->names);
	buf_finish(&w->told);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", w->top);
	int r = system(command);
	free(w);
	return r;
}

/* ---- doing and recording ----------------------------------------------------------------- */

static void put(struct world *w, const char *rel)
{
	int fd = open(at(w, rel), O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0 && write(fd, "x", 1) == 1);
	close(fd);
}

static void send(struct world *w, struct record *record)
{
	record->position = w->position;
	record->end = w->position += 128;
	record->time_ns = w->time_ns;
	assert_int_equal(translate_record(w->translate, record, clock_now()), 0);
}

/* A call by name, or by two. */
static void name_call(struct world *w, enum record_kind kind, const char *path, const char *path2)
{
	struct record record = {.kind = kind,
		.pid = 77,
		.fd = -1,
		.path = span_str(path),
		.path2 = span_str(path2),
		.program = SPAN("prog"),
		.job = SPAN("j1")};
	send(w, &record);
}

static struct record file_record(struct world *w, enum record_kind kind, unsigned flags, int32_t fd,
	const char *path, const char *inode_of)
{
	struct stat st;
	assert_int_equal(lstat(inode_of, &st), 0);
	return (struct record){.kind = kind,
		.flags = flags | RECORD_HAS_INODE,
		.pid = 77,
		.fd = fd,
		.dev = st.st_dev,
		.ino = st.st_ino,
		.path = span_str(path)};
}

/* fd of process 77, which has the inode of a path. */
static void file_call(struct world *w, enum record_kind kind, unsigned flags, int32_t fd,
	const char *path, const char *inode_of)
{
	struct record record = file_record(w, kind, flags, fd, path, inode_of);
	send(w, &record);
}

/* Written under this name, all of it. */
static void write_file(struct world *w, const char *rel)
{
	put(w, rel);
	file_call(w, RECORD_OPEN, RECORD_CREATED, 3, at(w, rel), at(w, rel));
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, "", at(w, rel));
}

/* ---- tests ------------------------------------------------------------------------------- */

static void plain_calls(void **state)
{
	struct world *w = *state;
	write_file(w, "tree/f");
	assert_told(w, "write F tree/f\n");
	assert_true(w->seen.has_inode && w->seen.has_stat && w->seen.size_bytes == 1);
	name_call(w, RECORD_MKDIR, at(w, "tree/d"), "");
	name_call(w, RECORD_RMDIR, at(w, "tree/d"), "");
	name_call(w, RECORD_UNLINK, at(w, "tree/g"), "");
	name_call(w, RECORD_MKNOD, at(w, "tree/p"), "");
	name_call(w, RECORD_SYMLINK, at(w, "tree/s"), "../any where");
	name_call(w, RECORD_META, at(w, "tree/f"), "");
	name_call(w, RECORD_TRUNCATE, at(w, "tree/f"), "");
	name_call(w, RECORD_LINK, at(w, "tree/f"), at(w, "tree/l"));
	name_call(w, RECORD_LINK, at(w, "outside/f"), at(w, "tree/l2"));
	assert_told(w, "mkdir  tree/d\nrmdir  tree/d\nremove  tree/g\nlook  tree/p\n"
		       "symlink  tree/s -> ../any where\nmeta  tree/f\nwrite F tree/f\n"
		       "link  tree/l (tree/f > tree/l)\nlink  tree/l2\n");
}

/* A job whose output goes to a file elsewhere does not keep its trees from being in sync. */
static void only_open_files_of_the_trees_count(void **state)
{
	struct world *w = *state;
	put(w, "tree/f");
	put(w, "tree/f.swp");
	put(w, "outside/log");
	file_call(w, RECORD_OPEN, 0, 1, at(w, "outside/log"), at(w, "outside/log"));
	file_call(w, RECORD_OPEN, RECORD_CREATED, 3, at(w, "tree/f.swp"), at(w, "tree/f.swp"));
	assert_int_equal(translate_open_count(w->translate), 0);
	file_call(w, RECORD_OPEN, RECORD_CREATED, 4, at(w, "tree/f"), at(w, "tree/f"));
	assert_int_equal(translate_open_count(w->translate), 1);
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 4, "", at(w, "tree/f"));
	assert_int_equal(translate_open_count(w->translate), 0);
}

static void outside_and_excluded_is_dropped(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/scratch"), 0755), 0);
	write_file(w, "outside/f");
	write_file(w, "tree/.f.swp");
	write_file(w, "tree/scratch/f");
	name_call(w, RECORD_MKDIR, at(w, "treeX"), "");
	assert_told(w, "");
	assert_int_equal(translate_counts(w->translate)->outside, 4);
	write_file(w, "other/f");
	assert_told(w, "write F other/f\n");
}

static void ids_are_the_same_at_a_replay(void **state)
{
	struct world *w = *state;
	name_call(w, RECORD_MKDIR, at(w, "tree/d"), "");
	struct ident first = w->last;
	assert_int_equal(first.source, GENERATION);
	name_call(w, RECORD_RENAME, at(w, "tree/d"), at(w, "tree/e"));
	assert_int_equal(w->last.number, 128 * 4 + 1);
	w->position = 0;
	restart(w, 0);
	name_call(w, RECORD_MKDIR, at(w, "tree/d"), "");
	assert_true(ident_equal(w->last, first));
	/* What a dead process announced has no position of its own. */
	struct record draft = {.kind = RECORD_UNLINK, .fd = -1, .path = span_str(at(w, "tree/x"))};
	assert_int_equal(translate_record(w->translate, &draft, clock_now()), 0);
	assert_int_not_equal(w->last.source, GENERATION);
	buf_clear(&w->told);
	put(w, "tree/f");
	draft.kind = RECORD_OPEN;
	draft.path = span_str(at(w, "tree/f"));
	assert_int_equal(translate_record(w->translate, &draft, clock_now()), 0);
	assert_int_equal(intents_count(w->intents), 0);
	assert_told(w, "write F tree/f\n");
}

static void trees_are_seen_by_every_way(void **state)
{
	struct world *w = *state;
	put(w, "tree/f");
	assert_int_equal(mkdir(at(w, "tree/d"), 0755), 0);
	assert_int_equal(symlink(w->tree, at(w, "outside/way")), 0);
	assert_int_equal(symlink("../tree/d", at(w, "outside/d")), 0);
	assert_int_equal(symlink("../../tree/f", at(w, "tree/d/back")), 0);
	assert_int_equal(symlink("new", at(w, "tree/dangling")), 0);
	name_call(w, RECORD_MKDIR, at(w, "outside/way/a/"), "");
	name_call(w, RECORD_MKDIR, at(w, "outside/d/../b"), "");
	name_call(w, RECORD_MKDIR, at(w, "outside/way/gone/more/../c"), "");
	name_call(w, RECORD_META, at(w, "outside/d/."), "");
	assert_told(w, "mkdir  tree/a\nmkdir  tree/b\nmkdir  tree/gone/c\nmeta  tree/d\n");
	name_call(w, RECORD_TRUNCATE, at(w, "tree/d/back"), "");
	name_call(w, RECORD_META, at(w, "tree/d/back"), "");
	name_call(w, RECORD_UNLINK, at(w, "tree/d/back"), "");
	name_call(w, RECORD_TRUNCATE, at(w, "tree/dangling"), "");
	assert_told(w, "write F tree/f\nmeta  tree/f\nremove  tree/d/back\nwrite F tree/new\n");
	struct record relative = {.kind = RECORD_MKDIR,
		.fd = -1,
		.dir = span_str(at(w, "outside")),
		.path = SPAN("./way/../tree/z")};
	send(w, &relative);
	struct record link_itself = {.kind = RECORD_META,
		.fd = -1,
		.flags = RECORD_NOFOLLOW,
		.path = span_str(at(w, "tree/d/back"))};
	send(w, &link_itself);
	assert_told(w, "mkdir  tree/z\nmeta  tree/d/back\n");
}

/* The job removes d/x and d, and makes a symlink of that name before the record is read. */
static void a_symlink_in_place_of_a_directory(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/e"), 0755), 0);
	assert_int_equal(symlink("e", at(w, "tree/d")), 0);
	struct record below = {.kind = RECORD_UNLINK,
		.fd = -1,
		.dir = span_str(at(w, "tree/d")),
		.path = SPAN("x")};
	send(w, &below);
	assert_told(w, "remove  tree/d/x\n");
	struct record through = {
		.kind = RECORD_UNLINK, .fd = -1, .dir = span_str(w->tree), .path = SPAN("d/x")};
	send(w, &through);
	assert_told(w, "look DX tree/e/x\nremove  tree/d/x\n"); /* it is younger than the record */
	w->time_ns = clock_wall() + 3600 * CLOCK_S;
	send(w, &through);
	assert_told(w, "look DX tree/d/x\nremove  tree/e/x\n");
}

/* Written by way of `current` before it was turned, read afterwards. */
static void a_symlink_that_was_turned(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/r1"), 0755) | mkdir(at(w, "tree/r2"), 0755), 0);
	assert_int_equal(symlink("r1", at(w, "tree/current")), 0);
	name_call(w, RECORD_SYMLINK, at(w, "tree/current"), "r1");
	assert_told(w, "symlink  tree/current -> r1\n");
	put(w, "tree/r1/out");
	assert_int_equal(mkdir(at(w, "tree/r1/d"), 0755), 0);
	assert_int_equal(symlink("../tree/r2/", at(w, "tree/new")), 0);
	assert_int_equal(rename(at(w, "tree/new"), at(w, "tree/current")), 0);
	file_call(
		w, RECORD_OPEN, RECORD_CREATED, 3, at(w, "tree/current/out"), at(w, "tree/r1/out"));
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, "", at(w, "tree/r1/out"));
	name_call(w, RECORD_MKDIR, at(w, "tree/current/d"), "");
	name_call(w, RECORD_RENAME, at(w, "tree/current/a"), at(w, "tree/current/b"));
	name_call(w, RECORD_UNLINK, at(w, "tree/current/b"), "");
	/* where the file itself does not tell, today's place is looked at, too */
	assert_told(w, "write F tree/r1/out\nlook DX tree/r2/d\nmkdir  tree/r1/d\n"
		       "look DX tree/r2/a\nlook DX tree/current/a\nlook DX tree/r2/b\n"
		       "rename DX tree/r1/b (tree/r1/a > tree/r1/b)\n"
		       "away DX tree/r1/a (tree/r1/a > tree/r1/b)\n"
		       "look DX tree/r2/b\nlook DX tree/current/b\nremove  tree/r1/b\n");
	name_call(w, RECORD_SYMLINK, at(w, "tree/new"), "../tree/r2/");
	name_call(w, RECORD_RENAME, at(w, "tree/new"), at(w, "tree/current"));
	buf_clear(&w->told);
	name_call(w, RECORD_MKDIR, at(w, "tree/current/e"), "");
	assert_told(w, "mkdir  tree/r2/e\n");
	name_call(w, RECORD_UNLINK, at(w, "tree/current"), "");
	buf_clear(&w->told);
	name_call(
		w, RECORD_MKDIR, at(w, "tree/current/e"), ""); /* a directory, as far as is known */
	assert_told(w, "mkdir  tree/r2/e\n");
}

/* By way of a symlink that then goes to another name, and a directory comes to its own. */
static void a_symlink_that_was_renamed(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/x"), 0755) | mkdir(at(w, "tree/f"), 0755), 0);
	assert_int_equal(symlink("x", at(w, "tree/d")), 0);
	name_call(w, RECORD_SYMLINK, at(w, "tree/d"), "x");
	assert_int_equal(mkdir(at(w, "tree/d/new"), 0755), 0);
	assert_int_equal(rename(at(w, "tree/d"), at(w, "tree/g")), 0);
	assert_int_equal(rename(at(w, "tree/f"), at(w, "tree/d")), 0);
	buf_clear(&w->told);
	name_call(w, RECORD_MKDIR, at(w, "tree/d/new"), "");
	assert_told(w, "look DX tree/d/new\nmkdir  tree/x/new\n");
	name_call(w, RECORD_RENAME, at(w, "tree/d"), at(w, "tree/g"));
	name_call(w, RECORD_RENAME, at(w, "tree/f"), at(w, "tree/d"));
	buf_clear(&w->told);
	name_call(w, RECORD_MKDIR, at(w, "tree/d/own"), "");
	name_call(w, RECORD_MKDIR, at(w, "tree/g/more"), "");
	assert_told(w, "mkdir  tree/d/own\nmkdir  tree/x/more\n");
}

/* Nobody has told of its making; but it was there, and was used, before it was turned. */
static void a_symlink_that_was_used(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/r1"), 0755) | mkdir(at(w, "tree/r2"), 0755), 0);
	assert_int_equal(symlink(at(w, "tree/r1"), at(w, "tree/current")), 0);
	w->time_ns = clock_wall() + 10 * CLOCK_S;
	name_call(w, RECORD_MKDIR, at(w, "tree/current/d"), "");
	assert_told(w, "mkdir  tree/r1/d\n");
	assert_int_equal(unlink(at(w, "tree/current")), 0);
	assert_int_equal(symlink("r2", at(w, "tree/current")), 0);
	w->time_ns = BEGIN; /* before that */
	name_call(w, RECORD_MKDIR, at(w, "tree/current/e"), "");
	assert_told(w, "look DX tree/r2/e\nmkdir  tree/r1/e\n");
	w->time_ns = clock_wall() + 10 * CLOCK_S; /* long after it, and nobody has told */
	name_call(w, RECORD_MKDIR, at(w, "tree/current/f"), "");
	assert_told(w, "mkdir  tree/r2/f\n");
}

/* As for a directory: the file written by way of it is the one that it led to then. */
static void a_symlink_to_a_file_that_was_turned(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/r1"), 0755) | mkdir(at(w, "tree/r2"), 0755), 0);
	put(w, "tree/r1/log");
	put(w, "tree/r2/log");
	assert_int_equal(symlink("r1/log", at(w, "tree/log")), 0);
	name_call(w, RECORD_SYMLINK, at(w, "tree/log"), "r1/log");
	assert_int_equal(unlink(at(w, "tree/log")), 0);
	assert_int_equal(symlink("r2/log", at(w, "tree/log")), 0);
	buf_clear(&w->told);
	file_call(w, RECORD_OPEN, 0, 3, at(w, "tree/log"), at(w, "tree/r1/log"));
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, "", at(w, "tree/r1/log"));
	assert_told(w, "write F tree/r1/log\n");
}

/* Written by way of it, and it is gone again when that is read. */
static void a_second_name_of_a_symlink(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/d"), 0755), 0);
	put(w, "tree/d/f");
	put(w, "tree/f");
	assert_int_equal(symlink("f", at(w, "tree/l")), 0);
	name_call(w, RECORD_LINK, at(w, "tree/l"), at(w, "tree/d/l"));
	file_call(w, RECORD_OPEN, 0, 3, at(w, "tree/d/l"), at(w, "tree/d/f"));
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, "", at(w, "tree/d/f"));
	name_call(w, RECORD_UNLINK, at(w, "tree/d/l"), "");
	assert_told(w, "link  tree/d/l (tree/l > tree/d/l)\nwrite F tree/d/f\nremove  tree/d/l\n");
	/* the first one is gone, too, and is remembered */
	name_call(w, RECORD_SYMLINK, at(w, "tree/m"), "f");
	name_call(w, RECORD_LINK, at(w, "tree/m"), at(w, "tree/d/m"));
	buf_clear(&w->told);
	name_call(w, RECORD_TRUNCATE, at(w, "tree/d/m"), "");
	assert_told(w, "look DX tree/d/m\nwrite F tree/d/f\n");
	/* of what is no symlink nothing is remembered */
	assert_int_equal(link(at(w, "tree/f"), at(w, "tree/d/g")), 0);
	name_call(w, RECORD_LINK, at(w, "tree/m"), at(w, "tree/d/g"));
	buf_clear(&w->told);
	name_call(w, RECORD_TRUNCATE, at(w, "tree/d/g"), "");
	assert_told(w, "write F tree/d/g and 1\n");
}

/* A job that makes links to thousands of files, or by way of them, drives none out that leads on.
 */
static void symlinks_to_many_files(void **state)
{
	struct world *w = *state;
	char path[600];
	assert_int_equal(mkdir(at(w, "tree/r1"), 0755), 0);
	put(w, "tree/f");
	name_call(w, RECORD_SYMLINK, at(w, "tree/current"), "r1");
	for (unsigned i = 0; i < 600; i++) {
		(void)snprintf(path, sizeof(path), "%s/l%u", w->tree, i);
		name_call(w, RECORD_SYMLINK, path, "f");
	}
	buf_clear(&w->told);
	name_call(w, RECORD_MKDIR, at(w, "tree/current/d"), "");
	name_call(w, RECORD_TRUNCATE, at(w, "tree/l599"), ""); /* as the last ones are known */
	name_call(w, RECORD_TRUNCATE, at(w, "tree/l0"), "");   /* and the first ones not */
	assert_told(w, "look DX tree/current/d\nmkdir  tree/r1/d\nlook DX tree/l599\n"
		       "write F tree/f\nwrite F tree/l0\n");
}

/* A rename to the name that it has already changes nothing, below it neither. */
static void a_rename_to_itself(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/d"), 0755) | mkdir(at(w, "tree/d/r1"), 0755), 0);
	name_call(w, RECORD_SYMLINK, at(w, "tree/d/current"), "r1");
	name_call(w, RECORD_RENAME, at(w, "tree/d"), at(w, "tree/d"));
	buf_clear(&w->told);
	name_call(w, RECORD_MKDIR, at(w, "tree/d/current/e"), "");
	assert_told(w, "look DX tree/d/current/e\nmkdir  tree/d/r1/e\n");
}

/* Where symlinks led is known to the next poster. */
static void symlinks_outlive_the_poster(void **state)
{
	struct world *w = *state;
	CLEANUP(buf_finish) struct buf saved = BUF_EMPTY;
	struct why why;
	assert_int_equal(mkdir(at(w, "tree/r1"), 0755), 0);
	put(w, "tree/f");
	name_call(w, RECORD_SYMLINK, at(w, "tree/current"), "r1");
	name_call(w, RECORD_SYMLINK, at(w, "tree/l"), "f");
	translate_save_links(w->translate, &saved);
	restart(w, 0);
	assert_int_equal(translate_load_links(w->translate, buf_span(&saved), &why), 0);
	buf_clear(&w->told);
	name_call(w, RECORD_MKDIR, at(w, "tree/current/d"), "");
	name_call(w, RECORD_TRUNCATE, at(w, "tree/l"), "");
	assert_told(
		w, "look DX tree/current/d\nmkdir  tree/r1/d\nlook DX tree/l\nwrite F tree/f\n");
	for (size_t len = saved.len; len-- > 0;) {
		restart(w, 0);
		int r = translate_load_links(w->translate, span_of(saved.data, len), &why);
		assert_true(r == 0 || r == -EBADMSG);
	}
}

static void a_root_that_is_a_symlink(void **state)
{
	struct world *w = *state;
	assert_int_equal(rename(w->tree, at(w, "real")), 0);
	assert_int_equal(symlink("real", w->tree), 0);
	assert_int_equal(names_refresh(w->names), 0);
	write_file(w, "real/f");
	write_file(w, "tree/g");
	assert_told(w, "write F tree/f\nwrite F tree/g\n");
}

static void odd_names(void **state)
{
	struct world *w = *state;
	char name[300] = "tree/", expected[300];
	memset(name + 5, 'n', 255);
	write_file(w, "tree/ -\n'\"\\\xff\xfe");
	assert_told(w, "write F tree/ -\n'\"\\\xff\xfe\n");
	write_file(w, name);
	(void)snprintf(expected, sizeof(expected), "write F %s\n", name);
	assert_told(w, expected);
	struct record relative = {.kind = RECORD_MKDIR, .fd = -1, .path = SPAN("nowhere")};
	send(w, &relative);
	assert_told(w, "");
	assert_int_equal(translate_counts(w->translate)->unnamed, 1);
}

/* Deeper than PATH_MAX: reached by going down step by step, recorded with a long directory. */
static void longer_than_path_max(void **state)
{
	struct world *w = *state;
	char step[201];
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf expected = BUF_EMPTY;
	memset(step, 'd', 200);
	step[200] = '\0';
	buf_add_str(&path, w->tree);
	CLEANUP(fd_close) int dir = open(w->tree, O_PATH | O_DIRECTORY);
	for (unsigned i = 0; i < 30; i++) {
		assert_int_equal(mkdirat(dir, step, 0755), 0);
		int next = openat(dir, step, O_PATH | O_DIRECTORY);
		close(dir);
		dir = next;
		buf_add_char(&path, '/');
		buf_add_str(&path, step);
	}
	struct record record = {
		.kind = RECORD_MKDIR, .fd = -1, .dir = buf_span(&path), .path = SPAN("new")};
	send(w, &record);
	buf_printf(&expected, "mkdir  %s/new\n", path.data + strlen(w->top) + 1);
	assert_told(w, expected.data);
	struct stat st;
	assert_int_equal(names_stat(buf_span(&path), &st), 0);
}

static void shells_and_killed_jobs(void **state)
{
	struct world *w = *state;
	put(w, "tree/f");
	put(w, "tree/g");
	file_call(w, RECORD_OPEN, RECORD_CREATED, 3, at(w, "tree/f"), at(w, "tree/f"));
	file_call(w, RECORD_INHERIT, 0, 1, "", at(w, "tree/f"));
	file_call(w, RECORD_CLOSE, 0, 3, "", at(w, "tree/f"));
	assert_told(w, "write F tree/f\n");
	file_call(w, RECORD_OPEN, 0, 5, at(w, "tree/g"), at(w, "tree/g"));
	file_call(w, RECORD_CLOSE, 0, 5, "", at(w, "tree/g"));
	assert_told(w, "");
	assert_int_equal(intents_count(w->intents), 1);
	assert_int_equal(translate_died(w->translate, 77, clock_now(), BEGIN), 0);
	assert_told(w, "write F tree/f\n");
	file_call(w, RECORD_OPEN, 0, 5, at(w, "tree/f"), at(w, "tree/f"));
	file_call(w, RECORD_OPEN, 0, 5, at(w, "tree/g"), at(w, "tree/g"));
	assert_told(w, "write F tree/f\n");
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 9, "", at(w, "tree/f"));
	assert_told(w, "");
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 9, at(w, "tree/f"), at(w, "tree/f"));
	assert_told(w, "write F tree/f\n");
}

static void open_for_long(void **state)
{
	struct world *w = *state;
	put(w, "tree/f");
	file_call(w, RECORD_OPEN, RECORD_CREATED, 3, at(w, "tree/f"), at(w, "tree/f"));
	uint64_t due = BEGIN + 300 * CLOCK_S;
	assert_int_equal(translate_overdue(w->translate, clock_now(), due - 1), 0);
	assert_told(w, "");
	assert_int_equal(translate_overdue(w->translate, clock_now(), due), 0);
	assert_told(w, "write F tree/f\n");
	due += 300 * CLOCK_S;
	assert_int_equal(translate_overdue(w->translate, clock_now(), due), 0);
	assert_told(w, ""); /* not touched since */
	assert_int_equal(truncate(at(w, "tree/f"), 9), 0);
	assert_int_equal(translate_open_files(w->translate, clock_now(), due), 0);
	assert_told(w, "write F tree/f\n");
	assert_int_equal(translate_open_files(w->translate, clock_now(), due), 0);
	assert_told(w, "");
	file_call(w, RECORD_MAP, 0, -1, at(w, "tree/f"), at(w, "tree/f"));
	assert_int_equal(translate_open_files(w->translate, clock_now(), due), 0);
	assert_told(w, "write F tree/f\n");
}

/* By a call that no shim sees, so that the intent stays clean. */
static void written_unseen_while_open(void **state)
{
	struct world *w = *state;
	put(w, "tree/f");
	struct record record =
		file_record(w, RECORD_OPEN, RECORD_HAS_STAT, 3, at(w, "tree/f"), at(w, "tree/f"));
	struct stat st;
	assert_int_equal(stat(at(w, "tree/f"), &st), 0);
	record.size_bytes = 1;
	record.mtime_ns = st.st_mtim.tv_sec * (int64_t)CLOCK_S + st.st_mtim.tv_nsec;
	record.nlink = 1;
	send(w, &record);
	uint64_t due = BEGIN + 300 * CLOCK_S;
	assert_int_equal(translate_open_files(w->translate, clock_now(), due), 0);
	assert_int_equal(translate_overdue(w->translate, clock_now(), due), 0);
	assert_told(w, "");
	assert_int_equal(truncate(at(w, "tree/f"), 9), 0);
	due += 300 * CLOCK_S;
	assert_int_equal(translate_overdue(w->translate, clock_now(), due), 0);
	assert_told(w, "write F tree/f\n");
	due += 300 * CLOCK_S;
	assert_int_equal(translate_overdue(w->translate, clock_now(), due), 0);
	assert_told(w, "");
}

static void renames(void **state)
{
	struct world *w = *state;
	w->time_ns = clock_wall();
	write_file(w, "tree/f");
	put(w, "tree/old");
	assert_int_equal(rename(at(w, "tree/f"), at(w, "tree/g")), 0);
	name_call(w, RECORD_RENAME, at(w, "tree/f"), at(w, "tree/g"));
	assert_told(w, "write F tree/f\nrename FDX tree/g (tree/f > tree/g)\n"
		       "away DX tree/f (tree/f > tree/g)\n");
	assert_int_equal(rename(at(w, "tree/old"), at(w, "tree/new")), 0);
	name_call(w, RECORD_RENAME, at(w, "tree/old"), at(w, "tree/new"));
	assert_told(w, "rename DX tree/new (tree/old > tree/new)\n"
		       "away DX tree/old (tree/old > tree/new)\n");
	assert_int_equal(mkdir(at(w, "tree/a"), 0755), 0);
	write_file(w, "tree/a/f");
	assert_int_equal(rename(at(w, "tree/a"), at(w, "tree/b")), 0);
	name_call(w, RECORD_RENAME, at(w, "tree/a"), at(w, "tree/b"));
	assert_told(w, "write F tree/a/f\nwrite F tree/b/f\nrename DX tree/b (tree/a > tree/b)\n"
		       "away DX tree/a (tree/a > tree/b)\n");
}

/*
 * A name that is given away and taken again: what had it may be mistaken, at the target, for what
 * has it now, where times and sizes are alike.
 */
static void names_that_are_used_again(void **state)
{
	struct world *w = *state;
	w->time_ns = clock_wall();
	assert_int_equal(mkdir(at(w, "tree/a"), 0755), 0);
	assert_int_equal(rename(at(w, "tree/a"), at(w, "tree/b")), 0);
	name_call(w, RECORD_RENAME, at(w, "tree/a"), at(w, "tree/b"));
	assert_int_equal(mkdir(at(w, "tree/a"), 0755), 0);
	name_call(w, RECORD_MKDIR, at(w, "tree/a"), "");
	assert_told(w, "rename DX tree/b (tree/a > tree/b)\naway DX tree/a (tree/a > tree/b)\n"
		       "look D tree/b\nmkdir  tree/a\n");
	name_call(w, RECORD_MKDIR, at(w, "tree/a"), "");
	assert_told(w, "mkdir  tree/a\n");
	/* files: only those that can pass for each other */
	put(w, "tree/f");
	name_call(w, RECORD_RENAME, at(w, "tree/e"), at(w, "tree/f"));
	put(w, "tree/e");
	name_call(w, RECORD_MKNOD, at(w, "tree/e"), "");
	assert_told(w, "rename DX tree/f (tree/e > tree/f)\naway DX tree/e (tree/e > tree/f)\n"
		       "look F tree/f\nlook  tree/e\n");
}

/* rename(2) of a name to itself, or to another name of the same file, does nothing. */
static void renames_that_do_nothing(void **state)
{
	struct world *w = *state;
	w->time_ns = clock_wall();
	assert_int_equal(mkdir(at(w, "tree/a"), 0755), 0);
	write_file(w, "tree/a/f");
	name_call(w, RECORD_RENAME, at(w, "tree/a"), at(w, "tree/a"));
	assert_int_equal(rename(at(w, "tree/a"), at(w, "tree/b")), 0);
	name_call(w, RECORD_RENAME, at(w, "tree/a"), at(w, "tree/b"));
	assert_told(w, "write F tree/a/f\nrename DX tree/a (tree/a > tree/a)\n"
		       "away DX tree/a (tree/a > tree/a)\nwrite F tree/b/f\n"
		       "rename DX tree/b (tree/a > tree/b)\naway DX tree/a (tree/a > tree/b)\n");
}

/* tar and cp -p set the time back, so equal times say nothing of what was written before. */
static void renames_of_what_looks_old(void **state)
{
	static const struct timespec old[2] = {{1000000000, 0}, {1000000000, 0}};
	struct world *w = *state;
	w->time_ns = clock_wall();
	assert_int_equal(mkdir(at(w, "tree/a"), 0755), 0);
	write_file(w, "tree/a/f");
	assert_int_equal(utimensat(AT_FDCWD, at(w, "tree/a/f"), old, 0), 0);
	assert_int_equal(rename(at(w, "tree/a"), at(w, "tree/b")), 0);
	name_call(w, RECORD_RENAME, at(w, "tree/a"), at(w, "tree/b"));
	assert_int_equal(rename(at(w, "tree/b/f"), at(w, "tree/g")), 0);
	name_call(w, RECORD_RENAME, at(w, "tree/b/f"), at(w, "tree/g"));
	assert_told(w, "write F tree/a/f\nwrite F tree/b/f\nrename DX tree/b (tree/a > tree/b)\n"
		       "away DX tree/a (tree/a > tree/b)\nrename FDX tree/g (tree/b/f > tree/g)\n"
		       "away DX tree/b/f (tree/b/f > tree/g)\n");
	w->time_ns = BEGIN;
	restart(w, BEGIN);
	name_call(w, RECORD_RENAME, at(w, "tree/x"), at(w, "tree/y"));
	assert_told(w, "rename FDX tree/y (tree/x > tree/y)\naway DX tree/x (tree/x > tree/y)\n");
	w->time_ns += 60 * CLOCK_S;
	name_call(w, RECORD_RENAME, at(w, "tree/x"), at(w, "tree/y"));
	assert_told(w, "rename DX tree/y (tree/x > tree/y)\naway DX tree/x (tree/x > tree/y)\n");
}

static void renames_over_borders(void **state)
{
	struct world *w = *state;
	name_call(w, RECORD_RENAME, at(w, "outside/f"), at(w, "tree/f"));
	name_call(w, RECORD_RENAME, at(w, "tree/f.swp"), at(w, "tree/f"));
	assert_told(w, "look FDX tree/f\nlook FDX tree/f\n");
	name_call(w, RECORD_RENAME, at(w, "tree/f"), at(w, "outside/f"));
	assert_told(w, "remove DX tree/f\n");
	name_call(w, RECORD_RENAME, at(w, "tree/f"), at(w, "other/f"));
	assert_told(w, "look FDX other/f\nremove DX tree/f\n");
	name_call(w, RECORD_EXCHANGE, at(w, "tree/a"), at(w, "tree/b"));
	assert_told(
		w, "rename FDX tree/b (tree/a > tree/b)\nrename FDX tree/a (tree/b > tree/a)\n");
	name_call(w, RECORD_EXCHANGE, at(w, "tree/a"), at(w, "outside/b"));
	assert_told(w, "look FDX tree/a\n");
}

static void renamed_while_open(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/a"), 0755), 0);
	put(w, "tree/a/f");
	file_call(w, RECORD_OPEN, RECORD_CREATED, 3, at(w, "tree/a/f"), at(w, "tree/a/f"));
	assert_int_equal(rename(at(w, "tree/a"), at(w, "tree/b")), 0);
	name_call(w, RECORD_RENAME, at(w, "tree/a"), at(w, "tree/b"));
	buf_clear(&w->told);
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, at(w, "tree/a/f"), at(w, "tree/b/f"));
	assert_told(w, "write F tree/b/f\n");
	/* Without an intent the rename itself leads there. */
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, at(w, "tree/a/f"), at(w, "tree/b/f"));
	assert_told(w, "write F tree/a/f and 1\nwrite F tree/b/f\n");
	assert_int_equal(translate_missing(w->translate), 0);
}

/* It leads out of the tree, but the file that was written was in it. */
static void a_symlink_took_the_name(void **state)
{
	struct world *w = *state;
	put(w, "tree/f");
	assert_int_equal(link(at(w, "tree/f"), at(w, "tree/g")), 0);
	assert_int_equal(symlink("/", at(w, "tree/l")), 0);
	assert_int_equal(rename(at(w, "tree/l"), at(w, "tree/f")), 0);
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 9, at(w, "tree/f"), at(w, "tree/g"));
	assert_told(w, "write F tree/f and 1\n");
}

/* Two files one after the other, and the record names the second by what both were called. */
static void one_name_for_two_files(void **state)
{
	struct world *w = *state;
	put(w, "tree/a");
	assert_int_equal(rename(at(w, "tree/a"), at(w, "tree/x")), 0);
	name_call(w, RECORD_RENAME, at(w, "tree/a"), at(w, "tree/x"));
	put(w, "tree/a");
	assert_int_equal(rename(at(w, "tree/a"), at(w, "tree/y")), 0);
	name_call(w, RECORD_RENAME, at(w, "tree/a"), at(w, "tree/y"));
	buf_clear(&w->told);
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, at(w, "tree/a"), at(w, "tree/y"));
	assert_told(w, "write F tree/a and 1\nwrite F tree/y\n");
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, at(w, "tree/a"), at(w, "tree/x"));
	assert_told(w, "write F tree/a and 1\nwrite F tree/x\n");
	assert_int_equal(translate_missing(w->translate), 0);
}

/* When the records are read, the name leads elsewhere than at the time of the calls. */
static void a_symlink_came_later(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/d"), 0755) | mkdir(at(w, "tree/e"), 0755), 0);
	put(w, "tree/d/f");
	assert_int_equal(rename(at(w, "tree/d"), at(w, "tree/b")), 0);
	assert_int_equal(symlink("../outside", at(w, "tree/d")), 0);
	file_call(w, RECORD_OPEN, RECORD_CREATED, 3, at(w, "tree/d/f"), at(w, "tree/b/f"));
	name_call(w, RECORD_RENAME, at(w, "tree/d"), at(w, "tree/b"));
	buf_clear(&w->told);
	file_call(w, RECORD_WRITTEN, 0, 3, "", at(w, "tree/b/f"));
	assert_int_equal(rename(at(w, "tree/b/f"), at(w, "tree/g")), 0);
	assert_int_equal(rename(at(w, "tree/b"), at(w, "tree/c")), 0);
	assert_int_equal(symlink("e", at(w, "tree/b")), 0);
	name_call(w, RECORD_RENAME, at(w, "tree/b/f"), at(w, "tree/g"));
	assert_told(w, "look DX tree/e/f\nrename FDX tree/g (tree/b/f > tree/g)\n"
		       "away DX tree/b/f (tree/b/f > tree/g)\n");
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, "", at(w, "tree/g"));
	assert_told(w, "write F tree/g\n");
}

/* What has its name for long is not the symlink's fault. */
static void a_symlink_was_there_before(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/e"), 0755), 0);
	assert_int_equal(symlink("e", at(w, "tree/d")), 0);
	put(w, "tree/e/f");
	put(w, "tree/other");
	w->time_ns = clock_wall() + 3600 * CLOCK_S;
	file_call(w, RECORD_OPEN, RECORD_CREATED, 3, at(w, "tree/d/f"), at(w, "tree/other"));
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, "", at(w, "tree/other"));
	assert_told(w, "write F tree/e/f and 1\n");
}

static void rename_twice(struct world *w, const char *name, const char *told)
{
	assert_int_equal(rename(at(w, name), at(w, "tree/b")), 0);
	name_call(w, RECORD_RENAME, at(w, name), at(w, "tree/b"));
	assert_int_equal(rename(at(w, "tree/b"), at(w, "tree/c")), 0);
	buf_clear(&w->told);
	name_call(w, RECORD_RENAME, at(w, "tree/b"), at(w, "tree/c"));
	assert_told(w, told);
}

/* By the old name the target may still have what was there before. */
static void renames_of_what_was_renamed(void **state)
{
	struct world *w = *state;
	put(w, "tree/a");
	rename_twice(w, "tree/a",
		"rename FDX tree/c (tree/b > tree/c)\naway DX tree/b (tree/b > tree/c)\n");
	assert_int_equal(unlink(at(w, "tree/c")), 0);
	assert_int_equal(mkdir(at(w, "tree/d"), 0755), 0);
	rename_twice(w, "tree/d",
		"rename DX tree/c (tree/b > tree/c)\naway DX tree/b (tree/b > tree/c)\n");
}

/* The same. */
static void links_of_what_was_renamed(void **state)
{
	struct world *w = *state;
	put(w, "tree/a");
	put(w, "tree/b");
	name_call(w, RECORD_EXCHANGE, at(w, "tree/a"), at(w, "tree/b"));
	buf_clear(&w->told);
	name_call(w, RECORD_LINK, at(w, "tree/a"), at(w, "tree/c"));
	assert_told(w, "link F tree/c (tree/a > tree/c)\n");
	name_call(w, RECORD_LINK, at(w, "tree/x"), at(w, "tree/y"));
	assert_told(w, "link  tree/y (tree/x > tree/y)\n");
}

/* The record comes when the file is gone already; what became of it comes a moment later. */
static void explained_a_moment_later(void **state)
{
	struct world *w = *state;
	put(w, "tree/f");
	struct record close =
		file_record(w, RECORD_CLOSE, RECORD_DIRTY, 3, at(w, "tree/f"), at(w, "tree/f"));
	assert_int_equal(unlink(at(w, "tree/f")), 0);
	send(w, &close);
	assert_int_equal(translate_missing(w->translate), 1);
	name_call(w, RECORD_UNLINK, at(w, "tree/f"), "");
	assert_int_equal(translate_missing_settled(w->translate), 1);
	assert_int_equal(translate_settle(w->translate, CLOCK_NEVER, BEGIN), 0);
	assert_told(w, "write F tree/f and 1\nremove  tree/f\n");
}

/* ---- programs that no shim is in ---------------------------------------------------------- */

/* Of a process that does not exist. */
#define NOBODY 0x3ffff0

static void run_unseen(struct world *w, const char *cwd, struct span arguments)
{
	struct record record = {.kind = RECORD_UNSEEN,
		.pid = NOBODY,
		.fd = -1,
		.mode = UNSEEN_STATIC,
		.nlink = NOBODY,
		.dir = span_str(cwd),
		.path = SPAN("/opt/static"),
		.path2 = arguments,
		.job = SPAN("j1")};
	w->time_ns = clock_wall();
	send(w, &record);
}

/* Everything owed is looked for; what was told, sorted. */
static void look(struct world *w)
{
	assert_int_equal(unseen_sweep(w->unseen), 0);
	while (unseen_waiting(w->unseen)) {
		assert_int_equal(unseen_step(w->unseen, clock_now()), 0);
		(void)usleep(1000);
	}
}

/* Older than any look goes back to. */
static void age(struct world *w)
{
	(void)w;
	(void)usleep(2100000);
}

static void unseen_work_is_found(void **state)
{
	struct world *w = *state;
	struct note note = {0};
	assert_int_equal(mkdir(at(w, "tree/d"), 0755) | mkdir(at(w, "tree/d/e"), 0755) |
				 mkdir(at(w, "tree/scratch"), 0755) |
				 mkdir(at(w, "tree/other"), 0755),
		0);
	put(w, "tree/d/old");
	put(w, "tree/other/old");
	age(w);
	run_unseen(w, at(w, "tree/d"), SPAN_NONE);
	assert_int_equal(intents_places(w->intents), 1);
	assert_int_equal(intents_count(w->intents), 0);
	put(w, "tree/d/e/new");
	put(w, "tree/other/elsewhere");
	put(w, "tree/scratch/no");
	assert_told(w, "");
	assert_int_equal(translate_died(w->translate, NOBODY, clock_now(), clock_wall()), 0);
	assert_told(w, "");
	look(w);
	assert_told(w, "look X tree/d/e\nwrite F tree/d/e/new\n");
	assert_int_equal(intents_places(w->intents), 0);
	assert_true(unseen_next_share(w->unseen, &note));
	assert_int_equal(note.programs, 1);
	assert_int_equal(note.found, 1);
	assert_span(note.job, "j1");
	assert_false(unseen_next_share(w->unseen, &note));
}

/* Names of one level are compared, what came by a rename with all below; symlinks are looked at. */
static void unseen_names_are_found(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/d"), 0755) | mkdir(at(w, "tree/e"), 0755), 0);
	put(w, "tree/d/f");
	age(w);
	run_unseen(w, at(w, "tree"), SPAN_NONE);
	assert_int_equal(rename(at(w, "tree/d"), at(w, "tree/g")), 0);
	assert_int_equal(symlink("x", at(w, "tree/e/l")), 0);
	assert_int_equal(translate_died(w->translate, NOBODY, clock_now(), clock_wall()), 0);
	look(w);
	const char *told = w->told.data;
	assert_non_null(strstr(told, "look X tree\n"));
	assert_non_null(strstr(told, "look DXB tree/g\n"));
	assert_non_null(strstr(told, "look X tree/e\n"));
	assert_non_null(strstr(told, "look  tree/e/l\n"));
	assert_null(strstr(told, "write"));
	buf_clear(&w->told);
}

static void unseen_arguments_are_places(void **state)
{
	struct world *w = *state;
	CLEANUP(buf_finish) struct buf arguments = BUF_EMPTY;
	assert_int_equal(mkdir(at(w, "tree/d"), 0755) | mkdir(at(w, "other/e"), 0755) |
				 mkdir(at(w, "tree/d/sub"), 0755),
		0);
	buf_printf(&arguments, "of=%s%c--dir=%s%c-C%s%c%s%c", at(w, "tree/d/out"), 0,
		at(w, "other/e"), 0, at(w, "tree/d/sub"), 0, at(w, "outside/x"), 0);
	run_unseen(w, at(w, "outside"), buf_span(&arguments));
	assert_int_equal(intents_places(w->intents), 3);
	run_unseen(w, at(w, "tree"), SPAN_NONE); /* the same process */
	run_unseen(w, at(w, "tree/d"), SPAN_NONE);
	assert_int_equal(intents_places(w->intents), 4);
	put(w, "tree/d/out");
	put(w, "other/e/in");
	age(w);
	buf_clear(&w->told);
}

/* A place that is gone: what is left above it tells. */
static void unseen_removal_of_the_place(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/d"), 0755) | mkdir(at(w, "tree/d/e"), 0755), 0);
	age(w);
	run_unseen(w, at(w, "tree/d/e"), SPAN_NONE);
	assert_int_equal(rmdir(at(w, "tree/d/e")) | rmdir(at(w, "tree/d")), 0);
	assert_int_equal(translate_died(w->translate, NOBODY, clock_now(), clock_wall()), 0);
	look(w);
	assert_told(w, "look X tree\n");
}

static void unseen_programs_that_run_long(void **state)
{
	struct world *w = *state;
	age(w);
	run_unseen(w, at(w, "tree"), SPAN_NONE);
	put(w, "tree/a");
	assert_int_equal(translate_overdue(w->translate, clock_now(), clock_wall()), 0);
	assert_int_equal(unseen_waiting(w->unseen), 0);
	uint64_t later_ns = clock_wall() + 301 * CLOCK_S;
	assert_int_equal(translate_overdue(w->translate, clock_now(), later_ns), 0);
	look(w);
	assert_non_null(strstr(w->told.data, "write F tree/a\n"));
	buf_clear(&w->told);
	assert_int_equal(translate_open_files(w->translate, clock_now(), later_ns), 0);
	look(w);
	assert_told(w, ""); /* from then on */
	assert_int_equal(intents_places(w->intents), 1);
}

/* What a shim has told of since is not told again. */
static void unseen_beside_seen(void **state)
{
	struct world *w = *state;
	age(w);
	run_unseen(w, at(w, "tree"), SPAN_NONE);
	put(w, "tree/both");
	put(w, "tree/alone");
	(void)usleep(50000);
	file_call(w, RECORD_OPEN, RECORD_CREATED, 3, at(w, "tree/both"), at(w, "tree/both"));
	w->time_ns = clock_wall();
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, "", at(w, "tree/both"));
	assert_told(w, "write F tree/both\n");
	assert_int_equal(translate_died(w->translate, NOBODY, clock_now(), clock_wall()), 0);
	look(w);
	assert_told(w, "look X tree\nwrite F tree/alone\n");
}

/* All that is owed survives: of the living, of the dead, and what is being looked at. */
static void unseen_survives_a_restart(void **state)
{
	struct world *w = *state;
	struct why why = {""};
	CLEANUP(buf_finish) struct buf saved = BUF_EMPTY;
	assert_int_equal(mkdir(at(w, "tree/d"), 0755), 0);
	age(w);
	run_unseen(w, at(w, "tree/d"), SPAN_NONE);
	uint64_t began_ns = w->time_ns;
	assert_int_equal(translate_open_files(w->translate, clock_now(), clock_wall()), 0);
	intents_save(w->intents, &saved);
	unseen_save(w->unseen, &saved);
	unseen_destroy(w->unseen);
	w->unseen = NULL;
	translate_destroy(w->translate);
	w->translate = NULL;
	intents_destroy(w->intents);
	w->intents = intents_create(300 * CLOCK_S);
	assert_int_equal(intents_load(w->intents, buf_span(&saved), &why), 0);
	restart(w, 0);
	assert_int_equal(intents_places(w->intents), 1);
	const struct intent *it = intents_first(w->intents, NOBODY);
	assert_int_equal(it->opened_ns, began_ns);
	assert_int_equal(it->session, NOBODY);
	put(w, "tree/d/f");
	assert_int_equal(translate_died(w->translate, NOBODY, clock_now(), clock_wall()), 0);
	look(w);
	assert_told(w, "look X tree/d\nwrite F tree/d/f\n");
}

static void moved_by_somebody_unseen(void **state)
{
	struct world *w = *state;
	assert_int_equal(mkdir(at(w, "tree/d"), 0755), 0);
	put(w, "tree/d/f");
	struct record close =
		file_record(w, RECORD_CLOSE, RECORD_DIRTY, 3, at(w, "tree/d/f"), at(w, "tree/d/f"));
	assert_int_equal(rename(at(w, "tree/d/f"), at(w, "tree/d/g")), 0);
	send(w, &close);
	assert_int_equal(translate_settle(w->translate, clock_now(), BEGIN), 0);
	assert_told(w, "write F tree/d/f and 1\n");
	assert_int_equal(translate_settle(w->translate, CLOCK_NEVER, BEGIN), 0);
	assert_told(w, "look DB tree/d\n");
	close.flags |= RECORD_HAS_STAT; /* nlink 0: there is nothing to look for */
	send(w, &close);
	assert_int_equal(translate_settle(w->translate, CLOCK_NEVER, BEGIN), 0);
	assert_told(w, "write F tree/d/f\n");
}

static void an_open_file_is_looked_for_once(void **state)
{
	struct world *w = *state;
	put(w, "tree/f");
	file_call(w, RECORD_OPEN, RECORD_CREATED, 3, at(w, "tree/f"), at(w, "tree/f"));
	assert_int_equal(unlink(at(w, "tree/f")), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(translate_open_files(w->translate, clock_now(), BEGIN), 0);
		assert_int_equal(translate_settle(w->translate, CLOCK_NEVER, BEGIN), 0);
	}
	assert_told(w, "write F tree/f and 1\nlook DB tree\n");
}

/* Written by one name, which is removed; the other name has the content. */
static void the_other_hard_link(void **state)
{
	struct world *w = *state;
	put(w, "tree/f");
	assert_int_equal(link(at(w, "tree/f"), at(w, "tree/g")), 0);
	write_file(w, "tree/f");
	assert_int_equal(w->seen.nlink, 2);
	assert_int_equal(unlink(at(w, "tree/f")), 0);
	name_call(w, RECORD_UNLINK, at(w, "tree/f"), "");
	assert_int_equal(translate_settle(w->translate, CLOCK_NEVER, BEGIN), 0);
	assert_told(w, "write F tree/f and 1\nremove  tree/f\nlook DB tree\n");
	/* what is known by name alone is looked up */
	assert_int_equal(link(at(w, "tree/g"), at(w, "tree/h")), 0);
	name_call(w, RECORD_TRUNCATE, at(w, "tree/h"), "");
	name_call(w, RECORD_META, at(w, "tree/h"), "");
	assert_int_equal(unlink(at(w, "tree/h")), 0);
	name_call(w, RECORD_TRUNCATE, at(w, "tree/g"), "");
	assert_told(w, "write F tree/h and 1\nmeta  tree/h and 1\nwrite F tree/g\n");
}

/* What changed by name alone is remembered too while the file has other names. */
static void the_other_hard_link_of_what_was_told_by_name(void **state)
{
	struct world *w = *state;
	static const enum record_kind kinds[] = {RECORD_META, RECORD_TRUNCATE};
	put(w, "tree/f");
	put(w, "tree/single");
	name_call(w, RECORD_META, at(w, "tree/single"), "");
	name_call(w, RECORD_UNLINK, at(w, "tree/single"), "");
	assert_int_equal(translate_settle(w->translate, CLOCK_NEVER, BEGIN), 0);
	assert_told(w, "meta  tree/single\nremove  tree/single\n");
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(link(at(w, "tree/f"), at(w, "tree/g")), 0);
		name_call(w, kinds[i], at(w, "tree/g"), "");
		assert_int_equal(unlink(at(w, "tree/g")), 0);
		name_call(w, RECORD_UNLINK, at(w, "tree/g"), "");
		assert_int_equal(translate_settle(w->translate, CLOCK_NEVER, BEGIN), 0);
		assert_told(w, i == 0 ? "meta  tree/g and 1\nremove  tree/g\nlook DB tree\n"
				      : "write F tree/g and 1\nremove  tree/g\nlook DB tree\n");
	}
}

/* O_TMPFILE, then a name by linkat(). */
static void named_while_open(void **state)
{
	struct world *w = *state;
	put(w, "outside/f");
	file_call(w, RECORD_OPEN, RECORD_CREATED, 3, w->tree, at(w, "outside/f"));
	assert_int_equal(rename(at(w, "outside/f"), at(w, "tree/f")), 0);
	struct record named =
		file_record(w, RECORD_LINK, 0, -1, "/proc/self/fd/3", at(w, "tree/f"));
	char to[128];
	(void)snprintf(to, sizeof(to), "%s", at(w, "tree/f"));
	named.path2 = span_str(to);
	send(w, &named);
	file_call(w, RECORD_CLOSE, RECORD_DIRTY, 3, "", at(w, "tree/f"));
	assert_told(w, "link  tree/f\nwrite F tree/f\n");
}

static void all_trees_after_a_loss(void **state)
{
	struct world *w = *state;
	assert_int_equal(translate_rescan(w->translate, BEGIN, 0), 0);
	assert_told(w, "look DXSB tree\nlook DXSB other\n");
}

static void devices_of_the_trees(void **state)
{
	struct world *w = *state;
	uint64_t devices[NAMES_DEVICES_MAX];
	struct stat st;
	size_t count;
	assert_int_equal(stat(w->tree, &st), 0);
	names_devices(w->names, devices, &count);
	assert_true(count == 0 || devices[0] == st.st_dev);
	assert_int_equal(rmdir(w->other), 0);
	assert_int_equal(names_refresh(w->names), 0);
	names_devices(w->names, devices, &count);
	assert_int_equal(count, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(plain_calls),
		TEST(only_open_files_of_the_trees_count),
		TEST(outside_and_excluded_is_dropped),
		TEST(ids_are_the_same_at_a_replay),
		TEST(trees_are_seen_by_every_way),
		TEST(a_symlink_in_place_of_a_directory),
		TEST(a_symlink_took_the_name),
		TEST(one_name_for_two_files),
		TEST(a_symlink_came_later),
		TEST(a_symlink_was_there_before),
		TEST(renames_of_what_was_renamed),
		TEST(links_of_what_was_renamed),
		TEST(a_symlink_that_was_turned),
		TEST(a_symlink_that_was_renamed),
		TEST(a_symlink_that_was_used),
		TEST(a_symlink_to_a_file_that_was_turned),
		TEST(a_second_name_of_a_symlink),
		TEST(symlinks_to_many_files),
		TEST(a_rename_to_itself),
		TEST(symlinks_outlive_the_poster),
		TEST(a_root_that_is_a_symlink),
		TEST(odd_names),
		TEST(longer_than_path_max),
		TEST(shells_and_killed_jobs),
		TEST(open_for_long),
		TEST(written_unseen_while_open),
		TEST(renames),
		TEST(renames_that_do_nothing),
		TEST(names_that_are_used_again),
		TEST(renames_of_what_looks_old),
		TEST(renames_over_borders),
		TEST(renamed_while_open),
		TEST(explained_a_moment_later),
		TEST(moved_by_somebody_unseen),
		TEST(unseen_work_is_found),
		TEST(unseen_names_are_found),
		TEST(unseen_arguments_are_places),
		TEST(unseen_removal_of_the_place),
		TEST(unseen_programs_that_run_long),
		TEST(unseen_beside_seen),
		TEST(unseen_survives_a_restart),
		TEST(an_open_file_is_looked_for_once),
		TEST(the_other_hard_link),
		TEST(the_other_hard_link_of_what_was_told_by_name),
		TEST(named_while_open),
		TEST(all_trees_after_a_loss),
		TEST(devices_of_the_trees),
	};
	return cmocka_run_group_tests_name("translate", tests, NULL, NULL);
}
