/* SPDX-License-Identifier: Apache-2.0 */
#include "publish.h"

#include <errno.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/place.h"
#include "flow/topology.h"

#define CONFIRM_NS (30 * CLOCK_S)

struct ident publish_ident(void)
{
	static struct ident last;
	if (last.source == 0) {
		last.source = ident_source();
	}
	last.number++;
	return last;
}

struct change *publish_look(struct span path, unsigned facts)
{
	struct change *change = change_create();
	if (!change) {
		return NULL;
	}
	change->id = publish_ident();
	change->op = CHANGE_LOOK;
	change->facts = facts;
	change->time_ns = clock_wall();
	change->pid = (uint32_t)getpid();
	if (change_set(&change->path, path) < 0 ||
		change_set(&change->host, span_str(place_host())) < 0 ||
		change_set(&change->program, SPAN("mirrorctl")) < 0) {
		change_destroy(change);
		return NULL;
	}
	return change;
}

int publish_change(const struct config *config, struct broker_session *session,
	const struct change *change, struct why *why)
{
	CLEANUP(buf_finish) struct buf body = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf topic = BUF_EMPTY;
	unsigned shard = message_shard(change->path, (unsigned)config->winnow.shards);
	struct topology_name exchange = topology_shard_exchange(config, "changes", shard);
	message_encode_change(change, &body);
	message_topic(change->path, &topic);
	if (body.failed || topic.failed) {
		return why_error(why, -ENOMEM, "out of memory");
	}
	return broker_session_publish(session, exchange.text, buf_span(&topic), buf_span(&body),
		clock_now() + CONFIRM_NS, why);
}

int publish_note(const struct config *config, struct broker_session *session, const char *exchange,
	const struct note *note, struct why *why)
{
	CLEANUP(buf_finish) struct buf body = BUF_EMPTY;
	message_encode_note(note, &body);
	if (body.failed) {
		return why_error(why, -ENOMEM, "out of memory");
	}
	return broker_session_publish(session, topology_exchange(config, exchange).text,
		SPAN("mirrorctl"), buf_span(&body), clock_now() + CONFIRM_NS, why);
}
