/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dl_iterate_phdr(): the list of loaded objects, ourselves last.
 *
 * GCC's address sanitizer looks there whether it comes first, and where it does not it ends the
 * program with a message about LD_PRELOAD.  Behind us is early enough for it: we allocate nothing,
 * and what we call next is what it stands before.
 */
#include "calls.h"

struct info { /* struct dl_phdr_info */
	uintptr_t base;
	const char *name;
	const void *headers;
	uint16_t header_count;
	uint64_t added, removed;
	size_t tls_module;
	void *tls_data;
};

struct listing {
	int (*callback)(void *info, size_t size, void *data);
	void *data;
	struct info own;
	size_t own_size; /* 0: not met yet */
};

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static int each(void *info, size_t size, void *data)
{
	struct listing *listing = (struct listing *)data;
	const struct info *it = (const struct info *)info;
	if (it->base != (uintptr_t)__ehdr_start || size > sizeof(listing->own)) {
		return listing->callback(info, size, listing->data);
	}
	const char *from = (const char *)info;
	char *to = (char *)&listing->own;
	for (size_t i = 0; i < size; i++) {
		to[i] = from[i];
	}
	listing->own_size = size;
	return 0;
}

int dl_iterate_phdr(int (*callback)(void *info, size_t size, void *data), void *data)
{
	struct listing listing = {.callback = callback, .data = data};
	int result = CALL_REAL(dl_iterate_phdr, (each, &listing), 0);
	if (result == 0 && listing.own_size > 0) {
		result = callback(&listing.own, listing.own_size, data);
	}
	return result;
}
