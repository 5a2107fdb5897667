/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A note is {"mirror": {"version": 1, "note": "beat", …}}: no relPath, so that v03 peers that
 * listen in discard it.  One set of rows for all kinds: what a kind does not use is zero, and
 * what is zero is not written.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "flow/message.h"
#include "flow/wire.h"

static const char *kind_name(unsigned index)
{
	static const char *const names[NOTE_KIND_COUNT] = {
		[NOTE_MERGED] = "merged",
		[NOTE_SHARED] = "shared",
		[NOTE_BEAT] = "beat",
		[NOTE_FLUSH] = "flush",
		[NOTE_MARKER] = "marker",
		[NOTE_BARRIER] = "barrier",
		[NOTE_FORGET] = "forget",
		[NOTE_UNSEEN] = "unseen",
		[NOTE_PROBE] = "probe",
	};
	return index < NOTE_KIND_COUNT ? names[index] : NULL;
}

static const struct wire_row rows[] = {
	{"note", WIRE_NAME, offsetof(struct note, kind), .required = true, .name = kind_name},
	{"stage", WIRE_BYTES, offsetof(struct note, stage)},
	{"host", WIRE_BYTES, offsetof(struct note, host)},
	{"instance", WIRE_U32, offsetof(struct note, instance)},
	{"pid", WIRE_U32, offsetof(struct note, pid)},
	{"time", WIRE_U64, offsetof(struct note, time_ns)},
	{"problem", WIRE_BYTES, offsetof(struct note, problem)},
	{"stopping", WIRE_FLAG, offsetof(struct note, stopping)},
	{"active", WIRE_FLAG, offsetof(struct note, active)},
	{"standby", WIRE_FLAG, offsetof(struct note, standby)},
	{"backlog", WIRE_U64, offsetof(struct note, backlog)},
	{"dirty", WIRE_U64, offsetof(struct note, dirty)},
	{"captured", WIRE_U64, offsetof(struct note, captured)},
	{"published", WIRE_U64, offsetof(struct note, published)},
	{"dropped", WIRE_U64, offsetof(struct note, dropped)},
	{"lost", WIRE_U64, offsetof(struct note, lost)},
	{"told", WIRE_U64, offsetof(struct note, told)},
	{"noted", WIRE_U64, offsetof(struct note, noted)},
	{"outside", WIRE_U64, offsetof(struct note, outside)},
	{"unnamed", WIRE_U64, offsetof(struct note, unnamed)},
	{"made", WIRE_U64, offsetof(struct note, made)},
	{"repeats", WIRE_U64, offsetof(struct note, repeats)},
	{"rescan", WIRE_FLAG, offsetof(struct note, rescan)},
	{"flush", WIRE_IDENT, offsetof(struct note, flush)},
	{"now", WIRE_FLAG, offsetof(struct note, now)},
	{"journal", WIRE_FLAG, offsetof(struct note, journal)},
	{"reply", WIRE_BYTES, offsetof(struct note, reply)},
	{"job", WIRE_BYTES, offsetof(struct note, job)},
	{"waiting", WIRE_U64, offsetof(struct note, waiting)},
	{"failed", WIRE_U64, offsetof(struct note, failed)},
	{"silent", WIRE_BYTES, offsetof(struct note, silent)},
	{"reached", WIRE_FLAG, offsetof(struct note, reached)},
	{"id", WIRE_IDENT, offsetof(struct note, id)},
	{"programs", WIRE_U64, offsetof(struct note, programs)},
	{"found", WIRE_U64, offsetof(struct note, found)},
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

void note_finish(struct note *note)
{
	for (size_t i = 0; i < ROW_COUNT; i++) {
		if (rows[i].type == WIRE_BYTES) {
			free((void *)((struct span *)((char *)note + rows[i].offset))->data);
		}
	}
	free(note->merged);
	*note = (struct note){0};
}

static void write_merged(struct buf *ret, const struct note *note)
{
	char a[IDENT_TEXT], b[IDENT_TEXT];
	wire_key(ret, "merged");
	buf_add_char(ret, '[');
	for (size_t i = 0; i < note->merged_count; i++) {
		wire_pair(ret, span_str(ident_text(note->merged[2 * i], a)),
			span_str(ident_text(note->merged[2 * i + 1], b)));
	}
	buf_add_char(ret, ']');
}

void message_encode_note(const struct note *note, struct buf *ret)
{
	wire_open(ret, NULL);
	wire_open_mirror(ret);
	wire_write(ret, rows, ROW_COUNT, note);
	if (note->merged_count) {
		write_merged(ret, note);
	}
	wire_close(ret);
	wire_close(ret);
}

/* Room for a power of two of pairs; grows when the count has reached one. */
static int read_merged(void *arg, struct span id, struct span into, struct why *why)
{
	struct note *note = arg;
	size_t count = note->merged_count;
	if ((count & (count - 1)) == 0) {
		size_t room = count ? 2 * count : 1;
		struct ident *merged = reallocarray(note->merged, room, 2 * sizeof(*merged));
		if (!merged) {
			return -ENOMEM;
		}
		note->merged = merged;
	}
	if (ident_parse(id, &note->merged[2 * count]) < 0 ||
		ident_parse(into, &note->merged[2 * count + 1]) < 0) {
		return why_error(why, -EBADMSG, "mirror.merged: expected pairs of ids");
	}
	note->merged_count++;
	return 0;
}

static int read_note(const struct wire *top, struct note *note, struct why *why)
{
	struct wire mirror;
	int r = wire_enter_mirror(top, &mirror, why);
	if (r) {
		return r < 0 ? r : why_error(why, -EBADMSG, "mirror: missing");
	}
	r = wire_read(&mirror, rows, ROW_COUNT, note, why);
	return r < 0 ? r : wire_pairs(&mirror, "merged", read_merged, note, why);
}

int message_decode_note(struct span body, struct note *ret, struct why *why)
{
	CLEANUP(wire_finish) struct wire top = {0};
	*ret = (struct note){0};
	if (body.len > MESSAGE_MAX_BYTES) {
		return why_error(why, -EBADMSG, "expected at most %lu bytes, found %zu",
			MESSAGE_MAX_BYTES, body.len);
	}
	int r = wire_parse(body, &top, why);
	if (r == 0) {
		r = read_note(&top, ret, why);
	}
	if (r < 0) {
		note_finish(ret);
	}
	return r;
}
