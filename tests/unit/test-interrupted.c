/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copier is killed between any two requests, for each number of them, and its orders are
 * carried out by another one: the trees must be equal, and no name of ours may be left.
 *
 *   copier (a child of the test) ==> relay ==> sftp-server
 *             ^--- SIGKILL ------------| after request 1, 2, 3, …
 */
#include "mirror-world.h"

#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "relay.h"

#define OLD 1500000000

static char relay_command[8192];

/* ---- what is left --------------------------------------------------------------------------- */

static unsigned left_count;

static int is_left(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *name = path + ftw->base;
	struct stat there;
	char whole[PATH_ROOM];
	size_t len = strlen(path);
	(void)st;
	(void)type;
	bool left = strncmp(name, ".mirror-", 8) == 0 && strlen(name) == 24;
	if (len > 5 && strcmp(path + len - 5, ".from") == 0) { /* of something detached */
		(void)snprintf(whole, sizeof(whole), "%.*s", (int)(len - 5), path);
		left = lstat(whole, &there) < 0;
	}
	if (left) {
		print_message("# left: %s\n", path);
		left_count++;
	}
	return 0;
}

static unsigned what_is_left(void)
{
	left_count = 0;
	assert_int_equal(nftw(at("t", ""), is_left, 16, FTW_PHYS), 0);
	return left_count;
}

/* ---- the copier that dies ------------------------------------------------------------------- */

static void cut_after(unsigned requests)
{
	FILE *file = fopen(at("cut", ""), "w");
	assert_non_null(file);
	(void)fprintf(file, "%u kill\n", requests);
	assert_int_equal(fclose(file), 0);
}

/* Whether it was killed on the way. */
static bool killed_copier(void)
{
	int status = 0;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		world_open();
		for (size_t count = w.count; count; count--) {
			if (carry_out(0) < 0) {
				_exit(1);
			}
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	assert_true(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	return killed;
}

/* What the broker gives to somebody else. */
static void carry_out_again(void)
{
	w.again = true;
	for (size_t count = w.count; count; count--) {
		assert_int_equal(carry_out(0), 0);
	}
	w.again = false;
	carry_out_all();
}

struct scenario {
	void (*before)(void); /* is mirrored */
	void (*change)(void); /* with its hints */
};

static void kill_everywhere(void **state, const struct scenario *scenario)
{
	unsigned requests = 0;
	for (bool killed = true; killed;) {
		if (requests++) {
			tear_down(state);
			set_up(state);
		}
		scenario->before();
		mirror_all();
		scenario->change();
		world_close();
		cut_after(requests);
		killed = killed_copier();
		unlink(at("cut", ""));
		world_open();
		carry_out_again();
		w.config.keep_gone_ns = 0;
		assert_int_equal(purge(), 0);
		if (differences("") || what_is_left()) {
			fail_msg("killed after %u requests", requests);
		}
	}
	print_message("# killed after each of %u requests\n", requests - 1);
	assert_true(requests > 10);
}

/* ---- scenarios ------------------------------------------------------------------------------ */

static void write_old(const char *rel, const char *text)
{
	static time_t second = OLD;
	put(rel, text);
	set_mtime("s", rel, second++);
	hint(CHANGE_WRITE, rel, CHANGE_FORCE);
}

static void one_file(void)
{
	write_old("f", "old");
}

static void files_change(void)
{
	write_old("f", "new");
	assert_int_equal(mkdir(at("s", "d"), 0700), 0);
	write_old("d/g", "below what is missing");
}

static void links_and_directories(void)
{
	assert_int_equal(symlink("old", at("s", "l")), 0);
	assert_int_equal(mkdir(at("s", "d"), 0700), 0);
	write_old("d/f", "in a directory");
}

static void symlinks_change(void)
{
	unlink(at("s", "l"));
	assert_int_equal(symlink("new", at("s", "l")), 0);
	hint(CHANGE_SYMLINK, "l", 0);
	unlink(at("s", "d/f"));
	rmdir(at("s", "d"));
	assert_int_equal(symlink("nowhere", at("s", "d")), 0);
	hint(CHANGE_SYMLINK, "d", CHANGE_SETTLED);
}

static void a_group_appears(void)
{
	assert_int_equal(link(at("s", "f"), at("s", "g")), 0);
	hint_pair(CHANGE_LINK, "g", "f", "g", 0);
}

static void a_group(void)
{
	one_file();
	a_group_appears();
}

static void a_group_is_written(void)
{
	write_old("g", "new");
}

static void a_directory(void)
{
	assert_int_equal(mkdir(at("s", "a"), 0700), 0);
	write_old("a/f", "f");
	write_old("x", "x");
}

static void a_directory_moves(void)
{
	assert_int_equal(rename(at("s", "a"), at("s", "b")), 0);
	hint_pair(CHANGE_AWAY, "a", "a", "b", 0);
	hint_pair(CHANGE_RENAME, "b", "a", "b", 0);
	write_old("b/f", "changed");
	unlink(at("s", "x"));
	hint(CHANGE_REMOVE, "x", 0);
}

/* Only its changed blocks are sent, the others are copied at the target. */
static void write_large(unsigned seed)
{
	static char block[65536];
	FILE *file = fopen(at("s", "large"), seed ? "r+" : "w");
	assert_non_null(file);
	for (unsigned i = 0; i < (seed ? 1 : 4); i++) {
		memset(block, (int)(seed + i + 1), sizeof(block));
		assert_int_equal(fwrite(block, sizeof(block), 1, file), 1);
	}
	assert_int_equal(fclose(file), 0);
	set_mtime("s", "large", OLD + seed);
	hint(CHANGE_WRITE, "large", CHANGE_FORCE);
}

static void a_large_file(void)
{
	w.config.copier.delta_bytes = 65536;
	w.config.copier.delta_room_bytes = 1 << 20;
	write_large(0);
}

static void a_large_file_changes(void)
{
	write_large(100);
}

static void a_large_file_in_place(void)
{
	w.tree.in_place = true;
	a_large_file();
}

/* Blocks are overwritten at the target: what is left in between is a mixture, until it is mended.
 */
static void while_a_large_file_is_overwritten(void **state)
{
	setenv("RELAY_DENY", "copy-data", 1);
	kill_everywhere(
		state, &(const struct scenario){a_large_file_in_place, a_large_file_changes});
	unsetenv("RELAY_DENY");
}

#define SCENARIO(name, before, change)                                                             \
	static void name(void **state)                                                             \
	{                                                                                          \
		kill_everywhere(state, &(const struct scenario){before, change});                  \
	}
SCENARIO(while_files_are_copied, one_file, files_change)
SCENARIO(while_symlinks_are_made, links_and_directories, symlinks_change)
SCENARIO(while_a_group_is_made, one_file, a_group_appears)
SCENARIO(while_a_group_is_written, a_group, a_group_is_written)
SCENARIO(while_a_large_file_changes, a_large_file, a_large_file_changes)
SCENARIO(while_a_directory_moves, a_directory, a_directory_moves)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(while_files_are_copied),
		CASE(while_symlinks_are_made),
		CASE(while_a_group_is_made),
		CASE(while_a_group_is_written),
		CASE(while_a_large_file_changes),
		CASE(while_a_large_file_is_overwritten),
		CASE(while_a_directory_moves),
	};
	if (argc == 3 && strcmp(argv[1], "relay") == 0) {
		return relay_main(argv[2]);
	}
	char self[4096] = "";
	if (!world_begin("sftp") || readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) {
		return 1;
	}
	/* what stands in for ssh lies in the world's directory */
	(void)snprintf(
		relay_command, sizeof(relay_command), "%s relay \"$(dirname \"$0\")/cut\"", self);
	server_command = relay_command;
	return cmocka_run_group_tests_name("interrupted", tests, NULL, NULL);
}
