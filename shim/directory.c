/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking the kernel for a path costs as much as the call itself may cost, and programs that work
 * below directories (rm, tar, cp) ask about the same few again and again.  So a few answers are
 * kept, each in a seqlock of its own: readers copy and look again, writers that find it taken do
 * without.  A killed writer leaves its slot odd for ever, which costs speed only.
 *
 * An answer counts for the epoch that was read before the kernel was asked.  Closing a descriptor
 * begins a new epoch for its slot, changing the working directory one for that: so an answer that
 * another thread was still fetching meanwhile is never believed.
 */
#include "directory.h"

#include <asm/fcntl.h>
#include <linux/fcntl.h>
#include <linux/sched.h>

#include "core/copy.h"
#include "first-page.h"
#include "record.h"
#include "sandbox.h"

#define SLOTS      16u /* of descriptors; behind them, that of the working directory */
#define KEPT_BYTES 448u

struct slot {
	uint32_t sequence; /* odd: being written */
	int dirfd;
	uint32_t epoch;
	uint32_t nlink;    /* of a file; of a directory 0 */
	uint64_t dev, ino; /* where that was asked, else 0 */
	uint64_t renames;
	size_t len;
	char path[KEPT_BYTES];
};

/* What an answer must have been given for. */
struct question {
	struct slot *slot;
	bool trusting;
	int dirfd;
	uint32_t epoch, nlink;
	uint64_t dev, ino, renames;
};

static struct slot slots[SLOTS + 1];
static FIRST_PAGE uint32_t epochs[SLOTS + 1];
static FIRST_PAGE uint32_t moves; /* of the working directory, under way */
static FIRST_PAGE bool strays, learnt;

/* "/proc/self/fd/N" with its NUL; text has 32 bytes. */
static void link_of(int fd, char *text)
{
	static const char prefix[] = "/proc/self/fd/";
	char digits[12];
	size_t count = 0;
	(void)copy_bytes(text, prefix, sizeof(prefix) - 1);
	text += sizeof(prefix) - 1;
	do {
		digits[count++] = (char)('0' + fd % 10);
		fd /= 10;
	} while (fd > 0);
	while (count > 0) {
		*text++ = digits[--count];
	}
	*text = '\0';
}

size_t descriptor_path(int fd, char *to, size_t size_bytes)
{
	char link[32];
	if (fd < 0) {
		return 0;
	}
	link_of(fd, link);
	long got = own_call(SYS_readlinkat, AT_FDCWD, link, to, size_bytes);
	return got <= 0 || (size_t)got == size_bytes || to[0] != '/' ? 0 : (size_t)got;
}

static bool answers(const struct slot *slot, const struct question *question)
{
	bool same = question->trusting ? slot->epoch == question->epoch
				       : slot->dev == question->dev && slot->ino == question->ino;
	return same && slot->dirfd == question->dirfd && slot->nlink == question->nlink &&
	       slot->renames == question->renames && slot->len <= KEPT_BYTES;
}

static size_t recall(const struct question *question, char *to)
{
	const struct slot *slot = question->slot;
	uint32_t before = __atomic_load_n(&slot->sequence, __ATOMIC_ACQUIRE);
	size_t len = slot->len;
	if ((before & 1) || !answers(slot, question)) {
		return 0;
	}
	(void)copy_bytes(to, slot->path, len <= KEPT_BYTES ? len : 0);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&slot->sequence, __ATOMIC_RELAXED) == before ? len : 0;
}

static void keep(const struct question *question, const char *path, size_t len)
{
	struct slot *slot = question->slot;
	uint32_t before = __atomic_load_n(&slot->sequence, __ATOMIC_RELAXED);
	if (len > KEPT_BYTES || (before & 1) ||
		!__atomic_compare_exchange_n(&slot->sequence, &before, before + 1, false,
			__ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		return;
	}
	__atomic_thread_fence(__ATOMIC_RELEASE);
	slot->dirfd = question->dirfd;
	slot->epoch = question->epoch;
	slot->nlink = question->nlink;
	slot->dev = question->dev;
	slot->ino = question->ino;
	slot->renames = question->renames;
	slot->len = len;
	(void)copy_bytes(slot->path, path, len);
	__atomic_store_n(&slot->sequence, before + 2, __ATOMIC_RELEASE);
}

void directory_forget(int fd)
{
	__atomic_fetch_add(&epochs[(unsigned)fd % SLOTS], 1, __ATOMIC_ACQ_REL);
}

void directory_moving(void)
{
	__atomic_fetch_add(&moves, 1, __ATOMIC_ACQ_REL);
}

void directory_moved(void)
{
	__atomic_fetch_add(&epochs[SLOTS], 1, __ATOMIC_ACQ_REL);
	if (__atomic_load_n(&moves, __ATOMIC_RELAXED) > 0) {
		__atomic_fetch_sub(&moves, 1, __ATOMIC_ACQ_REL);
	}
}

void directory_renamed_within(uint64_t before)
{
	struct slot *slot = &slots[SLOTS];
	uint32_t sequence = __atomic_load_n(&slot->sequence, __ATOMIC_RELAXED);
	if (!(sequence & 1) && __atomic_compare_exchange_n(&slot->sequence, &sequence, sequence + 1,
				       false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		__atomic_thread_fence(__ATOMIC_RELEASE);
		slot->renames += slot->renames == before;
		__atomic_store_n(&slot->sequence, sequence + 2, __ATOMIC_RELEASE);
	}
}

void directory_strays(void)
{
	__atomic_store_n(&strays, true, __ATOMIC_RELAXED);
}

void directory_unshared(long flags)
{
	if (flags & CLONE_FS) {
		directory_strays();
	}
	if (flags & CLONE_FILES) {
		recorder_doubt();
	}
}

static struct question about_file(
	const struct journal_writer *writer, int fd, const struct file *file)
{
	unsigned index = (unsigned)fd % SLOTS;
	return (struct question){.slot = &slots[index],
		.trusting = true,
		.dirfd = fd,
		.epoch = __atomic_load_n(&epochs[index], __ATOMIC_ACQUIRE),
		.nlink = file->nlink,
		.renames = journal_rename_count(writer)};
}

/* The table's pages are not even touched where nothing was learnt. */
size_t file_path(const struct journal_writer *writer, int fd, const struct file *file, char *to,
	size_t size_bytes)
{
	struct question question = about_file(writer, fd, file);
	bool may = learnt && recorder_trusts() && file->nlink > 0 && size_bytes >= KEPT_BYTES;
	size_t len = may ? recall(&question, to) : 0;
	return len ? len : descriptor_path(fd, to, size_bytes);
}

void file_learn(const struct journal_writer *writer, int fd, const struct file *file)
{
	char path[KEPT_BYTES];
	struct question question = about_file(writer, fd, file);
	if (recorder_trusts() && file->nlink > 0 && recall(&question, path) == 0) {
		keep(&question, path, descriptor_path(fd, path, sizeof(path)));
		learnt = true;
	}
}

static size_t working_directory(char *to, size_t size_bytes)
{
	long len = own_call(SYS_getcwd, to, size_bytes); /* counts the NUL */
	return len > 1 && to[0] == '/' ? (size_t)len - 1 : 0;
}

static bool may_recall_working_directory(void)
{
	return recorder_trusts() && __atomic_load_n(&moves, __ATOMIC_ACQUIRE) == 0 &&
	       !__atomic_load_n(&strays, __ATOMIC_RELAXED);
}

size_t directory_path(const struct journal_writer *writer, int dirfd, char *to, size_t size_bytes)
{
	bool working = dirfd == AT_FDCWD;
	if (working && !may_recall_working_directory()) {
		return working_directory(to, size_bytes);
	}
	unsigned index = working ? SLOTS : (unsigned)dirfd % SLOTS;
	struct question question = {.slot = &slots[index],
		.trusting = working || recorder_trusts(),
		.dirfd = dirfd,
		.epoch = __atomic_load_n(&epochs[index], __ATOMIC_ACQUIRE),
		.renames = journal_rename_count(writer)};
	if (!question.trusting) {
		struct file file;
		if (!file_of(dirfd, &file)) {
			return 0;
		}
		question.dev = file.dev;
		question.ino = file.ino;
	}
	size_t len = size_bytes < KEPT_BYTES ? 0 : recall(&question, to);
	if (len == 0) {
		len = working ? working_directory(to, size_bytes)
			      : descriptor_path(dirfd, to, size_bytes);
		keep(&question, to, len);
	}
	return len;
}
