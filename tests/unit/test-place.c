/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flow/place.h"

static char top[] = "/tmp/test-place-XXXXXX";

static int make_top(void **state)
{
	(void)state;
	return mkdtemp(top) ? 0 : -1;
}

static int remove_top(void **state)
{
	static const char *const parts[] = {"a/b/c", "a/b", "a", "file", ""};
	char path[128];
	(void)state;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", top, parts[i]);
		(void)remove(path);
	}
	return 0;
}

static void text_is(char *text, const char *expected)
{
	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
}

static void directories_of_the_user(void **state)
{
	(void)state;
	setenv("HOME", "/home/u", 1);
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("XDG_STATE_HOME");
	text_is(place_config_directory(), "/home/u/.config/treemirror");
	text_is(place_state("demo", NULL), "/home/u/.local/state/treemirror/demo");
	setenv("XDG_CONFIG_HOME", "/c", 1);
	setenv("XDG_STATE_HOME", "relative/is/ignored", 1);
	text_is(place_config_directory(), "/c/treemirror");
	text_is(place_state("demo", "log/x.log"), "/home/u/.local/state/treemirror/demo/log/x.log");
	setenv("XDG_STATE_HOME", "/s", 1);
	text_is(place_state("demo", "tally.db"), "/s/treemirror/demo/tally.db");
	unsetenv("HOME");
	char *home = place_home();
	assert_non_null(home);
	assert_int_equal(home[0], '/');
	free(home);
}

static void journals(void **state)
{
	char *places[] = {(char *)"/dev/shm", (char *)"/fs/journals/%h/%h", NULL};
	struct config config = {
		.mirror = (char *)"demo", .journal = places, .journal_size_bytes = 65536};
	char expected[1024];
	(void)state;
	(void)snprintf(
		expected, sizeof(expected), "/dev/shm/treemirror-%u/demo", (unsigned)getuid());
	text_is(place_journal(&config, 0), expected);
	(void)snprintf(expected, sizeof(expected), "/fs/journals/%s/%s/treemirror-%u/demo",
		place_host(), place_host(), (unsigned)getuid());
	text_is(place_journal(&config, 1), expected);
	(void)snprintf(expected, sizeof(expected),
		"65536:/dev/shm/treemirror-%u/demo:/fs/journals/%%h/%%h/treemirror-%u/demo",
		(unsigned)getuid(), (unsigned)getuid());
	text_is(place_journal_list(&config), expected);
}

static void making_directories(void **state)
{
	char path[128];
	struct stat st;
	struct why why = {""};
	(void)state;
	(void)snprintf(path, sizeof(path), "%s/a/b/c", top);
	assert_int_equal(place_make(path, &why), 0);
	assert_int_equal(place_make(path, &why), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	(void)snprintf(path, sizeof(path), "%s/file", top);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(place_make(path, &why), -ENOTDIR);
	assert_non_null(strstr(why.text, path));
	(void)snprintf(path, sizeof(path), "%s/file/x", top);
	assert_int_equal(place_make(path, &why), -ENOTDIR);
	assert_non_null(strstr(why.text, path));
}

static void neighbours(void **state)
{
	char self[4096];
	(void)state;
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	assert_true(len > 0);
	self[len] = '\0';
	text_is(place_program("test-place"), self);
	char *library = place_library();
	assert_non_null(library);
	assert_non_null(strstr(library, "/lib"));
	assert_null(strstr(library, ".."));
	free(library);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(directories_of_the_user),
		cmocka_unit_test(journals),
		cmocka_unit_test(making_directories),
		cmocka_unit_test(neighbours),
	};
	return cmocka_run_group_tests_name("place", tests, make_top, remove_top);
}
