/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cheapest question that makes the kernel read without consequences: sigprocmask() that is to
 * do nothing sensible.  It copies the set first (EFAULT), then refuses (EINVAL).
 */
#include "readable.h"

#include <asm/errno.h>
#include <stdint.h>

#include "first-page.h"
#include "sandbox.h"

#define PAGE_BYTES 4096u /* the smallest there are */
#define WORD_BYTES sizeof(uint64_t)
#define PAGES      16u
#define NO_SUCH    (-1) /* way to change a mask */

static FIRST_PAGE uintptr_t pages[PAGES]; /* found good; the table only saves work */

bool readable(const void *address)
{
	uintptr_t page = (uintptr_t)address / PAGE_BYTES;
	uintptr_t *kept = &pages[page % PAGES];
	if (page == 0) {
		return false;
	}
	if (__atomic_load_n(kept, __ATOMIC_RELAXED) == page) {
		return true;
	}
	uintptr_t word = (uintptr_t)address & ~(uintptr_t)(WORD_BYTES - 1);
	if (own_call(SYS_rt_sigprocmask, NO_SUCH, word, NULL, WORD_BYTES) == -EFAULT) {
		return false;
	}
	__atomic_store_n(kept, page, __ATOMIC_RELAXED);
	return true;
}

static size_t left_in_page(const char *at)
{
	return PAGE_BYTES - (uintptr_t)at % PAGE_BYTES;
}

bool readable_soon(const char *text, size_t bytes)
{
	return left_in_page(text) >= bytes ? readable(text)
					   : path_length(text, bytes) != UNREADABLE;
}

static bool holds_zero(const char *eight)
{
	uint64_t word;
	__builtin_memcpy(&word, eight, sizeof(word));
	return ((word - UINT64_C(0x0101010101010101)) & ~word & UINT64_C(0x8080808080808080)) != 0;
}

size_t path_length(const char *path, size_t max)
{
	for (size_t len = 0; len < max;) {
		size_t end = len + left_in_page(path + len);
		if (!readable(path + len)) {
			return UNREADABLE;
		}
		end = end < max ? end : max;
		while (len + WORD_BYTES <= end && !holds_zero(path + len)) {
			len += WORD_BYTES;
		}
		while (len < end) {
			if (path[len] == '\0') {
				return len;
			}
			len++;
		}
	}
	return max;
}
