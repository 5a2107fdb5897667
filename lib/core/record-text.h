/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records in words, for `mirrorctl journal` and tests.
 *
 * One line for people, without a newline:
 *   12:00:00.123456 tar[4711] open fd=3 '/dir/name' created ino=77 size=0
 * and one JSON object.  There, names that are not UTF-8 come as "path_base64" instead of "path".
 */
#pragma once

#include "core/buf.h"
#include "core/journal.h"

/* "open", "inherit", …; "?" for what is not a kind. */
const char *record_kind_name(enum record_kind kind);

void record_text(struct buf *buf, const struct record *record);
void record_json(struct buf *buf, const struct record *record);
