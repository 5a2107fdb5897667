/* SPDX-License-Identifier: Apache-2.0 */
#include "poster/barrier.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "flow/message.h"
#include "flow/place.h"
#include "flow/topology.h"

#define PREFETCH 64

struct barrier {
	struct barrier *next;
	struct ident flush;
	uint64_t head;   /* to be read up to here */
	bool dead_found; /* when that was read; then head is further on */
	bool read;       /* and what dead writers left, too */
	bool published;  /* up to mark */
	uint64_t mark;
	uint64_t stage; /* ready()'s */
};

static bool is_known(const struct barriers *barriers, struct ident flush)
{
	for (const struct barrier *b = barriers->first; b; b = b->next) {
		if (ident_equal(b->flush, flush)) {
			return true;
		}
	}
	return false;
}

static void begin(struct barriers *barriers, struct ident flush)
{
	struct barrier *barrier = is_known(barriers, flush) ? NULL : calloc(1, sizeof(*barrier));
	if (!barrier) {
		return;
	}
	barrier->flush = flush;
	barrier->head = journal_head(barriers->journal);
	barrier->next = barriers->first;
	barriers->first = barrier;
	barriers->wake(barriers->wake_arg);
}

static void deliver(void *arg, struct broker_delivery delivery, struct span body)
{
	struct barriers *barriers = arg;
	enum message_kind kind;
	struct note note = {0};
	struct why why = {""};
	int r = message_kind(body, &kind, &why);
	if (r == 0 && kind == MESSAGE_NOTE) {
		r = message_decode_note(body, &note, &why);
	}
	if (r < 0) {
		log_warning("a control message cannot be read: %s", why.text);
	} else if (kind == MESSAGE_NOTE && note.kind == NOTE_FLUSH) {
		begin(barriers, note.flush);
	}
	note_finish(&note);
	broker_ack(barriers->broker, delivery);
}

int barriers_open(struct barriers *barriers)
{
	struct topology_name control = topology_exchange(barriers->config, "control");
	const char *exchanges[] = {control.text};
	return broker_consume(barriers->broker, NULL, exchanges, 1, PREFETCH, deliver, NULL,
		barriers, &barriers->consumer);
}

static void drop_first(struct barrier **at)
{
	struct barrier *barrier = *at;
	*at = barrier->next;
	free(barrier);
}

void barriers_close(struct barriers *barriers)
{
	while (barriers->first) {
		drop_first(&barriers->first);
	}
}

void barriers_renewed(struct barriers *barriers)
{
	for (struct barrier *barrier = barriers->first; barrier; barrier = barrier->next) {
		barrier->head = 0;
	}
}

bool barriers_wait(const struct barriers *barriers)
{
	return barriers->first;
}

static int publish_marker(struct barriers *barriers, const struct barrier *barrier)
{
	struct note note = {.kind = NOTE_MARKER,
		.stage = SPAN("poster"),
		.host = span_str(place_host()),
		.pid = (uint32_t)getpid(),
		.time_ns = clock_wall(),
		.flush = barrier->flush};
	return topology_publish_note(barriers->config, barriers->broker, &note, NULL, NULL);
}

/*
 * Whether all is read.  Who had died before the flush is buried before what is open is published:
 * the other way round his files would be published twice, the second time behind the marker.
 */
static int read_all(struct barriers *barriers, struct barrier *barrier, bool read_out)
{
	if (barrier->read || !read_out || journal_cursor(barriers->journal) < barrier->head) {
		return 0;
	}
	barrier->read = barrier->dead_found;
	if (barrier->dead_found) {
		return 0;
	}
	barrier->dead_found = true;
	int r = barriers->find_dead(barriers->find_dead_arg);
	barrier->head = journal_head(barriers->journal);
	return r;
}

/* One step of one barrier: 1 when it is answered. */
static int step(struct barriers *barriers, struct barrier *barrier, bool read_out,
	barrier_ready_fn ready, void *arg)
{
	int found = read_all(barriers, barrier, read_out);
	if (found < 0) {
		return found;
	}
	if (barrier->read && !barrier->published) {
		int r = ready(arg, &barrier->stage);
		if (r != 0) {
			return r < 0 ? r : 0;
		}
		barrier->published = true;
		barrier->mark = outbox_mark(barriers->outbox);
	}
	if (!barrier->published || !outbox_done(barriers->outbox, barrier->mark)) {
		return 0;
	}
	barriers->answering(barriers->answering_arg);
	int r = publish_marker(barriers, barrier);
	return r == BROKER_FULL ? 0 : r < 0 ? r : 1;
}

int barriers_step(struct barriers *barriers, bool read_out, barrier_ready_fn ready, void *arg)
{
	struct barrier **at = &barriers->first;
	while (*at) {
		int r = step(barriers, *at, read_out, ready, arg);
		if (r < 0) {
			return r;
		}
		if (r > 0) {
			drop_first(at);
		} else {
			at = &(*at)->next;
		}
	}
	return 0;
}
