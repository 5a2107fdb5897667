/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror-winnow: changes -> orders, one shard.
 *
 *   main.c      wiring: queues, clock, the daemon's life
 *   window.c    what is decided: when a path is quiet, what is acknowledged when
 *     heap.c      paths by the time when they are due
 *     batch.c     merged notes in the making
 *
 * Nothing is kept here: what is held stays un-acknowledged in the broker and comes back, here or
 * to another process that is ready for this shard.
 *
 * Of all winnows of a shard the broker serves one, and tells none of them which.  So whoever has
 * got nothing yet sends a probe through the shard's queue with each beat: it comes to the active
 * one, and who sees none of his own come back stands by.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "flow/service.h"
#include "flow/topology.h"
#include "winnow/window.h"

#define ANSWERS_PREFETCH 1000
#define PROBE_NS         (2 * CLOCK_S)    /* so long after its confirm a probe has arrived */
#define FAREWELL_NS      (200 * CLOCK_MS) /* for the broker to write down what it was told last */
#define LOOK_NS          (20 * CLOCK_MS)  /* how often it is looked at whether all is told */

DEFINE_CLEANUP(struct change *, change_destroy)

/* One per process; confirms come back with a ticket and nothing else. */
static struct winnow {
	struct service *service;
	struct window *window;
	struct broker_consumer *changes, *answers;
	struct loop_timer due, farewell;
	uint64_t unreadable;
	bool active;        /* deliveries have come over this connection */
	uint64_t probed_ns; /* when the broker had the first probe of this connection, or 0 */
	bool told;          /* stopping: there was nothing left to be told */
	bool paused;        /* no room to pass on what belongs to another shard */
} winnow;

/* --- carrying out what the window says ---------------------------------------------------- */

static void pump(void);

static void on_noted(void *ticket)
{
	window_noted(winnow.window, ticket);
	pump();
}

static void on_ordered(void *ticket)
{
	window_ordered(winnow.window, ticket);
	pump();
}

/* The returns of broker_publish(). */
static int act(const struct window_action *action)
{
	const struct config *config = winnow.service->config;
	struct broker *broker = winnow.service->broker;
	struct note note = {.kind = NOTE_MERGED,
		.merged = (struct ident *)action->merged,
		.merged_count = action->merged_count};
	switch (action->kind) {
	case WINDOW_ACK:
		broker_ack(broker, action->delivery);
		return 0;
	case WINDOW_NOTE:
		return topology_publish_note(config, broker, &note, on_noted, action->ticket);
	case WINDOW_ORDER:
		return topology_publish_order(
			config, broker, action->order, on_ordered, action->ticket);
	}
	return -EINVAL;
}

/* Stopping: only what is confirmed already is acknowledged, the rest stays in the broker. */
static void pump(void)
{
	struct window_action action;
	bool stopping = winnow.service->stopping;
	while (window_next(winnow.window, clock_now(), &action) == 0) {
		if (stopping && action.kind != WINDOW_ACK) {
			break;
		}
		int r = act(&action);
		if (r == BROKER_FULL) {
			return; /* goes on when there is room */
		}
		if (r < 0) {
			log_error("publish: %s", strerror(-r));
			loop_timer_set(&winnow.due, clock_now() + CLOCK_S);
			return;
		}
		window_took(winnow.window, &action);
	}
	if (!stopping) {
		loop_timer_set(&winnow.due, window_deadline(winnow.window));
	}
}

static void on_due(void *arg)
{
	pump();
}

static void on_room(void *arg)
{
	if (winnow.paused && !winnow.service->stopping) {
		winnow.paused = false;
		broker_consumer_resume(winnow.changes);
	}
	pump();
}

/* --- which of the winnows of this shard --------------------------------------------------- */

static void on_probed(void *arg)
{
	winnow.probed_ns = winnow.probed_ns ? winnow.probed_ns : clock_now();
}

static void probe(void)
{
	struct service *service = winnow.service;
	struct topology_name queue =
		topology_shard_queue(service->config, "changes", service->instance);
	struct note note = {.kind = NOTE_PROBE};
	CLEANUP(buf_finish) struct buf body = BUF_EMPTY;
	message_encode_note(&note, &body);
	if (!body.failed && broker_unconfirmed(service->broker) == 0) {
		(void)broker_publish(service->broker, "", span_str(queue.text), buf_span(&body),
			on_probed, NULL);
	}
}

static void set_active(void)
{
	if (!winnow.active) {
		winnow.active = true;
		log_info("active");
		service_beat(winnow.service);
	}
}

static bool stands_by(void)
{
	return !winnow.active && winnow.probed_ns && clock_now() >= winnow.probed_ns + PROBE_NS;
}

/* A note among the changes; what else cannot be one is nobody's. */
static bool is_probe(struct span body)
{
	enum message_kind kind;
	struct note note = {.kind = NOTE_PROBE};
	bool is = message_kind(body, &kind, NULL) == 0 && kind == MESSAGE_NOTE &&
		  message_decode_note(body, &note, NULL) == 0 && note.kind == NOTE_PROBE;
	note_finish(&note);
	return is;
}

/* --- what comes in ------------------------------------------------------------------------ */

/*
 * What a newer version has written is kept.  The rest anybody with rights at the broker can post:
 * it must neither block the shard nor look so.
 */
static void unreadable(
	struct broker_delivery delivery, const char *what, int error, const struct why *why)
{
	if (error == -EPROTONOSUPPORT) {
		service_keep(winnow.service, why);
		return;
	}
	log_warning("%s that nobody can read is dropped (%llu so far): %s", what,
		(unsigned long long)++winnow.unreadable, why->text);
	broker_ack(winnow.service->broker, delivery);
}

static void on_passed_on(void *arg)
{
	struct broker_delivery *passed = arg;
	broker_ack(winnow.service->broker, *passed);
	free(passed);
}

/* Posted by a peer that shards in its own way: receipts would go to the path's own shard. */
static void pass_on(const struct change *change, struct broker_delivery delivery)
{
	struct service *service = winnow.service;
	struct broker_delivery *passed = malloc(sizeof(*passed));
	int r = -ENOMEM;
	if (passed) {
		*passed = delivery;
		r = topology_publish_change(
			service->config, service->broker, change, on_passed_on, passed);
	}
	if (r) {
		free(passed);
		broker_requeue(service->broker, delivery);
		winnow.paused = true;
		broker_consumer_pause(winnow.changes);
	}
}

static void on_change(void *arg, struct broker_delivery delivery, struct span body)
{
	const struct config *config = winnow.service->config;
	CLEANUP(change_destroy_p) struct change *change = NULL;
	struct why why;
	int r = message_decode_change(body, &change, &why);
	set_active();
	if (r == -EBADMSG && is_probe(body)) {
		broker_ack(winnow.service->broker, delivery);
		return;
	}
	if (r == -EBADMSG || r == -EPROTONOSUPPORT) {
		unreadable(delivery, "a change", r, &why);
		return;
	}
	if (r == 0 && message_shard(change->path, (unsigned)config->winnow.shards) !=
			      winnow.service->instance) {
		pass_on(change, delivery);
		return;
	}
	if (r == 0) {
		r = window_feed(winnow.window, STEAL(change), delivery, clock_now(), clock_wall());
	}
	if (r < 0) {
		log_error("hold a change: %s", strerror(-r));
		broker_requeue(winnow.service->broker, delivery);
	}
	pump();
}

static void take_receipt(struct broker_delivery delivery, struct span body)
{
	struct receipt receipt = {.status = RECEIPT_DONE};
	struct why why;
	int r = message_decode_receipt(body, &receipt, &why);
	if (r < 0) {
		unreadable(delivery, "a receipt", r, &why);
		return;
	}
	window_receipt(winnow.window, receipt.path, receipt.id);
	receipt_finish(&receipt);
	broker_ack(winnow.service->broker, delivery);
}

static void take_note(struct broker_delivery delivery, struct span body)
{
	struct note note = {.kind = NOTE_FLUSH};
	struct why why;
	int r = message_decode_note(body, &note, &why);
	if (r < 0) {
		unreadable(delivery, "a note", r, &why);
		return;
	}
	if (note.kind == NOTE_FLUSH && note.now) {
		window_flush(winnow.window, clock_now());
	}
	note_finish(&note);
	broker_ack(winnow.service->broker, delivery);
}

static void on_answer(void *arg, struct broker_delivery delivery, struct span body)
{
	enum message_kind kind;
	struct why why;
	int r = message_kind(body, &kind, &why);
	if (r < 0) {
		unreadable(delivery, "a message", r, &why);
	} else if (kind == MESSAGE_RECEIPT) {
		take_receipt(delivery, body);
	} else if (kind == MESSAGE_NOTE) {
		take_note(delivery, body);
	} else {
		broker_ack(winnow.service->broker, delivery);
	}
	pump();
}

/* Receipts may have been missed and everything held comes again: begin anew. */
static void on_lost(void *arg)
{
	window_drop(winnow.window);
	service_kept_void(winnow.service);
	winnow.active = false;
	winnow.probed_ns = 0;
	if (!winnow.service->stopping) {
		loop_timer_set(&winnow.due, CLOCK_NEVER);
	}
}

/* --- the daemon's life -------------------------------------------------------------------- */

/* Over when all is confirmed, and the broker has the acknowledgements. */
static void on_farewell(void *arg)
{
	struct broker *broker = winnow.service->broker;
	bool told = broker_unconfirmed(broker) == 0 && broker_consumer_rests(winnow.changes) &&
		    broker_consumer_rests(winnow.answers);
	if (!broker_is_up(broker) || (told && winnow.told)) {
		service_stop(winnow.service);
		return;
	}
	winnow.told = told;
	loop_timer_set(&winnow.farewell, clock_now() + (told ? FAREWELL_NS : LOOK_NS));
}

/* Answers first, so that no receipt of an order of ours can be missed. */
static int consume(struct service *service)
{
	const struct config *config = service->config;
	struct topology_name receipts =
		topology_shard_exchange(config, "receipts", service->instance);
	struct topology_name control = topology_exchange(config, "control");
	struct topology_name changes = topology_shard_queue(config, "changes", service->instance);
	const char *const exchanges[] = {receipts.text, control.text};
	int r = broker_consume(service->broker, NULL, exchanges, 2, ANSWERS_PREFETCH, on_answer,
		on_lost, NULL, &winnow.answers);
	return r < 0 ? r
		     : broker_consume(service->broker, changes.text, NULL, 0,
			       (unsigned)config->winnow.held, on_change, on_lost, NULL,
			       &winnow.changes);
}

static int setup(struct service *service, struct why *why)
{
	const struct config *config = service->config;
	if (service->instance >= config->winnow.shards) {
		return why_error(why, -EINVAL,
			"shard %u: winnow.shards is %llu, so expected 0 to %llu", service->instance,
			(unsigned long long)config->winnow.shards,
			(unsigned long long)config->winnow.shards - 1);
	}
	const struct window_options options = {
		config->delay_ns, config->max_delay_ns, config->winnow.in_flight};
	winnow.service = service;
	service->state = &winnow;
	loop_timer_init(&winnow.due, service->loop, on_due, NULL);
	loop_timer_init(&winnow.farewell, service->loop, on_farewell, NULL);
	int r = window_create(&options, &winnow.window);
	if (r < 0) {
		return r;
	}
	broker_on_room(service->broker, on_room, NULL);
	return consume(service);
}

static void beat(struct service *service, struct note *note)
{
	struct window_counts counts = window_counts(winnow.window);
	note->backlog = counts.held;
	note->captured = counts.taken;
	note->published = counts.orders;
	note->dropped = counts.merged;
	note->lost = winnow.unreadable;
	note->active = winnow.active;
	note->standby = stands_by();
	if (!winnow.active && !service->stopping) {
		probe();
	}
}

static void drain(struct service *service)
{
	loop_timer_stop(&winnow.due);
	broker_consumer_pause(winnow.changes);
	broker_consumer_pause(winnow.answers);
	pump();
	on_farewell(NULL);
}

static void finish(struct service *service)
{
	window_destroy(STEAL(winnow.window));
}

int main(int argc, char **argv)
{
	static const struct service_stage stage = {
		.name = "winnow",
		.summary =
			"hold changes of one shard until their paths are quiet, then order copies",
		.instances = true,
		.setup = setup,
		.beat = beat,
		.drain = drain,
		.finish = finish,
	};
	return service_main(&stage, argc, argv);
}
