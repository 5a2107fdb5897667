/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror-tally: a copy of every change, every receipt and every note -> the ledger.
 *
 *   main.c      wiring: the queue, batches, barriers, the daemon's life
 *   metrics.c   the ledger's figures for a collector
 *   lib/flow/ledger*.c   what is counted, and what is still owed
 *
 * Messages are gathered into one transaction (BATCH of them, or what came within BATCH_NS) and
 * acknowledged after its commit.  When the ledger cannot be written they stay here and are tried
 * again: nothing is lost, the queue waits in the broker.  So it does behind a message of a newer
 * version: what that says may be owed, and a barrier must not be reached without it.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "flow/ledger.h"
#include "flow/place.h"
#include "flow/service.h"
#include "flow/topology.h"
#include "tally/metrics.h"

#define BATCH        1000
#define PREFETCH     4000
#define BATCH_NS     (100 * CLOCK_MS)
#define AGAIN_NS     CLOCK_S          /* after a ledger that could not be written */
#define BARRIER_NS   (200 * CLOCK_MS) /* how often a barrier is looked at */
#define BARRIER_PART 10               /* at most a tenth of the time: it counts what is open */
#define TELL_NS      CLOCK_S          /* how often its asker hears of it */
#define UNASKED_NS   (60 * CLOCK_S)   /* a barrier nobody asks about is over */
#define SWEEP_NS     (60 * CLOCK_S)
#define STEP_NS      (30 * CLOCK_S)  /* of the wall clock: more is no drift */
#define FAREWELL_NS  (50 * CLOCK_MS) /* for the last acknowledgements to leave */
#define BARRIERS_MAX 64
#define QUIET_NS     (10 * CLOCK_S) /* nothing heard for so long: is something lost? */
#define QUIET_MAX_NS (600 * CLOCK_S)
#define REMIND_MAX   100 /* obligations at once */

/* One message, decoded. */
struct entry {
	struct broker_delivery delivery;
	enum message_kind kind;
	union {
		struct change *change;
		struct receipt receipt;
		struct note note;
	};
};

struct tally {
	struct service *service;
	struct ledger *ledger;
	struct broker_consumer *consumer;
	struct entry entries[PREFETCH];
	size_t count;
	uint64_t taken;
	bool failing; /* the ledger cannot be written */
	char *metrics;
	struct loop_timer commit, publish, barrier, farewell;
	uint64_t swept_ns, told_ns;
	uint64_t wall_ns, steady_ns; /* when the ledger was written last, by both clocks */
	uint64_t heard_ns, quiet_ns; /* of changes, receipts and merges; how long is too long */
	struct ident reached;        /* told at once that it is reached */
};

static void entry_finish(struct entry *entry)
{
	switch (entry->kind) {
	case MESSAGE_CHANGE:
		change_destroy(entry->change);
		break;
	case MESSAGE_RECEIPT:
		receipt_finish(&entry->receipt);
		break;
	case MESSAGE_NOTE:
		note_finish(&entry->note);
		break;
	}
}

static int entry_decode(struct span body, struct entry *ret, struct why *why)
{
	int r = message_kind(body, &ret->kind, why);
	if (r < 0) {
		return r;
	}
	switch (ret->kind) {
	case MESSAGE_CHANGE:
		return message_decode_change(body, &ret->change, why);
	case MESSAGE_RECEIPT:
		return message_decode_receipt(body, &ret->receipt, why);
	case MESSAGE_NOTE:
		return message_decode_note(body, &ret->note, why);
	}
	return -EBADMSG;
}

/* --- the ledger --------------------------------------------------------------------------- */

static int write_entry(struct tally *tally, const struct entry *entry, struct why *why)
{
	struct span rel;
	switch (entry->kind) {
	case MESSAGE_CHANGE:
		return ledger_saw(tally->ledger, entry->change, why);
	case MESSAGE_NOTE:
		return ledger_note(tally->ledger, &entry->note, why);
	case MESSAGE_RECEIPT:
		break;
	}
	const struct tree *tree = config_tree(tally->service->config, entry->receipt.path, &rel);
	return ledger_settled(tally->ledger, &entry->receipt,
		tree ? span_str(tree->source.path) : SPAN_NONE, why);
}

struct ending {
	uint64_t wall_ns;
	struct ident flush[BARRIERS_MAX];
	size_t count;
};

static int find_unasked(void *arg, struct ident flush, uint64_t asked_ns)
{
	struct ending *ending = arg;
	if (asked_ns + UNASKED_NS < ending->wall_ns && ending->count < BARRIERS_MAX) {
		ending->flush[ending->count++] = flush;
	}
	return 0;
}

static int sweep(struct tally *tally, struct why *why)
{
	struct ending ending = {.wall_ns = clock_wall()};
	int r = ledger_sweep(tally->ledger, why);
	r = r < 0 ? r : ledger_each_barrier(tally->ledger, find_unasked, &ending, why);
	for (size_t i = 0; i < ending.count && r == 0; i++) {
		r = ledger_barrier_end(tally->ledger, ending.flush[i], why);
	}
	return r;
}

/* At the start, too, nobody knows how far the clock and the daemons have gone meanwhile. */
static int begin_batch(struct tally *tally, struct why *why)
{
	uint64_t wall_ns = clock_wall(), steady_ns = clock_now();
	bool stepped = wall_ns - tally->wall_ns > steady_ns - tally->steady_ns + STEP_NS &&
		       wall_ns > tally->wall_ns;
	int r = ledger_begin(tally->ledger, wall_ns, why);
	if (r == 0 && stepped) {
		r = ledger_clock_unsure(tally->ledger, why);
	}
	if (r == 0) {
		tally->wall_ns = wall_ns;
		tally->steady_ns = steady_ns;
	}
	return r;
}

static int write_batch(struct tally *tally, bool sweeping, struct why *why)
{
	int r = begin_batch(tally, why);
	for (size_t i = 0; i < tally->count && r == 0; i++) {
		r = write_entry(tally, &tally->entries[i], why);
	}
	if (r == 0 && sweeping) {
		r = sweep(tally, why);
	}
	return r < 0 ? r : ledger_commit(tally->ledger, why);
}

static void forget_batch(struct tally *tally, bool ack)
{
	for (size_t i = 0; i < tally->count; i++) {
		if (ack) {
			broker_ack(tally->service->broker, tally->entries[i].delivery);
		}
		entry_finish(&tally->entries[i]);
	}
	tally->count = 0;
}

static void set_failing(struct tally *tally, const struct why *why)
{
	if (why) {
		service_problem(tally->service, "%s", why->text);
	} else if (tally->failing) {
		service_problem(tally->service, NULL);
	}
	tally->failing = why;
}

static void commit(void *arg)
{
	struct tally *tally = arg;
	struct why why = {""};
	bool sweeping = clock_now() >= tally->swept_ns + SWEEP_NS;
	loop_timer_stop(&tally->commit);
	if (tally->count == 0 && !sweeping) {
		return;
	}
	int r = write_batch(tally, sweeping, &why);
	if (r < 0) {
		ledger_rollback(tally->ledger);
		set_failing(tally, &why);
		loop_timer_set(&tally->commit, clock_now() + AGAIN_NS);
		return;
	}
	set_failing(tally, NULL);
	tally->swept_ns = sweeping ? clock_now() : tally->swept_ns;
	forget_batch(tally, true);
}

static void on_message(void *arg, struct broker_delivery delivery, struct span body)
{
	struct tally *tally = arg;
	struct entry entry = {.delivery = delivery};
	struct why why;
	if (tally->service->kept) {
		return; /* stands behind a message that has to come first */
	}
	int r = entry_decode(body, &entry, &why);
	if (r == -EPROTONOSUPPORT) {
		service_keep(tally->service, &why);
		return;
	}
	if (r < 0) {
		/* The winnow says so too where it concerns a change: here it is not counted. */
		log_warning("not counted, unreadable: %s", why.text);
		broker_ack(tally->service->broker, delivery);
		return;
	}
	if (tally->count == PREFETCH) { /* more than was asked for */
		entry_finish(&entry);
		broker_requeue(tally->service->broker, delivery);
		return;
	}
	tally->taken++;
	if (entry.kind != MESSAGE_NOTE || entry.note.kind == NOTE_MERGED) {
		tally->heard_ns = clock_now();
	}
	tally->entries[tally->count++] = entry;
	if (tally->count >= BATCH && !tally->failing) {
		commit(tally);
	} else if (tally->commit.deadline_ns == CLOCK_NEVER) {
		loop_timer_set(&tally->commit, clock_now() + BATCH_NS);
	}
}

/* What is not committed will be delivered again. */
static void on_lost(void *arg)
{
	struct tally *tally = arg;
	forget_batch(tally, false);
	service_kept_void(tally->service);
}

/* --- barriers ----------------------------------------------------------------------------- */

struct telling {
	struct tally *tally;
	uint64_t wall_ns;
	bool all; /* not only those that are reached */
};

static void reply(struct tally *tally, const struct note *note)
{
	CLEANUP(buf_finish) struct buf body = BUF_EMPTY;
	message_encode_note(note, &body);
	if (!body.failed) {
		/* Said again in a second; so where there is no room, nothing is lost. */
		(void)broker_publish(
			tally->service->broker, "", note->reply, buf_span(&body), NULL, NULL);
	}
}

static int tell(void *arg, struct ident flush, uint64_t asked_ns)
{
	struct telling *telling = arg;
	struct note note;
	struct why why;
	int r = ledger_barrier_state(telling->tally->ledger, flush, telling->wall_ns, &note, &why);
	if (r < 0) {
		log_warning("barrier: %s", why.text);
		return 0;
	}
	bool news = note.reached && !ident_equal(telling->tally->reached, flush);
	if (telling->all || news) {
		reply(telling->tally, &note);
	}
	telling->tally->reached = news ? flush : telling->tally->reached;
	note_finish(&note);
	return 0;
}

/* --- what nobody else remembers ----------------------------------------------------------- */

struct reminding {
	struct tally *tally;
	unsigned count;
};

/* The same id once more: whoever has it still passes over it. */
static int remind(void *arg, struct ident id, struct span path, uint64_t time_ns)
{
	struct reminding *reminding = arg;
	const struct service *service = reminding->tally->service;
	struct change *change = path.len ? change_create() : NULL;
	reminding->count++;
	if (!change) {
		return 0;
	}
	change->id = id;
	change->op = CHANGE_LOOK;
	change->facts = CHANGE_DEEP | CHANGE_DELETE | CHANGE_SOON;
	change->time_ns = time_ns;
	int r = change_set(&change->path, path) ||
		change_set(&change->host, span_str(place_host()));
	if (r == 0) {
		r = topology_publish_change(service->config, service->broker, change, NULL, NULL);
	}
	change_destroy(change);
	return r;
}

/*
 * A copier that is killed may have published changes that the broker handed to the tally's queue
 * and not to the winnow's: they were not confirmed, so the order that they came of is done again,
 * and nothing is lost but the answer.  When nothing moves any more, what is open is asked for,
 * more and more rarely: it may as well be waiting for a retry.
 */
static void remind_if_quiet(struct tally *tally, uint64_t now)
{
	struct reminding reminding = {.tally = tally};
	struct why why;
	if (now < tally->heard_ns + tally->quiet_ns) {
		return;
	}
	if (ledger_each_open(tally->ledger, REMIND_MAX, remind, &reminding, &why) < 0) {
		log_warning("what is open: %s", why.text);
	}
	uint64_t longer = 2 * tally->quiet_ns;
	tally->quiet_ns = reminding.count == 0    ? QUIET_NS
			  : longer < QUIET_MAX_NS ? longer
						  : QUIET_MAX_NS;
	tally->heard_ns = now;
}

/* Also those that are reached go on being told, until their asker has gone. */
static void on_barrier(void *arg)
{
	struct tally *tally = arg;
	uint64_t now = clock_now();
	struct telling telling = {
		.tally = tally, .wall_ns = clock_wall(), .all = now >= tally->told_ns + TELL_NS};
	struct why why;
	if (telling.all) {
		tally->told_ns = now;
	}
	if (ledger_each_barrier(tally->ledger, tell, &telling, &why) < 0) {
		log_warning("barriers: %s", why.text);
	}
	remind_if_quiet(tally, now);
	uint64_t after = clock_now(), pause = (after - now) * BARRIER_PART;
	loop_timer_set(&tally->barrier, after + (pause < BARRIER_NS ? BARRIER_NS : pause));
}

/* --- the daemon's life -------------------------------------------------------------------- */

static void on_publish(void *arg)
{
	struct tally *tally = arg;
	const struct config *config = tally->service->config;
	struct why why;
	if (metrics_write(tally->ledger, config->mirror, tally->metrics, &why) < 0) {
		log_warning("metrics: %s", why.text);
	}
	commit(tally);
	loop_timer_set(&tally->publish, clock_now() + config->tally.interval_ns);
}

static void on_farewell(void *arg)
{
	struct tally *tally = arg;
	service_stop(tally->service);
}

static int open_files(struct tally *tally, struct why *why)
{
	const struct config *config = tally->service->config;
	CLEANUP(free_p) char *directory = place_state(config->mirror, NULL);
	CLEANUP(free_p) char *file = place_state(config->mirror, "tally.db");
	tally->metrics = config->tally.metrics ? strdup(config->tally.metrics)
					       : place_state(config->mirror, "metrics.txt");
	if (!directory || !file || !tally->metrics) {
		return -ENOMEM;
	}
	int r = place_make(directory, why);
	r = r < 0 ? r : ledger_open(file, true, &tally->ledger, why);
	return r == -ENOSPC || r == -EBUSY ? -EAGAIN : r;
}

static int setup(struct service *service, struct why *why)
{
	struct topology_name queue = topology_queue(service->config, "tally");
	struct tally *tally = calloc(1, sizeof(*tally));
	if (!tally) {
		return -ENOMEM;
	}
	service->state = tally;
	tally->service = service;
	tally->heard_ns = clock_now();
	tally->quiet_ns = QUIET_NS;
	loop_timer_init(&tally->commit, service->loop, commit, tally);
	loop_timer_init(&tally->publish, service->loop, on_publish, tally);
	loop_timer_init(&tally->barrier, service->loop, on_barrier, tally);
	loop_timer_init(&tally->farewell, service->loop, on_farewell, tally);
	int r = open_files(tally, why);
	if (r < 0) {
		return r;
	}
	loop_timer_set(&tally->publish, clock_now());
	loop_timer_set(&tally->barrier, clock_now());
	return broker_consume(service->broker, queue.text, NULL, 0, PREFETCH, on_message, on_lost,
		tally, &tally->consumer);
}

/* What it publishes about itself waits behind the message that it keeps. */
static void note_here(struct tally *tally, const struct note *beat)
{
	struct why why;
	int r = ledger_begin(tally->ledger, clock_wall(), &why);
	r = r < 0 ? r : ledger_beat(tally->ledger, beat, &why);
	r = r < 0 ? r : ledger_commit(tally->ledger, &why);
	if (r < 0) {
		ledger_rollback(tally->ledger);
		log_warning("how it goes: %s", why.text);
	}
}

static void beat(struct service *service, struct note *note)
{
	struct tally *tally = service->state;
	note->backlog = tally->count;
	note->captured = tally->taken;
	if (service->kept) {
		note_here(tally, note);
	}
}

/*
 * The consumer stays until the connection ends: cancelled, another tally would be served what
 * comes next while this one still holds what came before, and the ledger relies on the order.
 */
static void drain(struct service *service)
{
	struct tally *tally = service->state;
	commit(tally);
	loop_timer_set(&tally->farewell, clock_now() + FAREWELL_NS);
}

static void finish(struct service *service)
{
	struct tally *tally = service->state;
	if (tally) {
		forget_batch(tally, false);
		ledger_close(tally->ledger);
		free(tally->metrics);
		free(tally);
	}
}

int main(int argc, char **argv)
{
	static const struct service_stage stage = {
		.name = "tally",
		.summary =
			"count what was asked and done, and tell when everything is on the target",
		.setup = setup,
		.beat = beat,
		.drain = drain,
		.finish = finish,
	};
	return service_main(&stage, argc, argv);
}
