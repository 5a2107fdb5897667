/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Points in time as people type them.
 */
#pragma once

#include <stdint.h>

/*
 * "2h" (so long ago), "2026-03-01", "2026-03-01 12:00", "2026-03-01T12:00:30Z" (without Z: local
 * time), "@1772366400".  Nanoseconds since 1970.  0 or -EINVAL.
 */
int when_parse(const char *text, uint64_t now_wall_ns, int64_t *ret_ns);
