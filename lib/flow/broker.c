/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link is a connection that comes back: after the n-th failure in a row it waits 0.2 s * 2^n,
 * at most 30 s, with a jitter of a quarter, so that hundreds of daemons do not knock at once.
 * Where the broker has several nodes, a failure means that all of them were tried, one after the
 * other with hardly a pause; each link begins with any of them, so that they share the load, and
 * the loss of one concerns few.
 * Only a link that stood for some seconds starts counting anew: a broker that accepts us and
 * then throws us out (a queue is missing) must not be asked five times a second.
 *
 * The state is told from a timer, once per turn of the loop and only when it differs.
 */
#include "flow/broker-parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/cleanup.h"
#include "core/clock.h"

#define RETRY_FIRST_NS (200 * CLOCK_MS)
#define RETRY_MOST_NS  (30 * CLOCK_S)
#define NEXT_NODE_NS   (50 * CLOCK_MS)
#define LINK_STEADY_NS (5 * CLOCK_S)

/* ---- the state --------------------------------------------------------------------------- */

static const char *state_words(const struct broker *broker)
{
	const struct publisher *publisher = &broker->publisher;
	if (!broker->publish.up || !broker->consume.up) {
		return broker->publish.why.text[0] ? broker->publish.why.text
						   : broker->consume.why.text;
	}
	return publisher->blocked.text[0] ? publisher->blocked.text : publisher->untaken.text;
}

static void tell(void *arg)
{
	struct broker *broker = arg;
	bool up = broker_is_up(broker);
	const char *words = state_words(broker);
	bool connecting = !up && !words[0];
	if (connecting || (up == broker->told_up && strcmp(words, broker->told.text) == 0)) {
		return;
	}
	broker->told_up = up;
	(void)why_error(&broker->told, 0, "%s", words);
	if (broker->options.state) {
		broker->options.state(broker->options.arg, up, broker->told.text);
	}
}

void broker_changed(struct broker *broker)
{
	(void)loop_timer_set(&broker->tell, 0);
}

bool broker_is_up(const struct broker *broker)
{
	return broker->publish.up && broker->consume.up;
}

const struct broker_url *broker_node(const struct broker *broker)
{
	return &broker->options.nodes.urls[broker->consume.node];
}

/* ---- links ------------------------------------------------------------------------------- */

static uint64_t any_number(void)
{
	uint64_t random = 0;
	(void)getrandom(&random, sizeof(random), GRND_NONBLOCK);
	return random;
}

/* After so many attempts in vain, at so many nodes. */
static uint64_t retry_pause(unsigned attempts, size_t nodes)
{
	size_t rounds = attempts / nodes - 1;
	uint64_t pause = RETRY_FIRST_NS << (rounds < 10 ? rounds : 10);
	if (attempts % nodes) {
		pause = NEXT_NODE_NS;
	} else if (pause > RETRY_MOST_NS) {
		pause = RETRY_MOST_NS;
	}
	return pause - any_number() % (pause / 4);
}

static void link_retry_later(struct link *link)
{
	size_t nodes = link->broker->options.nodes.count;
	link->node = (link->node + 1) % nodes;
	(void)loop_timer_set(&link->retry, clock_now() + retry_pause(++link->attempts, nodes));
}

static void link_connect(void *arg)
{
	struct link *link = arg;
	struct broker *broker = link->broker;
	char name[96];
	(void)snprintf(name, sizeof(name), "treemirror %s (%s)", broker->name, link->purpose);
	int r = carrier_create(broker->loop, &broker->options.nodes.urls[link->node], name,
		link->events, broker, &link->carrier, &link->why);
	if (r < 0) {
		broker_changed(broker);
		link_retry_later(link);
	}
}

void link_is_up(struct link *link)
{
	if (!link->up) {
		link->up = true;
		link->since_ns = clock_now();
		link->why.text[0] = '\0';
		broker_changed(link->broker);
	}
}

void link_is_down(struct link *link, const char *words)
{
	if (link->up && clock_now() - link->since_ns >= LINK_STEADY_NS) {
		link->attempts = 0;
	}
	link->up = false;
	(void)why_error(&link->why, 0, "%s", words);
	carrier_destroy(STEAL(link->carrier));
	link_retry_later(link);
	broker_changed(link->broker);
}

static void link_init(struct link *link, struct broker *broker, const char *purpose,
	const struct carrier_events *events)
{
	link->broker = broker;
	link->purpose = purpose;
	link->events = events;
	link->node = any_number() % broker->options.nodes.count;
	loop_timer_init(&link->retry, broker->loop, link_connect, link);
}

/* ---- life -------------------------------------------------------------------------------- */

DEFINE_CLEANUP(struct broker *, broker_destroy)

int broker_create(struct loop *loop, const struct broker_options *options, struct broker **ret)
{
	CLEANUP(broker_destroy_p) struct broker *broker = calloc(1, sizeof(*broker));
	if (!broker) {
		return -ENOMEM;
	}
	broker->loop = loop;
	broker->options = *options;
	(void)snprintf(broker->name, sizeof(broker->name), "%s", options->name);
	loop_timer_init(&broker->tell, loop, tell, broker);
	publisher_init(broker);
	consumers_init(broker);
	link_init(&broker->publish, broker, "publish", &publisher_events);
	link_init(&broker->consume, broker, "consume", &consumer_events);
	int r = loop_timer_set(&broker->publish.retry, 0);
	if (r == 0) {
		r = loop_timer_set(&broker->consume.retry, 0);
	}
	if (r < 0) {
		return r;
	}
	*ret = STEAL(broker);
	return 0;
}

void broker_destroy(struct broker *broker)
{
	if (!broker) {
		return;
	}
	loop_timer_stop(&broker->tell);
	loop_timer_stop(&broker->publish.retry);
	loop_timer_stop(&broker->consume.retry);
	carrier_destroy(broker->publish.carrier);
	carrier_destroy(broker->consume.carrier);
	publisher_finish(broker);
	consumers_finish(broker);
	explicit_bzero(&broker->options, sizeof(broker->options));
	free(broker);
}
