/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be known about a mirror from this host, in one look: the supervisor, the ledger, the
 * broker's queues, this host's journals, and /proc.  What cannot be reached is told in words and
 * does not keep the rest from being known.
 */
#pragma once

#include <jansson.h>

#include "flow/config.h"
#include "flow/ledger.h"
#include "judge.h"
#include "procfs.h"

enum { STAGE_BROKER, STAGE_POSTER, STAGE_WINNOW, STAGE_COPIER, STAGE_TALLY, STAGE_COUNT };
extern const char *const gather_stages[STAGE_COUNT];

struct stage_view {
	unsigned wanted, ready; /* processes; those of other hosts by their beats */
	bool has_queue;
	uint64_t queued;  /* waiting for this stage */
	uint64_t backlog; /* what it has taken and not finished (beats) */
	uint64_t done;    /* ever, since its processes began (beats: captured) */
	uint64_t lag_ns;
	struct procfs_use use; /* on this host */
};

struct queue_view {
	char name[128];
	uint64_t messages;
	uint32_t consumers;
};
#define QUEUES_MAX 96

/* Which host's winnow has a shard, and whose are ready for it; "": nobody that is known. */
struct shard_view {
	char active[256];
	char standby[512]; /* "a, b" */
	uint64_t active_ns;
};
#define SHARDS_MAX 64

/* A batch job's figures; id is escaped. */
struct job_view {
	char id[160];
	uint64_t orders, unseen, found, last_ns;
	struct receipt_work work;
};
#define JOBS_MAX 64

#define PROBLEMS_MAX 32

struct view {
	const struct config *config;
	uint64_t now_ns;    /* wall */
	json_t *supervisor; /* its status, or NULL */
	bool stopped_flag;
	struct stage_view stages[STAGE_COUNT];
	struct ledger_summary sum;
	bool has_ledger, has_queues;
	struct queue_view queues[QUEUES_MAX];
	size_t queue_count;
	struct shard_view shards[SHARDS_MAX]; /* config->winnow.shards of them */
	struct job_view jobs[JOBS_MAX];       /* the latest */
	size_t job_count;
	uint64_t journal_bytes;    /* not read yet, of all places */
	uint64_t journal_since_ns; /* wall time of the first of them */
	uint64_t journal_dropped;
	uint64_t lost;
	uint64_t unreadable; /* messages that winnows and copiers have dropped */
	unsigned gone;       /* posters of other hosts, silent for long */
	char *problems[PROBLEMS_MAX];
	size_t problem_count;
	char down[256];         /* what is down */
	char oldest_path[1024]; /* escaped */
	struct facts facts;
	struct verdict verdict;
};

/* Never fails as a whole.  Caller finishes. */
void gather(const struct config *config, struct view *ret);
void gather_finish(struct view *view);

/* The ledger for reading; -ENOENT: there is none on this host. */
int gather_ledger(const struct config *config, struct ledger **ret, struct why *why);
/* A session with the mirror's broker. */
int gather_session(const struct config *config, uint64_t deadline_ns, struct broker_session **ret,
	struct why *why);
