/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking /proc for a descriptor's path costs several times what the call itself may cost, and
 * programs that work below descriptors (rm, tar, cp) ask about the same few again and again.  So
 * a few answers are kept, each in a seqlock of its own: readers copy and look again, writers that
 * find it taken do without.  A killed writer leaves its slot odd for ever, which costs speed only.
 */
#include "directory.h"

#include <asm/fcntl.h>
#include <linux/fcntl.h>

#include "core/copy.h"
#include "record.h"
#include "sandbox.h"

#define SLOTS      8u
#define KEPT_BYTES 456u

struct slot {
	uint32_t sequence; /* odd: being written */
	int dirfd;
	uint64_t dev, ino;
	uint64_t renames;
	size_t len;
	char path[KEPT_BYTES];
};

static struct slot slots[SLOTS];

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

static size_t recall(
	struct slot *slot, int dirfd, const struct file *file, uint64_t renames, char *to)
{
	uint32_t before = __atomic_load_n(&slot->sequence, __ATOMIC_ACQUIRE);
	size_t len = slot->len;
	if ((before & 1) || slot->dirfd != dirfd || slot->dev != file->dev ||
		slot->ino != file->ino || slot->renames != renames || len > KEPT_BYTES) {
		return 0;
	}
	(void)copy_bytes(to, slot->path, len);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&slot->sequence, __ATOMIC_RELAXED) == before ? len : 0;
}

static void keep(struct slot *slot, int dirfd, const struct file *file, uint64_t renames,
	const char *path, size_t len)
{
	uint32_t before = __atomic_load_n(&slot->sequence, __ATOMIC_RELAXED);
	if (len > KEPT_BYTES || (before & 1) ||
		!__atomic_compare_exchange_n(&slot->sequence, &before, before + 1, false,
			__ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		return;
	}
	__atomic_thread_fence(__ATOMIC_RELEASE);
	slot->dirfd = dirfd;
	slot->dev = file->dev;
	slot->ino = file->ino;
	slot->renames = renames;
	slot->len = len;
	(void)copy_bytes(slot->path, path, len);
	__atomic_store_n(&slot->sequence, before + 2, __ATOMIC_RELEASE);
}

static size_t working_directory(char *to, size_t size_bytes)
{
	long len = own_call(SYS_getcwd, to, size_bytes); /* counts the NUL */
	return len > 1 && to[0] == '/' ? (size_t)len - 1 : 0;
}

size_t directory_path(const struct journal_writer *writer, int dirfd, char *to, size_t size_bytes)
{
	struct file file;
	if (dirfd == AT_FDCWD) {
		return working_directory(to, size_bytes);
	}
	if (!file_of(dirfd, &file)) {
		return 0;
	}
	struct slot *slot = &slots[(unsigned)dirfd % SLOTS];
	uint64_t renames = journal_rename_count(writer); /* before the kernel is asked */
	size_t len = size_bytes < KEPT_BYTES ? 0 : recall(slot, dirfd, &file, renames, to);
	if (len == 0) {
		len = descriptor_path(dirfd, to, size_bytes);
		keep(slot, dirfd, &file, renames, to, len);
	}
	return len;
}
