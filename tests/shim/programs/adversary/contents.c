/* SPDX-License-Identifier: Apache-2.0 */
/* Content that changes by other calls than write(). */
#include "adversary.h"

#include <aio.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* "f", large enough, and "g" to take content from. */
static void have_large(void)
{
	have_files();
	must(truncate("f", 20000) == 0 && truncate("g", 8192) == 0);
}

static void cut_by_name(void)
{
	must(truncate("f", 3) == 0);
}
static void cut_held(void)
{
	int fd = again("f");
	later();
	must(ftruncate(fd, 3) == 0);
	_exit(0);
}
static void reserved(void)
{
	int fd = again("f");
	must(posix_fallocate(fd, 0, 30000) == 0);
	later();
	close(fd);
}
static void hole_punched(void)
{
	int fd = again("f");
	later();
	if (fallocate(fd, 3 /* punch hole, keep size */, 0, 4096) < 0) {
		impossible();
	}
	close(fd);
}
static void in_vectors(void)
{
	struct iovec part = {(void *)"vector", 6};
	int fd = again("f");
	later();
	must(pwritev2(fd, &part, 1, 100, 0) == 6);
	_exit(0);
}
static void copied(void)
{
	int fd = again("f"), from = open("g", O_RDONLY);
	later();
	must(copy_file_range(from, NULL, fd, NULL, 8192, 0) > 0);
	killed();
}
static void sent_to_file(void)
{
	int fd = again("f"), from = open("g", O_RDONLY);
	later();
	must(sendfile(fd, from, NULL, 4096) > 0);
	close(fd);
}
static void spliced(void)
{
	int fd = again("f"), pipes[2];
	must(pipe(pipes) == 0 && write(pipes[1], "spliced", 7) == 7);
	later();
	must(splice(pipes[0], NULL, fd, NULL, 7, 0) == 7);
	close(fd);
}
static void cloned_content(void)
{
	int fd = again("f"), from = open("g", O_RDONLY);
	later();
	if (ioctl(fd, FICLONE, from) < 0) {
		impossible();
	}
	close(fd);
}

/* ---- asynchronous ------------------------------------------------------------------------- */

static void by_aio(void)
{
	struct aiocb block = {.aio_fildes = again("f"), .aio_buf = (void *)"aio", .aio_nbytes = 3};
	const struct aiocb *list[] = {&block};
	later();
	must(aio_write(&block) == 0 && aio_suspend(list, 1, NULL) == 0);
	_exit(0);
}
static void by_list(void)
{
	struct aiocb block = {.aio_fildes = again("f"),
		.aio_buf = (void *)"aio",
		.aio_nbytes = 3,
		.aio_lio_opcode = LIO_WRITE};
	struct aiocb *list[] = {&block};
	later();
	must(lio_listio(LIO_WAIT, list, 1, NULL) == 0);
	_exit(0);
}

/* What libaio does: no call of libc but syscall(). */
static void by_kernel_aio(void)
{
	struct {
		unsigned long data;
		unsigned key, flags;
		unsigned short what;
		short priority;
		unsigned fd;
		unsigned long bytes, size;
		long at;
		unsigned long rest[2];
	} block = {.what = 1, .fd = (unsigned)again("f"), .bytes = (unsigned long)"aio", .size = 3};
	void *list[] = {&block};
	unsigned long context = 0, events[4];
	if (syscall(SYS_io_setup, 4, &context) < 0) {
		impossible();
	}
	later();
	must(syscall(SYS_io_submit, context, 1, list) == 1);
	must(syscall(SYS_io_getevents, context, 1, 1, events, NULL) == 1);
	close((int)block.fd);
}

/* ---- io_uring: one request at a time ------------------------------------------------------- */

struct uring {
	int fd;
	struct io_uring_params params;
	char *ring;
	struct io_uring_sqe *entries;
};

static void uring_start(struct uring *uring)
{
	memset(uring, 0, sizeof(*uring));
	uring->fd = (int)syscall(SYS_io_uring_setup, 4, &uring->params);
	if (uring->fd < 0) {
		impossible();
	}
	uring->ring = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, uring->fd, 0);
	uring->entries = mmap(NULL, 4 * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
		MAP_SHARED, uring->fd, 0x10000000);
	must(uring->ring != MAP_FAILED && uring->entries != MAP_FAILED);
}

static int uring_do(struct uring *uring, struct io_uring_sqe entry)
{
	unsigned *tail = (unsigned *)(uring->ring + uring->params.sq_off.tail);
	unsigned mask = *(unsigned *)(uring->ring + uring->params.sq_off.ring_mask);
	unsigned *array = (unsigned *)(uring->ring + uring->params.sq_off.array);
	unsigned *head = (unsigned *)(uring->ring + uring->params.cq_off.head);
	struct io_uring_cqe *done =
		(struct io_uring_cqe *)(uring->ring + uring->params.cq_off.cqes);
	uring->entries[*tail & mask] = entry;
	array[*tail & mask] = *tail & mask;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	must(syscall(SYS_io_uring_enter, uring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	int result = done[*head & (uring->params.cq_entries - 1)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

static struct io_uring_sqe writing(int fd, unsigned char flags)
{
	return (struct io_uring_sqe){.opcode = IORING_OP_WRITE,
		.flags = flags,
		.fd = fd,
		.addr = (unsigned long)"uring",
		.len = 5};
}

static void by_ring(void)
{
	struct uring uring;
	int fd = again("f");
	uring_start(&uring);
	later();
	must(uring_do(&uring, writing(fd, 0)) == 5);
	close(fd);
}
static void by_ring_and_killed(void)
{
	struct uring uring;
	int fd = again("f");
	uring_start(&uring);
	later();
	must(uring_do(&uring, writing(fd, 0)) == 5);
	killed();
}
/* The ring keeps the file when its descriptor is closed. */
static void by_ring_after_close(void)
{
	struct uring uring;
	int fd = again("f");
	uring_start(&uring);
	must(syscall(SYS_io_uring_register, uring.fd, IORING_REGISTER_FILES, &fd, 1) == 0);
	close(fd);
	later();
	must(uring_do(&uring, writing(0, IOSQE_FIXED_FILE)) == 5);
}
static void opened_by_ring(void)
{
	struct uring uring;
	uring_start(&uring);
	int fd = uring_do(&uring, (struct io_uring_sqe){.opcode = IORING_OP_OPENAT,
					  .fd = AT_FDCWD,
					  .addr = (unsigned long)"n",
					  .len = 0644,
					  .open_flags = O_WRONLY | O_CREAT});
	must(fd >= 0 && uring_do(&uring, writing(fd, 0)) == 5);
	must(uring_do(&uring, (struct io_uring_sqe){.opcode = IORING_OP_CLOSE, .fd = fd}) == 0);
}
static void opened_by_ring_closed_by_libc(void)
{
	struct uring uring;
	uring_start(&uring);
	int fd = uring_do(&uring, (struct io_uring_sqe){.opcode = IORING_OP_OPENAT,
					  .fd = AT_FDCWD,
					  .addr = (unsigned long)"n",
					  .len = 0644,
					  .open_flags = O_WRONLY | O_CREAT});
	must(fd >= 0 && uring_do(&uring, writing(fd, 0)) == 5);
	close(fd);
}
static void removed_by_ring(void)
{
	struct uring uring;
	uring_start(&uring);
	must(uring_do(&uring, (struct io_uring_sqe){.opcode = IORING_OP_UNLINKAT,
				      .fd = AT_FDCWD,
				      .addr = (unsigned long)"f"}) == 0);
}

const struct adverse contents[] = {
	{"cut-by-name", have_file, cut_by_name},
	{"cut-held", have_file, cut_held},
	{"reserved", have_file, reserved},
	{"hole-punched", have_large, hole_punched},
	{"in-vectors", have_file, in_vectors},
	{"copied", have_large, copied},
	{"sent-to-file", have_large, sent_to_file},
	{"spliced", have_file, spliced},
	{"cloned-content", have_large, cloned_content},
	{"by-aio", have_file, by_aio},
	{"by-list", have_file, by_list},
	{"by-kernel-aio", have_file, by_kernel_aio},
	{"by-ring", have_file, by_ring},
	{"by-ring-and-killed", have_file, by_ring_and_killed},
	{"by-ring-after-close", have_file, by_ring_after_close},
	{"opened-by-ring", NULL, opened_by_ring},
	{"opened-by-ring-closed-by-libc", NULL, opened_by_ring_closed_by_libc},
	{"removed-by-ring", have_file, removed_by_ring},
	{NULL, NULL, NULL},
};
