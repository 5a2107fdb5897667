/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structs as JSON members and back, from one table of rows.  wire.c writes, wire-read.c (the
 * only user of <jansson.h>) reads.
 *
 *   static const struct wire_row rows[] = {
 *           {"id", WIRE_IDENT, offsetof(struct thing, id), .required = true}, …};
 *   writing:  wire_open(&buf, NULL); wire_write(&buf, rows, count, &thing); wire_close(&buf);
 *   reading:  wire_parse(body, &in, why); wire_read(&in, …, &thing, why); wire_finish(&in);
 *
 * Writing leaves out what is zero or empty, and goes straight into the buffer.  Reading leaves
 * alone what is absent, ignores keys it does not know, and says -EBADMSG with "place: expected …,
 * found …" to what is wrong.  Bytes survive whatever they are: they are a string where they are
 * UTF-8, {"base64": "…"} where not.  Bytes that were read are heap copies of the reader's caller
 * (change_set()).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/span.h"
#include "core/why.h"

enum wire_type {
	WIRE_BYTES, /* struct span: string, or {"base64": …} */
	WIRE_PATH,  /* the same: absolute, nothing to normalise */
	WIRE_IDENT, /* struct ident: its text */
	WIRE_U64,   /* uint64_t: a string of digits (JSON numbers end at 2^53) */
	WIRE_I64,   /* int64_t: the same with a sign */
	WIRE_U32,   /* uint32_t, unsigned: a number */
	WIRE_FLAG,  /* bool: true */
	WIRE_NAME,  /* an enum: its name */
	WIRE_SET,   /* unsigned: a list of the names of its bits */
};

struct wire_row {
	const char *key;
	enum wire_type type;
	size_t offset;
	bool required;
	const char *(*name)(unsigned index); /* NAME and SET; NULL behind the last */
};

#define WIRE_BYTES_MAX 65535 /* of one WIRE_BYTES or WIRE_PATH, longer ones are refused */

/* --- writing ----------------------------------------------------------------------------- */

/* Opens an object, as a member named key where not NULL, and closes it. */
void wire_open(struct buf *buf, const char *key);
void wire_close(struct buf *buf);
/* The object that has our half of a message, with its version. */
void wire_open_mirror(struct buf *buf);
/* A comma where needed, and "key": */
void wire_key(struct buf *buf, const char *key);
/* A string; bytes that are not UTF-8 are percent-encoded. */
void wire_text(struct buf *buf, struct span text);
/* A string, or {"base64": …}. */
void wire_bytes(struct buf *buf, struct span bytes);
/* "key": [["a","b"], …] */
void wire_pair(struct buf *buf, struct span a, struct span b);
void wire_write(struct buf *buf, const struct wire_row *rows, size_t count, const void *object);

/* Whether a WIRE_PATH is well-formed: absolute, without empty, "." and ".." parts. */
bool wire_is_path(struct span path);
/* All of text as a decimal number.  Returns 0 or -EINVAL. */
int wire_number(struct span text, uint64_t *ret);

/* --- reading ------------------------------------------------------------------------------ */

#define WIRE_ABSENT 1

/* An object of a message; at is its name in error texts, "" for the whole. */
struct wire {
	void *json;
	const char *at;
};

int wire_parse(struct span body, struct wire *ret, struct why *why);
void wire_finish(struct wire *wire);
/* A member that is an object (borrowed).  Returns 0, WIRE_ABSENT, -EBADMSG. */
int wire_enter(
	const struct wire *in, const char *key, const char *at, struct wire *ret, struct why *why);
/* Our half of a message.  Returns 0, WIRE_ABSENT, -EBADMSG (also for another version). */
int wire_enter_mirror(const struct wire *in, struct wire *ret, struct why *why);
/* A member that is a string (borrowed).  Returns 0, WIRE_ABSENT, -EBADMSG. */
int wire_string(const struct wire *in, const char *key, struct span *ret, struct why *why);
/* A list of pairs of bytes (borrowed); fn returns 0 or an error that ends the reading.
 * Returns 0 (also when absent), -EBADMSG, or what fn returned. */
int wire_pairs(const struct wire *in, const char *key,
	int (*fn)(void *arg, struct span a, struct span b, struct why *why), void *arg,
	struct why *why);
int wire_read(const struct wire *in, const struct wire_row *rows, size_t count, void *object,
	struct why *why);
