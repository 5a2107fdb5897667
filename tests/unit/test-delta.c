/* SPDX-License-Identifier: Apache-2.0 */
/* Large files over SFTP: only what changed moves, and never a wrong byte. */
#include "mirror-world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define OLD   1500000000
#define BLOCK ((size_t)65536) /* of a record, for files of this size */
#define SIZE  (128 * BLOCK)

static time_t second = OLD;

static void write_at(const char *rel, off_t offset, size_t len, unsigned seed)
{
	unsigned char *bytes = malloc(len);
	int fd = open(at("s", rel), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0 && bytes);
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		bytes[i] = (unsigned char)(seed >> 16 | 1);
	}
	assert_int_equal(pwrite(fd, bytes, len, offset), (ssize_t)len);
	close(fd);
	free(bytes);
}

/* What was written is told, and mirrored; returns how much was sent. */
static uint64_t mirror(const char *rel)
{
	set_mtime("s", rel, second++);
	hint(CHANGE_WRITE, rel, CHANGE_FORCE);
	w.bytes = w.saved = 0;
	carry_out_all();
	assert_mirrored();
	return w.bytes;
}

static void large_file(void)
{
	w.config.copier.delta_bytes = 1 << 20;
	w.config.copier.delta_room_bytes = 1 << 20;
	mirror_all();
	write_at("f", 0, SIZE, 1);
	assert_true(mirror("f") >= SIZE);
}

static void an_appended_kilobyte_moves_kilobytes(void **state)
{
	(void)state;
	large_file();
	write_at("f", SIZE, 1024, 2);
	assert_int_equal(mirror("f"), 1024);
	assert_int_equal(w.saved, SIZE);
	write_at("f", SIZE + 1024, 1024, 3);
	assert_int_equal(mirror("f"), 2048); /* the last block was not a whole one */
}

static void a_changed_block_moves_alone(void **state)
{
	(void)state;
	large_file();
	write_at("f", 40 * BLOCK + 100, 4096, 4);
	assert_int_equal(mirror("f"), BLOCK);
	write_at("f", 0, 1, 5);
	write_at("f", SIZE - 1, 1, 6);
	assert_int_equal(mirror("f"), 2 * BLOCK);
	assert_int_equal(w.saved, SIZE - 2 * BLOCK);
}

static void length_and_holes_change(void **state)
{
	(void)state;
	large_file();
	assert_int_equal(truncate(at("s", "f"), SIZE / 2), 0);
	assert_int_equal(mirror("f"), 0);
	assert_int_equal(truncate(at("s", "f"), 4 * SIZE), 0);
	assert_int_equal(mirror("f"), 0);
	write_at("f", 4 * SIZE - 10, 10, 7);
	assert_int_equal(mirror("f"), BLOCK);
	assert_true(stat_of("t", "f").st_blocks <= stat_of("s", "f").st_blocks + 16);
}

/* The record is found by what the file carries, not by its name. */
static void a_renamed_file_is_known(void **state)
{
	(void)state;
	large_file();
	assert_int_equal(rename(at("s", "f"), at("s", "g")), 0);
	hint_pair(CHANGE_AWAY, "f", "f", "g", 0);
	hint_pair(CHANGE_RENAME, "g", "f", "g", 0);
	carry_out_all();
	write_at("g", 5, 5, 8);
	assert_int_equal(mirror("g"), BLOCK);
}

/* The anchor is the file, and it is replaced like any other. */
static void a_file_with_several_names_is_known(void **state)
{
	(void)state;
	large_file();
	assert_int_equal(link(at("s", "f"), at("s", "g")), 0);
	hint_pair(CHANGE_LINK, "g", "f", "g", 0);
	carry_out_all();
	write_at("f", SIZE, 1024, 70);
	assert_int_equal(mirror("f"), 1024);
	assert_true(w.saved >= SIZE);
	write_at("g", 40 * BLOCK + 100, 4096, 71);
	assert_int_equal(mirror("g"), BLOCK);
	assert_int_equal(stat_of("t", "f").st_ino, stat_of("t", "g").st_ino);
}

/* Same size, same mtime, another file: by a program at the target, or by a rename there. */
static void another_file_is_not_taken_for_it(void **state)
{
	(void)state;
	large_file();
	write_at("x", 0, SIZE, 9);
	assert_int_equal(rename(at("s", "x"), at("t", "f")), 0);
	set_mtime("t", "f", second - 1);
	write_at("f", 5, 5, 10);
	assert_true(mirror("f") >= SIZE);
}

static void same_in_size_and_mtime(const char *a, const char *b)
{
	write_at(b, 0, SIZE, 11);
	set_mtime("s", b, stat_of("s", a).st_mtime);
	hint(CHANGE_WRITE, b, CHANGE_FORCE);
	carry_out_all();
	assert_mirrored();
}

static void a_twin_is_not_taken_for_it(void **state)
{
	(void)state;
	large_file();
	same_in_size_and_mtime("f", "g");
	assert_int_equal(rename(at("t", "g"), at("t", "f")), 0);
	unlink(at("s", "g"));
	hint(CHANGE_REMOVE, "g", 0);
	write_at("f", 5, 5, 12);
	assert_true(mirror("f") >= SIZE);
}

/* ---- records -------------------------------------------------------------------------------- */

/* The only record; "" where there is none. */
static const char *record(void)
{
	static char path[PATH_ROOM];
	char directory[PATH_ROOM];
	(void)snprintf(directory, sizeof(directory), "%s", at("state/treemirror/test/delta", ""));
	DIR *d = opendir(directory);
	path[0] = '\0';
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] != '.') {
			assert_string_equal(path, "");
			(void)snprintf(path, sizeof(path), "%.4000s/%s", directory, e->d_name);
		}
	}
	if (d) {
		closedir(d);
	}
	return path;
}

static void one_record_stays(void **state)
{
	(void)state;
	large_file();
	for (unsigned i = 0; i < 3; i++) {
		write_at("f", i, 1, 20 + i);
		assert_int_equal(mirror("f"), BLOCK);
		assert_string_not_equal(record(), "");
	}
}

static void a_damaged_record_is_dropped(void **state)
{
	(void)state;
	large_file();
	for (off_t offset = 9; offset < 300; offset += 48) {
		int fd = open(record(), O_RDWR | O_CLOEXEC);
		char byte;
		assert_int_equal(pread(fd, &byte, 1, offset), 1);
		byte = (char)(byte ^ 4);
		assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
		close(fd);
		write_at("f", 5, 5, 30);
		assert_true(mirror("f") >= SIZE);
		write_at("f", 5, 5, 31);
		assert_int_equal(mirror("f"), BLOCK);
	}
	assert_int_equal(truncate(record(), 1000), 0);
	write_at("f", 5, 5, 32);
	assert_true(mirror("f") >= SIZE);
}

static void records_are_bounded(void **state)
{
	char name[16];
	uint64_t bytes = 0;
	(void)state;
	large_file();
	w.config.copier.delta_room_bytes = 10000; /* four of them */
	for (unsigned i = 0; i < 8; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		write_at(name, 0, SIZE, i);
		assert_true(mirror(name) >= SIZE);
	}
	DIR *d = opendir(at("state/treemirror/test/delta", ""));
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));) {
		struct stat st;
		assert_int_equal(fstatat(dirfd(d), e->d_name, &st, 0), 0);
		bytes += S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	}
	closedir(d);
	assert_true(bytes > 0 && bytes <= 10000);
	write_at("f7", 5, 5, 40);
	assert_int_equal(mirror("f7"), BLOCK);
}

/* ---- verify --------------------------------------------------------------------------------- */

static void spoil(const char *rel)
{
	struct stat st = stat_of("t", rel);
	const struct timespec times[2] = {st.st_atim, st.st_mtim};
	int fd = open(at("t", rel), O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "spoilt", 6, 70 * BLOCK), 6);
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
}

/* What nothing but reading can find is found by reading, and not published. */
static void a_spoilt_target_is_found_by_checksum(void **state)
{
	(void)state;
	w.tree.verify = VERIFY_CONTENT;
	large_file();
	spoil("f");
	write_at("f", 5, 5, 50);
	set_mtime("s", "f", second++);
	hint(CHANGE_WRITE, "f", CHANGE_FORCE);
	assert_int_equal(carry_out(0), -EBADMSG);
	assert_non_null(strstr(w.why.text, "is not what was sent"));
	assert_true(mirror("f") >= SIZE);
}

static void every_kind_of_verifying_copies(void **state)
{
	(void)state;
	large_file();
	for (unsigned i = VERIFY_NONE; i <= VERIFY_CONTENT; i++) {
		w.tree.verify = (enum verify)i;
		write_at("f", 5, 5, 60 + i);
		assert_int_equal(mirror("f"), BLOCK);
		put("small", i ? "small" : "");
		assert_int_equal(mirror("small"), i ? 5 : 0);
	}
}

/* ---- in place ------------------------------------------------------------------------------- */

static int set_up_without_copy_data(void **state)
{
	const char *whole = server_command;
	server_command = "/usr/lib/openssh/sftp-server -P copy-data";
	int r = set_up(state);
	server_command = whole;
	w.tree.in_place = true;
	return r;
}

#define PATCH_CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up_without_copy_data, tear_down)

static void blocks_are_overwritten(void **state)
{
	(void)state;
	large_file();
	const ino_t file = stat_of("t", "f").st_ino;
	write_at("f", 40 * BLOCK + 100, 4096, 80);
	assert_int_equal(mirror("f"), BLOCK);
	assert_int_equal(w.saved, SIZE - BLOCK);
	write_at("f", SIZE, 1024, 81);
	assert_int_equal(mirror("f"), 1024);
	assert_int_equal(truncate(at("s", "f"), SIZE - BLOCK - 5), 0);
	assert_int_equal(mirror("f"), BLOCK - 5);
	assert_int_equal(truncate(at("s", "f"), SIZE), 0);
	assert_int_equal(mirror("f"), 2 * BLOCK);
	assert_int_equal(stat_of("t", "f").st_ino, file);
}

/* Zeros are written where T had something else. */
static void zeros_replace_what_was_there(void **state)
{
	int fd;
	(void)state;
	large_file();
	fd = open(at("s", "f"), O_WRONLY | O_CLOEXEC);
	assert_int_equal(
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * BLOCK, BLOCK), 0);
	close(fd);
	assert_int_equal(mirror("f"), BLOCK);
}

static void much_is_sent_whole(void **state)
{
	(void)state;
	large_file();
	const ino_t file = stat_of("t", "f").st_ino;
	write_at("f", 0, SIZE / 4, 82);
	assert_true(mirror("f") >= SIZE);
	assert_int_not_equal(stat_of("t", "f").st_ino, file);
}

static void only_where_the_tree_says_so(void **state)
{
	(void)state;
	large_file();
	w.tree.in_place = false;
	const ino_t file = stat_of("t", "f").st_ino;
	write_at("f", 5, 5, 83);
	assert_true(mirror("f") >= SIZE);
	assert_int_not_equal(stat_of("t", "f").st_ino, file);
}

static void what_is_not_known_is_replaced(void **state)
{
	(void)state;
	large_file();
	set_mtime("t", "f", OLD - 5); /* takes the tag away, too */
	write_at("f", 5, 5, 84);
	assert_true(mirror("f") >= SIZE);
	write_at("f", 5, 5, 85);
	assert_int_equal(mirror("f"), BLOCK);
}

/* Another name leads to the anchor: nobody overwrites that. */
static void files_with_several_names_are_replaced(void **state)
{
	(void)state;
	large_file();
	assert_int_equal(link(at("s", "f"), at("s", "g")), 0);
	hint_pair(CHANGE_LINK, "g", "f", "g", 0);
	carry_out_all();
	const ino_t file = stat_of("t", "f").st_ino;
	write_at("f", 5, 5, 86);
	assert_true(mirror("f") >= SIZE);
	assert_int_not_equal(stat_of("t", "f").st_ino, file);
}

/* What is not looked at otherwise is, with checksum; and then mended at once. */
static void what_was_spoilt_is_found_by_reading_all_back(void **state)
{
	(void)state;
	w.tree.verify = VERIFY_CONTENT;
	large_file();
	spoil("f");
	write_at("f", 5, 5, 87);
	assert_true(mirror("f") >= SIZE);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(an_appended_kilobyte_moves_kilobytes),
		CASE(a_changed_block_moves_alone),
		CASE(length_and_holes_change),
		CASE(a_renamed_file_is_known),
		CASE(a_file_with_several_names_is_known),
		CASE(another_file_is_not_taken_for_it),
		CASE(a_twin_is_not_taken_for_it),
		CASE(one_record_stays),
		CASE(a_damaged_record_is_dropped),
		CASE(records_are_bounded),
		CASE(a_spoilt_target_is_found_by_checksum),
		CASE(every_kind_of_verifying_copies),
		PATCH_CASE(blocks_are_overwritten),
		PATCH_CASE(zeros_replace_what_was_there),
		PATCH_CASE(much_is_sent_whole),
		PATCH_CASE(only_where_the_tree_says_so),
		PATCH_CASE(what_is_not_known_is_replaced),
		PATCH_CASE(files_with_several_names_are_replaced),
		PATCH_CASE(what_was_spoilt_is_found_by_reading_all_back),
	};
	if (!world_begin(argc > 1 ? argv[1] : "sftp")) {
		return 1;
	}
	return cmocka_run_group_tests_name("delta", tests, NULL, NULL);
}
