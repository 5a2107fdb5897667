/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records by descriptor: OPEN, INHERIT, MAP, WRITTEN, CLOSE, and META where there is no intent.
 *
 *   open ──▶ CLEAN ──write──▶ DIRTY ──close──▶ CLOSE|DIRTY
 *              └──────────close, stamp as at open──▶ CLOSE
 *
 * DIRTY from the start: streams, copies, what was inherited or mapped, what open() itself has
 * created or cut, and what was changed a moment ago.  OTHER is what was seen to be opened for
 * reading, or to be no file, OUTSIDE a file on a device without trees: closing and copying them
 * asks the kernel nothing.  A close is named only where no intent of this process told the name.
 *
 * The child of vfork() shares the table with its parent but is another process: it is known by its
 * pid, neither believes the table nor writes to it.
 */
#include "observe.h"

#include <asm/errno.h>
#include <asm/fcntl.h>
#include <asm/poll.h>
#include <linux/fcntl.h>
#include <stddef.h>

#include "directory.h"
#include "first-page.h"
#include "sandbox.h"

BEHIND_FIRST_PAGE struct held held[HELD_MAX];
static FIRST_PAGE unsigned held_end;   /* beyond the highest number that the table knows */
static FIRST_PAGE uint32_t held_owner; /* the process whose table it is */

#define INHERITED_MAX 64
#define YOUNG_NS      INT64_C(2000000000)

static bool is_writing(long flags)
{
	return !raw_failed(flags) && (flags & O_ACCMODE) != O_RDONLY && !(flags & O_PATH);
}

static bool is_regular(const struct file *file)
{
	return (file->mode & MODE_TYPE) == MODE_REGULAR;
}

/* On another device than the trees', too, ret is filled. */
static bool is_file_of_interest(int fd, struct file *ret)
{
	*ret = (struct file){0};
	return !recorder_absent() && file_of(fd, ret) && is_regular(ret) &&
	       recorder_wants(ret->dev);
}

/* Whether fd is open for writing on a regular file of interest. */
static bool is_of_interest(int fd, struct file *ret)
{
	return !recorder_absent() && is_writing(own_call(SYS_fcntl, fd, F_GETFL, 0)) &&
	       is_file_of_interest(fd, ret);
}

static bool is_mine(uint32_t pid)
{
	return pid == held_owner;
}

static enum held_state state_of(int fd)
{
	return (unsigned)fd < HELD_MAX ? (enum held_state)held[fd].state : HELD_UNKNOWN;
}

static bool is_held(int fd)
{
	return state_of(fd) >= HELD_DIRTY;
}

/* What is known of fd, if it is still the file that was meant. */
static struct held *known(int fd, const struct file *file)
{
	struct held *it = is_held(fd) ? &held[fd] : NULL;
	return it && it->dev == file->dev && it->ino == file->ino ? it : NULL;
}

/* The same, believing the table, for what does not end an intent. */
static struct held *believed(int fd)
{
	return is_held(fd) && recorder_trusts() && is_mine(recorder_pid()) ? &held[fd] : NULL;
}

/* Whether the table knows that nothing need be told of fd. */
static bool is_of_none(int fd)
{
	enum held_state state = state_of(fd);
	bool outside = state == HELD_OUTSIDE && held[fd].stamp == recorder_devices_stamp();
	return (state == HELD_OTHER || outside) && recorder_trusts();
}

/* The same, without asking again about what the table knows. */
static bool is_held_or_of_interest(int fd, struct file *ret)
{
	if (is_of_none(fd)) {
		return false;
	}
	return (is_held(fd) && file_of(fd, ret) && known(fd, ret)) || is_of_interest(fd, ret);
}

static void hold(int fd, const struct file *file, enum held_state state, bool recorded)
{
	if ((unsigned)fd >= HELD_MAX) {
		return;
	}
	held[fd] = (struct held){.dev = file->dev,
		.ino = file->ino,
		.stamp = file->stamp,
		.state = (uint8_t)state,
		.recorded = recorded};
	if ((unsigned)fd >= held_end) {
		held_end = (unsigned)fd + 1;
	}
}

/* In the memory of a parent that shares it with us, nothing is noted. */
static void note(int fd, enum held_state state, uint64_t stamp)
{
	if ((unsigned)fd < HELD_MAX && recorder_trusts()) {
		held[fd].stamp = stamp;
		held[fd].state = (uint8_t)state;
		if ((unsigned)fd >= held_end) {
			held_end = (unsigned)fd + 1;
		}
	}
}

static void note_other(int fd)
{
	note(fd, HELD_OTHER, 0);
}

/*
 * fd as is_file_of_interest() has refused it.  stamp is from before that: who reads the journal may
 * change its mind about a device.
 */
static void note_refused(int fd, const struct file *file, uint64_t stamp)
{
	if (file->mode != 0 && !is_regular(file)) {
		note_other(fd);
	} else if (file->mode != 0 && stamp != 0) {
		note(fd, HELD_OUTSIDE, stamp);
	}
}

static void let_go(int fd)
{
	directory_forget(fd);
	if ((unsigned)fd < HELD_MAX) {
		held[fd].state = HELD_UNKNOWN;
	}
}

/* fd is what a call has just returned. */
static void note_new(int fd)
{
	if (state_of(fd) != HELD_UNKNOWN && recorder_trusts()) {
		recorder_doubt(); /* somebody closed it behind our back */
	}
	directory_forget(fd);
}

/* An intent of pid for fd as we see it, with its name.  Returns whether it was recorded. */
static bool record_inherit(uint32_t pid, int fd, enum record_kind kind, const struct file *file)
{
	struct event event;
	struct record facts = {.fd = kind == RECORD_MAP ? -1 : fd, .pid = pid};
	event_begin(&event, kind, 0);
	event_name_of(&event, fd, file);
	facts.writer = event.pid == pid ? 0 : event.pid;
	record_file(&facts, file);
	return event_finish(&event, true, &facts);
}

/* ---- open -------------------------------------------------------------------------------- */

static bool opens_for_change(int flags)
{
	if (flags & O_PATH) {
		return false;
	}
	return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

/* The open itself may change something: if we die inside, that is a change without intent. */
void observe_opening(struct event *event, int flags, int dirfd, const char *path)
{
	event->draft = NULL;
	if (!recorder_configured || !opens_for_change(flags) || (path && !path_matters(path))) {
		return;
	}
	event_begin(event, RECORD_CLOSE, RECORD_DIRTY);
	if (path) {
		event_name(event, dirfd, path);
		if (flags & (O_CREAT | O_TRUNC)) {
			event_arm(event);
		}
	}
}

/* Whether open() itself has made or cut the file, as far as can be told. */
static bool changed_by_open(int flags, const struct file *file)
{
	return (flags & O_TRUNC) || ((flags & O_CREAT) && file->size_bytes == 0) ||
	       (flags & O_TMPFILE) == O_TMPFILE;
}

/* Names that mean something else to everybody else are asked from the kernel. */
static struct span name_in(const struct journal_draft *draft)
{
	const char *path = draft->bytes + draft->program_len + draft->job_len + draft->dir_len;
	return span_of(path, draft->path_len);
}

static bool is_own_name(const struct journal_draft *draft)
{
	struct span name = name_in(draft);
	return span_starts(name, SPAN("/proc/")) || span_starts(name, SPAN("/dev/"));
}

/*
 * Changed so lately that a write which nobody sees may leave all of its times as they are, in the
 * tick of a clock or the second of an old file system.
 */
static bool is_young(const struct file *file, uint64_t now_ns)
{
	return file->ctime_ns + YOUNG_NS > (int64_t)now_ns;
}

/* In a sandbox, where what was opened may not be looked at. */
static void finish_blind(struct event *event)
{
	if (is_own_name(event->draft) && !span_starts(name_in(event->draft), SPAN("/dev/shm/"))) {
		(void)event_finish(event, false, NULL); /* a device, as a rule */
	} else {
		event_finish_blind(event);
	}
}

static void record_open(
	struct event *event, int fd, int flags, enum channel channel, const struct file *file)
{
	bool created = changed_by_open(flags, file);
	bool writer = (flags & O_ACCMODE) != O_RDONLY;
	struct record facts = {.fd = fd, .pid = event->pid};
	if (is_own_name(event->draft) || (flags & O_TMPFILE) == O_TMPFILE) {
		event_forget_names(event);
		event_name_of(event, fd, NULL);
	}
	bool unsure = channel == CHANNEL_STREAM || is_young(file, event->draft->time_ns);
	if (!writer) {
		event->draft->kind = RECORD_TRUNCATE;
		facts.fd = -1;
	} else {
		event->draft->kind = RECORD_OPEN;
	}
	event->draft->flags =
		(uint16_t)((created ? RECORD_CREATED : 0) | (unsure && writer ? RECORD_DIRTY : 0));
	record_file(&facts, file);
	bool mine = is_mine(event->pid);
	bool recorded = event_finish(event, true, &facts);
	if (writer && mine) {
		hold(fd, file, created || unsure ? HELD_DIRTY : HELD_CLEAN, recorded);
	}
}

void observe_opened(struct event *event, int fd, int flags, enum channel channel)
{
	struct file file;
	if (!recorder_configured || fd < 0) {
		(void)event_finish(event, false, NULL);
		return;
	}
	note_new(fd);
	if (!opens_for_change(flags)) {
		note_other(fd);
		return;
	}
	if (!event->draft) {
		return;
	}
	uint64_t stamp = recorder_devices_stamp();
	if (is_file_of_interest(fd, &file)) {
		record_open(event, fd, flags, channel, &file);
	} else if (fd >= 0 && sandbox_closed) {
		finish_blind(event);
	} else {
		note_refused(fd, &file, stamp);
		(void)event_finish(event, false, NULL);
	}
}

/* ---- write ------------------------------------------------------------------------------- */

/* Before the call, so that our death inside it leaves a dirty intent. */
void observe_first_write(int fd)
{
	struct held *it = &held[fd];
	struct file file;
	bool told = it->state == HELD_FORKED;
	it->state = HELD_DIRTY;
	if (!is_mine(recorder_pid())) { /* made by a fork that nobody saw: an intent of its own */
		if (is_of_interest(fd, &file)) {
			(void)record_inherit(recorder_pid(), fd, RECORD_INHERIT, &file);
		}
		return;
	}
	if (told) {
		return;
	}
	struct record record = {.kind = RECORD_WRITTEN,
		.flags = RECORD_HAS_INODE,
		.fd = fd,
		.dev = it->dev,
		.ino = it->ino};
	(void)record_append(&record);
}

/* ---- close ------------------------------------------------------------------------------- */

void observe_closing(struct closing *closing, int fd, enum channel channel)
{
	struct file file;
	closing->record.kind = RECORD_NONE;
	closing->event.draft = NULL;
	if (!recorder_configured || fd < 0) {
		return;
	}
	bool matters = is_held_or_of_interest(fd, &file);
	uint32_t pid = matters || !recorder_trusts() ? recorder_pid() : held_owner;
	const struct held *it = matters && is_mine(pid) ? known(fd, &file) : NULL;
	struct held was = it ? *it : (struct held){.state = HELD_UNKNOWN};
	if (is_mine(pid)) {
		let_go(fd); /* now: behind the call, the number may be another thread's */
	}
	if (!matters) {
		return;
	}
	it = it ? &was : NULL;
	bool dirty = !it || it->state != HELD_CLEAN || it->stamp != file.stamp ||
		     channel == CHANNEL_STREAM;
	if (!it || !it->recorded) {
		if (file.nlink == 0) {
			return; /* nobody can find it, nobody has heard of it */
		}
		event_begin(&closing->event, RECORD_CLOSE, 0);
		event_name_of(&closing->event, fd, NULL);
	}
	closing->record = (struct record){
		.kind = RECORD_CLOSE, .flags = dirty ? RECORD_DIRTY : 0, .pid = pid, .fd = fd};
	record_file(&closing->record, &file);
	if (channel == CHANNEL_STREAM) {
		closing->record.flags &= ~(unsigned)RECORD_HAS_STAT; /* not yet flushed */
	}
}

void observe_closed(struct closing *closing, bool closed)
{
	if (closing->record.kind == RECORD_NONE) {
		return;
	}
	if (closing->event.draft) {
		(void)event_finish(&closing->event, closed, &closing->record);
	} else if (closed) {
		(void)record_append(&closing->record);
	}
}

void observe_directory_closing(int fd)
{
	if (fd >= 0 && recorder_trusts()) {
		let_go(fd);
	}
}

void observe_range_closed(unsigned first, unsigned last)
{
	uint32_t pid = recorder_pid();
	for (unsigned fd = first; fd <= last && fd < held_end && is_mine(pid); fd++) {
		struct held *it = &held[fd];
		struct record record = {.kind = RECORD_CLOSE,
			.flags = RECORD_DIRTY | RECORD_HAS_INODE,
			.pid = pid,
			.fd = (int)fd,
			.dev = it->dev,
			.ino = it->ino};
		if (it->state >= HELD_DIRTY) {
			(void)record_append(&record);
		}
		let_go((int)fd);
	}
}

/* ---- descriptors that came otherwise ----------------------------------------------------- */

/* Where our own intent names the file already, the copy's need not. */
static bool record_copy(uint32_t pid, int copy, const struct file *file, bool named)
{
	struct record record = {.kind = RECORD_INHERIT, .pid = pid, .fd = copy};
	if (!named) {
		return record_inherit(pid, copy, RECORD_INHERIT, file);
	}
	record_file(&record, file);
	return record_append(&record) == 0;
}

static void take_inherited(int fd)
{
	struct file file;
	long flags = own_call(SYS_fcntl, fd, F_GETFL, 0);
	uint64_t stamp = recorder_devices_stamp();
	if (raw_failed(flags)) {
		return;
	}
	if (!is_writing(flags)) {
		note_other(fd);
	} else if (is_file_of_interest(fd, &file)) {
		bool named = recorder_knows_name(held_owner, fd, file.dev, file.ino);
		hold(fd, &file, HELD_DIRTY, record_copy(held_owner, fd, &file, named));
	} else {
		note_refused(fd, &file, stamp);
	}
}

/* Which numbers are in use, by one call: poll() that asks for nothing tells those that are not. */
void observe_start(void)
{
	struct pollfd numbers[INHERITED_MAX];
	held_owner = recorder_pid();
	for (int fd = 0; fd < INHERITED_MAX; fd++) {
		numbers[fd] = (struct pollfd){.fd = fd};
	}
	long now[2] = {0, 0};
	bool known = !raw_failed(own_call(SYS_ppoll, numbers, INHERITED_MAX, now, NULL, 0));
	for (int fd = 0; fd < (known ? INHERITED_MAX : 10); fd++) {
		if (!known || !(numbers[fd].revents & POLLNVAL)) {
			take_inherited(fd);
		}
	}
}

/* A copy of what the table has with its name: it has to be told, but nothing asked. */
static void copy_held(struct held *it, int copy)
{
	struct record record = {.kind = RECORD_INHERIT,
		.flags = RECORD_HAS_INODE,
		.pid = held_owner,
		.fd = copy,
		.dev = it->dev,
		.ino = it->ino};
	const struct file file = {.dev = it->dev, .ino = it->ino, .stamp = it->stamp};
	it->state = HELD_DIRTY;
	hold(copy, &file, HELD_DIRTY, record_append(&record) == 0);
}

static void copy_unknown(int fd, int copy)
{
	struct file file;
	long flags = own_call(SYS_fcntl, copy, F_GETFL, 0);
	uint64_t stamp = recorder_devices_stamp();
	if (raw_failed(flags)) {
		return;
	}
	if (!is_writing(flags)) {
		note_other(copy);
		return;
	}
	if (!is_file_of_interest(copy, &file)) {
		note_refused(copy, &file, stamp);
		return;
	}
	uint32_t pid = recorder_pid();
	struct held *it = is_mine(pid) ? known(fd, &file) : NULL;
	bool recorded = record_copy(pid, copy, &file, it && it->recorded);
	if (is_mine(pid)) {
		hold(copy, &file, HELD_DIRTY, recorded);
	}
	if (it) {
		it->state = HELD_DIRTY;
	}
}

void observe_copied(int fd, int copy)
{
	if (!recorder_configured || copy < 0 || copy == fd) {
		return;
	}
	note_new(copy);
	struct held *it = believed(fd);
	if (is_of_none(fd)) {
		const struct held *same = &held[(unsigned)fd % HELD_MAX]; /* fd is below that */
		note(copy, (enum held_state)same->state, same->stamp);
	} else if (it && it->recorded) {
		copy_held(it, copy);
	} else {
		copy_unknown(fd, copy);
	}
}

void observe_mapped(int fd)
{
	struct file file;
	if (!recorder_configured || !is_of_interest(fd, &file)) {
		return;
	}
	uint32_t pid = recorder_pid();
	struct held *it = is_mine(pid) ? known(fd, &file) : NULL;
	if (it && it->mapped) {
		return;
	}
	bool recorded = record_inherit(pid, fd, RECORD_MAP, &file);
	if (it) {
		it->state = HELD_DIRTY;
		it->mapped = recorded;
	}
}

void observe_all_mapped(void)
{
	for (unsigned fd = 0; fd < held_end; fd++) {
		if (is_held((int)fd)) {
			observe_mapped((int)fd);
		}
	}
}

/* ---- processes --------------------------------------------------------------------------- */

void observe_forking(void)
{
	for (unsigned fd = 0; fd < held_end; fd++) {
		if (held[fd].state == HELD_DIRTY) {
			held[fd].state = HELD_FORKED;
		}
	}
}

/* Standard output and its like; those with higher numbers are rarely meant for a child. */
#define NAMED_MAX 8u

void observe_before_fork(void)
{
	struct file file;
	for (unsigned fd = 0; fd < held_end && fd < NAMED_MAX; fd++) {
		const struct held *it = believed((int)fd);
		if (it && it->recorded && file_of((int)fd, &file)) {
			record_learn_name((int)fd, &file);
		}
	}
}

void observe_forked(void)
{
	struct file file;
	held_owner = recorder_pid();
	directory_moved(); /* daemon() goes to the root */
	for (unsigned fd = 0; fd < held_end; fd++) {
		if (!is_held((int)fd)) {
			continue;
		}
		if (!is_of_interest((int)fd, &file)) {
			let_go((int)fd);
			continue;
		}
		hold((int)fd, &file, HELD_DIRTY,
			record_inherit(held_owner, (int)fd, RECORD_INHERIT, &file));
	}
}

bool observe_own_process(void)
{
	return is_mine(recorder_pid());
}

/* Whether the table has fd, and it stays open over exec. */
static bool outlasts_exec(unsigned fd)
{
	long flags = is_held((int)fd) ? own_call(SYS_fcntl, fd, F_GETFD, 0) : -EBADF;
	return !raw_failed(flags) && !(flags & FD_CLOEXEC);
}

void observe_spawned(uint32_t child)
{
	struct file file;
	if (!is_mine(recorder_pid())) {
		return;
	}
	for (unsigned fd = 0; fd < held_end; fd++) {
		if (outlasts_exec(fd) && is_of_interest((int)fd, &file)) {
			held[fd].state = HELD_DIRTY;
			(void)record_inherit(child, (int)fd, RECORD_INHERIT, &file);
		}
	}
}

/*
 * The intents of this process stay, for it stays; clean ones are dirty from now on, as nobody will
 * see the first write.  The child of vfork() has its parent's table before it, and no intents yet.
 */
void observe_exec(void)
{
	struct file file;
	uint32_t pid = recorder_pid();
	for (unsigned number = 0; number < held_end; number++) {
		int fd = (int)number;
		const struct held *it = &held[fd];
		if (is_mine(pid) && it->state == HELD_CLEAN && outlasts_exec(number)) {
			observe_first_write(fd);
		}
		if (is_mine(pid) && is_held(fd) && it->recorded) {
			recorder_name_known(pid, fd, it->dev, it->ino);
		}
		if (!is_mine(pid) && outlasts_exec(number) && is_of_interest(fd, &file) &&
			record_inherit(pid, fd, RECORD_INHERIT, &file)) {
			recorder_name_known(pid, fd, file.dev, file.ino);
		}
	}
}

/* ---- names ------------------------------------------------------------------------------- */

void observe_named(
	struct event *event, enum record_kind kind, unsigned flags, int dirfd, const char *path)
{
	event->draft = NULL;
	if (!path && kind == RECORD_META) { /* utimensat(fd, NULL, …) means fd */
		observe_changing(event, dirfd);
	} else if (recorder_configured && path_matters(path)) {
		event_begin(event, kind, flags);
		event_name(event, dirfd, path);
		event_arm(event);
	}
}

void observe_paired(struct event *event, enum record_kind kind, int dirfd, const char *path,
	int dirfd2, const char *path2)
{
	event->draft = NULL;
	if (!recorder_configured || !path_matters(path) ||
		(dirfd2 != NO_DIRECTORY && !path_matters(path2))) {
		return;
	}
	event_begin(event, kind, 0);
	event_name(event, dirfd, path);
	event_name(event, dirfd2, path2);
	event_arm(event);
}

void observe_linked(struct event *event, bool happened, int flags, int dirfd, const char *path)
{
	struct file file;
	struct record facts = {.fd = -1, .flags = RECORD_HAS_INODE};
	bool known = happened && event->draft && flags && file_at(dirfd, path, &file);
	if (known) {
		facts.dev = file.dev;
		facts.ino = file.ino;
	}
	(void)event_finish(event, happened, known ? &facts : NULL);
}

/* ---- metadata ---------------------------------------------------------------------------- */

void observe_changing(struct event *event, int fd)
{
	struct file file;
	event->draft = NULL;
	struct held *certain = recorder_configured ? believed(fd) : NULL;
	if (certain && certain->recorded) {
		observe_touch(fd);
		return;
	}
	if (!recorder_configured || recorder_absent() || !file_of(fd, &file) ||
		!recorder_wants(file.dev)) {
		return;
	}
	struct held *it = is_mine(recorder_pid()) ? known(fd, &file) : NULL;
	if (it && it->recorded) {
		observe_touch(fd);
		return;
	}
	event_begin(event, RECORD_META, 0);
	event_name_of(event, fd, NULL);
	event_arm(event);
}
