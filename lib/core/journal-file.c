/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making, opening and replacing the files of a journal, for its reader.
 *
 *   DIRECTORY/ring   the ring; made whole under another name, every block reserved, then renamed,
 *                    and never truncated by us: what writers have mapped stays backed
 *   DIRECTORY/lock   locked by the reader while it lives
 *
 * The first ring may as well be made by a writer, at the same moment (journal-first.c), so it is
 * put in place by link(), which one of them wins.
 *
 * A ring that is damaged or of an unknown layout is retired (its writers attach again) and a new
 * one is renamed over it.  A directory or file that others own or may write is refused.
 */
#include "core/journal-private.h"

#include <dirent.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"

#define RING_NEW "ring.new"
#define SWEEP_S  60

static int check_owner(int fd, const char *what, struct why *why)
{
	struct stat st;
	if (fstat(fd, &st) < 0) {
		return why_error(why, -errno, "%s: %s", what, strerror(errno));
	}
	if (st.st_uid != geteuid()) {
		return why_error(why, -EPERM, "%s belongs to user %u, expected user %u", what,
			st.st_uid, geteuid());
	}
	if (st.st_mode & 022) {
		return why_error(why, -EPERM,
			"%s may be written by others (mode %04o), expected 0700", what,
			st.st_mode & 07777);
	}
	return 0;
}

/* Makes the directory and those above it that are missing. */
static int make_directories(const char *directory, struct why *why)
{
	char path[PATH_MAX];
	if (directory[0] != '/') {
		return why_error(why, -EINVAL, "journal directory '%s' is not absolute", directory);
	}
	if (strlen(directory) >= sizeof(path)) {
		return why_error(why, -ENAMETOOLONG, "journal directory '%.64s…'", directory);
	}
	(void)snprintf(path, sizeof(path), "%s", directory);
	for (char *slash = path + 1;; slash++) {
		slash = slash + strcspn(slash, "/");
		char end = *slash;
		*slash = '\0';
		int error = mkdir(path, 0700) < 0 ? errno : 0;
		if (error && error != EEXIST && access(path, F_OK) < 0) {
			return why_error(
				why, -error, "make directory '%s': %s", path, strerror(error));
		}
		*slash = end;
		if (end == '\0') {
			return 0;
		}
	}
}

static int open_directory(struct journal *journal, const char *directory, struct why *why)
{
	journal->dir = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (journal->dir < 0) {
		return why_error(
			why, -errno, "open journal directory '%s': %s", directory, strerror(errno));
	}
	return check_owner(journal->dir, directory, why);
}

/* The directory's own owner says nothing when somebody else can move it away. */
static int check_above(const char *directory, struct why *why)
{
	int r = journal_safe_above(directory);
	switch (r) {
	case 0:
		return 0;
	case -EPERM:
		return why_error(why, r,
			"what '%s' lies in belongs to another user, or may be written by others",
			directory);
	case -ENOTDIR:
		return why_error(
			why, r, "what '%s' lies in is a symlink or no directory", directory);
	default:
		return why_error(why, r, "look at what '%s' lies in: %s", directory, strerror(-r));
	}
}

/* What writers left that were killed while they made the first ring; those that do so now are
 * younger. */
static void sweep(const struct journal *journal)
{
	int fd = openat(journal->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *listing = fd < 0 ? NULL : fdopendir(fd);
	struct stat st;
	if (!listing) {
		fd_close(&fd);
		return;
	}
	for (struct dirent *entry; (entry = readdir(listing));) {
		if (strncmp(entry->d_name, RING_FIRST, strlen(RING_FIRST)) == 0 &&
			fstatat(journal->dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			st.st_mtime + SWEEP_S < time(NULL)) {
			unlinkat(journal->dir, entry->d_name, 0);
		}
	}
	closedir(listing);
}

/* Returns whether another process holds the reader's lock. */
static bool reader_lives(int lock)
{
	struct flock want = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	return fcntl(lock, F_OFD_GETLK, &want) == 0 && want.l_type != F_UNLCK;
}

static int take_lock(struct journal *journal, struct why *why)
{
	struct flock want = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	journal->lock =
		openat(journal->dir, RING_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (journal->lock < 0) {
		return why_error(why, -errno, "open the journal's lock: %s", strerror(errno));
	}
	if (fcntl(journal->lock, F_OFD_SETLK, &want) < 0) {
		bool taken = errno == EAGAIN || errno == EACCES;
		return why_error(why, taken ? -EBUSY : -errno, "lock the journal: %s",
			taken ? "another reader has it" : strerror(errno));
	}
	return 0;
}

/* ---- the ring ---------------------------------------------------------------------------- */

static uint64_t file_size(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

/*
 * A ring of a newer version is neither read nor replaced: what is in it would be lost, and programs
 * that write to it go on.  Its two digits, or NULL.
 */
static const char *newer_version(const struct journal_ring *ring)
{
	static const uint64_t ours = RING_MAGIC;
	const char *magic = (const char *)&ring->magic, *known = (const char *)&ours;
	const size_t name_len = sizeof(ours) - 2;
	const char *version = magic + name_len;
	bool is_ring = memcmp(magic, known, name_len) == 0 && isdigit((unsigned char)version[0]) &&
		       isdigit((unsigned char)version[1]);
	return is_ring && memcmp(version, known + name_len, 2) > 0 ? version : NULL;
}

/* Whether the header describes exactly this file, and its positions are possible. */
static const char *header_fault(const struct journal_ring *ring, uint64_t bytes)
{
	uint64_t size = ring->size_bytes;
	if (ring->magic != RING_MAGIC) {
		return "not a ring of this version";
	}
	if (!ring_size_is_valid(size) || ring->drafts != ring_drafts_for(size) ||
		bytes != ring_file_bytes(size, ring->drafts)) {
		return "its size is not what its header says";
	}
	uint64_t head = LOAD(ring->head), tail = LOAD(ring->tail),
		 releasing = LOAD(ring->releasing);
	if (tail > head || head - tail > size || releasing < tail || releasing > head ||
		(head | tail | releasing) % RING_UNIT) {
		return "its positions contradict each other";
	}
	return ring->device_count > RING_DEVICES_MAX ? "its list of devices is too long" : NULL;
}

static int map_file(int fd, uint64_t bytes, int protection, struct journal_ring **ret)
{
	void *map = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || !map) {
		return map ? -errno : -EFAULT;
	}
	journal_guard(map, bytes);
	*ret = (struct journal_ring *)map;
	return 0;
}

static void unmap_ring(struct journal_ring *ring, uint64_t bytes)
{
	munmap(ring, bytes);
	journal_guard(ring, 0);
}

static void unmap(struct journal *journal)
{
	if (journal->ring) {
		unmap_ring(journal->ring, journal->map_bytes);
		journal->ring = NULL;
	}
}

static void note_shape(struct journal *journal)
{
	journal->size_bytes = journal->ring->size_bytes;
	journal->drafts = journal->ring->drafts;
}

/* Maps an existing ring; -EBADMSG where it is damaged, -ENOENT where there is none,
 * -EPROTONOSUPPORT where a newer version has made it. */
static int map_existing(struct journal *journal, struct why *why)
{
	int access = journal->peeking ? O_RDONLY : O_RDWR;
	int protection = journal->peeking ? PROT_READ : PROT_READ | PROT_WRITE;
	CLEANUP(fd_close) int fd = openat(journal->dir, RING_FILE, access | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		return why_error(why, -errno, "open the journal's ring: %s", strerror(errno));
	}
	int r = check_owner(fd, "the journal's ring", why);
	if (r < 0) {
		return r;
	}
	uint64_t bytes = file_size(fd);
	if (bytes < RING_HEADER) {
		return why_error(why, -EBADMSG, "the journal's ring is damaged: too short");
	}
	r = map_file(fd, bytes, protection, &journal->ring);
	if (r < 0) {
		return why_error(why, r, "map the journal's ring: %s", strerror(-r));
	}
	journal->map_bytes = bytes;
	const char *newer = newer_version(journal->ring);
	if (newer) {
		r = why_error(why, -EPROTONOSUPPORT,
			"the journal's ring is of version %.2s, made by a newer treemirror, and "
			"this "
			"one knows versions up to 01: start the newer one",
			newer);
		unmap(journal);
		return r;
	}
	const char *fault = header_fault(journal->ring, bytes);
	if (fault) {
		unmap(journal);
		return why_error(why, -EBADMSG, "the journal's ring is damaged: %s", fault);
	}
	note_shape(journal);
	journal->file = STEAL_FD(fd);
	return 0;
}

/* Tells whoever still writes into the ring that is about to be replaced. */
static void retire_existing(struct journal *journal)
{
	CLEANUP(fd_close) int fd = openat(journal->dir, RING_FILE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct journal_ring *old = NULL;
	if (fd < 0 || file_size(fd) < RING_HEADER) {
		return;
	}
	if (map_file(fd, RING_HEADER, PROT_READ | PROT_WRITE, &old) == 0) {
		STORE(old->retired, 1);
		unmap_ring(old, RING_HEADER);
	}
}

static int reserve_new(struct journal *journal, uint64_t size_bytes, int *ret_fd, struct why *why)
{
	uint64_t bytes = ring_file_bytes(size_bytes, ring_drafts_for(size_bytes));
	unlinkat(journal->dir, RING_NEW, 0);
	CLEANUP(fd_close)
	int fd = openat(
		journal->dir, RING_NEW, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		return why_error(why, -errno, "make the journal's ring: %s", strerror(errno));
	}
	int r = posix_fallocate(fd, 0, (off_t)bytes);
	if (r != 0) {
		unlinkat(journal->dir, RING_NEW, 0);
		return why_error(why, -r, "reserve %llu bytes for the journal's ring: %s",
			(unsigned long long)bytes, strerror(r));
	}
	r = map_file(fd, bytes, PROT_READ | PROT_WRITE, &journal->ring);
	if (r < 0) {
		return why_error(why, r, "map the journal's ring: %s", strerror(-r));
	}
	journal->map_bytes = bytes;
	*ret_fd = STEAL_FD(fd);
	return 0;
}

/* Where one is there already, it is left: -EEXIST. */
static int place_first(struct journal *journal)
{
	if (linkat(journal->dir, RING_NEW, journal->dir, RING_FILE, 0) < 0) {
		return errno == EEXIST ? -EEXIST : 0; /* no links here: rename() will do */
	}
	return 0;
}

/* What a ring held that is replaced, and since when. */
struct loss {
	uint64_t dropped, since_ns;
};

/*
 * In the place of the one that is there, telling its loss from the beginning; or (NULL) as the
 * first: -EEXIST when a writer was faster.
 */
static int make_new(
	struct journal *journal, uint64_t size_bytes, const struct loss *loss, struct why *why)
{
	CLEANUP(fd_close) int fd = -1;
	uint64_t generation;
	int r = reserve_new(journal, size_bytes, &fd, why);
	if (r < 0) {
		return r;
	}
	if (getrandom(&generation, sizeof(generation), 0) < 0) {
		generation = clock_wall();
	}
	if (loss) {
		journal->ring->dropped = loss->dropped;
		journal->ring->dropped_since_ns = loss->since_ns ? loss->since_ns : 1;
	}
	ring_begin(journal->ring, size_bytes, generation);
	note_shape(journal);
	r = loss ? 0 : place_first(journal);
	if (r < 0) {
		unlinkat(journal->dir, RING_NEW, 0);
		unmap(journal);
		return r;
	}
	if (loss) {
		retire_existing(journal);
	}
	if (renameat(journal->dir, RING_NEW, journal->dir, RING_FILE) < 0) {
		r = why_error(why, -errno, "put the journal's ring in place: %s", strerror(errno));
		unmap(journal);
		return r;
	}
	unlinkat(journal->dir, RING_NEW, 0); /* rename() leaves a second name of one file alone */
	journal->file = STEAL_FD(fd);
	return 0;
}

/*
 * By this lock writers see at the price of one call that we live, and in their namespace of pids.
 * Unlike the one on RING_LOCK it is the process's: closing the ring anywhere in it gives it up.
 * Then writers find out otherwise.
 */
static void show_ourselves(const struct journal *journal)
{
	struct flock want = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	(void)fcntl(journal->file, F_SETLK, &want);
}

/*
 * Blocks that are reserved but were never touched come to whoever writes to them first one by one,
 * each with zeroing it; those that were come sixteen at a time.  So we are the first.  (Not on a
 * disk, where all would have to be written.)
 */
static void touch_blocks(const struct journal *journal)
{
	struct statfs fs;
	if (fstatfs(journal->file, &fs) == 0 && fs.f_type == TMPFS_MAGIC) {
		(void)madvise(journal->ring, journal->map_bytes, MADV_POPULATE_WRITE);
	}
}

/* Completes what a reader that was killed inside journal_release() left. */
static void start_reading(struct journal *journal)
{
	struct journal_ring *ring = journal->ring;
	struct stat st;
	free(journal->handed);
	journal->handed = calloc(ring->drafts, sizeof(*journal->handed));
	STORE(ring->retired, 0); /* a reader may have died before it renamed the next one */
	ring->reader_pid = (uint64_t)getpid();
	ring->pid_namespace = stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
	show_ourselves(journal);
	touch_blocks(journal);
	journal->cursor = LOAD(ring->releasing);
	journal_release(journal, journal->cursor);
}

/* Takes over the ring that is there, or makes the first one, or replaces a damaged one. */
static int open_ring(struct journal *journal, uint64_t size_bytes, struct why *why)
{
	int r = map_existing(journal, why);
	if (r == -ENOENT) {
		r = make_new(journal, size_bytes, NULL, why);
		r = r == -EEXIST ? map_existing(journal, why) : r;
	}
	if (r == -EBADMSG) {
		r = make_new(journal, size_bytes, &(struct loss){1, 1}, why);
	}
	return r;
}

static int open_for_reading(
	struct journal *journal, const char *directory, uint64_t size_bytes, struct why *why)
{
	int r = make_directories(directory, why);
	if (r == 0) {
		r = check_above(directory, why);
	}
	if (r == 0) {
		r = open_directory(journal, directory, why);
	}
	if (r == 0) {
		r = take_lock(journal, why);
	}
	if (r == 0) {
		sweep(journal);
		r = open_ring(journal, size_bytes, why);
	}
	if (r == 0) {
		start_reading(journal);
		r = journal->handed ? 0 : why_error(why, -ENOMEM, "out of memory");
	}
	return r;
}

static struct journal *new_journal(bool peeking)
{
	struct journal *journal = calloc(1, sizeof(*journal));
	if (journal) {
		journal->dir = journal->lock = journal->file = -1;
		journal->peeking = peeking;
	}
	return journal;
}

int journal_create(
	const char *directory, uint64_t size_bytes, struct journal **ret, struct why *why)
{
	struct journal *journal = new_journal(false);
	if (!journal) {
		return why_error(why, -ENOMEM, "out of memory");
	}
	int r = ring_size_is_valid(size_bytes)
			? open_for_reading(journal, directory, size_bytes, why)
			: why_error(why, -EINVAL,
				  "a journal of %llu bytes; expected a power of "
				  "two, 64 KiB to 4 GiB",
				  (unsigned long long)size_bytes);
	if (r < 0) {
		journal_destroy(journal);
		return r;
	}
	*ret = journal;
	return 0;
}

int journal_peek(const char *directory, struct journal **ret, struct why *why)
{
	struct journal *journal = new_journal(true);
	if (!journal) {
		return why_error(why, -ENOMEM, "out of memory");
	}
	int r = open_directory(journal, directory, why);
	if (r == 0) {
		r = map_existing(journal, why);
	}
	if (r < 0) {
		journal_destroy(journal);
		return r;
	}
	journal->lock = openat(journal->dir, RING_LOCK, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	journal->cursor = LOAD(journal->ring->releasing);
	*ret = journal;
	return 0;
}

int journal_check_place(const char *directory, struct why *why)
{
	struct journal journal = {.dir = -1};
	int r = check_above(directory, why);
	if (r == 0) {
		r = open_directory(&journal, directory, why);
	}
	fd_close(&journal.dir);
	return r == -ENOENT ? 0 : r;
}

int journal_check_file(const struct journal *journal, struct why *why)
{
	struct stat st;
	bool is_short = fstatat(journal->dir, RING_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(st.st_mode) && (uint64_t)st.st_size < journal->map_bytes;
	return is_short ? why_error(why, -EBADMSG, "journal damaged: its ring was made shorter")
			: 0;
}

int journal_renew(struct journal *journal, struct why *why)
{
	struct journal old = *journal;
	struct loss loss = {old.ring->dropped + 1, old.last_time_ns};
	int r = make_new(journal, old.size_bytes, &loss, why);
	if (r < 0) {
		*journal = old;
		return r;
	}
	STORE(old.ring->retired, 1); /* where the name led to another file, or one too short */
	unmap_ring(old.ring, old.map_bytes);
	fd_close(&old.file);
	start_reading(journal);
	return 0;
}

void journal_destroy(struct journal *journal)
{
	if (!journal) {
		return;
	}
	if (journal->ring && !journal->peeking) {
		STORE(journal->ring->reader_pid, 0);
	}
	unmap(journal);
	fd_close(&journal->dir);
	fd_close(&journal->lock);
	fd_close(&journal->file);
	free(journal->handed);
	free(journal->copy);
	free(journal);
}

uint32_t journal_reader_pid(const struct journal *journal)
{
	bool lives = !journal->peeking || (journal->lock >= 0 && reader_lives(journal->lock));
	return lives ? (uint32_t)LOAD(journal->ring->reader_pid) : 0;
}
