/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Borrowed bytes: a pointer and a length, valid while their owner lives.
 *
 * A path is bytes: any value but NUL, any encoding.  Nothing here expects a terminating NUL,
 * and nothing allocates.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
	const char *data;
	size_t len;
};

/* A span over a string literal, usable in constant expressions. */
#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})
#define SPAN_NONE     ((struct span){NULL, 0})

/* For printf: printf("%.*s", SPAN_ARG(s)). */
#define SPAN_ARG(s) (int)(s).len, (s).data

static inline struct span span_of(const void *data, size_t len)
{
	return (struct span){data, len};
}

/* The bytes of a C string; NULL gives the empty span. */
static inline struct span span_str(const char *string)
{
	return (struct span){string, string ? strlen(string) : 0};
}

static inline bool span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool span_starts(struct span s, struct span prefix)
{
	return s.len >= prefix.len &&
	       (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

/* What follows the first count bytes; count may be larger than the span. */
static inline struct span span_skip(struct span s, size_t count)
{
	if (count > s.len) {
		count = s.len;
	}
	return (struct span){s.data + count, s.len - count};
}

/* The first count bytes, which are taken off the span; it must have that many. */
static inline struct span span_cut(struct span *s, size_t count)
{
	struct span front = span_of(s->data, count);
	*s = span_skip(*s, count);
	return front;
}
