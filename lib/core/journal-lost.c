/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring whose file was made shorter while it was mapped: memory that nobody shares takes its
 * place.
 *
 *   aside:  head, `retired` is set   ──mremap──▶  over the ring's beginning, in one step
 *   zeros                            ──mmap────▶  over the rest
 *
 * Whoever is inside goes on with an empty ring and finds it retired afterwards, as when the reader
 * has put a new one in its place.  The beginning comes first and is never without its mark, so that
 * nobody takes for recorded what went into the zeros; and who finds the ring lost a second time may
 * do all this again.
 */
#include "core/journal-ring.h"

#include <sys/mman.h>

#include "core/raw.h"

#define ALONE      (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#define HEAD_BYTES UINT64_C(65536) /* whole pages, however large these are */

int journal_lose(void *map, uint64_t bytes)
{
	uint64_t head = bytes < HEAD_BYTES ? bytes : HEAD_BYTES;
	long aside = raw_call(SYS_mmap, 0, head, PROT_READ | PROT_WRITE, ALONE, -1, 0);
	if (raw_failed(aside)) {
		return (int)aside;
	}
	((struct journal_ring *)aside)->retired = 1; // NOLINT(performance-no-int-to-ptr)
	long r = raw_call(SYS_mremap, aside, head, head, MREMAP_MAYMOVE | MREMAP_FIXED, map);
	if (raw_failed(r)) {
		raw_call(SYS_munmap, aside, head);
		return (int)r;
	}
	if (head < bytes) {
		r = raw_call(SYS_mmap, (char *)map + head, bytes - head, PROT_READ | PROT_WRITE,
			ALONE | MAP_FIXED, -1, 0);
	}
	return raw_failed(r) ? (int)r : 0;
}
