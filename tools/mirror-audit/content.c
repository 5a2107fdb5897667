/* SPDX-License-Identifier: Apache-2.0 */
#include "content.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "core/cleanup.h"

#define READ_BYTES (256U * 1024)

DEFINE_CLEANUP(struct side_file *, side_close)

static void state_free(XXH3_state_t **state)
{
	XXH3_freeState(*state);
}

int content_digest(struct side *side, struct span rel, struct digest *ret, struct why *why)
{
	struct side_attr attr;
	uint64_t offset = 0;
	size_t len = READ_BYTES;
	CLEANUP(side_close_p) struct side_file *file = NULL;
	CLEANUP(free_p) char *buffer = malloc(READ_BYTES);
	CLEANUP(state_free) XXH3_state_t *state = XXH3_createState();
	if (!buffer || !state) {
		return -ENOMEM;
	}
	int r = side_open(side, rel, &file, &attr, why);
	XXH3_128bits_reset(state);
	while (r == 0 && len == READ_BYTES) {
		r = side_read(file, offset, buffer, READ_BYTES, &len, why);
		if (r == 0) {
			XXH3_128bits_update(state, buffer, len);
			offset += len;
		}
	}
	XXH128_hash_t hash = XXH3_128bits_digest(state);
	*ret = (struct digest){hash.high64, hash.low64};
	return r;
}
