/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reconciler against two real local trees, without broker and daemons: orders go straight
 * in, what a job asks for becomes orders again, in any sequence.  The last test changes the
 * source at random while orders are carried out late, twice and out of turn; in the end the
 * trees must be identical.
 */
#include "mirror-world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

/* ---- cases ---------------------------------------------------------------------------------- */

static void a_tree_appears(void **state)
{
	(void)state;
	mkdir(at("s", "a"), 0750);
	mkdir(at("s", "a/b"), 0700);
	put("a/b/f", "hello");
	put("-x", "");
	assert_int_equal(symlink("../nowhere", at("s", "a/l")), 0);
	hint(CHANGE_LOOK, "", CHANGE_DEEP);
	carry_out_all();
	assert_mirrored();
	put("a/b/f", "changed");
	hint(CHANGE_WRITE, "a/b/f", CHANGE_FORCE);
	unlink(at("s", "-x"));
	hint(CHANGE_REMOVE, "-x", 0);
	chmod(at("s", "a"), 0500);
	hint(CHANGE_META, "a", 0);
	carry_out_all();
	assert_mirrored();
	chmod(at("s", "a"), 0700);
}

static void a_deep_path_makes_its_parents(void **state)
{
	(void)state;
	mkdir(at("s", "a"), 0711);
	mkdir(at("s", "a/b"), 0700);
	put("a/b/f", "x");
	hint(CHANGE_WRITE, "a/b/f", CHANGE_FORCE);
	carry_out_all();
	assert_mirrored();
}

static void read_only_directories_are_written(void **state)
{
	(void)state;
	mkdir(at("s", "d"), 0700);
	put("d/f", "1");
	chmod(at("s", "d"), 0500);
	hint(CHANGE_LOOK, "", CHANGE_DEEP);
	carry_out_all();
	assert_mirrored();
	chmod(at("s", "d"), 0700);
	put("d/g", "2");
	chmod(at("s", "d"), 0500);
	hint(CHANGE_WRITE, "d/g", CHANGE_FORCE);
	carry_out_all();
	assert_mirrored();
	chmod(at("s", "d"), 0700);
}

static void types_change(void **state)
{
	(void)state;
	put("x", "file");
	mkdir(at("s", "y"), 0700);
	put("y/f", "below");
	hint(CHANGE_LOOK, "", CHANGE_DEEP);
	carry_out_all();
	unlink(at("s", "x"));
	mkdir(at("s", "x"), 0700);
	put("x/g", "now a directory");
	unlink(at("s", "y/f"));
	rmdir(at("s", "y"));
	assert_int_equal(symlink("x", at("s", "y")), 0);
	hint(CHANGE_WRITE, "x/g", CHANGE_FORCE);
	hint(CHANGE_REMOVE, "y/f", 0);
	hint(CHANGE_SYMLINK, "y", 0);
	hint(CHANGE_MKDIR, "x", 0);
	carry_out_all();
	assert_mirrored();
}

static void directory_renames_move_no_data(void **state)
{
	(void)state;
	mkdir(at("s", "a"), 0700);
	put("a/f", "f");
	mkdir(at("s", "b"), 0700);
	put("b/g", "g");
	hint(CHANGE_LOOK, "", CHANGE_DEEP | CHANGE_DELETE);
	carry_out_all();
	/* a chain: b -> c, a -> b; every sequence of the four halves must do */
	rename(at("s", "b"), at("s", "c"));
	hint_pair(CHANGE_AWAY, "b", "b", "c", 0);
	hint_pair(CHANGE_RENAME, "c", "b", "c", 0);
	rename(at("s", "a"), at("s", "b"));
	hint_pair(CHANGE_AWAY, "a", "a", "b", 0);
	hint_pair(CHANGE_RENAME, "b", "a", "b", 0);
	uint64_t bytes = 0;
	while (w.count) {
		assert_int_equal(carry_out(w.count / 2), 0);
		bytes += w.work.bytes;
	}
	assert_mirrored();
	assert_int_equal(bytes, 0);
}

static void links_stay_links(void **state)
{
	struct stat a, b;
	(void)state;
	mkdir(at("s", "d"), 0700);
	put("d/one", "1");
	hint(CHANGE_WRITE, "d/one", CHANGE_FORCE);
	carry_out_all();
	assert_int_equal(link(at("s", "d/one"), at("s", "two")), 0);
	hint_pair(CHANGE_LINK, "two", "d/one", "two", 0);
	carry_out_all();
	assert_mirrored();
	FILE *file = fopen(at("s", "two"), "r+");
	(void)fputs("more", file);
	(void)fclose(file);
	hint(CHANGE_WRITE, "two", CHANGE_FORCE);
	carry_out_all();
	assert_mirrored();
	stat(at("t", "two"), &a);
	stat(at("t", "d/one"), &b);
	assert_int_equal(a.st_ino, b.st_ino);
	unlink(at("s", "two"));
	hint(CHANGE_REMOVE, "two", 0);
	carry_out_all();
	assert_mirrored();
}

static void write_by(const char *rel, const char *content)
{
	FILE *file = fopen(at("s", rel), "r+");
	(void)fputs(content, file);
	(void)fclose(file);
}

/* The other one is told of by nobody. */
static void written_by_a_name_that_is_gone(void **state)
{
	struct stat st;
	(void)state;
	mkdir(at("s", "d"), 0700);
	put("d/one", "1");
	assert_int_equal(link(at("s", "d/one"), at("s", "two")), 0);
	assert_int_equal(link(at("s", "d/one"), at("s", "three")), 0);
	mirror_all();
	stat(at("s", "two"), &st);
	struct change_group group = {st.st_dev, st.st_ino};
	write_by("two", "2");
	unlink(at("s", "two"));
	change_add_group(hint(CHANGE_REMOVE, "two", CHANGE_FORCE), group);
	carry_out_all();
	assert_mirrored();
	/* the directory is gone, too; and attributes alone do no copying */
	chmod(at("s", "d/one"), 0640);
	unlink(at("s", "d/one"));
	rmdir(at("s", "d"));
	change_add_group(hint(CHANGE_REMOVE, "d/one", 0), group);
	uint64_t bytes = 0;
	while (w.count) {
		assert_int_equal(carry_out(0), 0);
		bytes += w.work.bytes;
	}
	assert_mirrored();
	assert_int_equal(bytes, 0);
	/* another file has the name */
	assert_int_equal(link(at("s", "three"), at("s", "four")), 0);
	mirror_all();
	write_by("four", "4");
	unlink(at("s", "four"));
	put("four", "new");
	change_add_group(hint(CHANGE_WRITE, "four", CHANGE_FORCE), group);
	carry_out_all();
	assert_mirrored();
}

/* The record of a write was lost, and it left size and mtime as they were. */
static void what_nobody_told_of_is_suspect(void **state)
{
	struct timespec old[2] = {{1600000000, 0}, {1600000000, 0}};
	(void)state;
	mkdir(at("s", "d"), 0700);
	put("d/one", "1");
	put("d/other", "1");
	assert_int_equal(link(at("s", "d/one"), at("s", "two")), 0);
	utimensat(AT_FDCWD, at("s", "d/one"), old, 0);
	utimensat(AT_FDCWD, at("s", "d/other"), old, 0);
	mirror_all();
	usleep(30000);
	uint64_t since = clock_wall();
	usleep(30000);
	write_by("two", "2");
	write_by("d/other", "3");
	utimensat(AT_FDCWD, at("s", "two"), old, 0);
	utimensat(AT_FDCWD, at("s", "d/other"), old, 0);
	hint(CHANGE_LOOK, "", CHANGE_DEEP | CHANGE_DELETE)->suspect_ns = (int64_t)since;
	carry_out_all();
	assert_mirrored();
}

static void guards_hold(void **state)
{
	(void)state;
	put("f", "x");
	hint(CHANGE_LOOK, "", CHANGE_DEEP);
	carry_out_all();
	/* an unmounted target */
	unlink(at("t", ".mirror"));
	w.pair.guarded_ns = 1;
	put("f", "xy");
	hint(CHANGE_WRITE, "f", CHANGE_FORCE);
	assert_int_equal(carry_out(0), -ENODEV);
	assert_non_null(strstr(w.why.text, ".mirror"));
	/* found in the middle of an order: still the tree is to blame, and for all orders */
	w.pair.guarded_ns = clock_now();
	unlink(at("s", "f"));
	hint(CHANGE_REMOVE, "f", 0);
	assert_int_equal(carry_out(0), -ENODEV);
	assert_true(w.blocked);
	put("f", "xyz");
	hint(CHANGE_WRITE, "f", CHANGE_FORCE);
	assert_int_equal(carry_out(0), -ENODEV);
	(void)fclose(fopen(at("t", ".mirror"), "w"));
	hint(CHANGE_WRITE, "f", CHANGE_FORCE);
	carry_out_all();
	assert_mirrored();
}

static void a_vanished_source_removes_nothing(void **state)
{
	struct stat st;
	(void)state;
	put("f", "x");
	hint(CHANGE_LOOK, "", CHANGE_DEEP);
	carry_out_all();
	rename(at("s", ""), at("s-away", ""));
	mkdir(at("s", ""), 0755);
	w.pair.guarded_ns = 1;
	side_destroy(w.pair.source);
	struct side_options options = {.config = &w.config};
	assert_int_equal(side_create(w.loop, &w.tree.source, &options, &w.pair.source, &w.why), 0);
	hint(CHANGE_REMOVE, "f", 0);
	assert_int_equal(carry_out(0), -ESTALE);
	assert_int_equal(stat(at("t", "f"), &st), 0);
}

static void removed_entries_wait_and_go(void **state)
{
	(void)state;
	put("f", "x");
	hint(CHANGE_LOOK, "", CHANGE_DEEP);
	carry_out_all();
	unlink(at("s", "f"));
	hint(CHANGE_REMOVE, "f", 0);
	carry_out_all();
	assert_mirrored();
	char find[192], line[8] = "";
	(void)snprintf(find, sizeof(find), "find %s/t/.mirror-gone -type f | wc -l", w.base);
	FILE *pipe = popen(find, "r");
	assert_non_null(fgets(line, sizeof(line), pipe));
	pclose(pipe);
	assert_int_equal(atoi(line), 1);
}

/* ---- found by looking hard ------------------------------------------------------------------ */

/* A copier that died had removed or made it, and nobody has been told of the parent. */
static void what_was_begun_is_told_again(void **state)
{
	(void)state;
	mkdir(at("s", "d"), 0700);
	put("d/f", "x");
	mirror_all();
	unlink(at("s", "d/f"));
	unlink(at("t", "d/f"));
	set_mtime("s", "d", 1600000000);
	w.again = true;
	hint(CHANGE_LOOK, "d/f", 0);
	assert_int_equal(carry_out(0), 0);
	w.again = false;
	carry_out_all();
	assert_mirrored();
	mkdir(at("s", "n"), 0700);
	mkdir(at("s", "n/m"), 0700);
	put("n/m/f", "y");
	mkdir(at("t", "n"), 0700);
	set_mtime("s", "", 1600000000);
	w.again = true;
	hint(CHANGE_WRITE, "n/m/f", CHANGE_FORCE);
	assert_int_equal(carry_out(0), 0);
	w.again = false;
	carry_out_all();
	hint(CHANGE_LOOK, "n", 0);
	carry_out_all();
	assert_mirrored();
}

static void times_of_new_directories_are_set(void **state)
{
	(void)state;
	put("x", "a file that becomes a directory of the same time");
	set_mtime("s", "x", 1500000000);
	mirror_all();
	unlink(at("s", "x"));
	mkdir(at("s", "x"), 0700);
	set_mtime("s", "x", 1500000000);
	hint(CHANGE_MKDIR, "x", 0);
	mkdir(at("s", "epoch"), 0700);
	set_mtime("s", "epoch", 0);
	hint(CHANGE_MKDIR, "epoch", 0);
	carry_out_all();
	assert_mirrored();
}

static void modes_without_reading_are_set(void **state)
{
	struct stat st;
	(void)state;
	put("f", "x");
	mkdir(at("s", "d"), 0700);
	mirror_all();
	chmod(at("s", "f"), 0);
	hint(CHANGE_META, "f", 0);
	chmod(at("s", "d"), 0300);
	hint(CHANGE_META, "d", 0);
	carry_out_all();
	assert_int_equal(stat(at("t", "f"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0);
	assert_int_equal(stat(at("t", "d"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0300);
	/* and back, together with what is below */
	chmod(at("s", "f"), 0600);
	hint(CHANGE_META, "f", 0);
	chmod(at("s", "d"), 0755);
	put("d/g", "y");
	hint(CHANGE_META, "d", CHANGE_DEEP);
	carry_out_all();
	assert_mirrored();
}

static void read_only_directories_are_renamed(void **state)
{
	uint64_t bytes = 0;
	(void)state;
	mkdir(at("s", "a"), 0700);
	mkdir(at("s", "a/d"), 0700);
	put("a/d/f", "f");
	mkdir(at("s", "b"), 0700);
	chmod(at("s", "a/d"), 0500);
	mirror_all();
	chmod(at("s", "a/d"), 0700);
	assert_int_equal(rename(at("s", "a/d"), at("s", "b/d")), 0);
	chmod(at("s", "b/d"), 0500);
	hint_pair(CHANGE_RENAME, "b/d", "a/d", "b/d", 0);
	hint_pair(CHANGE_AWAY, "a/d", "a/d", "b/d", 0);
	for (; w.count; bytes += w.work.bytes) {
		assert_int_equal(carry_out(0), 0);
	}
	assert_mirrored();
	assert_int_equal(bytes, 0);
}

/* Directories may be as deep as a path is long; a task's stack is not. */
static void the_deepest_tree_is_purged(void **state)
{
	char path[4096];
	struct stat st;
	(void)state;
	mirror_all();
	mkdir(at("t", ".mirror-gone/0123456789abcdef"), 0700);
	size_t len = (size_t)snprintf(
		path, sizeof(path), ".mirror-gone/0123456789abcdef/1500000000-00000000");
	assert_int_equal(symlink("d", at("t", ".mirror-gone/0123456789abcdef/"
					      "1500000000-00000000.from")),
		0);
	assert_int_equal(mkdir(at("t", path), 0700), 0);
	for (; len < 3900; len += 2) {
		memcpy(path + len, "/d", 3);
		assert_int_equal(mkdir(at("t", path), 0700), 0);
	}
	w.config.max_delete = 10000;
	assert_int_equal(purge(), 0);
	assert_int_equal(stat(at("t", ".mirror-gone/0123456789abcdef"), &st), -1);
}

/* What nobody will delete any more must not be left behind, nor what is kept be deleted. */
static void purging_keeps_to_its_rules(void **state)
{
	struct stat st;
	(void)state;
	mkdir(at("s", "d"), 0700);
	mkdir(at("s", "d/ro"), 0700);
	put("d/ro/f", "x");
	chmod(at("s", "d/ro"), 0500);
	mirror_all();
	chmod(at("s", "d/ro"), 0700);
	unlink(at("s", "d/ro/f"));
	rmdir(at("s", "d/ro"));
	rmdir(at("s", "d"));
	hint(CHANGE_RMDIR, "d", 0);
	carry_out_all();
	assert_mirrored();
	assert_int_equal(stat(at("t", "d"), &st), -1);
	w.config.max_delete = 2; /* three wait: d, d/ro, d/ro/f */
	assert_int_equal(purge(), -EDQUOT);
	w.config.max_delete = 3;
	assert_int_equal(purge(), 0);
	assert_int_equal(rmdir(at("t", ".mirror-gone")), -1); /* kept for an hour */
	w.config.keep_gone_ns = 0;
	assert_int_equal(purge(), 0);
	assert_int_equal(rmdir(at("t", ".mirror-gone")), 0);
}

/* An inode's device number changes with a remount or a reboot; its group must not. */
static void link_groups_outlive_a_remount(void **state)
{
	char name[64];
	(void)state;
	put("one", "1");
	assert_int_equal(link(at("s", "one"), at("s", "two")), 0);
	mirror_all();
	(void)snprintf(name, sizeof(name), ".mirror-links/0-%jx/data",
		(uintmax_t)stat_of("s", "one").st_ino);
	assert_int_equal(stat_of("t", name).st_ino, stat_of("t", "one").st_ino);
}

static void nothing_is_left_of_a_failed_copy(void **state)
{
	char directory[64], data[80];
	(void)state;
	put("one", "1");
	assert_int_equal(link(at("s", "one"), at("s", "two")), 0);
	mirror_all();
	(void)snprintf(directory, sizeof(directory), ".mirror-links/0-%jx",
		(uintmax_t)stat_of("s", "one").st_ino);
	(void)snprintf(data, sizeof(data), "%s/data", directory);
	unlink(at("t", data));
	mkdir(at("t", data), 0700);
	hint(CHANGE_WRITE, "one", CHANGE_FORCE);
	assert_true(carry_out(0) < 0);
	rmdir(at("t", data));
	DIR *d = opendir(at("t", directory));
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));) {
		assert_int_not_equal(strncmp(e->d_name, ".mirror-", 8), 0);
	}
	closedir(d);
	hint(CHANGE_WRITE, "one", CHANGE_FORCE);
	carry_out_all();
	assert_mirrored();
}

/* The listing shows b/h as too much; before that is looked at, S has another b/h. */
static void a_new_directory_is_not_the_old_one(void **state)
{
	(void)state;
	mkdir(at("s", "b"), 0700);
	mkdir(at("s", "b/h"), 0700);
	put("b/h/old", "old");
	mirror_all();
	rename(at("s", "b"), at("s", "../elsewhere"));
	mkdir(at("s", "b"), 0700);
	hint_pair(CHANGE_AWAY, "b", "b", "elsewhere", 0);
	assert_int_equal(carry_out(0), 0);
	mkdir(at("s", "b/h"), 0700);
	put("b/h/new", "new");
	hint(CHANGE_MKDIR, "b/h", 0);
	hint(CHANGE_WRITE, "b/h/new", CHANGE_FORCE);
	carry_out_all();
	assert_mirrored();
}

/* The order for p/x finds no p in S and asks for p; before that is looked at, S has another p. */
static void an_entry_goes_although_its_directory_came_back(void **state)
{
	(void)state;
	mkdir(at("s", "p"), 0700);
	put("p/x", "x");
	mirror_all();
	unlink(at("s", "p/x"));
	rmdir(at("s", "p"));
	hint(CHANGE_REMOVE, "p/x", 0);
	assert_int_equal(carry_out(0), 0);
	mkdir(at("s", "p"), 0700);
	hint(CHANGE_LOOK, "", 0);
	carry_out_all();
	assert_mirrored();
}

/* A copier detached p with p/x in it, which had its own order a moment ago, and died. */
static void what_was_detached_along_comes_back(void **state)
{
	(void)state;
	mkdir(at("s", "p"), 0700);
	put("p/x", "x");
	w.again = true;
	hint(CHANGE_RMDIR, "p", 0);
	assert_int_equal(carry_out(0), 0);
	w.again = false;
	carry_out_all();
	assert_mirrored();
}

/* What a copier that works on rel would have called its temporary name. */
static char *temporary_of(const char *rel)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	temporary_name(span_str(rel), &name);
	return at("t", name.data);
}

static void leave(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
}

/* The same as a host whose clock is ahead would have called it. */
static char *later_temporary_of(const char *rel, int64_t ahead_ms)
{
	char digits[12];
	char *path = temporary_of(rel);
	char *name = strrchr(path, '/') + 1 + strlen(".mirror-");
	memcpy(digits, name, 11);
	digits[11] = '\0';
	(void)snprintf(digits, sizeof(digits), "%011" PRIx64,
		(uint64_t)((int64_t)strtoull(digits, NULL, 16) + ahead_ms));
	memcpy(name, digits, 11);
	return path;
}

/* A copier works below a directory that another one moves meanwhile. */
static void names_that_a_rename_carries_off_are_removed(void **state)
{
	(void)state;
	mkdir(at("s", "a"), 0700);
	mkdir(at("s", "a/b"), 0700);
	mkdir(at("s", "a/b/c"), 0700);
	put("a/b/c/f", "f");
	mirror_all();
	leave(temporary_of("a/b/c/f"));
	leave(temporary_of("a/g"));
	leave(later_temporary_of("a/b/ahead", 500)); /* settle is a second */
	usleep(2000);                                /* names tell the millisecond */
	rename(at("s", "a"), at("s", "z"));
	hint_pair(CHANGE_AWAY, "a", "a", "z", 0);
	hint_pair(CHANGE_RENAME, "z", "a", "z", 0);
	carry_out_all();
	assert_mirrored();
}

static void names_of_a_copier_that_died_are_removed(void **state)
{
	(void)state;
	mkdir(at("s", "a"), 0700);
	put("a/f", "f");
	mirror_all();
	leave(temporary_of("a/f"));
	char other[PATH_ROOM];
	strcpy(other, temporary_of("a/other"));
	leave(other);
	w.again = true;
	hint(CHANGE_WRITE, "a/f", CHANGE_FORCE);
	assert_int_equal(carry_out(0), 0);
	w.again = false;
	assert_int_equal(access(other, F_OK), 0); /* its owner may live */
	unlink(other);
	carry_out_all();
	assert_mirrored();
}

/* Nobody walks among the anchors but the purger. */
static void old_names_in_a_group_are_removed(void **state)
{
	char rel[80], young[PATH_ROOM], old[PATH_ROOM];
	(void)state;
	put("one", "1");
	assert_int_equal(link(at("s", "one"), at("s", "two")), 0);
	mirror_all();
	(void)snprintf(
		rel, sizeof(rel), ".mirror-links/0-%jx", (uintmax_t)stat_of("s", "one").st_ino);
	strcat(rel, "/data");
	strcpy(young, temporary_of(rel));
	leave(young);
	strcpy(old, later_temporary_of(rel, -2 * 3600 * 1000));
	leave(old);
	const struct timespec times[2] = {{1500000000, 0}, {1500000000, 0}};
	assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
	w.config.keep_gone_ns = 0;
	assert_int_equal(purge(), 0);
	assert_int_equal(access(old, F_OK), -1);
	assert_int_equal(access(young, F_OK), 0);
	unlink(young);
	assert_mirrored();
}

/* link and unlink are how some programs rename. */
static void a_linked_name_is_another_file(void **state)
{
	(void)state;
	put("q", "a");
	set_mtime("s", "q", 1500000000);
	mirror_all();
	unlink(at("s", "q"));
	put("p", "b");
	set_mtime("s", "p", 1500000000);
	assert_int_equal(link(at("s", "p"), at("s", "q")), 0);
	unlink(at("s", "p"));
	hint_pair(CHANGE_LINK, "q", "p", "q", 0);
	hint(CHANGE_REMOVE, "p", 0);
	carry_out_all();
	assert_mirrored();
}

/* An audit found other content under a name of a group: its order is a forced look. */
static void links_are_repaired(void **state)
{
	(void)state;
	put("one", "1");
	set_mtime("s", "one", 1500000000);
	assert_int_equal(link(at("s", "one"), at("s", "two")), 0);
	mirror_all();
	FILE *file = fopen(at("t", "one"), "r+");
	assert_non_null(file);
	(void)fputs("2", file);
	(void)fclose(file);
	set_mtime("t", "one", 1500000000);
	hint(CHANGE_LOOK, "two", CHANGE_FORCE);
	carry_out_all();
	assert_mirrored();
	assert_int_equal(stat_of("t", "one").st_ino, stat_of("t", "two").st_ino);
}

/* Written or changed through a name that is gone when its order comes: the others are asked for. */
static void a_name_that_is_gone_tells_of_the_others(void **state)
{
	(void)state;
	put("one", "1");
	assert_int_equal(link(at("s", "one"), at("s", "two")), 0);
	mirror_all();
	struct stat st = stat_of("s", "two");
	FILE *file = fopen(at("s", "two"), "r+");
	assert_non_null(file);
	(void)fputs("2", file);
	(void)fclose(file);
	unlink(at("s", "two"));
	struct change *change = hint(CHANGE_REMOVE, "two", CHANGE_FORCE);
	change_add_group(change, (struct change_group){st.st_dev, st.st_ino});
	carry_out_all();
	assert_mirrored();
}

/* It was of a group, the only name left, written as a file of its own, and is linked once more. */
static void a_name_joins_its_group_again(void **state)
{
	(void)state;
	put("one", "1");
	assert_int_equal(link(at("s", "one"), at("s", "two")), 0);
	mirror_all();
	unlink(at("s", "two"));
	hint(CHANGE_REMOVE, "two", 0);
	carry_out_all();
	hint(CHANGE_WRITE, "one", CHANGE_FORCE);
	carry_out_all();
	assert_int_equal(link(at("s", "one"), at("s", "three")), 0);
	hint_pair(CHANGE_LINK, "three", "one", "three", 0);
	carry_out_all();
	assert_mirrored();
	assert_int_equal(stat_of("t", "one").st_ino, stat_of("t", "three").st_ino);
}

/* Linked, changed through the new name, and removed again before anybody looked. */
static void a_link_that_came_and_went_tells_of_its_origin(void **state)
{
	(void)state;
	put("one", "1");
	mirror_all();
	assert_int_equal(link(at("s", "one"), at("s", "two")), 0);
	assert_int_equal(chmod(at("s", "two"), 0604), 0);
	unlink(at("s", "two"));
	hint_pair(CHANGE_LINK, "two", "one", "two", 0);
	w.queue[w.count - 1]->op = CHANGE_REMOVE; /* as merged */
	carry_out_all();
	assert_mirrored();
}

/* ln a b; rm b; mkdir b: what was called a and was detached is not what b is now. */
static void a_link_moves_nothing(void **state)
{
	(void)state;
	mkdir(at("s", "a"), 0700);
	put("a/f", "1");
	mirror_all();
	unlink(at("s", "a/f"));
	rmdir(at("s", "a"));
	hint(CHANGE_RMDIR, "a", 0);
	carry_out_all();
	mkdir(at("s", "b"), 0700);
	hint_pair(CHANGE_LINK, "b", "a", "b", 0);
	w.queue[w.count - 1]->op = CHANGE_MKDIR; /* as merged */
	carry_out_all();
	assert_mirrored();
}

/* A symlink that is renamed over a directory waits as any symlink in a directory's place does. */
static void a_symlink_is_not_moved_over_a_directory(void **state)
{
	struct stat st;
	(void)state;
	mkdir(at("s", "d"), 0700);
	assert_int_equal(symlink("/etc", at("s", "l")), 0);
	mirror_all();
	rmdir(at("s", "d"));
	rename(at("s", "l"), at("s", "d"));
	hint_pair(CHANGE_RENAME, "d", "l", "d", 0);
	assert_int_equal(carry_out(0), 0);
	assert_int_equal(lstat(at("t", "d"), &st), push ? -1 : 0);
	hint(CHANGE_AWAY, "l", CHANGE_DEEP | CHANGE_DELETE);
	carry_out_all();
	assert_mirrored();
}

/* While a large file is copied in the kernel, the broker's heartbeat must go on. */
static void large_copies_let_the_loop_turn(void **state)
{
	static char block[1 << 20];
	(void)state;
	mirror_all();
	FILE *file = fopen(at("s", "large"), "w");
	assert_non_null(file);
	for (unsigned i = 0; i < 64; i++) {
		memset(block, (int)i + 1, sizeof(block));
		assert_int_equal(fwrite(block, sizeof(block), 1, file), 1);
	}
	assert_int_equal(fclose(file), 0);
	set_mtime("s", "large", 1500000000);
	hint(CHANGE_WRITE, "large", CHANGE_FORCE);
	assert_int_equal(carry_out(0), 0);
	assert_true(w.turns >= 4);
	carry_out_all();
	assert_mirrored();
}

/*
 * The tree, the directory, and what touching them asks for; not an order for each file.  Only what
 * is young, has another name or stands there already gets its own.
 */
static void a_bulk_pass_copies_with_the_directory(void **state)
{
	enum { FILES = 200 };
	char name[32];
	unsigned orders = 0;
	(void)state;
	mirror_all();
	mkdir(at("s", "d"), 0700);
	for (unsigned i = 0; i < FILES; i++) {
		(void)snprintf(name, sizeof(name), "d/%u", i);
		put(name, i % 7 ? name : "");
		chmod(at("s", name), 0400 | (i & 077));
		set_mtime("s", name, 1500000000 + i);
	}
	put("d/young", "1");
	put("d/linked", "2");
	set_mtime("s", "d/linked", 1500000000);
	assert_int_equal(link(at("s", "d/linked"), at("s", "d/other")), 0);
	set_mtime("s", "d", 1400000000);
	hint(CHANGE_LOOK, "", CHANGE_DEEP | CHANGE_BULK | CHANGE_SOON);
	uint64_t files = 0;
	for (; w.count; orders++) {
		assert_int_equal(carry_out(0), 0);
		files += w.work.files;
	}
	assert_mirrored();
	assert_int_equal(files, FILES + 2);
	assert_in_range(orders, 5, 12);
}

/* What another order has put there since the target was listed stays until its own order looks. */
static void a_bulk_pass_replaces_nothing(void **state)
{
	char text[32] = "";
	(void)state;
	mirror_all();
	mkdir(at("s", "d"), 0700);
	mkdir(at("s", "d/sub"), 0700); /* is told before files are copied: then the race happens */
	put("d/f", "of the source");
	set_mtime("s", "d/f", 1500000000);
	hint(CHANGE_LOOK, "d", CHANGE_DEEP | CHANGE_BULK);
	race = "d/f";
	assert_int_equal(carry_out(0), 0);
	assert_null(race);
	FILE *file = fopen(at("t", "d/f"), "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	(void)fclose(file);
	assert_string_equal(text, "newer");
	carry_out_all();
	assert_mirrored();
}

/* ---- anything goes -------------------------------------------------------------------------- */

static uint32_t seed_state;

static unsigned roll(unsigned sides)
{
	seed_state = seed_state * 1664525 + 1013904223;
	return (seed_state >> 8) % sides;
}

static const char *some_path(void)
{
	static char paths[4][32];
	static unsigned turn;
	char *p = paths[turn++ % 4];
	switch (roll(3)) {
	case 0:
		(void)snprintf(p, 32, "%c", 'a' + roll(3));
		break;
	case 1:
		(void)snprintf(p, 32, "%c/%c", 'a' + roll(3), 'a' + roll(3));
		break;
	default:
		(void)snprintf(p, 32, "%c/%c/%c", 'a' + roll(3), 'a' + roll(3), 'a' + roll(2));
	}
	return p;
}

static void random_write(const char *p, int flags)
{
	char text[32];
	int fd = open(at("s", p), O_WRONLY | O_CREAT | O_NOFOLLOW | flags, 0640);
	if (fd >= 0) {
		int len = snprintf(text, sizeof(text), "%u", roll(1000000));
		(void)!write(fd, text, (size_t)len);
		if (push) { /* as if each write had been quiet for some seconds */
			static time_t second = 1500000000;
			second++;
			const struct timespec times[2] = {{second, 0}, {second, 5}};
			futimens(fd, times);
		}
		close(fd);
		hint(CHANGE_WRITE, p, CHANGE_FORCE);
	}
}

/* What the poster does: writes that are not mirrored yet are told under the new name too. */
static void repeat_writes(const char *from, const char *to)
{
	CLEANUP(buf_finish) struct buf below = BUF_EMPTY;
	path_join(&below, span_str(w.tree.source.path), span_str(from));
	for (size_t i = 0, count = w.count; i < count; i++) {
		struct span rest;
		char name[128];
		if ((w.queue[i]->facts & CHANGE_FORCE) &&
			path_below(w.queue[i]->path, buf_span(&below), &rest)) {
			(void)snprintf(name, sizeof(name), "%s%s%.*s", to, rest.len ? "/" : "",
				SPAN_ARG(rest));
			hint(CHANGE_WRITE, name, CHANGE_FORCE | w.queue[i]->facts);
		}
	}
}

static void random_rename(const char *p, const char *q)
{
	if (rename(at("s", p), at("s", q)) == 0 && strcmp(p, q)) {
		repeat_writes(p, q);
		hint_pair(CHANGE_AWAY, p, p, q, 0);
		hint_pair(CHANGE_RENAME, q, p, q, 0);
	}
}

static void random_exchange(const char *p, const char *q)
{
	if (renameat2(AT_FDCWD, at("s", p), AT_FDCWD, at("s", q), RENAME_EXCHANGE) == 0 &&
		strcmp(p, q)) {
		hint_pair(CHANGE_RENAME, q, p, q, CHANGE_FORCE);
		hint_pair(CHANGE_RENAME, p, q, p, CHANGE_FORCE);
	}
}

/* As jobs do it that protect what they have made: read-only directories, and files without. */
static void random_chmod(const char *p)
{
	static const mode_t modes[] = {0500, 0555, 0700, 0755, 0750, 0700};
	if (chmod(at("s", p), modes[roll(6)]) == 0) {
		hint(CHANGE_META, p, 0);
	}
}

/* A time of the past, as tar and rsync set it; often the same one. */
static void random_time(const char *p)
{
	const struct timespec times[2] = {{0, UTIME_OMIT}, {(time_t)roll(3) * 100000000, 0}};
	struct stat st;
	if (lstat(at("s", p), &st) == 0 && S_ISLNK(st.st_mode) && st.st_nlink > 1) {
		return; /* names of a symlink are mirrored apart, and only one would be told */
	}
	if (utimensat(AT_FDCWD, at("s", p), times, AT_SYMLINK_NOFOLLOW) == 0) {
		hint(CHANGE_META, p, 0);
	}
}

/* Far behind a hole, so that more than one request and range are needed. */
static void random_sparse(const char *p)
{
	static char block[70000];
	int fd = open(at("s", p), O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
	if (fd >= 0) {
		memset(block, (int)roll(256), sizeof(block));
		(void)!pwrite(fd, block, sizeof(block), (off_t)roll(8) * 100000);
		if (push) {
			static time_t second = 1400000000;
			const struct timespec times[2] = {{second, 0}, {second, 5}};
			futimens(fd, times);
			second++;
		}
		close(fd);
		hint(CHANGE_WRITE, p, CHANGE_FORCE);
	}
}

static void random_change(void)
{
	const char *p = some_path(), *q = some_path();
	switch (roll(17)) {
	case 12:
	case 13:
		random_chmod(p);
		break;
	case 14:
		random_time(p);
		break;
	case 15:
		random_sparse(p);
		break;
	case 0:
	case 1:
	case 2:
		random_write(p, O_TRUNC);
		break;
	case 3:
		random_write(p, O_APPEND);
		break;
	case 4:
	case 5:
		if (mkdir(at("s", p), 0700 | roll(64)) == 0) {
			hint(CHANGE_MKDIR, p, 0);
		}
		break;
	case 6:
		random_rename(p, q);
		break;
	case 7:
		if (unlink(at("s", p)) == 0) {
			hint(CHANGE_REMOVE, p, 0);
		}
		break;
	case 8:
		if (rmdir(at("s", p)) == 0) {
			hint(CHANGE_RMDIR, p, 0);
		}
		break;
	case 9:
		if (linkat(AT_FDCWD, at("s", p), AT_FDCWD, at("s", q), 0) == 0) {
			hint_pair(CHANGE_LINK, q, p, q, 0);
		}
		break;
	case 10:
		/* leads nowhere: names of hints are canonical, never through a symlink */
		if (symlink(roll(2) ? "/nowhere/at/all" : "nowhere", at("s", p)) == 0) {
			hint(CHANGE_SYMLINK, p, 0);
		}
		break;
	case 11:
		random_exchange(p, q);
		break;
	default:
		hint(CHANGE_LOOK, "", CHANGE_DEEP | CHANGE_BULK | (roll(2) ? CHANGE_DELETE : 0));
	}
}

static void it_converges(void **state)
{
	const char *given = getenv("SEED");
	uint32_t first = given ? (uint32_t)strtoul(given, NULL, 0) : 1;
	unsigned rounds = given ? 1 : 12;
	(void)state;
	for (uint32_t seed = first; seed < first + rounds; seed++) {
		seed_state = seed;
		if (seed != first) {
			tear_down(state);
			set_up(state);
		}
		for (unsigned i = 0; i < 300; i++) {
			random_change();
			for (unsigned n = roll(3); n && w.count; n--) {
				unsigned which = roll((unsigned)w.count);
				if (roll(8) == 0) {
					queue_add(change_copy(w.queue[which])); /* comes twice */
				}
				assert_int_equal(carry_out(which), 0);
			}
		}
		carry_out_all();
		int count = differences("");
		if (count) {
			print_message("# seed %u: %d differences\n", seed, count);
		}
		assert_int_equal(count, 0);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(a_tree_appears),
		CASE(a_deep_path_makes_its_parents),
		CASE(read_only_directories_are_written),
		CASE(types_change),
		CASE(directory_renames_move_no_data),
		CASE(links_stay_links),
		CASE(written_by_a_name_that_is_gone),
		CASE(what_nobody_told_of_is_suspect),
		CASE(guards_hold),
		CASE(a_vanished_source_removes_nothing),
		CASE(removed_entries_wait_and_go),
		CASE(what_was_begun_is_told_again),
		CASE(times_of_new_directories_are_set),
		CASE(modes_without_reading_are_set),
		CASE(read_only_directories_are_renamed),
		CASE(the_deepest_tree_is_purged),
		CASE(purging_keeps_to_its_rules),
		CASE(link_groups_outlive_a_remount),
		CASE(nothing_is_left_of_a_failed_copy),
		CASE(a_new_directory_is_not_the_old_one),
		CASE(an_entry_goes_although_its_directory_came_back),
		CASE(what_was_detached_along_comes_back),
		CASE(a_bulk_pass_copies_with_the_directory),
		CASE(a_bulk_pass_replaces_nothing),
		CASE(names_that_a_rename_carries_off_are_removed),
		CASE(names_of_a_copier_that_died_are_removed),
		CASE(old_names_in_a_group_are_removed),
		CASE(a_linked_name_is_another_file),
		CASE(links_are_repaired),
		CASE(a_name_that_is_gone_tells_of_the_others),
		CASE(a_name_joins_its_group_again),
		CASE(a_link_that_came_and_went_tells_of_its_origin),
		CASE(a_link_moves_nothing),
		CASE(a_symlink_is_not_moved_over_a_directory),
		CASE(large_copies_let_the_loop_turn),
		CASE(it_converges),
	};
	if (!world_begin(argc > 1 ? argv[1] : "local")) {
		return 1;
	}
	return cmocka_run_group_tests_name("reconcile", tests, NULL, NULL);
}
