/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the broker share among themselves.
 *
 *   broker.c           two links that reconnect; the state that is told
 *   broker-publish.c   publisher: the window, confirms, what was not taken
 *   broker-consume.c   consumers: channels, open deliveries, acknowledgements
 *   broker-session.c   a blocking connection for commands
 *   broker-url.c       amqps://user:password@host:port/vhost
 *   broker-carrier.c             one AMQP connection;  stream.c  TCP and TLS;  resolve.c  names
 */
#pragma once

#include "flow/broker-carrier.h"

/* ---- a link: one connection that comes back ------------------------------------------------ */

struct link {
	struct broker *broker;
	const struct carrier_events *events; /* arg is the broker */
	const char *purpose;                 /* "publish", for the connection's name */
	struct carrier *carrier;             /* NULL: waiting to try again */
	size_t node;                         /* of the broker's nodes: which one it is with */
	bool up;                             /* set by link_is_up() */
	uint64_t since_ns;                   /* up since */
	unsigned attempts;                   /* in vain, in a row */
	struct loop_timer retry;
	struct why why;
};

/* Everything that has to be set up stands. */
void link_is_up(struct link *link);
/* The link's carrier has closed: drops it and tries again later. */
void link_is_down(struct link *link, const char *words);

/* ---- publisher --------------------------------------------------------------------------- */

struct message {
	struct message *next;
	struct span exchange, routing_key, body; /* behind this struct */
	broker_confirmed_fn fn;
	void *arg;
	bool returned; /* no queue took it: the confirm that follows means nothing */
	bool refused;  /* at least once; counted in untaken_count */
};

struct message_list {
	struct message *head, **tail;
};

#define PUBLISH_RING 4096 /* confirms may come in any order within this many tags */

struct publisher {
	struct message_list waiting;        /* to be sent, in order */
	struct message_list refused;        /* to be sent again after a pause */
	struct message *sent[PUBLISH_RING]; /* by tag */
	uint64_t first_tag, next_tag;       /* oldest not confirmed; next to be sent */
	size_t count, bytes;                /* of all that is not confirmed */
	bool wants_room;
	loop_fn room_fn;
	void *room_arg;
	struct loop_timer pump, room, again;
	size_t untaken_count;        /* messages refused and not confirmed since */
	struct why blocked, untaken; /* "" or what keeps messages from being taken */
};

extern const struct carrier_events publisher_events;
void publisher_init(struct broker *broker);
void publisher_finish(struct broker *broker);
/* The connection is gone: what was sent has to be sent again. */
void publisher_reset(struct broker *broker);

/* ---- consumers --------------------------------------------------------------------------- */

extern const struct carrier_events consumer_events;
void consumers_init(struct broker *broker);
void consumers_finish(struct broker *broker);
void consumers_reset(struct broker *broker);

struct broker {
	struct loop *loop;
	struct broker_options options;
	char name[64];
	struct link publish, consume;
	struct publisher publisher;
	struct broker_consumer *consumers[CARRIER_CHANNELS]; /* by channel */
	unsigned consumer_count;
	uint32_t epoch;           /* of the consuming connection */
	bool logged_in;           /* the consuming connection can be written to */
	struct loop_timer settle; /* sends acknowledgements */
	struct loop_timer tell;
	bool told_up;
	struct why told;
};

/* Something that the state depends on has changed. */
void broker_changed(struct broker *broker);
