/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of recorder_verdict(): a hash of all that a finding depends on. */
#pragma once

#include <stddef.h>
#include <stdint.h>

static inline uint64_t key_of(const uint64_t *parts, size_t count)
{
	uint64_t key = 1;
	for (size_t i = 0; i < count; i++) {
		key = (key ^ parts[i]) * UINT64_C(0xff51afd7ed558ccd);
		key ^= key >> 32;
	}
	return key;
}
