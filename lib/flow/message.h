/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes, orders, receipts and notes as bytes: JSON in the v03 form of MetPX Sarracenia, with
 * our extra fields in one object named "mirror" (docs/FORMATS.md has every byte).
 *
 * Encoding never fails but for memory (buf->failed).  Decoding trusts nothing: a message that is
 * not what it should be gives -EBADMSG with words that say where and what was expected, and
 * leaves *ret empty.  One of a newer version of treemirror gives -EPROTONOSUPPORT: it may mean
 * something that this version cannot know, and has to wait for one that does.  Changes posted by
 * an sr3_cpost (without our object) are understood.
 */
#pragma once

#include "core/buf.h"
#include "core/why.h"
#include "flow/change.h"

#define MESSAGE_CONTENT_TYPE "application/json"
#define MESSAGE_VERSION      1
#define MESSAGE_MAX_BYTES    (8UL * 1024 * 1024) /* larger bodies are refused */

/* A change or an order (an order is a merged change). */
void message_encode_change(const struct change *change, struct buf *ret);
/* Caller destroys *ret. */
int message_decode_change(struct span body, struct change **ret, struct why *why);

void message_encode_receipt(const struct receipt *receipt, struct buf *ret);
/* Caller finishes *ret. */
int message_decode_receipt(struct span body, struct receipt *ret, struct why *why);

/* "v03.dir.dir": the AMQP routing key that v03 peers expect for this path, at most 255 bytes. */
void message_topic(struct span path, struct buf *ret);

/* Which of the shards has this path; depends on nothing but the bytes of the path. */
unsigned message_shard(struct span path, unsigned shard_count);

/* What a body is, without decoding it further: changes have no report, notes have no relPath. */
enum message_kind { MESSAGE_CHANGE, MESSAGE_RECEIPT, MESSAGE_NOTE };
int message_kind(struct span body, enum message_kind *ret, struct why *why);

/*
 * Notes are what daemons tell the tally (and each other) beside the flow:
 *
 *   merged   winnow: change `id` is now part of `into`
 *   shared   copier: change `into` was asked for on behalf of order `id` too
 *   beat     every daemon, every few seconds: that it lives, and what keeps it from working
 *   flush    mirrorctl -> control: a barrier begins; posters answer with `marker`
 *   marker   poster: everything that its journals held when `flush` came is published
 *   barrier  tally -> mirrorctl: how far the barrier is
 *   forget   mirrorctl -> tally: a poster that will not come back is not waited for
 *   probe    winnow -> the queue of its shard: whoever gets it is the active one
 *   unseen   poster: programs that no shim is in, and what was found to have changed, of one job
 */
enum note_kind {
	NOTE_MERGED,
	NOTE_SHARED,
	NOTE_BEAT,
	NOTE_FLUSH,
	NOTE_MARKER,
	NOTE_BARRIER,
	NOTE_FORGET,
	NOTE_UNSEEN,
	NOTE_PROBE,
	NOTE_KIND_COUNT
};

struct note {
	enum note_kind kind;
	/* merged: pairs of (id, into) */
	struct ident *merged; /* 2 * merged_count idents */
	size_t merged_count;
	/* beat and marker: who; the rest says how it goes */
	struct span stage; /* "poster", "winnow", … */
	struct span host;
	unsigned instance;
	uint32_t pid;
	uint64_t time_ns;
	struct span problem; /* what keeps it from working, in words, or empty */
	bool stopping;       /* the last beat of a clean stop: nothing left behind */
	bool active;         /* winnow: it has the shard */
	bool standby;        /* winnow: another one has it, this one is ready for it */
	uint64_t backlog;   /* poster: records not yet published; winnow: paths held; copier: orders
			       open */
	uint64_t dirty;     /* poster: files open for writing */
	uint64_t captured;  /* poster: records read so far; winnow: changes taken; copier: orders
			       done */
	uint64_t published; /* poster: changes; winnow: orders */
	uint64_t dropped;   /* poster: repeats and paths outside; winnow: merged */
	uint64_t lost;      /* poster: records known to be lost (overflow, torn, unnamed); winnow,
			       copier: messages that nobody can read */
	bool rescan;        /* poster: a rescan for lost records is still to come */
	/* beat of a poster: since `id` began, whatever happened to its processes;
	 * captured = told + noted + outside + unnamed */
	uint64_t told;    /* records that became changes */
	uint64_t noted;   /* that only say which files are open */
	uint64_t outside; /* of paths in no tree, or excluded */
	uint64_t unnamed; /* whose file has no name: counted as lost, too */
	uint64_t made;    /* changes, of records, of files that were left open, of rescans */
	uint64_t repeats; /* of these, left out because a later one says the same */
	/* flush, marker, barrier */
	struct ident flush; /* which barrier */
	bool now;           /* flush: winnows need not wait for quiet */
	bool journal;       /* flush: host has one, so its poster must answer, stopped or not */
	struct span reply;  /* flush: queue that wants the barrier notes */
	struct span job;    /* flush: only this batch job's changes, or empty */
	uint64_t waiting;   /* barrier: obligations still open */
	uint64_t failed;    /* barrier: failed orders */
	struct span silent; /* barrier: who has not answered, in words, or empty */
	bool reached;       /* barrier: everything before it is on the target */
	/* unseen, with host and job */
	struct ident id;          /* of the note: it may come twice; beat: of a poster's counts */
	uint64_t programs, found; /* since the note before */
};
void note_finish(struct note *note);
void message_encode_note(const struct note *note, struct buf *ret);
int message_decode_note(struct span body, struct note *ret, struct why *why);
