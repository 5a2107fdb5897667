/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer that finds no journal makes the first ring, so that what happens before a reader is up
 * is not lost.  Without libc, like journal.c.
 *
 *   DIRECTORY/ring.first-<random>   made whole, every block reserved
 *   link() to DIRECTORY/ring        of all who try, readers among them, one succeeds
 *   unlink()                        of the first name
 *
 * Never in the place of a ring that is there: to replace one is for its reader.
 */
#include "core/journal-ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "core/raw.h"

#define PATH_BYTES 512u
#define NAME_BYTES (sizeof(RING_FIRST) + 16)

/* As far as that is allowed; what fails here fails when the last one is opened. */
static int make_directories(const char *directory)
{
	char path[PATH_BYTES];
	size_t len = 0;
	for (; directory[len]; len++) {
		if (len == sizeof(path) - 1) {
			return -ENAMETOOLONG;
		}
		if (directory[len] == '/' && len > 0) {
			path[len] = '\0';
			raw_call(SYS_mkdirat, AT_FDCWD, path, 0700);
		}
		path[len] = directory[len];
	}
	path[len] = '\0';
	raw_call(SYS_mkdirat, AT_FDCWD, path, 0700);
	return 0;
}

static bool path_above(const char *directory, char path[PATH_BYTES])
{
	size_t len = 0, end = 0;
	for (; len < PATH_BYTES - 1 && directory[len]; len++) {
		path[len] = directory[len];
		end = directory[len] == '/' ? len : end;
	}
	path[end ? end : 1] = '\0';
	return directory[len] == '\0' && directory[0] == '/';
}

int journal_safe_above(const char *directory)
{
	char path[PATH_BYTES];
	struct statx stx = {0};
	if (!path_above(directory, path)) {
		return -ENAMETOOLONG;
	}
	long r = raw_call(SYS_statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx);
	if (raw_failed(r)) {
		return (int)r;
	}
	if ((stx.stx_mode & S_IFMT) != S_IFDIR) {
		return -ENOTDIR;
	}
	bool ours = stx.stx_uid == (uint32_t)raw_call(SYS_geteuid) || stx.stx_uid == 0;
	bool shared = (stx.stx_mode & 022) && !(stx.stx_mode & S_ISVTX);
	return ours && !shared ? 0 : -EPERM;
}

/* To reserve more than the limit would not only fail but send SIGXFSZ. */
static bool may_be_so_large(uint64_t bytes)
{
	uint64_t limit[2] = {0, 0};
	long r = raw_call(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, limit);
	return !raw_failed(r) && limit[0] >= bytes;
}

static int fill(int fd, uint64_t size_bytes, uint64_t generation)
{
	uint64_t bytes = ring_file_bytes(size_bytes, ring_drafts_for(size_bytes));
	long r = may_be_so_large(bytes) ? raw_call(SYS_fallocate, fd, 0, 0, bytes) : -EFBIG;
	if (raw_failed(r)) {
		return (int)r;
	}
	long map = raw_call(SYS_mmap, 0, RING_HEADER, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (raw_failed(map)) {
		return (int)map;
	}
	ring_begin((struct journal_ring *)map, // NOLINT(performance-no-int-to-ptr)
		size_bytes, generation);
	raw_call(SYS_munmap, map, RING_HEADER);
	return 0;
}

static void make_name(char *to, uint64_t random)
{
	const char *from = RING_FIRST;
	while (*from) {
		*to++ = *from++;
	}
	for (unsigned shift = 64; shift > 0;) {
		shift -= 4;
		*to++ = "0123456789abcdef"[random >> shift & 15];
	}
	*to = '\0';
}

static int make_ring(int dir, uint64_t size_bytes)
{
	char name[NAME_BYTES];
	uint64_t generation = 0;
	if (raw_call(SYS_getrandom, &generation, sizeof(generation), 0) != sizeof(generation)) {
		return -EAGAIN;
	}
	make_name(name, generation);
	long fd = raw_call(
		SYS_openat, dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (raw_failed(fd)) {
		return -EIO;
	}
	int r = fill((int)fd, size_bytes, generation);
	if (r == 0) {
		r = (int)raw_call(SYS_linkat, dir, name, dir, RING_FILE, 0);
	}
	raw_call(SYS_unlinkat, dir, name, 0);
	raw_call(SYS_close, fd);
	return r == 0 || r == -EEXIST ? 0 : -EIO;
}

int journal_first(const char *directory, uint64_t size_bytes)
{
	uint64_t ignored;
	int r = ring_size_is_valid(size_bytes) ? make_directories(directory) : -EINVAL;
	if (r == 0) {
		r = journal_safe_above(directory);
	}
	if (r < 0) {
		return r;
	}
	long dir = raw_call(
		SYS_openat, AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (raw_failed(dir)) {
		return (int)dir;
	}
	r = journal_safe((int)dir, "", S_IFDIR, &ignored);
	if (r == 0) {
		r = make_ring((int)dir, size_bytes);
	}
	raw_call(SYS_close, dir);
	return r;
}
