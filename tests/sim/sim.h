/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One simulated world: processes change S, and the real cores of poster, winnow and copier mirror
 * it to T, in virtual time, over a broker and sides that are models.
 *
 *   writers.c ─▶ S ─▶ records ─▶ poster.c: translate ─▶ broker ─▶ winnow.c: window ─▶ broker
 *     ─▶ copier.c: errands, reconcile ─▶ model-side.c ─▶ T;  all ─▶ tally.c: ledger
 *
 * Everything that the order of events depends on comes from the dice: latencies of requests and
 * messages, deaths, broken connections.  So a seed repeats a run exactly.
 */
#pragma once

#include "check-sim.h"
#include "core/clock.h"
#include "core/journal.h"
#include "flow/broker.h"
#include "flow/change.h"
#include "flow/config.h"
#include "flow/loop.h"
#include "model-fs.h"

#define SIM_SHARDS_MAX  2
#define SIM_COPIERS_MAX 3

struct sim_options {
	uint64_t seed;
	bool faults;   /* deaths, broken connections, messages twice */
	bool remote;   /* T is behind SFTP */
	bool pull;     /* S is */
	bool coherent; /* S is a local file system */
	bool hasty;    /* all within a second, and of one size */
	bool symlinks; /* programs go by way of them */
	bool trace;
	unsigned writers, operations, copiers, shards;
};

struct sim {
	struct sim_options options;
	struct config config;
	struct tree tree;
	struct loop *loop;
	struct fs s, t;
	bool quiet;       /* writers have ended, nothing breaks any more */
	unsigned writing; /* writers at work */
	bool held_still;  /* they wait for a flush */
	uint64_t early;   /* differences when a flush was over */
	uint64_t ghosts;  /* requests of broken connections that servers still have */
	uint64_t failed;  /* receipts */
	uint64_t left;    /* temporary names in T at the end */
	uint64_t escapes; /* requests that led out of T */
	uint64_t steps, orders, changes;
};
extern struct sim sim;

void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Calls fn after so long; before: never in less than the least. */
void sim_after(uint64_t delay_ns, loop_fn fn, void *arg);
/* Most often a little, now and then much. */
uint64_t sim_latency(void);

/* writers.c */
void writers_start(void);

/* poster.c */
void poster_start(void);
void poster_kill(void);
void poster_append(const struct record *record); /* copies */
void poster_died(uint32_t pid);
/* All that is open, all that is missing; then the flush is answered, where it has a number. */
void poster_flush(struct ident flush);
bool poster_idle(void);

/* winnow.c */
void winnow_start(unsigned shard);
void winnow_kill(unsigned shard);
bool winnow_idle(void);
void winnow_deliver(unsigned shard, struct change *change, struct broker_delivery delivery);
void winnow_answer(unsigned shard, struct span path, struct ident id);

/* copier.c */
void copier_start(unsigned i);
void copier_kill(unsigned i);
bool copier_idle(void);
void copier_deliver(unsigned i, struct change *order, bool bulk, struct broker_delivery delivery);
void copier_break(unsigned i);

/* tally.c */
void tally_start(void);
void tally_hear(struct span body); /* in the order of its queue */
bool tally_idle(void);
/* Whether all changes are accounted for, and none is owed; tells what is not. */
unsigned tally_check(void);

/*
 * model-broker.c: a client is one process's connection.  Deliveries that a dead one had not
 * settled come again.  Messages overtake each other, and now and then come twice.
 */
struct broker;
struct broker *client_create(void);
void client_kill(struct broker *client);
/* The consumers; NULL: nobody. */
void broker_attach_winnow(unsigned shard, struct broker *client);
void broker_attach_copier(unsigned i, struct broker *client);
bool broker_idle(void);

/* model-side.c */
struct side;
struct side *model_side(struct fs *fs, bool remote, const char *name);
/* All requests under way are lost for the client; the server may still have them. */
void model_side_break(struct side *side);
/* The same, when whoever asked is dead. */
void model_side_abandon(struct side *side);

/* compare.c; with_repeats: what was done already may be done once more, which for a moment changes
 * a directory's mtime and tears names of one file apart (docs/LIMITS.md) */
unsigned sim_compare(bool with_repeats);
