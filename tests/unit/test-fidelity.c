/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a copy has to keep, whatever kind the sides are of: sizes, holes, links, modes under any
 * umask, symlinks byte for byte, times far away, and names that trade places.
 */
#include "mirror-world.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define OLD 1500000000 /* what is younger than two seconds is waited for when it is pulled */

/* ---- making things -------------------------------------------------------------------------- */

static void fill(const char *rel, off_t offset, size_t len, unsigned seed)
{
	static unsigned char block[1 << 20];
	int fd = open(at("s", rel), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0 && len <= sizeof(block));
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		block[i] = (unsigned char)(seed >> 16 | 1); /* never a zero: no hole by chance */
	}
	assert_int_equal(pwrite(fd, block, len, offset), (ssize_t)len);
	close(fd);
}

static void write_old(const char *rel, const char *text)
{
	static time_t second = OLD;
	put(rel, text);
	set_mtime("s", rel, second++);
	hint(CHANGE_WRITE, rel, CHANGE_FORCE);
}

static void make_directory(const char *rel, mode_t mode)
{
	assert_int_equal(mkdir(at("s", rel), 0700), 0);
	assert_int_equal(chmod(at("s", rel), mode), 0);
	hint(CHANGE_MKDIR, rel, 0);
}

/* As a program that renames it tells it. */
static void move(const char *from, const char *to)
{
	assert_int_equal(rename(at("s", from), at("s", to)), 0);
	hint_pair(CHANGE_AWAY, from, from, to, 0);
	hint_pair(CHANGE_RENAME, to, from, to, 0);
}

/* In an order that depends on `turn` only. */
static void carry_out_shuffled(unsigned turn)
{
	for (unsigned i = turn; w.count; i = i * 1103515245 + 12345) {
		assert_int_equal(carry_out((i >> 8) % w.count), 0);
	}
}

/* ---- files ---------------------------------------------------------------------------------- */

static void sizes_are_kept(void **state)
{
	static const size_t borders[] = {0, 1, 4096, 32768, 65536, 261120, 262144, 1 << 20};
	char name[32];
	(void)state;
	for (size_t i = 0; i < sizeof(borders) / sizeof(borders[0]); i++) {
		for (size_t k = 0; k < 3 && borders[i] + k >= 1; k++) {
			size_t len = borders[i] + k - 1;
			(void)snprintf(name, sizeof(name), "f%zu", len);
			fill(name, 0, len < 1 << 20 ? len : 1 << 20, (unsigned)i);
			assert_int_equal(truncate(at("s", name), (off_t)len), 0);
			set_mtime("s", name, OLD);
		}
	}
	mirror_all();
}

static void assert_as_sparse(const char *rel)
{
	struct stat s = stat_of("s", rel), t = stat_of("t", rel);
	if (t.st_blocks > s.st_blocks + 16) {
		fail_msg("%s has %jd blocks at the target, %jd at the source", rel,
			(intmax_t)t.st_blocks, (intmax_t)s.st_blocks);
	}
}

static void holes_stay_holes(void **state)
{
	static const struct {
		const char *name;
		off_t size;
		off_t data[3]; /* 64 KiB at each; -1: none */
	} files[] = {
		{"only", 16 << 20, {-1, -1, -1}},
		{"first", 16 << 20, {0, -1, -1}},
		{"last", (16 << 20) + 65536, {16 << 20, -1, -1}},
		{"middle", 16 << 20, {1 << 20, (8 << 20) + 4096, 12 << 20}},
		{"odd", (4 << 20) + 77, {1000001, -1, -1}},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		const char *name = files[i].name;
		fill(name, 0, 0, 0);
		for (size_t k = 0; k < 3 && files[i].data[k] >= 0; k++) {
			fill(name, files[i].data[k], 65536, (unsigned)(i + k));
		}
		assert_int_equal(truncate(at("s", name), files[i].size), 0);
		set_mtime("s", name, OLD);
	}
	mirror_all();
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		assert_as_sparse(files[i].name);
	}
}

/* Where the source is pulled, nothing tells of its holes: a hundred gigabytes would be read. */
static void a_hole_of_100_gib_costs_nothing(void **state)
{
	const off_t size = (off_t)100 << 30, far = (off_t)70 << 30;
	char here[4096] = "", there[4096] = "";
	(void)state;
	fill("huge", far, sizeof(here), 7);
	assert_int_equal(truncate(at("s", "huge"), size), 0);
	set_mtime("s", "huge", OLD);
	hint(CHANGE_WRITE, "huge", CHANGE_FORCE);
	w.bytes = 0;
	carry_out_all();
	assert_true(w.bytes < 1 << 20);
	assert_int_equal(stat_of("t", "huge").st_size, size);
	assert_as_sparse("huge");
	int s = open(at("s", "huge"), O_RDONLY | O_CLOEXEC);
	int t = open(at("t", "huge"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(s, here, sizeof(here), far), sizeof(here));
	assert_int_equal(pread(t, there, sizeof(there), far), sizeof(there));
	assert_memory_equal(here, there, sizeof(here));
	assert_int_equal(lseek(t, 0, SEEK_DATA), far);
	close(s);
	close(t);
}

/* ---- links ---------------------------------------------------------------------------------- */

static void assert_one_file(const char *const *names, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		assert_int_equal(stat_of("t", names[i]).st_ino, stat_of("t", names[0]).st_ino);
	}
}

static void write_through(const char *rel, unsigned version)
{
	FILE *file = fopen(at("s", rel), "r+");
	assert_non_null(file);
	(void)fprintf(file, "version %u through %s", version, rel);
	assert_int_equal(fclose(file), 0);
	set_mtime("s", rel, OLD + version);
	hint(CHANGE_WRITE, rel, CHANGE_FORCE);
	carry_out_all();
	assert_mirrored();
}

static void links_survive_writes_through_any_name(void **state)
{
	const char *names[] = {"d/one", "two", "d/e/three", "d/four"};
	(void)state;
	make_directory("d", 0700);
	make_directory("d/e", 0700);
	write_old("d/one", "1");
	carry_out_all();
	for (size_t i = 1; i < 3; i++) {
		assert_int_equal(link(at("s", names[i - 1]), at("s", names[i])), 0);
		hint_pair(CHANGE_LINK, names[i], names[i - 1], names[i], 0);
	}
	carry_out_all();
	for (unsigned i = 0; i < 6; i++) {
		write_through(names[i % 3], i);
		assert_one_file(names, 3);
	}
	/* the name that the group began with goes, another one moves */
	unlink(at("s", "d/one"));
	hint(CHANGE_REMOVE, "d/one", 0);
	move("two", "d/four");
	carry_out_all();
	assert_mirrored();
	for (unsigned i = 6; i < 10; i++) {
		write_through(names[2 + i % 2], i);
		assert_one_file(names + 2, 2);
	}
}

static void symlinks_are_kept_byte_for_byte(void **state)
{
	static char longest[4000];
	const char *texts[] = {"../x", "./a//b/", ".", "..", "/", "\xff\xfe\n", " ", "a b\tc",
		"d/../d/f", "%41", longest};
	char name[16];
	(void)state;
	memset(longest, 'l', sizeof(longest) - 1);
	make_directory("d", 0700);
	for (unsigned turn = 0; turn < 2; turn++) {
		const size_t count = sizeof(texts) / sizeof(texts[0]);
		for (size_t i = 0; i < count; i++) {
			(void)snprintf(name, sizeof(name), "d/l%zu", i);
			unlink(at("s", name));
			assert_int_equal(symlink(texts[(i + turn) % count], at("s", name)), 0);
			set_mtime("s", name, OLD + turn);
			hint(CHANGE_SYMLINK, name, 0);
		}
		carry_out_all();
		assert_mirrored();
	}
}

/* ---- attributes ----------------------------------------------------------------------------- */

static void modes_are_kept_under_any_umask(void **state)
{
	static const mode_t masks[] = {0, 077, 0777};
	static const mode_t modes[] = {04755, 02755, 06711, 01644, 07777, 0444, 0600, 0};
	static const mode_t directories[] = {02770, 01777, 0755, 03700, 0500, 07777};
	char name[32];
	(void)state;
	for (size_t m = 0; m < 3; m++) {
		for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
			(void)snprintf(name, sizeof(name), "f%zu-%zu", m, i);
			write_old(name, "text");
			/* what nobody may read cannot be copied: first as it is, then its mode */
			mode_t mode = modes[i] & 0400 ? modes[i] : 0600;
			assert_int_equal(chmod(at("s", name), mode), 0);
		}
		for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
			(void)snprintf(name, sizeof(name), "d%zu-%zu", m, i);
			make_directory(name, directories[i]);
		}
		mode_t before = umask(masks[m]);
		carry_out_all();
		for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
			(void)snprintf(name, sizeof(name), "f%zu-%zu", m, i);
			if (chmod(at("s", name), modes[i]) == 0) {
				hint(CHANGE_META, name, 0);
			}
		}
		carry_out_all();
		umask(before);
		for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
			(void)snprintf(name, sizeof(name), "f%zu-%zu", m, i);
			assert_int_equal(stat_of("t", name).st_mode, stat_of("s", name).st_mode);
			assert_int_equal(chmod(at("s", name), 0600), 0);
			hint(CHANGE_META, name, 0);
		}
		carry_out_all();
		assert_mirrored();
	}
}

/* Another content, in a file with set-id bits: writing takes them away, the copy has them. */
static void set_id_bits_survive_new_content(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		write_old("f", i ? "second" : "first");
		assert_int_equal(chmod(at("s", "f"), 06755), 0);
		carry_out_all();
		assert_int_equal(stat_of("t", "f").st_mode & 07777, 06755);
		assert_mirrored();
	}
}

/* A group of this account besides its first one; 0: it has none. */
static gid_t another_group(void)
{
	gid_t groups[64];
	int count = getgroups(64, groups);
	for (int i = 0; i < count; i++) {
		if (groups[i] != getegid()) {
			return groups[i];
		}
	}
	return 0;
}

static void regroup(const char *rel, gid_t group, mode_t mode)
{
	assert_int_equal(chown(at("s", rel), (uid_t)-1, group), 0);
	assert_int_equal(chmod(at("s", rel), mode), 0);
	hint(CHANGE_META, rel, 0);
}

static void assert_group(const char *rel, gid_t group, mode_t mode)
{
	assert_int_equal(stat_of("t", rel).st_gid, group);
	assert_int_equal(stat_of("t", rel).st_mode & 07777, mode);
	assert_mirrored();
}

/* New ones, old ones, with set-id bits, and what nobody told of. */
static void groups_are_kept(void **state)
{
	(void)state;
	const gid_t own = getegid(), other = another_group();
	if (!other) {
		skip(); /* this account has one group only */
	}
	make_directory("d", 0750);
	regroup("d", other, 02770);
	write_old("d/f", "shared");
	write_old("d/own", "not shared");
	regroup("d/f", other, 0640);
	regroup("d/own", own, 0640);
	carry_out_all();
	assert_group("d", other, 02770);
	assert_group("d/f", other, 0640);
	assert_group("d/own", own, 0640);
	regroup("d/f", own, 02755);
	carry_out_all();
	assert_group("d/f", own, 02755);
	regroup("d/f", other, 02755);
	write_old("d/f", "new content");
	assert_int_equal(chmod(at("s", "d/f"), 02755), 0);
	carry_out_all();
	assert_group("d/f", other, 02755);
	assert_int_equal(chown(at("t", "d/own"), (uid_t)-1, other), 0);
	mirror_all();
	assert_group("d/own", own, 0640);
}

static void read_only_directories_change_all_the_same(void **state)
{
	(void)state;
	make_directory("d", 0700);
	make_directory("d/e", 0700);
	write_old("d/e/f", "1");
	write_old("d/g", "1");
	assert_int_equal(chmod(at("s", "d/e"), 0500), 0);
	assert_int_equal(chmod(at("s", "d"), 0555), 0);
	carry_out_all();
	assert_mirrored();
	assert_int_equal(chmod(at("s", "d"), 0700), 0);
	assert_int_equal(chmod(at("s", "d/e"), 0700), 0);
	write_old("d/e/f", "22");
	write_old("d/e/new", "3");
	move("d/g", "d/h");
	assert_int_equal(symlink("h", at("s", "d/e/l")), 0);
	hint(CHANGE_SYMLINK, "d/e/l", 0);
	make_directory("d/e/below", 0500);
	assert_int_equal(chmod(at("s", "d/e"), 0500), 0);
	assert_int_equal(chmod(at("s", "d"), 0555), 0);
	carry_out_all();
	assert_mirrored();
	assert_int_equal(chmod(at("s", "d"), 0700), 0);
	assert_int_equal(chmod(at("s", "d/e"), 0700), 0);
	move("d/e", "e");
	assert_int_equal(chmod(at("s", "e"), 0500), 0);
	hint(CHANGE_META, "e", 0);
	carry_out_all();
	assert_mirrored();
}

static void times_far_away_are_kept(void **state)
{
	static const int64_t seconds[] = {-1, -1000000000, 0, 1, INT64_C(2147483647),
		INT64_C(2147483648), INT64_C(4000000000), INT64_C(4294967295)};
	char name[32];
	(void)state;
	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		(void)snprintf(name, sizeof(name), "f%zu", i);
		put(name, name);
		set_mtime("s", name, (time_t)seconds[i]);
		hint(CHANGE_WRITE, name, CHANGE_FORCE);
		(void)snprintf(name, sizeof(name), "l%zu", i);
		assert_int_equal(symlink("x", at("s", name)), 0);
		set_mtime("s", name, (time_t)seconds[i]);
		hint(CHANGE_SYMLINK, name, 0);
		(void)snprintf(name, sizeof(name), "d%zu", i);
		assert_int_equal(mkdir(at("s", name), 0700), 0);
		set_mtime("s", name, (time_t)seconds[i]);
		hint(CHANGE_MKDIR, name, 0);
	}
	carry_out_all();
	assert_mirrored();
}

/* ---- names ---------------------------------------------------------------------------------- */

static void a_directory_becomes_a_file_and_back(void **state)
{
	(void)state;
	for (unsigned turn = 0; turn < 4; turn++) {
		make_directory("x", 0700);
		write_old("x/f", "below");
		make_directory("x/d", 0700);
		write_old("x/d/g", "deeper");
		carry_out_shuffled(turn);
		assert_mirrored();
		static const char *const gone[] = {"x/d/g", "x/d", "x/f", "x"};
		for (size_t i = 0; i < 4; i++) {
			assert_int_equal(remove(at("s", gone[i])), 0);
			hint(i % 2 ? CHANGE_RMDIR : CHANGE_REMOVE, gone[i], 0);
		}
		write_old("x", "a file");
		carry_out_shuffled(turn + 7);
		assert_mirrored();
		unlink(at("s", "x"));
		hint(CHANGE_REMOVE, "x", 0);
	}
}

/* c -> d, b -> c, a -> b, of files and of directories, with a write that is not mirrored yet. */
static void chains_of_renames_come_out_right(void **state)
{
	(void)state;
	for (unsigned turn = 0; turn < 6; turn++) {
		for (const char *p = "abc"; *p; p++) {
			char file[] = {*p, 0}, directory[] = {'d', *p, 0}, below[] = "d?/f";
			below[1] = *p;
			write_old(file, file);
			make_directory(directory, 0700);
			write_old(below, below);
		}
		carry_out_all();
		write_old("a", "changed");
		write_old("dc/f", "changed, too");
		move("c", "d");
		move("b", "c");
		move("a", "b");
		hint(CHANGE_WRITE, "b", CHANGE_FORCE); /* as the poster repeats it */
		move("dc", "dd");
		move("db", "dc");
		move("da", "db");
		hint(CHANGE_WRITE, "dd/f", CHANGE_FORCE);
		carry_out_shuffled(turn);
		assert_mirrored();
		tear_down(state);
		set_up(state);
	}
}

static void make_two_directories(void)
{
	char name[16];
	make_directory("a", 0700);
	make_directory("b", 0700);
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "%s/%u", i % 2 ? "a" : "b", i);
		write_old(name, name);
	}
	carry_out_all();
	assert_mirrored();
	w.bytes = 0;
}

static void a_swap_comes_out_right(void **state)
{
	(void)state;
	make_two_directories();
	for (unsigned turn = 0; turn < 6; turn++) {
		move("a", "t");
		move("b", "a");
		move("t", "b");
		carry_out_shuffled(turn);
		assert_mirrored();
	}
}

/* Where the target has seen the third name. */
static void a_slow_swap_moves_no_data(void **state)
{
	static const char *const moves[][2] = {{"a", "t"}, {"b", "a"}, {"t", "b"}};
	(void)state;
	make_two_directories();
	for (size_t i = 0; i < 3; i++) {
		move(moves[i][0], moves[i][1]);
		carry_out_all();
		assert_mirrored();
	}
	assert_int_equal(w.bytes, 0);
}

/* Writes before, between and after the moves; orders in any sequence meanwhile. */
static void a_directory_moves_while_its_files_change(void **state)
{
	char name[32];
	const char *const places[] = {"a", "b", "c", "a"};
	(void)state;
	make_directory("a", 0700);
	for (unsigned i = 0; i < 200; i++) {
		(void)snprintf(name, sizeof(name), "a/%u", i);
		write_old(name, name);
	}
	carry_out_all();
	for (unsigned turn = 0; turn < 3; turn++) {
		for (unsigned i = 0; i < 20; i++) {
			(void)snprintf(name, sizeof(name), "%s/%u", places[turn], i * 7 + turn);
			write_old(name, "changed before the move");
		}
		move(places[turn], places[turn + 1]);
		for (unsigned i = 0; i < 20; i++) {
			(void)snprintf(name, sizeof(name), "%s/%u", places[turn + 1], i * 7 + turn);
			hint(CHANGE_WRITE, name, CHANGE_FORCE); /* as the poster repeats it */
			(void)snprintf(name, sizeof(name), "%s/%u", places[turn + 1], i * 5);
			write_old(name, "changed after the move");
		}
		for (unsigned i = 0; i < 15 && w.count; i++) {
			assert_int_equal(carry_out((i * 31 + turn) % w.count), 0);
		}
	}
	carry_out_shuffled(5);
	assert_mirrored();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(sizes_are_kept),
		CASE(holes_stay_holes),
		CASE(symlinks_are_kept_byte_for_byte),
		CASE(modes_are_kept_under_any_umask),
		CASE(set_id_bits_survive_new_content),
		CASE(groups_are_kept),
		CASE(read_only_directories_change_all_the_same),
		CASE(times_far_away_are_kept),
		CASE(a_directory_becomes_a_file_and_back),
		CASE(chains_of_renames_come_out_right),
		CASE(a_swap_comes_out_right),
		CASE(a_slow_swap_moves_no_data),
		CASE(a_directory_moves_while_its_files_change),
		/* SFTP tells neither holes nor link counts of a source */
		CASE(a_hole_of_100_gib_costs_nothing),
		CASE(links_survive_writes_through_any_name),
	};
	size_t count = sizeof(tests) / sizeof(tests[0]);
	if (!world_begin(argc > 1 ? argv[1] : "local")) {
		return 1;
	}
	return _cmocka_run_group_tests("fidelity", tests, pull ? count - 2 : count, NULL, NULL);
}
