/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal-files: death at every system call of making a journal, of the first ring, of replacing a
 * damaged one; and a file system that is full.
 *
 * Whatever was left, the next reader finds or makes a ring, the next writer attaches to it, and
 * what a damaged ring had lost is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sched.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/why.h"
#include "marked.h"
#include "rings.h"
#include "traced.h"

#define SKIPPED 77

static char directory[64], place[96];
static struct journal *journal;

static void clean(void)
{
	char command[160];
	(void)snprintf(command, sizeof(command), "rm -rf %s/*", directory);
	REQUIRE(system(command) == 0, "rm");
}

static bool append_one(uint64_t sequence)
{
	struct journal_writer writer = {0};
	struct marked marked;
	int r = journal_attach(&writer, place);
	REQUIRE(r == 0, "attach: %d", r);
	marked_make(&marked, 1, sequence);
	return journal_append(&writer, &marked.record) == 0;
}

static struct journal *open_journal(uint64_t size_bytes)
{
	struct journal *it = NULL;
	struct why why = {""};
	int r = journal_create(place, size_bytes, &it, &why);
	REQUIRE(r == 0, "journal_create: %d %s", r, why.text);
	return it;
}

/* ---- death at every system call ---------------------------------------------------------- */

static void create(void)
{
	(void)journal_create(place, RINGS_SIZE, &journal, NULL);
}

static void create_first(void)
{
	(void)journal_first(place, RINGS_SIZE);
}

static void open_damaged(void)
{
	struct record got;
	journal = open_journal(RINGS_SIZE);
	REQUIRE(journal_next(journal, &got, NULL) == -EBADMSG, "not damaged");
}

static void renew(void)
{
	(void)journal_renew(journal, NULL);
}

/* A ring in which something stands that cannot be read. */
static void damage(void)
{
	struct journal_writer writer = {0};
	journal_destroy(open_journal(RINGS_SIZE));
	REQUIRE(append_one(1), "append");
	REQUIRE(journal_attach(&writer, place) == 0, "attach");
	*(uint64_t *)ring_at(writer.ring, RINGS_SIZE, 0) = UINT64_C(0xdeadbeefdeadbeef);
}

static void check_usable(void)
{
	struct record got;
	struct why why = {""};
	uint32_t writer;
	uint64_t sequence;
	journal = open_journal(RINGS_SIZE);
	REQUIRE(append_one(3), "append");
	int r = journal_next(journal, &got, &why);
	REQUIRE(r == 0 && marked_read(&got, &writer, &sequence) && sequence == 3, "next: %d %s", r,
		why.text);
	journal_release(journal, got.end);
	journal_destroy(journal);
}

/* Either the damage is still there to be found, or its loss is told. */
static void check_renewed(void)
{
	struct record got;
	struct journal_facts facts;
	journal = open_journal(RINGS_SIZE);
	int r = journal_next(journal, &got, NULL);
	if (r == -EBADMSG) {
		REQUIRE(journal_renew(journal, NULL) == 0, "renew");
	}
	journal_facts(journal, &facts);
	REQUIRE(facts.dropped > 0 && facts.dropped_since_ns > 0, "the loss is not told");
	journal_destroy(journal);
	check_usable();
}

static void kill_at_every_call(const char *name, void (*before)(void), void (*prepare)(void),
	void (*body)(void), void (*check)(void))
{
	unsigned calls = 0;
	for (bool over = false; !over; calls++) {
		struct traced traced = {.by_calls = true};
		clean();
		if (before) {
			before();
		}
		traced_start(&traced, prepare, body);
		for (unsigned i = 0; i <= calls && traced_step(&traced); i++) {
		}
		over = traced.over;
		traced_kill(&traced);
		check();
	}
	(void)printf("%-24s killed at %u stops in system calls\n", name, calls);
}

/* ---- no space ---------------------------------------------------------------------------- */

static bool write_text(const char *path, const char *text)
{
	CLEANUP(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* A file system of a megabyte at directory, seen by nobody else. */
static bool mount_small(void)
{
	char users[32], groups[32];
	uid_t user = geteuid();
	gid_t group = getegid();
	(void)snprintf(users, sizeof(users), "%u %u 1", user, user);
	(void)snprintf(groups, sizeof(groups), "%u %u 1", group, group);
	/* without a group of its own in there, a process may make nothing */
	if (user != 0 && (unshare(CLONE_NEWUSER) < 0 || !write_text("/proc/self/uid_map", users) ||
				 !write_text("/proc/self/setgroups", "deny") ||
				 !write_text("/proc/self/gid_map", groups))) {
		return false;
	}
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("small", directory, "tmpfs", 0, "size=1m,mode=0700") == 0;
}

static void fill_up(void)
{
	char path[96];
	static char zeros[4096];
	(void)snprintf(path, sizeof(path), "%s/fill", directory);
	CLEANUP(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, zeros, sizeof(zeros)) > 0) {
	}
	REQUIRE(errno == ENOSPC, "fill: %s", strerror(errno));
}

static bool exists(const char *name)
{
	char path[128];
	(void)snprintf(path, sizeof(path), "%s/%s", place, name);
	return access(path, F_OK) == 0;
}

static void a_ring_that_does_not_fit(void)
{
	struct why why = {""};
	struct journal *none = NULL;
	REQUIRE(journal_create(place, UINT64_C(4) << 20, &none, &why) == -ENOSPC, "%s", why.text);
	REQUIRE(strstr(why.text, "reserve"), "%s", why.text);
	REQUIRE(!exists("ring") && !exists("ring.new"), "something is left");
	REQUIRE(journal_first(place, UINT64_C(4) << 20) < 0 && !exists("ring"), "a first ring");
	REQUIRE(rmdir(place) < 0 && errno == ENOTEMPTY, "no lock?");
}

/* What was reserved is there, whatever others do to the file system. */
static void a_full_file_system(void)
{
	struct record got;
	uint64_t count = 0;
	journal = open_journal(RINGS_SIZE);
	fill_up();
	for (uint64_t i = 0; i < 3000; i++) {
		REQUIRE(append_one(i), "append %u", (unsigned)i);
		REQUIRE(journal_next(journal, &got, NULL) == 0, "next");
		journal_release(journal, got.end);
		count++;
	}
	REQUIRE(append_one(count), "append");
	REQUIRE(journal_renew(journal, NULL) == -ENOSPC, "a ring more than fits");
	REQUIRE(append_one(count + 1), "the old one is of use no more");
	journal_destroy(journal);
	journal = open_journal(RINGS_SIZE);
	REQUIRE(journal_next(journal, &got, NULL) == 0 && got.ino == count, "lost");
	REQUIRE(journal_next(journal, &got, NULL) == 0 && got.ino == count + 1, "lost");
	journal_destroy(journal);
}

/* In a child, whose mounts and user are its own. */
static void no_space(void)
{
	int status;
	(void)fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		if (!mount_small()) {
			exit(SKIPPED);
		}
		a_ring_that_does_not_fit();
		a_full_file_system();
		exit(0);
	}
	REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid, "fork");
	REQUIRE(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SKIPPED),
		"no space: status %d", status);
	(void)printf("%-24s %s\n", "no space",
		WEXITSTATUS(status) ? "SKIPPED: namespaces of one's own are not allowed here"
				    : "is told, and what is reserved stays");
}

int main(void)
{
	bool shm = access("/dev/shm", W_OK) == 0;
	(void)snprintf(
		directory, sizeof(directory), "%s/test-journal-XXXXXX", shm ? "/dev/shm" : "/tmp");
	REQUIRE(mkdtemp(directory), "mkdtemp");
	(void)snprintf(place, sizeof(place), "%s/user/mirror", directory);
	kill_at_every_call("making a journal", NULL, NULL, create, check_usable);
	kill_at_every_call("the first ring", NULL, NULL, create_first, check_usable);
	kill_at_every_call("a damaged ring", damage, open_damaged, renew, check_renewed);
	clean();
	no_space();
	clean();
	rmdir(directory);
	return 0;
}
