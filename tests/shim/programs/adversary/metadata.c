/* SPDX-License-Identifier: Apache-2.0 */
/* Modes, owners, times, attributes. */
#include "adversary.h"

#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

static const struct timespec past[2] = {{1000, 5}, {2000, 6}};
static const struct timeval past_us[2] = {{1000, 5}, {2000, 6}};

static void mode(void)
{
	must(chmod("f", 0600) == 0);
}
static void mode_held(void)
{
	must(fchmod(open("f", O_RDONLY), 0600) == 0);
}
static void mode_at(void)
{
	int d = open("d", O_RDONLY | O_DIRECTORY);
	must(fchmodat(d, "f", 0600, 0) == 0);
}
static void mode_by_syscall(void)
{
	int fd = open("f", O_RDONLY);
	must(syscall(SYS_fchmod, fd, 0600) == 0);
	must(syscall(SYS_fchmodat, AT_FDCWD, "g", 0600) == 0);
}
static void mode_of_new(void)
{
	int fd = again("f");
	later();
	must(fchmod(fd, 0600) == 0);
	killed();
}
static void mode_after_close(void)
{
	int fd = again("f"), other = open("f", O_RDONLY);
	put(fd, "x");
	close(fd);
	later();
	must(fchmod(other, 0600) == 0);
}
static gid_t other_group(void)
{
	gid_t groups[64];
	int count = getgroups(64, groups);
	for (int i = 0; i < count; i++) {
		if (groups[i] != getegid()) {
			return groups[i];
		}
	}
	impossible();
}
static void owner(void)
{
	gid_t group = other_group();
	must(chown("f", (uid_t)-1, group) == 0 && fchown(again("g"), (uid_t)-1, group) == 0);
}
static void times_by_name(void)
{
	struct utimbuf seconds = {1000, 2000};
	must(utime("f", &seconds) == 0 && utimes("g", past_us) == 0);
}
static void times_at(void)
{
	int d = open("d", O_RDONLY | O_DIRECTORY);
	must(utimensat(d, "f", past, 0) == 0);
}
static void times_held(void)
{
	must(futimens(open("f", O_RDONLY), past) == 0 && futimes(again("g"), past_us) == 0);
}
static void times_set_back_and_open(void)
{
	int fd = again("f");
	put(fd, "x");
	must(futimens(fd, past) == 0);
	later();
	killed();
}
static void have_symlink(void)
{
	must(symlink("nowhere", "l") == 0);
}
static void times_of_symlink(void)
{
	must(utimensat(AT_FDCWD, "l", past, AT_SYMLINK_NOFOLLOW) == 0);
}
static void times_of_symlink_too(void)
{
	must(lutimes("l", past_us) == 0);
}
static void times_of_directory(void)
{
	must(utimensat(AT_FDCWD, "d", past, 0) == 0 && chmod("d", 0700) == 0);
}
static void attribute(void)
{
	if (setxattr("f", "user.mirror", "v", 1, 0) < 0) {
		impossible();
	}
	must(fsetxattr(open("g", O_RDONLY), "user.mirror", "v", 1, 0) == 0);
}
static void have_attribute(void)
{
	have_file();
	(void)setxattr("f", "user.mirror", "v", 1, 0);
}
static void attribute_removed(void)
{
	if (removexattr("f", "user.mirror") < 0) {
		impossible();
	}
}
/* What acl_set_file() does: user::rw-, user:1:r--, group::r--, mask::r--, other::--- */
static void access_list(void)
{
	static const struct {
		unsigned version;
		struct {
			unsigned short tag, rights;
			unsigned id;
		} entries[5];
	} list = {2, {{1, 6, -1U}, {2, 4, 1}, {4, 4, -1U}, {16, 4, -1U}, {32, 0, -1U}}};
	if (setxattr("f", "system.posix_acl_access", &list, sizeof(list), 0) < 0) {
		impossible();
	}
}

const struct adverse metadata[] = {
	{"mode", have_file, mode},
	{"mode-held", have_file, mode_held},
	{"mode-at", have_directory, mode_at},
	{"mode-by-syscall", have_files, mode_by_syscall},
	{"mode-of-new", have_file, mode_of_new},
	{"mode-after-close", have_file, mode_after_close},
	{"owner", have_files, owner},
	{"times-by-name", have_files, times_by_name},
	{"times-at", have_directory, times_at},
	{"times-held", have_files, times_held},
	{"times-set-back-and-open", have_file, times_set_back_and_open},
	{"times-of-symlink", have_symlink, times_of_symlink},
	{"times-of-symlink-too", have_symlink, times_of_symlink_too},
	{"times-of-directory", have_directory, times_of_directory},
	{"attribute", have_files, attribute},
	{"attribute-removed", have_attribute, attribute_removed},
	{"access-list", have_file, access_list},
	{NULL, NULL, NULL},
};
