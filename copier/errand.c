/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One order from its delivery to its outcome.
 *
 *   done        what the reconciler says
 *   blocked     the tree is not usable now (target gone, full, no connection): wait a little,
 *               then hand the order to a later queue without counting an attempt
 *   broken      the connection went away in the middle: again at once, and once more, forced,
 *               after `settle`, when no old server process can still be busy with what was asked
 *   error       later, with growing pauses; after the last one the order has failed, visibly
 *   unbegun     when the copier is to stop: whoever gets it need not think that anything was done
 */
#include "copier.h"

#include <errno.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "flow/place.h"
#include "reconcile.h"

#define BLOCKED_WAIT_NS (2 * CLOCK_S)
#define BLOCKED_TRIES   5 /* times that, then the order makes room for others */
#define PASSING_TRIES   3

void errand_destroy(struct errand *errand)
{
	job_finish(&errand->job);
	receipt_finish(&errand->receipt);
	change_destroy(errand->order);
	free(errand);
}

/* ---- slots -------------------------------------------------------------------------------- */

void slots_init(struct slots *slots, unsigned count)
{
	*slots = (struct slots){.free = count};
	slots->end = &slots->first;
	slots->later_end = &slots->later;
}

/* Whether there is one: when stopping, there is none for who would have to wait. */
static bool slot_take(struct errand *errand)
{
	struct slots *slots = errand->slots;
	errand->task = task_self();
	if (slots->closed) {
		return false;
	}
	if (slots->free) {
		slots->free--;
		errand->has_slot = true;
		return true;
	}
	errand->next = NULL;
	*slots->end = errand;
	slots->end = &errand->next;
	while (!errand->has_slot && !slots->closed) {
		task_wait();
	}
	return errand->has_slot;
}

void slots_close(struct slots *slots)
{
	struct errand *first = slots->first;
	slots->closed = true;
	slots->first = NULL;
	slots->end = &slots->first;
	for (; first; first = first->next) {
		task_wake(first->task);
	}
}

/* Hands the slot to who has waited longest.  Called again, it does nothing. */
static void slot_give(void *arg)
{
	struct errand *errand = arg;
	struct slots *slots = errand->slots;
	struct errand *next = slots->first;
	if (!errand->has_slot) {
		return;
	}
	errand->has_slot = false;
	if (!next) {
		slots->free++;
		return;
	}
	slots->first = next->next;
	if (!slots->first) {
		slots->end = &slots->first;
	}
	next->has_slot = true;
	task_wake(next->task);
}

/* ---- outcomes ----------------------------------------------------------------------------- */

/* What no single path is to blame for. */
static bool is_blocked(const struct job *job, int r)
{
	return job->blocked || r == -ENOSPC || r == -EDQUOT || r == -EROFS;
}

/* What an earlier try found and touched stays: it has to be told all the same. */
static void job_begin(struct errand *errand, bool again)
{
	struct job before = errand->job;
	errand->job = (struct job){
		.pair = before.pair,
		.order = errand->order,
		.rel = before.rel,
		.again = again,
		.detached = before.detached || again,
		.follows = before.follows,
		.follow_count = before.follow_count,
		.follow_room = before.follow_room,
		.touched = before.touched,
		.touched_count = before.touched_count,
		.hands = errand->copier->hands,
		.publish = settle_publish,
		.publish_arg = errand->copier,
		.idle = slot_give,
		.idle_arg = errand,
	};
}

/* The connection broke, or something was moved away between two steps. */
static bool is_passing(int r)
{
	return r == -ENOTCONN || r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EEXIST;
}

static int errand_try(struct errand *errand, bool *again)
{
	struct job *job = &errand->job;
	int r;
	unsigned tries = 0;
	do {
		job_begin(errand, *again);
		r = reconcile(job);
		*again = *again || (r == -ENOTCONN && !job->blocked) || job->left;
	} while (is_passing(r) && !job->blocked && ++tries < PASSING_TRIES);
	return r;
}

void errand_unblocked(struct copier *copier)
{
	if (copier->blocked) {
		copier->blocked = false;
		service_problem(copier->service, NULL);
	}
}

/* Tries until it is done, fails for a reason of its own, or was blocked too long. */
static int errand_work(struct errand *errand, bool *again)
{
	struct service *service = errand->copier->service;
	int r = 0;
	for (unsigned i = 0; i < BLOCKED_TRIES && (i == 0 || !service->stopping); i++) {
		r = errand_try(errand, again);
		if (!is_blocked(&errand->job, r)) {
			errand_unblocked(errand->copier);
			return r;
		}
		errand->job.blocked = true;
		errand->copier->blocked = true;
		service_problem(service, "%s", errand->job.why.text);
		uint64_t deadline = clock_now() + BLOCKED_WAIT_NS;
		while (clock_now() < deadline && !service->stopping) {
			task_wait_until(deadline);
		}
	}
	errand->requeue = service->stopping && r != 0;
	return r;
}

/*
 * An old server process may still be executing what was asked of it: look once more, later.  Of a
 * directory that was to make, move or remove names, which a comparison shows; forced, all below it
 * would be copied again.
 */
static int ask_once_more(struct job *job)
{
	uint64_t settle = job->pair->config->settle_ns;
	unsigned facts = CHANGE_SETTLED | (job->directory ? 0 : CHANGE_FORCE) |
			 (job->left ? CHANGE_BEGUN : 0);
	int r = job_follow_order(job, facts, job->order->attempt, settle);
	r = r < 0 ? r : rename_ask_old(job, settle);
	return r < 0 || !job->rel.len ? r : job_follow(job, path_parent(job->rel), 0, settle);
}

/* Whoever tries it next has to know that this try may have left something, which is also a
 * reason to believe less: as after a redelivery. */
static enum receipt_status errand_retry(struct errand *errand)
{
	struct job *job = &errand->job;
	const struct config *config = job->pair->config;
	unsigned attempt = errand->order->attempt, facts = errand->begun ? CHANGE_BEGUN : 0;
	if (job->blocked && config->retry_count) {
		errand->requeue = job_follow_order(job, facts, attempt, config->retry_ns[0]) < 0;
		return RECEIPT_RETRY;
	}
	if (attempt >= config->retry_count) {
		return RECEIPT_FAILED;
	}
	errand->requeue = job_follow_order(job, facts, attempt + 1, config->retry_ns[attempt]) < 0;
	return RECEIPT_RETRY;
}

static void receipt_fill(struct errand *errand, enum receipt_status status, const char *words)
{
	struct receipt *receipt = &errand->receipt;
	const struct change *order = errand->order;
	char copier[320];
	(void)snprintf(
		copier, sizeof(copier), "%s/%s", place_host(), errand->copier->service->name);
	receipt->id = order->id;
	receipt->status = status;
	receipt->time_ns = order->time_ns;
	receipt->done_ns = clock_wall();
	receipt->work = errand->job.work;
	receipt->facts = order->facts | (errand->begun ? CHANGE_BEGUN : 0);
	receipt->op = order->op;
	receipt->live = errand->job.live;
	receipt->attempt = order->attempt;
	if (change_set(&receipt->path, order->path) || change_set(&receipt->why, span_str(words)) ||
		change_set(&receipt->host, order->host) || change_set(&receipt->job, order->job) ||
		change_set(&receipt->copier, span_str(copier))) {
		errand->requeue = true;
	}
}

static void log_outcome(const struct errand *errand, enum receipt_status status)
{
	char id[IDENT_TEXT];
	const struct receipt_work *work = &errand->receipt.work;
	const char *path = log_quote(errand->order->path), *why = errand->job.why.text;
	ident_text(errand->order->id, id);
	if (status == RECEIPT_DONE) {
		log_debug("done %s bytes=%llu files=%llu removals=%llu order=%s", path,
			(unsigned long long)work->bytes, (unsigned long long)work->files,
			(unsigned long long)work->removals, id);
	} else if (status == RECEIPT_FAILED) {
		log_error("failed %s: %s attempts=%u order=%s", path, why,
			errand->order->attempt + 1, id);
	} else if (!errand->job.blocked) {
		log_warning("later %s: %s attempt=%u order=%s", path, why,
			errand->order->attempt + 1, id);
	}
}

static void errand_carry_out(struct errand *errand)
{
	struct job *job = &errand->job;
	enum receipt_status status = RECEIPT_DONE;
	bool again = errand->delivery.redelivered || (errand->order->facts & CHANGE_BEGUN);
	errand->receipt.started_ns = clock_wall();
	int r = errand_work(errand, &again);
	if (r == 0 && again && side_is_remote(job->pair->target)) {
		r = ask_once_more(job);
	}
	errand->begun = again;
	if (r < 0 && !errand->requeue) {
		status = errand_retry(errand);
	}
	receipt_fill(errand, status, r < 0 ? job->why.text : "");
	log_outcome(errand, status);
}

/* Which of the pairs has the order's path; NULL: none. */
static struct pair *errand_pair(struct errand *errand)
{
	struct copier *copier = errand->copier;
	const struct tree *tree =
		config_tree(copier->service->config, errand->order->path, &errand->job.rel);
	for (size_t i = 0; tree && i < copier->pair_count; i++) {
		if (copier->pairs[i].tree == tree) {
			return &copier->pairs[i];
		}
	}
	return NULL;
}

static void errand_run(struct errand *errand)
{
	struct job *job = &errand->job;
	task_set_patient(errand->order->facts & CHANGE_BULK);
	job->order = errand->order;
	job->pair = errand_pair(errand);
	if (!job->pair) {
		receipt_fill(errand, RECEIPT_DROPPED, "outside of the trees");
	} else if (!path_is_rel(job->rel)) {
		receipt_fill(errand, RECEIPT_DROPPED, "not a canonical path");
	} else if (tree_excludes(job->pair->tree, job->rel)) {
		receipt_fill(errand, RECEIPT_DROPPED, "excluded");
	} else if (slot_take(errand)) {
		errand_carry_out(errand);
		slot_give(errand);
	} else {
		errand->unbegun = true;
	}
	settle_add(errand);
}

static struct errand *errand_later(struct slots *slots)
{
	struct errand *errand = slots->later;
	if (errand) {
		slots->later = errand->next;
		if (!slots->later) {
			slots->later_end = &slots->later;
		}
	}
	return errand;
}

static void errands_run(void *arg)
{
	struct errand *errand = arg;
	struct slots *slots = errand->slots;
	while (errand) {
		errand_run(errand);
		errand = errand_later(slots);
	}
}

int errand_start(struct copier *copier, struct task_pool *pool, struct slots *slots,
	struct broker_delivery delivery, struct change *order)
{
	struct errand *errand = calloc(1, sizeof(*errand));
	if (!errand) {
		change_destroy(order);
		return -ENOMEM;
	}
	errand->copier = copier;
	errand->slots = slots;
	errand->delivery = delivery;
	errand->order = order;
	int r = task_start(pool, errands_run, errand);
	if (r == TASK_FULL) {
		*slots->later_end = errand;
		slots->later_end = &errand->next;
		return 0;
	}
	if (r < 0) {
		errand_destroy(errand);
	}
	return r;
}
