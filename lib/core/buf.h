/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing bytes on the heap, owned by the caller.
 *
 *   CLEANUP(buf_finish) struct buf b = BUF_EMPTY;
 *   buf_add(&b, span); buf_printf(&b, "%d", n);
 *   if (b.failed) return -ENOMEM;
 *
 * A failed growth sticks in `failed` and makes later additions do nothing, so a chain of
 * additions is checked once.  data is always followed by a NUL that len does not count, and is
 * "" while empty.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/span.h"

struct buf {
	char *data;
	size_t len;
	size_t room;
	bool failed;
};

#define BUF_EMPTY ((struct buf){0})

void buf_finish(struct buf *buf);
void buf_clear(struct buf *buf);

/* Room for count more bytes behind len (and a NUL); NULL when memory ran out. */
char *buf_reserve(struct buf *buf, size_t count);
void buf_add(struct buf *buf, struct span bytes);
void buf_add_str(struct buf *buf, const char *string);
void buf_add_char(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Removes count bytes from the front. */
void buf_drop(struct buf *buf, size_t count);

static inline struct span buf_span(const struct buf *buf)
{
	return (struct span){buf->data ? buf->data : "", buf->len};
}

/* Hands the bytes out as a heap string that the caller frees; NULL when memory ran out. */
char *buf_steal(struct buf *buf);
