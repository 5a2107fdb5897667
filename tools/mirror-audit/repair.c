/* SPDX-License-Identifier: Apache-2.0 */
#include "repair.h"

#include <errno.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "flow/change.h"
#include "flow/message.h"
#include "flow/place.h"
#include "flow/topology.h"

#define LOGIN_NS   (10 * CLOCK_S)
#define CONFIRM_NS (30 * CLOCK_S)

DEFINE_CLEANUP(struct change *, change_destroy)

int repair_open(const struct config *config, struct repair *ret, struct why *why)
{
	struct broker_nodes nodes;
	*ret = (struct repair){.config = config};
	int r = config_broker(config, &nodes, why);
	return r < 0 ? r
		     : broker_session_open_any(&nodes, clock_now() + LOGIN_NS, &ret->session, why);
}

/* A directory that is missing, or stands where something else has to be, is asked for whole.  A
 * name that was left behind goes when its directory's entries are compared. */
static unsigned facts_of(const struct finding *finding)
{
	if (finding->left) {
		return CHANGE_DELETE;
	}
	bool whole = finding->source.attr.type == SIDE_DIRECTORY &&
		     finding->target.attr.type != SIDE_DIRECTORY;
	return CHANGE_FORCE | (whole ? CHANGE_DEEP : 0);
}

static struct span path_of(const struct finding *finding)
{
	return finding->left ? path_parent(finding->path) : finding->path;
}

static struct change *change_of(const struct finding *finding)
{
	static struct ident last;
	struct change *change = change_create();
	if (!change) {
		return NULL;
	}
	last.source = last.source ? last.source : ident_source();
	last.number++;
	change->id = last;
	change->op = CHANGE_LOOK;
	change->facts = facts_of(finding);
	change->time_ns = clock_wall();
	change->pid = (uint32_t)getpid();
	if (change_set(&change->path, path_of(finding)) < 0 ||
		change_set(&change->host, span_str(place_host())) < 0 ||
		change_set(&change->program, SPAN("mirror-audit")) < 0) {
		change_destroy(change);
		return NULL;
	}
	return change;
}

int repair_publish(struct repair *repair, const struct finding *finding, struct why *why)
{
	CLEANUP(change_destroy_p) struct change *change = change_of(finding);
	CLEANUP(buf_finish) struct buf body = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf topic = BUF_EMPTY;
	unsigned shard = message_shard(path_of(finding), (unsigned)repair->config->winnow.shards);
	struct topology_name exchange = topology_shard_exchange(repair->config, "changes", shard);
	if (!change) {
		return why_error(why, -ENOMEM, "out of memory");
	}
	message_encode_change(change, &body);
	message_topic(change->path, &topic);
	if (body.failed || topic.failed) {
		return why_error(why, -ENOMEM, "out of memory");
	}
	int r = broker_session_publish(repair->session, exchange.text, buf_span(&topic),
		buf_span(&body), clock_now() + CONFIRM_NS, why);
	repair->published += r == 0;
	return r;
}

void repair_close(struct repair *repair)
{
	if (repair->session) {
		broker_session_close(STEAL(repair->session));
	}
}
