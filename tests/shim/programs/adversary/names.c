/* SPDX-License-Identifier: Apache-2.0 */
/* Names that come, go, move, and lead elsewhere. */
#include "adversary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

static void moved(void)
{
	must(rename("f", "n") == 0);
}
static void moved_over(void)
{
	must(rename("f", "g") == 0);
}
static void moved_between_descriptors(void)
{
	int here = open(".", O_RDONLY | O_DIRECTORY), d = open("d", O_PATH | O_DIRECTORY);
	must(renameat(d, "f", here, "n") == 0);
}
static void exchanged(void)
{
	must(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "g", 2) == 0);
}
static void exchanged_by_libc(void)
{
	must(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", 2) == 0);
}
static void moved_not_over(void)
{
	must(renameat2(AT_FDCWD, "f", AT_FDCWD, "n", 1) == 0);
	must(renameat2(AT_FDCWD, "n", AT_FDCWD, "g", 1) < 0);
}
static void directory_moved(void)
{
	must(rename("d", "n") == 0);
}
static void moved_while_open(void)
{
	int fd = again("f");
	must(rename("f", "n") == 0);
	later();
	put(fd, "x");
	close(fd);
}
static void moved_while_open_and_killed(void)
{
	int fd = again("f");
	must(rename("f", "n") == 0);
	later();
	put(fd, "x");
	killed();
}
static void directory_moved_while_open(void)
{
	int fd = again("d/f");
	must(rename("d", "n") == 0);
	later();
	put(fd, "x");
	killed();
}
/* By somebody whom nobody sees. */
static void moved_away_while_open(void)
{
	int fd = again("f");
	if (vfork() == 0) {
		char *argv[] = {(char *)"mv", (char *)"f", (char *)"n", NULL}, *none[] = {NULL};
		execve("/bin/mv", argv, none);
		_exit(99);
	}
	later();
	later();
	put(fd, "x");
	close(fd);
}
static void moved_out(void)
{
	must(rename("f", "../outside/n") == 0);
}
static void moved_in(void)
{
	must(rename("../outside/f", "n") == 0);
}
static void directory_moved_in(void)
{
	must(rename("../outside", "n") == 0 && mkdir("../outside", 0755) == 0);
}
static void linked(void)
{
	must(link("f", "n") == 0);
}
static void linked_at(void)
{
	int d = open("d", O_RDONLY | O_DIRECTORY);
	must(linkat(d, "f", AT_FDCWD, "n", 0) == 0);
}
static void linked_in(void)
{
	must(link("../outside/f", "n") == 0);
}
static void symlinked(void)
{
	int d = open("d", O_RDONLY | O_DIRECTORY);
	must(symlink("anywhere", "n") == 0 && symlinkat("../f", d, "l") == 0);
}
static void nameless_linked(void)
{
	char path[64];
	int fd = open(".", O_TMPFILE | O_RDWR, 0644);
	if (fd < 0) {
		impossible();
	}
	put(fd, "x");
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	must(linkat(AT_FDCWD, path, AT_FDCWD, "n", AT_SYMLINK_FOLLOW) == 0);
	later();
	put(fd, "y");
	_exit(0);
}
static void nameless_linked_by_descriptor(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR, 0644);
	put(fd, "x");
	if (fd < 0 || linkat(fd, "", AT_FDCWD, "n", AT_EMPTY_PATH) < 0) {
		impossible();
	}
}
static void unlinked_and_linked_again(void)
{
	char path[64];
	int fd = open(".", O_TMPFILE | O_RDWR, 0644);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	must(linkat(AT_FDCWD, path, AT_FDCWD, "n1", AT_SYMLINK_FOLLOW) == 0);
	must(rename("n1", "n2") == 0);
	later();
	put(fd, "x");
	killed();
}
static void removed(void)
{
	must(unlink("f") == 0);
}
static void removed_by_remove(void)
{
	must(remove("d/f") == 0 && remove("d") == 0);
}
static void removed_at(void)
{
	int d = open("d", O_RDONLY | O_DIRECTORY);
	must(unlinkat(d, "f", 0) == 0 && unlinkat(AT_FDCWD, "d", AT_REMOVEDIR) == 0);
}
static void directories(void)
{
	char made[] = "t-XXXXXX";
	int d = open("d", O_RDONLY | O_DIRECTORY);
	must(mkdir("n", 0755) == 0 && mkdirat(d, "n", 0700) == 0 && mkdtemp(made));
	must(rmdir("n") == 0 && mkdir("n", 0700) == 0);
}
static void nodes(void)
{
	must(mkfifo("n1", 0600) == 0 && mknod("n2", S_IFREG | 0600, 0) == 0);
}
static void socket_bound(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "n"};
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	must(bind(s, (struct sockaddr *)&address, sizeof(address)) == 0);
}
static void temporaries(void)
{
	char a[] = "a-XXXXXX", b[] = "b-XXXXXX", c[] = "c-XXXXXX.nc", d[] = "d-XXXXXX.nc";
	int fds[] = {mkstemp(a), mkostemp(b, O_APPEND), mkstemps(c, 3), mkostemps(d, 3, O_CLOEXEC)};
	later();
	for (size_t i = 0; i < 4; i++) {
		put(fds[i], "x");
	}
	killed();
}
static void have_links(void)
{
	have("f");
	must(link("f", "other") == 0);
}
static void have_links_afar(void)
{
	have_directory();
	must(mkdir("e", 0755) == 0 && link("d/f", "e/other") == 0);
}
static void unlinked_while_open(void)
{
	int fd = again("f");
	must(unlink("f") == 0);
	later();
	put(fd, "x");
	close(fd);
}
static void unlinked_while_open_link_afar(void)
{
	int fd = again("d/f");
	must(unlink("d/f") == 0);
	later();
	put(fd, "x");
	close(fd);
}
static void written_by_link(void)
{
	int fd = again("other");
	later();
	put(fd, "x");
	close(fd);
}
static void replaced_while_open(void)
{
	int fd = again("f");
	must(rename("g", "f") == 0);
	later();
	put(fd, "x");
	close(fd);
}

/* ---- other ways to a file ----------------------------------------------------------------- */

static void have_ways(void)
{
	have("f");
	must(mkdir("d", 0755) == 0 && symlink("f", "link") == 0 && symlink("d", "to-d") == 0);
	must(symlink("../tree/f", "../outside/in") == 0 &&
		symlink("../tree", "../outside/top") == 0);
}
static void written_at(const char *path)
{
	int fd = again(path);
	later();
	put(fd, "x");
	killed();
}
static void through_link(void)
{
	written_at("link");
}
static void through_link_from_outside(void)
{
	written_at("../outside/in");
}
static void through_directory_link(void)
{
	written_at("to-d/../f");
}
static void from_elsewhere(void)
{
	must(chdir("../outside/top/d") == 0);
	have("n");
	written_at(".././d/../f");
}
static void through_own_descriptor(void)
{
	char path[64];
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", open("f", O_RDONLY));
	written_at(path);
}
static void through_standard_descriptor(void)
{
	must(dup2(open("f", O_RDONLY), 0) == 0);
	written_at("/dev/stdin");
}
static void through_working_directory(void)
{
	written_at("/proc/self/cwd/f");
}
static void dangling_link(void)
{
	must(symlink("target", "l") == 0);
	int fd = open("l", O_WRONLY | O_CREAT, 0644);
	put(fd, "x");
	close(fd);
}
static void long_name(void)
{
	char name[256];
	memset(name, 'n', 255);
	name[255] = '\0';
	for (int i = 0; i < 12; i++) {
		must(mkdir(name, 0755) == 0 && chdir(name) == 0);
	}
	have("\xff\n end ");
}

const struct adverse names[] = {
	{"moved", have_file, moved},
	{"moved-over", have_files, moved_over},
	{"moved-between-descriptors", have_directory, moved_between_descriptors},
	{"exchanged", have_files, exchanged},
	{"exchanged-by-libc", have_files, exchanged_by_libc},
	{"moved-not-over", have_files, moved_not_over},
	{"directory-moved", have_directory, directory_moved},
	{"moved-while-open", have_file, moved_while_open},
	{"moved-while-open-and-killed", have_file, moved_while_open_and_killed},
	{"directory-moved-while-open", have_directory, directory_moved_while_open},
	{"moved-unseen-while-open", have_file, moved_away_while_open},
	{"moved-out", have_file, moved_out},
	{"moved-in", have_both_sides, moved_in},
	{"directory-moved-in", have_both_sides, directory_moved_in},
	{"linked", have_file, linked},
	{"linked-at", have_directory, linked_at},
	{"linked-in", have_both_sides, linked_in},
	{"symlinked", have_directory, symlinked},
	{"nameless-linked", NULL, nameless_linked},
	{"nameless-linked-by-descriptor", NULL, nameless_linked_by_descriptor},
	{"nameless-linked-and-moved", NULL, unlinked_and_linked_again},
	{"removed", have_file, removed},
	{"removed-by-remove", have_directory, removed_by_remove},
	{"removed-at", have_directory, removed_at},
	{"directories", have_directory, directories},
	{"nodes", NULL, nodes},
	{"socket-bound", NULL, socket_bound},
	{"temporaries", NULL, temporaries},
	{"unlinked-while-open", have_links, unlinked_while_open},
	{"unlinked-while-open-link-afar", have_links_afar, unlinked_while_open_link_afar},
	{"written-by-link", have_links, written_by_link},
	{"replaced-while-open", have_files, replaced_while_open},
	{"through-link", have_ways, through_link},
	{"through-link-from-outside", have_ways, through_link_from_outside},
	{"through-directory-link", have_ways, through_directory_link},
	{"from-elsewhere", have_ways, from_elsewhere},
	{"through-own-descriptor", have_file, through_own_descriptor},
	{"through-standard-descriptor", have_file, through_standard_descriptor},
	{"through-working-directory", have_file, through_working_directory},
	{"dangling-link", NULL, dangling_link},
	{"long-name", NULL, long_name},
	{NULL, NULL, NULL},
};
