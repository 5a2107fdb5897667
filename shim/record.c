/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One static recorder per process.  Its only mutable part after the start is the pointer to the
 * ring, set by compare-and-swap: threads that attach at the same moment do so each on their own,
 * and all but one unmap again.  The map is shared and stays over fork().  A ring that its reader
 * has retired is left mapped (others may be inside) and the next one attached.
 *
 * Attaching that fails is tried again after a while, so a job that began before the journal was
 * there is recorded from then on.  Where a poster can be summoned, no journal is no failure: it is
 * made here, in the place that the poster will take, so that nothing is lost before that is up.
 */
#include "record.h"

#include <asm/errno.h>
#include <asm/fcntl.h>
#include <linux/mman.h>
#include <asm/stat.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/stat.h>
#include <linux/time.h>
#include <linux/utsname.h>
#include <stddef.h>

#include "aside.h"
#include "core/copy.h"
#include "core/job.h"
#include "core/raw.h"
#include "directory.h"
#include "first-page.h"
#include "key.h"
#include "readable.h"
#include "resolve.h"
#include "sandbox.h"
#include "sigbus.h"
#include "summon.h"

#define RETRY_NS  UINT64_C(5000000000)
#define NAME_MAX_ 4096u

#define SETTLED 8u /* records */

FIRST_PAGE bool recorder_configured;

static FIRST_PAGE struct {
	uintptr_t ring; /* its address, and in the low bits its size: see pack() */
	uint32_t *pid;  /* in a page of its own that the kernel wipes in the child of a fork */
	int (*clock)(int, long *);
	uint64_t retry_ns;
	uint32_t appended;
	bool pid_uncertain, doubted;
	uint8_t job_len, program_len;
	char program[16];
	char job[JOB_BYTES];
	char places[1024]; /* NUL between them, two at the end */
} self;

/* ---- the start --------------------------------------------------------------------------- */

static const char *value_if(const char *entry, const char *name)
{
	while (*name && *entry == *name) {
		entry++;
		name++;
	}
	return *name == '\0' && *entry == '=' ? entry + 1 : NULL;
}

/* Copies the list with `%h` replaced; a list that does not fit is cut at a whole place. */
static void copy_places(const char *list)
{
	struct new_utsname host;
	size_t used = 0, whole = 0;
	host.nodename[0] = '\0';
	for (; *list && used + sizeof(host.nodename) < sizeof(self.places) - 2; list++) {
		if (*list == ':') {
			self.places[used++] = '\0';
			whole = used;
		} else if (list[0] == '%' && list[1] == 'h') {
			own_call(SYS_uname, &host);
			for (const char *c = host.nodename; *c; c++) {
				self.places[used++] = *c;
			}
			list++;
		} else {
			self.places[used++] = *list;
		}
	}
	if (*list) {
		used = whole;
	}
	self.places[used] = self.places[used + 1] = '\0';
}

/* One walk: a batch job's environment is long. */
void recorder_start(char *const *environment)
{
	struct job_variables job = {0};
	const char *list = NULL;
	for (; *environment; environment++) {
		const char *value = value_if(*environment, "MIRROR_JOURNAL");
		list = !list && value && *value ? value : list;
		job_note(&job, *environment);
		summon_note(*environment);
	}
	if (list && *list != SANDBOX_MARK) {
		sandbox_start(list);
		self.job_len = (uint8_t)job_name(&job, self.job);
		copy_places(list);
		recorder_configured = true;
	}
}

/* ---- time, pid, ring --------------------------------------------------------------------- */

static uint64_t clock_ns(int which)
{
	long now[2] = {0, 0};
	int (*clock)(int, long *) = __atomic_load_n(&self.clock, __ATOMIC_RELAXED);
	/* Some clocks are beyond the vDSO, which then calls the kernel; the coarse one never is. */
	if (sandbox_closed) {
		which = CLOCK_REALTIME_COARSE;
	}
	if (!clock || clock(which, now) != 0) {
		own_call(SYS_clock_gettime, which, now);
	}
	return (uint64_t)now[0] * 1000000000 + (uint64_t)now[1];
}

static uint64_t wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

/* As of the last tick: a tenth of the cost, and enough where a later time is taken behind the call.
 */
static uint64_t about_ns(void)
{
	return clock_ns(CLOCK_REALTIME_COARSE);
}

/*
 * The child of vfork() has the page with our pid as it is; so whoever may make one says so, and
 * from then on the kernel is asked.
 */
uint32_t recorder_pid(void)
{
	uint32_t *kept = __atomic_load_n(&self.pid, __ATOMIC_ACQUIRE);
	bool certain =
		kept && (sandbox_closed || !__atomic_load_n(&self.pid_uncertain, __ATOMIC_RELAXED));
	uint32_t pid = certain ? __atomic_load_n(kept, __ATOMIC_RELAXED) : 0;
	if (pid == 0) {
		long got = own_call(SYS_getpid);
		pid = raw_failed(got) ? 0 : (uint32_t)got;
		if (certain) {
			__atomic_store_n(kept, pid, __ATOMIC_RELAXED);
		}
	}
	return pid;
}

void recorder_pid_uncertain(void)
{
	__atomic_store_n(&self.pid_uncertain, true, __ATOMIC_RELAXED);
}

bool recorder_trusts(void)
{
	return !__atomic_load_n(&self.pid_uncertain, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&self.doubted, __ATOMIC_RELAXED);
}

void recorder_doubt(void)
{
	__atomic_store_n(&self.doubted, true, __ATOMIC_RELAXED);
}

static uint32_t *page_wiped_on_fork(void)
{
	long page = own_call(SYS_mmap, 0, sizeof(uint32_t), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (raw_failed(page)) {
		return NULL;
	}
	if (raw_failed(own_call(SYS_madvise, page, sizeof(uint32_t), MADV_WIPEONFORK))) {
		own_call(SYS_munmap, page, sizeof(uint32_t));
		return NULL;
	}
	return (uint32_t *)page; // NOLINT(performance-no-int-to-ptr)
}

static void settle_clock(void)
{
	static const char name[] =
#if defined(__x86_64__)
		"__vdso_clock_gettime";
#else
		"__kernel_clock_gettime";
#endif
	__atomic_store_n(&self.clock, (int (*)(int, long *))resolve_vdso(name), __ATOMIC_RELAXED);
}

/*
 * Most programs have a record or two to tell and are gone: they ask the kernel for time and pid.
 * What makes these cheap costs as much as some ten such questions, and is for those that stay.
 */
static void settle(void)
{
	settle_clock();
	__atomic_store_n(&self.pid, page_wiped_on_fork(), __ATOMIC_RELEASE);
}

static void count_record(void)
{
	if (self.appended < SETTLED &&
		__atomic_add_fetch(&self.appended, 1, __ATOMIC_RELAXED) == SETTLED) {
		settle();
	}
}

static const char *next_place(const char *place)
{
	while (*place) {
		place++;
	}
	return place + 1;
}

struct attempt {
	struct journal_writer writer;
	const char *place;
	int result;
	_Alignas(16) char stack[ASIDE_STACK_BYTES];
};

static void attempt(void *argument)
{
	struct attempt *it = (struct attempt *)argument;
	raw_call(SYS_close, 0); /* of our own descriptors here; the program keeps its */
	it->result = journal_attach_guarded(&it->writer, it->place, sigbus_note);
}

/* Where the program has used up its descriptors: a child that shares our memory maps the ring. */
static int attach_aside(struct journal_writer *writer, const char *place)
{
	long map = own_call(SYS_mmap, 0, sizeof(struct attempt), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (raw_failed(map)) {
		return (int)map;
	}
	struct attempt *it = (struct attempt *)map; // NOLINT(performance-no-int-to-ptr)
	it->place = place;
	it->result = -EAGAIN;
	aside_run(attempt, it, it->stack);
	int r = it->result;
	*writer = it->writer;
	own_call(SYS_munmap, map, sizeof(struct attempt));
	if (r == 0) {
		sigbus_defend();
	}
	return r;
}

static int attach_at(struct journal_writer *writer, const char *place)
{
	int r = journal_attach_guarded(writer, place, sigbus_watch);
	return r == -EMFILE && aside_is_safe() ? attach_aside(writer, place) : r;
}

/* Returns the place, or NULL.  A damaged ring is replaced in a moment. */
static const char *attach_any(struct journal_writer *writer, bool *ret_damaged)
{
	for (const char *place = self.places; *place; place = next_place(place)) {
		int r = *place == '/' ? attach_at(writer, place) : -ENOENT;
		if (r == 0) {
			return place;
		}
		*ret_damaged = *ret_damaged || r == -EBADMSG;
	}
	return NULL;
}

static bool is_of_no_use(int r)
{
	return r == -ENOENT || r == -EACCES || r == -EROFS || r == -ENOTDIR || r == -EPERM;
}

/*
 * The list begins with the size of a ring that is made here, where it is not the usual one.
 * Larger ones are not made in a job: reserving them takes its time.
 */
static uint64_t ring_size(void)
{
	uint64_t size = 0;
	const char *digit = self.places;
	for (; *digit >= '0' && *digit <= '9' && size <= JOURNAL_SIZE_DEFAULT; digit++) {
		size = size * 10 + (uint64_t)(*digit - '0');
	}
	return size == 0 || size > JOURNAL_SIZE_DEFAULT ? JOURNAL_SIZE_DEFAULT : size;
}

/* The first ring, in the place that a poster would take. */
static const char *attach_first(struct journal_writer *writer)
{
	for (const char *place = self.places; *place; place = next_place(place)) {
		if (*place != '/' || !summon_is_possible(place)) {
			continue;
		}
		int r = journal_first(place, ring_size());
		if (r == 0 && attach_at(writer, place) == 0) {
			return place;
		}
		if (!is_of_no_use(r)) {
			return NULL;
		}
	}
	return NULL;
}

/* Ring and size as one word, so that threads take them and put them together; 0: no ring. */
#define SIZE_BITS UINT64_C(63)
static uintptr_t pack(const struct journal_writer *writer)
{
	return (uintptr_t)writer->ring | (uintptr_t)__builtin_ctzll(writer->size_bytes);
}

static struct journal_writer unpack(uintptr_t word)
{
	return (struct journal_writer){
		.ring = (struct journal_ring *)(word &
						~SIZE_BITS), // NOLINT(performance-no-int-to-ptr)
		.size_bytes = UINT64_C(1) << (word & SIZE_BITS)};
}

static __attribute__((noinline)) uintptr_t attach(void)
{
	struct journal_writer writer = {0};
	uintptr_t none = 0;
	bool damaged = false;
	uint64_t now_ns = about_ns();
	if (now_ns < self.retry_ns) {
		return 0;
	}
	own_call(SYS_prctl, PR_GET_NAME, self.program);
	self.program_len = (uint8_t)strlen(self.program);
	const char *place = attach_any(&writer, &damaged);
	if (!place && !damaged) {
		place = attach_first(&writer);
	}
	if (!place) {
		settle_clock(); /* it is asked at each call from now on */
		self.retry_ns = damaged ? 0 : now_ns + RETRY_NS;
		return 0;
	}
	if (!__atomic_compare_exchange_n(
		    &self.ring, &none, pack(&writer), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		own_call(SYS_munmap, writer.ring, writer.map_bytes);
		sigbus_watch(writer.ring, 0);
		return none;
	}
	if (journal_calls_reader(&writer, place, now_ns)) {
		summon(place);
	}
	return pack(&writer);
}

static inline bool recorder(struct journal_writer *ret)
{
	uintptr_t word = __atomic_load_n(&self.ring, __ATOMIC_ACQUIRE);
	if (__builtin_expect(!word, 0) && recorder_configured && !sandbox_closed) {
		word = attach();
	}
	*ret = unpack(word);
	ret->settled = self.appended >= SETTLED;
	return word != 0;
}

bool recorder_absent(void)
{
	return !__atomic_load_n(&self.ring, __ATOMIC_ACQUIRE) && self.retry_ns &&
	       about_ns() < self.retry_ns;
}

void recorder_settle(void)
{
	struct journal_writer writer;
	if (!recorder(&writer)) {
		return;
	}
	if (__atomic_exchange_n(&self.appended, SETTLED, __ATOMIC_RELAXED) < SETTLED) {
		settle();
	}
	(void)recorder_pid();
}

unsigned recorder_verdict(uint64_t key)
{
	uintptr_t word = __atomic_load_n(&self.ring, __ATOMIC_ACQUIRE);
	struct journal_writer writer = unpack(word);
	return word ? journal_verdict(&writer, key) : 0;
}

void recorder_keep_verdict(uint64_t key, unsigned verdict)
{
	uintptr_t word = __atomic_load_n(&self.ring, __ATOMIC_ACQUIRE);
	struct journal_writer writer = unpack(word);
	if (word) {
		journal_keep_verdict(&writer, key, verdict);
	}
}

/*
 * For 33 to 67 ms: a pid comes back only when all others had their turn, and no machine makes so
 * many processes in this time.  Who takes longer gives the name once more.
 */
#define TURN_SHIFT 25

static uint64_t name_key(uint32_t pid, int fd, uint64_t dev, uint64_t ino, uint64_t turn)
{
	const uint64_t parts[] = {(uint64_t)pid << 32 | (uint32_t)fd, dev, ino, turn};
	return key_of(parts, sizeof(parts) / sizeof(parts[0]));
}

void recorder_name_known(uint32_t pid, int fd, uint64_t dev, uint64_t ino)
{
	recorder_keep_verdict(name_key(pid, fd, dev, ino, about_ns() >> TURN_SHIFT), 1);
}

bool recorder_knows_name(uint32_t pid, int fd, uint64_t dev, uint64_t ino)
{
	uint64_t now = about_ns() >> TURN_SHIFT;
	for (uint64_t turn = now - 1; turn <= now; turn++) {
		uint64_t key = name_key(pid, fd, dev, ino, turn);
		if (recorder_verdict(key)) {
			recorder_keep_verdict(key, 0);
			return true;
		}
	}
	return false;
}

uint64_t recorder_devices_stamp(void)
{
	uintptr_t word = __atomic_load_n(&self.ring, __ATOMIC_ACQUIRE);
	struct journal_writer writer = unpack(word);
	return word ? journal_devices_stamp(&writer) : 0;
}

bool recorder_wants(uint64_t dev)
{
	struct journal_writer writer;
	return recorder(&writer) && journal_wants_device(&writer, dev);
}

/* The ring was retired: the next one is put in its place in a moment. */
static void leave(const struct journal_writer *writer)
{
	uintptr_t stale = pack(writer);
	__atomic_compare_exchange_n(
		&self.ring, &stale, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	self.retry_ns = 0;
}

static int count_loss(uint64_t time_ns)
{
	struct journal_writer writer;
	int r = -ENOENT;
	for (int tries = 0; tries < 2 && recorder(&writer); tries++) {
		r = journal_count_loss(&writer, time_ns);
		if (r != -ESTALE) {
			return r;
		}
		leave(&writer);
	}
	return r;
}

/* A ring that was made shorter takes the names in it along. */
static bool is_wiped(const struct journal_draft *draft)
{
	return draft && __atomic_load_n(&draft->time_ns, __ATOMIC_RELAXED) == 0;
}

/* Appends; attaches the next ring where this one was retired.  draft: where the names lie, or NULL.
 */
static int append(const struct record *record, const struct journal_draft *draft)
{
	struct journal_writer writer;
	int r = -ENOENT;
	for (int tries = 0; tries < 2 && recorder(&writer); tries++) {
		r = journal_append(&writer, record);
		count_record();
		if (r != -ESTALE) {
			return r;
		}
		leave(&writer);
		if (is_wiped(draft)) {
			return count_loss(record->time_ns);
		}
	}
	return r;
}

int record_append(struct record *record)
{
	record->time_ns = wall_ns();
	if (record->pid == 0) {
		record->pid = recorder_pid();
	}
	record->program = span_of(self.program, self.program_len);
	record->job = span_of(self.job, self.job_len);
	return append(record, NULL);
}

/* ---- files ------------------------------------------------------------------------------- */

static struct file file_from(const struct stat *st)
{
	int64_t mtime_ns = (int64_t)st->st_mtime * 1000000000 + (int64_t)st->st_mtime_nsec;
	int64_t ctime_ns = (int64_t)st->st_ctime * 1000000000 + (int64_t)st->st_ctime_nsec;
	return (struct file){.dev = st->st_dev,
		.ino = st->st_ino,
		.size_bytes = (uint64_t)st->st_size,
		.mtime_ns = mtime_ns,
		.ctime_ns = ctime_ns,
		.stamp = (uint64_t)mtime_ns * 31 + (uint64_t)ctime_ns * 17 + (uint64_t)st->st_size,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink};
}

bool file_of(int fd, struct file *ret)
{
	struct stat st = {0};
	if (raw_failed(own_call(SYS_fstat, fd, &st))) {
		return false;
	}
	*ret = file_from(&st);
	return true;
}

bool file_at(int dirfd, const char *path, struct file *ret)
{
	struct stat st = {0};
	if (raw_failed(own_call(SYS_newfstatat, dirfd, path, &st, AT_SYMLINK_NOFOLLOW))) {
		return false;
	}
	*ret = file_from(&st);
	return true;
}

void record_file(struct record *record, const struct file *file)
{
	record->flags |= RECORD_HAS_STAT | RECORD_HAS_INODE;
	record->dev = file->dev;
	record->ino = file->ino;
	record->size_bytes = file->size_bytes;
	record->mtime_ns = file->mtime_ns;
	record->mode = file->mode;
	record->nlink = file->nlink;
}

/* ---- names ------------------------------------------------------------------------------- */

static bool begins(const char *path, const char *prefix)
{
	while (*prefix && *path == *prefix) {
		path++;
		prefix++;
	}
	return *prefix == '\0';
}

static bool holds(const char *path, const char *part)
{
	for (; *path; path++) {
		if (begins(path, part)) {
			return true;
		}
	}
	return false;
}

/* Names in /proc that lead out of it again. */
static bool leads_out(const char *path)
{
	return holds(path, "/fd/") || holds(path, "/cwd") || holds(path, "/root");
}

/* Where it cannot be read it does not: the kernel will say EFAULT. */
bool path_matters(const char *path)
{
	if (!readable_soon(path, sizeof("/proc/"))) {
		return false;
	}
	if (path[0] != '/') {
		return true;
	}
	if (begins(path, "/proc/")) {
		return path_length(path, NAME_MAX_) != UNREADABLE && leads_out(path);
	}
	return !begins(path, "/sys/");
}

static bool is_magic(const char *path)
{
	return begins(path, "/proc/") || begins(path, "/dev/fd/") || begins(path, "/dev/std");
}

/* ---- events ------------------------------------------------------------------------------ */

static struct journal_draft *draft_aside(void)
{
	long map = own_call(SYS_mmap, 0, sizeof(struct journal_draft), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return raw_failed(map) ? NULL : (struct journal_draft *)map;
}

static inline size_t add(struct event *event, const char *bytes, size_t len)
{
	char *to = event->draft->bytes + event->used;
	if (len > sizeof(event->draft->bytes) - event->used) {
		event->lost = true;
		return 0;
	}
	(void)copy_bytes(to, bytes, len);
	event->used += (uint32_t)len;
	return len;
}

void event_begin(struct event *event, enum record_kind kind, unsigned flags)
{
	struct journal_writer writer;
	*event = (struct event){0};
	if (!recorder(&writer)) {
		return;
	}
	event->pid = recorder_pid();
	event->draft = journal_draft_take(&writer, event->pid);
	if (!event->draft) {
		event->draft = draft_aside();
		event->aside = true;
	}
	if (!event->draft) {
		(void)count_loss(wall_ns());
		return;
	}
	struct journal_draft *draft = event->draft;
	__atomic_store_n(&draft->time_ns, about_ns(), __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_RELEASE); /* first of all, see is_wiped() */
	draft->kind = (uint16_t)kind;
	draft->flags = (uint16_t)flags;
	draft->dir_len = draft->path_len = draft->dir2_len = draft->path2_len = 0;
	draft->program_len = (uint8_t)add(event, self.program, self.program_len);
	draft->job_len = (uint8_t)add(event, self.job, self.job_len);
}

void event_forget_names(struct event *event)
{
	struct journal_draft *draft = event->draft;
	if (draft) {
		draft->dir_len = draft->path_len = draft->dir2_len = draft->path2_len = 0;
		event->used = (uint32_t)draft->program_len + draft->job_len;
		event->second = event->lost = false;
	}
}

static void set_name(struct event *event, size_t dir_len, size_t path_len)
{
	struct journal_draft *draft = event->draft;
	*(event->second ? &draft->dir2_len : &draft->dir_len) = (uint16_t)dir_len;
	*(event->second ? &draft->path2_len : &draft->path_len) = (uint16_t)path_len;
	event->second = true;
}

/* Room for one directory, where the next bytes go. */
static char *room(struct event *event)
{
	if (sizeof(event->draft->bytes) - event->used < NAME_MAX_) {
		event->lost = true;
		return NULL;
	}
	return event->draft->bytes + event->used;
}

/* A link in /proc as the path that it stands for. */
static bool name_by_link(struct event *event, int dirfd, const char *link)
{
	char *to = room(event);
	long len = to ? own_call(SYS_readlinkat, dirfd, link, to, NAME_MAX_) : -1;
	if (len <= 0 || to[0] != '/') {
		return false;
	}
	event->used += (uint32_t)len;
	set_name(event, 0, (size_t)len);
	return true;
}

void event_name_of(struct event *event, int fd, const struct file *file)
{
	struct journal_writer writer;
	char *to = event->draft ? room(event) : NULL;
	size_t len = !to                         ? 0
		     : file && recorder(&writer) ? file_path(&writer, fd, file, to, NAME_MAX_)
						 : descriptor_path(fd, to, NAME_MAX_);
	if (len == 0) {
		event->lost = true;
		return;
	}
	event->used += (uint32_t)len;
	set_name(event, 0, len);
}

void record_learn_name(int fd, const struct file *file)
{
	struct journal_writer writer;
	if (recorder(&writer)) {
		file_learn(&writer, fd, file);
	}
}

/* What path starts from; asked once where both names start there.  Returns its length, or 0. */
static size_t add_directory(struct event *event, int dirfd)
{
	struct journal_writer writer;
	const struct journal_draft *draft = event->draft;
	const char *first = draft->bytes + draft->program_len + draft->job_len;
	if (event->second && draft->dir_len > 0 && event->dirfd == dirfd) {
		event->working = dirfd == AT_FDCWD;
		return add(event, first, draft->dir_len);
	}
	char *to = room(event);
	size_t len = to && recorder(&writer) ? directory_path(&writer, dirfd, to, NAME_MAX_) : 0;
	event->used += (uint32_t)len;
	event->dirfd = dirfd;
	return len;
}

void event_name(struct event *event, int dirfd, const char *path)
{
	size_t dir_len = 0;
	if (!event->draft) {
		return;
	}
	size_t len = path_length(path, NAME_MAX_);
	if (len == UNREADABLE) {
		event->lost = true; /* and the call will fail */
		return;
	}
	if (is_magic(path) && name_by_link(event, AT_FDCWD, path)) {
		return;
	}
	if (path[0] != '/' && dirfd != NO_DIRECTORY) {
		dir_len = add_directory(event, dirfd);
		event->lost = event->lost || dir_len == 0;
	}
	if (len == 0) { /* the descriptor itself: AT_EMPTY_PATH */
		set_name(event, 0, dir_len);
		return;
	}
	set_name(event, dir_len, add(event, path, len));
}

void event_made_up(struct event *event, const char *path)
{
	struct journal_draft *draft = event->draft;
	if (draft && event->second && !event->lost) {
		size_t before = (size_t)draft->program_len + draft->job_len + draft->dir_len;
		(void)copy_bytes(draft->bytes + before, path, draft->path_len);
	}
}

void event_arm(struct event *event)
{
	if (event->draft && !event->aside && !event->lost) {
		journal_draft_arm(event->draft);
	}
}

static void let_go(struct event *event)
{
	if (event->aside) {
		own_call(SYS_munmap, event->draft, sizeof(*event->draft));
	} else {
		journal_draft_drop(event->draft);
	}
	event->draft = NULL;
}

static bool is_plain(struct span name)
{
	for (size_t i = 0; i < name.len; i++) {
		if (name.data[i] == '/') {
			return false;
		}
	}
	return true;
}

/* Who renames in its working directory need not ask again where that is. */
static int append_event(const struct event *event, const struct record *record)
{
	struct journal_writer writer;
	bool within = event->working &&
		      (record->kind == RECORD_RENAME || record->kind == RECORD_EXCHANGE) &&
		      is_plain(record->path) && is_plain(record->path2) && recorder(&writer);
	uint64_t before = within ? journal_rename_count(&writer) : 0;
	int r = append(record, event->draft);
	if (r == 0 && within && journal_rename_count(&writer) == before + 1) {
		directory_renamed_within(before);
	}
	return r;
}

bool event_finish(struct event *event, bool happened, const struct record *facts)
{
	int r = -ENOENT;
	if (!event->draft) {
		return false;
	}
	if (happened && !event->lost && !is_wiped(event->draft)) {
		struct record record = facts ? *facts : (struct record){.fd = -1};
		unsigned flags = record.flags;
		(void)journal_draft_read(event->draft, &record);
		record.flags |= flags;
		record.time_ns = wall_ns();
		if (record.pid == 0) {
			record.pid = event->pid;
		}
		r = append_event(event, &record);
	} else if (happened) {
		(void)count_loss(event->draft->time_ns);
	}
	let_go(event);
	return r == 0;
}

void event_finish_blind(struct event *event)
{
	if (event->draft) {
		(void)count_loss(event->draft->time_ns);
		(void)event_finish(event, true, NULL);
	}
}
