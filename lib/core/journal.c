/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer's half: attach, claim, fill, commit.
 *
 * Runs inside strangers' programs: no libc symbol, no heap, no lock, no descriptor kept.  The
 * reader reserves every block when it makes the ring, so no access can fault unless somebody else
 * makes the file shorter; then journal-lost.c helps.  journal-ring.h tells the layout and why it
 * survives a SIGKILL at any instruction.
 */
#include "core/journal-ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/mman.h>
#include <stdatomic.h>
#include <limits.h>

#include "core/atomic.h"
#include "core/copy.h"
#include "core/raw.h"

#define TURN_NS         UINT64_C(30000000000)
#define RING_PATH_BYTES 512u

static void count_drop(struct journal_ring *ring, uint64_t time_ns)
{
	uint64_t none = 0;
	ADD(ring->dropped, 1);
	atomic_swap(&ring->dropped_since_ns, &none, time_ns ? time_ns : 1);
}

/* ---- attach ------------------------------------------------------------------------------ */

int journal_safe(int fd, const char *path, uint32_t type, uint64_t *ret_size_bytes)
{
	struct statx stx = {0};
	long r = raw_call(
		SYS_statx, fd, path, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx);
	if (raw_failed(r)) {
		return (int)r;
	}
	if ((stx.stx_mode & S_IFMT) != type) {
		return -ENOTDIR;
	}
	if (stx.stx_uid != (uint32_t)raw_call(SYS_geteuid) || (stx.stx_mode & 022)) {
		return -EPERM;
	}
	*ret_size_bytes = stx.stx_size;
	return 0;
}

/* Whether the header of a mapped file describes exactly that file. */
static bool ring_fits(const struct journal_ring *ring, uint64_t file_bytes, uint64_t *ret_size)
{
	uint64_t size = LOAD(ring->size_bytes);
	*ret_size = size;
	return ring->magic == RING_MAGIC && ring_size_is_valid(size) &&
	       ring->drafts == ring_drafts_for(size) &&
	       file_bytes == ring_file_bytes(size, ring_drafts_for(size)) &&
	       LOAD(ring->retired) == 0;
}

/*
 * Whether the reader lives and has the same pid here as where it lives.  It keeps a lock on the
 * ring, and the kernel tells whose a lock is by the pid that the asker would see: none in a
 * namespace below the reader's.
 */
static bool sees_reader(struct journal_ring *ring, int fd)
{
	struct flock want = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	return raw_call(SYS_fcntl, fd, F_GETLK, &want) == 0 && want.l_type != F_UNLCK &&
	       want.l_pid > 0 && (uint64_t)want.l_pid == LOAD(ring->reader_pid);
}

/*
 * Pids of another namespace mean nothing to the reader: it would take the living for dead and free
 * what they are writing.  Nothing is recorded then, and the loss is told.
 */
static bool is_foreign(struct journal_ring *ring)
{
	struct statx stx = {0};
	long now[2] = {0, 0};
	uint64_t readers = LOAD(ring->pid_namespace);
	long r = raw_call(SYS_statx, AT_FDCWD, "/proc/self/ns/pid", 0, STATX_INO, &stx);
	if (readers == 0 || raw_failed(r) || stx.stx_ino == readers) {
		return false;
	}
	raw_call(SYS_clock_gettime, 0, now);
	count_drop(ring, (uint64_t)now[0] * 1000000000 + (uint64_t)now[1]);
	return true;
}

/*
 * A page that is first read comes with fifteen neighbours, which costs as much as all else here, at
 * the end of the process too; one that is first written comes alone.
 */
static void bring_in(struct journal_ring *ring)
{
	(void)ADD(ring->dropped, 0);
}

static int map_ring(struct journal_writer *writer, int fd, void (*mapped)(void *, uint64_t))
{
	uint64_t bytes = 0, size_bytes = 0;
	int r = journal_safe(fd, "", S_IFREG, &bytes);
	if (r < 0) {
		return r;
	}
	if (bytes < RING_HEADER) {
		return -EBADMSG;
	}
	long map = raw_call(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (raw_failed(map)) {
		return (int)map;
	}
	struct journal_ring *ring = (struct journal_ring *)map; // NOLINT(performance-no-int-to-ptr)
	mapped(ring, bytes);
	bring_in(ring);
	r = ring_fits(ring, bytes, &size_bytes) ? 0 : -EBADMSG;
	bool near = r == 0 && sees_reader(ring, fd);
	if (r == 0 && !near && is_foreign(ring)) {
		r = -EXDEV;
	}
	if (r < 0) {
		raw_call(SYS_munmap, map, bytes);
		mapped(ring, 0);
		return r;
	}
	*writer = (struct journal_writer){
		.ring = ring, .map_bytes = bytes, .size_bytes = size_bytes, .reader_seen = near};
	return 0;
}

static bool ring_path(const char *directory, char path[RING_PATH_BYTES])
{
	static const char name[] = "/" RING_FILE;
	size_t len = 0;
	for (; directory[len]; len++) {
		if (len == RING_PATH_BYTES - sizeof(name)) {
			return false;
		}
		path[len] = directory[len];
	}
	for (size_t i = 0; i < sizeof(name); i++) {
		path[len + i] = name[i];
	}
	return true;
}

/*
 * The directory is looked at by name, which costs half of opening it.  Who could put another in its
 * place between that look and the open owns what is above it, and could have done so before.
 */
int journal_attach_guarded(struct journal_writer *writer, const char *directory,
	void (*mapped)(void *map, uint64_t bytes))
{
	char path[RING_PATH_BYTES];
	uint64_t ignored;
	if (!ring_path(directory, path)) {
		return -ENAMETOOLONG;
	}
	int r = journal_safe(AT_FDCWD, directory, S_IFDIR, &ignored);
	if (r < 0) {
		return r;
	}
	long fd =
		raw_call(SYS_openat, AT_FDCWD, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (raw_failed(fd)) {
		return (int)fd;
	}
	r = map_ring(writer, (int)fd, mapped);
	raw_call(SYS_close, fd);
	return r;
}

static void ignore(void *map, uint64_t bytes)
{
	(void)map;
	(void)bytes;
}

int journal_attach(struct journal_writer *writer, const char *directory)
{
	return journal_attach_guarded(writer, directory, ignore);
}

/* Where that cannot be told, one does. */
static bool lock_is_held(const char *directory)
{
	struct flock want = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	long dir = raw_call(
		SYS_openat, AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	long fd = raw_failed(dir)
			  ? dir
			  : raw_call(SYS_openat, dir, RING_LOCK, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	bool held = raw_failed(fd) || raw_failed(raw_call(SYS_fcntl, fd, F_OFD_GETLK, &want)) ||
		    want.l_type != F_UNLCK;
	if (!raw_failed(fd)) {
		raw_call(SYS_close, fd);
	}
	if (!raw_failed(dir)) {
		raw_call(SYS_close, dir);
	}
	return held;
}

/* One in TURN_NS has it; a clock that was put back does not count. */
static bool takes_turn(uint64_t *turn_ns, uint64_t time_ns)
{
	uint64_t last_ns = LOAD(*turn_ns);
	bool is_over = time_ns < last_ns || time_ns - last_ns >= TURN_NS;
	return is_over && atomic_swap(turn_ns, &last_ns, time_ns);
}

bool journal_calls_reader(struct journal_writer *writer, const char *directory, uint64_t time_ns)
{
	struct journal_ring *ring = writer->ring;
	uint64_t pid = LOAD(ring->reader_pid);
	if (writer->reader_seen) {
		return false;
	}
	if (pid != 0 && raw_call(SYS_kill, pid, 0) == 0 &&
		(!takes_turn(&ring->checked_ns, time_ns) || lock_is_held(directory))) {
		return false;
	}
	return takes_turn(&ring->called_ns, time_ns);
}

/* ---- append ------------------------------------------------------------------------------ */

static void advance(struct journal_ring *ring, uint64_t head, uint64_t units)
{
	atomic_swap(&ring->head, &head, head + units * RING_UNIT);
}

/* Whether units from head on are not yet free.  tail is read again before that is believed. */
static bool is_full(const struct journal_writer *writer, uint64_t head, uint64_t units)
{
	uint64_t tail = LOAD(writer->ring->tail);
	return tail <= head && head + units * RING_UNIT - tail > writer->size_bytes;
}

/* Returns 0 with the record's word CLAIMED, JOURNAL_FULL, or -EBADMSG. */
static int claim(
	struct journal_writer *writer, uint32_t owner, uint64_t units, uint64_t *ret_position)
{
	struct journal_ring *ring = writer->ring;
	for (;;) {
		uint64_t head = LOAD(ring->head), lap = ring_lap(writer->size_bytes, head);
		if (is_full(writer, head, units)) {
			if (LOAD(ring->head) == head) {
				return JOURNAL_FULL;
			}
			continue;
		}
		uint64_t seen = ring_word(lap, 0, 0, RING_FREE);
		uint64_t mine = ring_word(lap, owner, units, RING_CLAIMED);
		if (atomic_swap((uint64_t *)ring_at(ring, writer->size_bytes, head), &seen, mine)) {
			advance(ring, head, units);
			*ret_position = head;
			return 0;
		}
		if (word_lap(seen) == lap && word_state(seen) != RING_FREE &&
			word_units(seen) > 0) {
			advance(ring, head, word_units(seen));
		} else if (LOAD(ring->head) == head) {
			return -EBADMSG;
		}
	}
}

/* What follows in memory, as the names in a draft do, is copied at once. */
static char *put_strings(char *to, const struct record *record)
{
	const struct span spans[] = {record->program, record->job, record->dir, record->path,
		record->dir2, record->path2};
	struct span run = spans[0];
	for (size_t i = 1; i < sizeof(spans) / sizeof(spans[0]); i++) {
		/* as numbers: one may be NULL */
		if (spans[i].len == 0 ||
			(uintptr_t)spans[i].data == (uintptr_t)run.data + run.len) {
			run.len += spans[i].len;
		} else {
			to = copy_bytes(to, run.data, run.len);
			run = spans[i];
		}
	}
	return copy_bytes(to, run.data, run.len);
}

static size_t strings_len(const struct record *record)
{
	return record->program.len + record->job.len + record->dir.len + record->path.len +
	       record->dir2.len + record->path2.len;
}

static bool fits_fields(const struct record *record)
{
	return record->program.len <= UINT8_MAX && record->job.len <= UINT8_MAX &&
	       record->dir.len <= UINT16_MAX && record->path.len <= UINT16_MAX &&
	       record->dir2.len <= UINT16_MAX && record->path2.len <= UINT16_MAX;
}

/* Everything but the first word; zeros up to the next multiple of eight, for the sum. */
static void fill(struct ring_record *it, const struct record *record)
{
	it->kind = (uint16_t)record->kind;
	it->flags = (uint16_t)record->flags;
	it->time_ns = record->time_ns;
	it->dev = record->dev;
	it->ino = record->ino;
	it->size_bytes = record->size_bytes;
	it->mtime_ns = record->mtime_ns;
	it->mode = record->mode;
	it->nlink = record->nlink;
	it->pid = record->pid;
	it->fd = record->fd;
	it->dir_len = (uint16_t)record->dir.len;
	it->path_len = (uint16_t)record->path.len;
	it->dir2_len = (uint16_t)record->dir2.len;
	it->path2_len = (uint16_t)record->path2.len;
	it->program_len = (uint8_t)record->program.len;
	it->job_len = (uint8_t)record->job.len;
	it->unused = 0;
	it->writer = record->writer;
	char *end = put_strings((char *)it + RING_RECORD_BYTES, record);
	while ((uintptr_t)end % 8) {
		*end++ = '\0';
	}
	uint64_t summed = (uint64_t)(end - (char *)it) - RING_SUMMED;
	it->sum =
		ring_sum((char *)it + RING_SUMMED, summed) ^ (it->kind | (uint32_t)it->flags << 16);
}

/*
 * A page that is read first comes with its neighbours, one that is written first comes alone: a
 * sixteenth of the faults for those that go on appending.
 */
static void touch_ahead(const struct journal_writer *writer, uint64_t units)
{
	uint64_t head = __atomic_load_n(&writer->ring->head, __ATOMIC_RELAXED);
	const volatile char *at = ring_at(writer->ring, writer->size_bytes, head);
	(void)at[0];
	(void)at[units * RING_UNIT - 1]; /* records rarely end where a page does */
}

int journal_append(struct journal_writer *writer, const struct record *record)
{
	struct journal_ring *ring = writer->ring;
	uint64_t units = (RING_RECORD_BYTES + strings_len(record) + RING_UNIT - 1) / RING_UNIT;
	uint32_t owner = record->writer ? record->writer : record->pid;
	uint64_t position;
	if (units > RING_UNITS_MAX || !fits_fields(record) || record->pid == 0) {
		count_drop(ring, record->time_ns);
		return -EINVAL;
	}
	if (LOAD(ring->retired)) {
		return -ESTALE;
	}
	if (writer->settled) {
		touch_ahead(writer, units);
	}
	int r = claim(writer, owner, units, &position);
	if (r != 0) {
		count_drop(ring, record->time_ns);
		return LOAD(ring->retired) ? -ESTALE : r;
	}
	uint64_t lap = ring_lap(writer->size_bytes, position);
	struct ring_record *it = (struct ring_record *)ring_at(ring, writer->size_bytes, position);
	fill(it, record);
	STORE(it->word, ring_word(lap, owner, units, RING_COMMITTED));
	if (record->kind == RECORD_RENAME || record->kind == RECORD_EXCHANGE) {
		ADD(ring->renames, 1);
	}
	return LOAD(ring->retired) ? -ESTALE : 0; /* meanwhile: nobody may read it here */
}

bool journal_wants_device(const struct journal_writer *writer, uint64_t dev)
{
	const struct journal_ring *ring = writer->ring;
	uint64_t count = LOAD(ring->device_count);
	for (uint64_t i = 0; i < count && i < RING_DEVICES_MAX; i++) {
		if (ring->devices[i] == dev) {
			return true;
		}
	}
	return count == 0;
}

uint64_t journal_devices_stamp(const struct journal_writer *writer)
{
	uint64_t stamp = writer->ring->generation + LOAD(writer->ring->device_changes);
	return stamp ? stamp : 1;
}

/* One word an entry, so a torn one cannot be; a wrong one only where 61 bits agree by chance. */
static uint64_t *verdict_at(struct journal_ring *ring, uint64_t key)
{
	return &ring->verdicts[key >> 32 & (RING_VERDICTS - 1)];
}

unsigned journal_verdict(const struct journal_writer *writer, uint64_t key)
{
	uint64_t word = LOAD(*verdict_at(writer->ring, key));
	return (word ^ key) & ~(uint64_t)RING_VERDICT ? 0 : (unsigned)(word & RING_VERDICT);
}

void journal_keep_verdict(struct journal_writer *writer, uint64_t key, unsigned verdict)
{
	STORE(*verdict_at(writer->ring, key), (key & ~(uint64_t)RING_VERDICT) | verdict);
}

int journal_count_loss(struct journal_writer *writer, uint64_t time_ns)
{
	count_drop(writer->ring, time_ns);
	return LOAD(writer->ring->retired) ? -ESTALE : 0;
}

uint64_t journal_rename_count(const struct journal_writer *writer)
{
	return LOAD(writer->ring->renames);
}

/* ---- drafts ------------------------------------------------------------------------------ */

/*
 * Processes that have only just attached take the first ones, which the kernel maps together with
 * the header; those that go on appending do not get into each other's way.
 */
struct journal_draft *journal_draft_take(struct journal_writer *writer, uint32_t pid)
{
	uint64_t count = ring_drafts_for(writer->size_bytes);
	uint64_t first = writer->settled ? (uint64_t)pid * UINT64_C(0x9e3779b1) : 0;
	for (uint64_t i = 0; i < count; i++) {
		struct journal_draft *draft = ring_draft(writer->ring, (first + i) % count);
		uint64_t expected = DRAFT_FREE;
		if (LOAD(draft->owner) == DRAFT_FREE &&
			atomic_swap(&draft->owner, &expected, (uint64_t)pid << 2 | DRAFT_TAKEN)) {
			return draft;
		}
	}
	return NULL;
}

void journal_draft_arm(struct journal_draft *draft)
{
	STORE(draft->owner, (draft->owner & ~UINT64_C(3)) | DRAFT_ARMED);
}

void journal_draft_drop(struct journal_draft *draft)
{
	STORE(draft->owner, DRAFT_FREE);
}

static const char *take_span(struct span *ret, const char *from, size_t len)
{
	*ret = span_of(from, len);
	return from + len;
}

int journal_draft_read(const struct journal_draft *draft, struct record *ret)
{
	size_t len = (size_t)draft->program_len + draft->job_len + draft->dir_len +
		     draft->path_len + draft->dir2_len + draft->path2_len;
	if (len > sizeof(draft->bytes)) {
		return -EBADMSG;
	}
	const char *at = take_span(&ret->program, draft->bytes, draft->program_len);
	at = take_span(&ret->job, at, draft->job_len);
	at = take_span(&ret->dir, at, draft->dir_len);
	at = take_span(&ret->path, at, draft->path_len);
	at = take_span(&ret->dir2, at, draft->dir2_len);
	(void)take_span(&ret->path2, at, draft->path2_len);
	ret->kind = (enum record_kind)draft->kind;
	ret->flags = draft->flags;
	ret->time_ns = draft->time_ns;
	return 0;
}
