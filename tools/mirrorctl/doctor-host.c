/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/journal.h"
#include "core/path.h"
#include "doctor.h"
#include "flow/place.h"
#include "shell.h"
#include "units.h"

#define FILES_NEEDED 1024
#define SKEW_NS      (2 * CLOCK_S)

static void check_credentials(struct doctor *doctor)
{
	CLEANUP(free_p) char *directory = place_config_directory();
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	struct stat st;
	path_join(&path, span_str(directory), SPAN("credentials"));
	if (path.failed || stat(path.data, &st) < 0) {
		doctor_note("credentials", "no file %s%s", path.data,
			doctor->config->broker_managed ? "; a managed broker needs none" : "");
	} else if (st.st_mode & 077) {
		doctor_bad(doctor, "credentials", "%s has mode %04o: chmod 600 it", path.data,
			st.st_mode & 07777);
	} else {
		doctor_good("credentials", "%s, mode 0600", path.data);
	}
}

/* The clock of the state directory's file system against this host's. */
static void check_clock(struct doctor *doctor, const char *directory)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	struct stat st = {0};
	path_join(&path, span_str(directory), SPAN(".clock-XXXXXX"));
	CLEANUP(fd_close) int fd = path.failed ? -1 : mkostemp(path.data, O_CLOEXEC);
	uint64_t now = clock_wall();
	bool seen = fd >= 0 && write(fd, "x", 1) == 1 && fsync(fd) == 0 && fstat(fd, &st) == 0;
	if (fd >= 0) {
		(void)unlink(path.data);
	}
	if (!seen) {
		doctor_bad(doctor, "state", "cannot write in %s: %s", directory, strerror(errno));
		return;
	}
	uint64_t then = (uint64_t)st.st_mtim.tv_sec * CLOCK_S + (uint64_t)st.st_mtim.tv_nsec;
	uint64_t skew = now > then ? now - then : then - now;
	doctor_good("state", "%s can be written", directory);
	if (skew > SKEW_NS) {
		doctor_bad(doctor, "clock",
			"the file system of %s and this host differ by %s: let both "
			"follow NTP",
			directory, units_duration(skew));
	} else {
		doctor_good("clock", "this host and the state directory's file system agree");
	}
}

static void check_state(struct doctor *doctor)
{
	struct why why = {0};
	CLEANUP(free_p) char *directory = place_state(doctor->config->mirror, NULL);
	if (!directory || place_make(directory, &why) < 0) {
		doctor_bad(doctor, "state", "%s", why.text);
		return;
	}
	check_clock(doctor, directory);
}

static void check_limits(struct doctor *doctor)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < FILES_NEEDED) {
		doctor_bad(doctor, "limits",
			"only %" PRIu64 " open files are allowed: ask for at least %d "
			"(ulimit -Hn)",
			(uint64_t)files.rlim_max, FILES_NEEDED);
	} else {
		doctor_good("limits", "%s open files", units_count((uint64_t)files.rlim_max));
	}
}

/* Runs argv under the shim; how it ended and what it wrote to stderr. */
static int run_under_shim(const char *preload, char *const *argv, struct buf *ret_words)
{
	int words[2], status = -1;
	if (pipe2(words, O_CLOEXEC) < 0) {
		return -1;
	}
	pid_t pid = fork();
	if (pid == 0) {
		(void)dup2(words[1], STDERR_FILENO);
		(void)setenv("LD_PRELOAD", preload, 1);
		execv(argv[0], argv);
		_exit(127);
	}
	close(words[1]);
	char *room = buf_reserve(ret_words, 2000);
	ssize_t len = pid > 0 && room ? read(words[0], room, 2000) : 0;
	ret_words->len = len > 0 ? (size_t)len : 0;
	if (room) {
		room[ret_words->len] = '\0';
	}
	close(words[0]);
	(void)waitpid(pid, &status, 0);
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ld.so says on stderr when it cannot preload, and goes on without. */
static void check_shim(struct doctor *doctor)
{
	struct why why = {0};
	CLEANUP(free_p) char *preload = NULL;
	CLEANUP(free_p) char *journal = NULL;
	CLEANUP(buf_finish) struct buf words = BUF_EMPTY;
	char *argv[] = {(char *)"/bin/true", NULL};
	if (shell_values(doctor->config, &preload, &journal, &why) < 0) {
		doctor_bad(doctor, "shim", "%s", why.text);
		return;
	}
	int status = run_under_shim(preload, argv, &words);
	while (words.len && words.data[words.len - 1] == '\n') {
		words.data[--words.len] = '\0';
	}
	if (status != 0 || words.len) {
		doctor_bad(doctor, "shim", "/bin/true does not run under it (exit %d): %s", status,
			words.len ? words.data : "it says nothing");
	} else {
		doctor_good("shim", "programs run under %s", preload);
	}
}

/* The first place that is there (or whose parent is) and can be written is the one used. */
static bool check_journal(struct doctor *doctor, size_t index)
{
	struct statvfs fs;
	CLEANUP(free_p) char *directory = place_journal(doctor->config, index);
	if (!directory) {
		return false;
	}
	struct why why;
	if (journal_check_place(directory, &why) < 0) {
		doctor_note("journal", "%s: not usable: %s", directory, why.text);
		return false;
	}
	CLEANUP(buf_finish) struct buf place = BUF_EMPTY;
	struct span below = span_str(directory);
	do { /* the nearest directory that exists */
		buf_clear(&place);
		buf_add(&place, below);
		below = path_parent(below);
	} while (!place.failed && access(place.data, F_OK) < 0 && below.len);
	if (place.failed || access(place.data, W_OK) < 0 || statvfs(place.data, &fs) < 0) {
		doctor_note("journal", "%s: not usable: %s", directory, strerror(errno));
		return false;
	}
	uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (room < doctor->config->journal_size_bytes && access(directory, F_OK) < 0) {
		doctor_bad(doctor, "journal", "%s: %s free, the journal takes %s", directory,
			units_bytes(room), units_bytes(doctor->config->journal_size_bytes));
	} else {
		doctor_good("journal", "%s: %s free", directory, units_bytes(room));
	}
	return true;
}

static void check_journals(struct doctor *doctor)
{
	for (size_t i = 0; doctor->config->journal[i]; i++) {
		if (check_journal(doctor, i)) {
			return;
		}
	}
	doctor_bad(doctor, "journal", "none of the places under `journal:` can be used");
}

void doctor_check_host(struct doctor *doctor)
{
	check_credentials(doctor);
	check_state(doctor);
	check_limits(doctor);
	check_shim(doctor);
	check_journals(doctor);
}
