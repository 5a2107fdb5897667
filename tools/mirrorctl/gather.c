/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of looking matters little, but for one thing: the journal is read before the queues,
 * the queues before the ledger, so that what moves on meanwhile is seen at least once on its way.
 */
#include "gather.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/journal.h"
#include "core/log.h"
#include "flow/managed.h"
#include "flow/place.h"
#include "flow/topology.h"
#include "supervisor.h"
#include "units.h"

#define ASK_NS   (2 * CLOCK_S)
#define LOGIN_NS (3 * CLOCK_S)
#define FRESH_NS (20 * CLOCK_S)   /* four beats */
#define GONE_NS  (3600 * CLOCK_S) /* who is silent for so long is waited for by no barrier */

const char *const gather_stages[STAGE_COUNT] = {"broker", "poster", "winnow", "copier", "tally"};

static int stage_index(struct span name)
{
	for (int i = 0; i < STAGE_COUNT; i++) {
		if (span_equal(name, span_str(gather_stages[i]))) {
			return i;
		}
	}
	return -1;
}

static void add_problem(struct view *view, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void add_problem(struct view *view, const char *format, ...)
{
	CLEANUP(free_p) char *text = NULL;
	va_list arguments;
	va_start(arguments, format);
	int len = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (len < 0) {
		text = NULL;
		return;
	}
	for (size_t i = 0; i < view->problem_count; i++) {
		if (strcmp(view->problems[i], text) == 0) {
			return;
		}
	}
	if (view->problem_count < PROBLEMS_MAX) {
		view->problems[view->problem_count++] = STEAL(text);
	}
}

/* Adds one more name to what is down. */
static void add_down(struct view *view, const char *name)
{
	size_t len = strlen(view->down);
	(void)snprintf(view->down + len, sizeof(view->down) - len, "%s%s", len ? ", " : "", name);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

static uint64_t since_of(const json_t *process)
{
	return (uint64_t)json_integer_value(json_object_get(process, "since_ns"));
}

/* ---- the supervisor and its processes ---------------------------------------------------- */

static void see_broker(struct view *view, const json_t *broker)
{
	struct stage_view *stage = &view->stages[STAGE_BROKER];
	const char *state = text_of(broker, "state"), *words = text_of(broker, "words");
	stage->wanted = 1;
	stage->ready = strcmp(state, "ready") == 0;
	pid_t pid = (pid_t)json_integer_value(json_object_get(broker, "pid"));
	if (pid > 0) {
		(void)procfs_add_use(pid, &stage->use);
	}
	if (strcmp(state, "off") == 0) {
		add_down(view, "broker");
		add_problem(view, "broker: was stopped; mirrorctl start broker");
	} else if (!stage->ready) {
		add_down(view, "broker");
		if (words[0]) {
			add_problem(view, "broker: %s", words);
		}
	}
	struct why why;
	if (view->config->broker_managed && managed_room(view->config, &why) == -ENOSPC) {
		add_problem(view, "broker: %s", why.text);
	}
}

static void see_process(struct view *view, const json_t *process)
{
	const char *name = text_of(process, "name"), *state = text_of(process, "state");
	int index = stage_index(span_str(text_of(process, "stage")));
	bool wanted = json_is_true(json_object_get(process, "known")); /* stopped alone: down */
	bool ready = strcmp(state, "ready") == 0;
	if (index < 0) {
		return;
	}
	struct stage_view *stage = &view->stages[index];
	pid_t pid = (pid_t)json_integer_value(json_object_get(process, "pid"));
	stage->wanted += wanted;
	stage->ready += ready;
	if (index == STAGE_TALLY && ready && view->now_ns < since_of(process) + FRESH_NS) {
		view->facts.tally_here = true; /* its first beat is yet to come */
	}
	if (pid > 0) {
		(void)procfs_add_use(pid, &stage->use);
	}
	if (!wanted || ready) {
		return;
	}
	bool wrong = strcmp(state, "wrong") == 0;
	if (wrong || json_is_true(json_object_get(process, "keeps_dying"))) {
		const char *words = text_of(process, "last_words");
		add_problem(view, "%s: %s (%s): %s; log: %s", name,
			wrong ? "stays down" : "keeps dying", text_of(process, "last_exit"),
			words[0] ? words : "it said nothing", text_of(process, "log"));
	}
}

/* Whole stages by their name, of others the processes: "winnow, copier-3". */
static void name_down(struct view *view, const json_t *processes)
{
	size_t i;
	json_t *process;
	for (int s = STAGE_POSTER; s < STAGE_COUNT; s++) {
		if (view->stages[s].wanted && !view->stages[s].ready) {
			add_down(view, gather_stages[s]);
		}
	}
	json_array_foreach(processes, i, process)
	{
		int index = stage_index(span_str(text_of(process, "stage")));
		if (index >= 0 && view->stages[index].ready &&
			json_is_true(json_object_get(process, "known")) &&
			strcmp(text_of(process, "state"), "ready") != 0) {
			add_down(view, text_of(process, "name"));
		}
	}
}

static void see_supervisor(struct view *view)
{
	struct why why = {0};
	size_t i;
	json_t *process;
	CLEANUP(control_drop) json_t *request = control_request("status", NULL);
	int r = control_ask(
		view->config->mirror, request, clock_now() + ASK_NS, &view->supervisor, &why);
	if (r < 0 && r != -ENOENT) {
		add_problem(view, "%s", why.text);
	}
	if (r < 0) {
		return;
	}
	see_broker(view, json_object_get(view->supervisor, "broker"));
	json_array_foreach(json_object_get(view->supervisor, "processes"), i, process)
	{
		see_process(view, process);
	}
	name_down(view, json_object_get(view->supervisor, "processes"));
	unsigned id = (unsigned)json_integer_value(json_object_get(view->supervisor, "config_id"));
	if (id != supervisor_config_id(view->config)) {
		add_problem(view,
			"what runs was started with another configuration; mirrorctl restart");
	}
}

/* ---- the journals of this host ----------------------------------------------------------- */

static void see_journal(struct view *view, const char *directory)
{
	struct journal *journal = NULL;
	struct journal_facts facts;
	struct record record;
	if (journal_peek(directory, &journal, NULL) < 0) {
		return;
	}
	journal_facts(journal, &facts);
	view->journal_bytes += facts.head - facts.released;
	view->journal_dropped += facts.dropped;
	if (facts.head != facts.released && journal_next(journal, &record, NULL) == 0 &&
		(!view->journal_since_ns || record.time_ns < view->journal_since_ns)) {
		view->journal_since_ns = record.time_ns;
	}
	journal_destroy(journal);
}

static void see_journals(struct view *view)
{
	for (size_t i = 0; view->config->journal[i]; i++) {
		CLEANUP(free_p) char *directory = place_journal(view->config, i);
		if (directory) {
			see_journal(view, directory);
		}
	}
	struct stage_view *poster = &view->stages[STAGE_POSTER];
	if (view->journal_since_ns && view->now_ns > view->journal_since_ns) {
		poster->lag_ns = view->now_ns - view->journal_since_ns;
	}
}

/* ---- the broker's queues ----------------------------------------------------------------- */

int gather_session(const struct config *config, uint64_t deadline_ns, struct broker_session **ret,
	struct why *why)
{
	struct broker_nodes nodes;
	int r = config_broker(config, &nodes, why);
	return r < 0 ? r : broker_session_open_any(&nodes, deadline_ns, ret, why);
}

static int see_queue(
	struct view *view, struct broker_session *session, struct topology_name name, int stage)
{
	uint64_t messages = 0;
	uint32_t consumers = 0;
	struct why why = {0};
	int r = broker_queue_depth(session, name.text, &messages, &consumers, &why);
	if (r < 0) {
		add_problem(view, "queue %s: %s", name.text,
			r == -ENOENT ? "is not there; mirrorctl restart makes it anew" : why.text);
		return r;
	}
	if (view->queue_count < QUEUES_MAX) {
		struct queue_view *queue = &view->queues[view->queue_count++];
		(void)snprintf(queue->name, sizeof(queue->name), "%s", name.text);
		queue->messages = messages;
		queue->consumers = consumers;
	}
	view->stages[stage].has_queue = true;
	view->stages[stage].queued += messages;
	view->facts.queued += messages;
	return 0;
}

static void see_later_queues(struct view *view, struct broker_session *session)
{
	const struct config *config = view->config;
	uint64_t before = view->facts.queued;
	for (size_t i = 0; i <= config->retry_count; i++) {
		uint64_t pause = i < config->retry_count ? config->retry_ns[i] : config->settle_ns;
		struct topology_name exchange = topology_later_exchange(config, pause), queue;
		(void)snprintf(
			queue.text, sizeof(queue.text), "q_%s", exchange.text + strlen("xs_"));
		bool known = false;
		for (size_t k = 0; k < view->queue_count; k++) {
			known = known || strcmp(view->queues[k].name, queue.text) == 0;
		}
		if (!known && see_queue(view, session, queue, STAGE_WINNOW) < 0) {
			break;
		}
	}
	view->facts.later = view->facts.queued - before;
}

static void see_queues(struct view *view)
{
	struct broker_session *session = NULL;
	struct why why = {0};
	const struct config *config = view->config;
	if (!view->supervisor) {
		return; /* stopped: no need to wait for a broker that may be away */
	}
	if (gather_session(config, clock_now() + LOGIN_NS, &session, &why) < 0) {
		add_problem(view, "broker: %s", why.text);
		return;
	}
	static const struct {
		const char *name;
		int stage;
	} queues[] = {{"orders", STAGE_COPIER}, {"bulk", STAGE_COPIER}, {"tally", STAGE_TALLY}};
	int r = 0;
	for (unsigned shard = 0; r == 0 && shard < config->winnow.shards; shard++) {
		r = see_queue(view, session, topology_shard_queue(config, "changes", shard),
			STAGE_WINNOW);
	}
	for (size_t i = 0; r == 0 && i < sizeof(queues) / sizeof(queues[0]); i++) {
		r = see_queue(
			view, session, topology_queue(config, queues[i].name), queues[i].stage);
	}
	if (r == 0) {
		see_later_queues(view, session);
		view->has_queues = true;
	}
	broker_session_close(session);
}

/* ---- the ledger -------------------------------------------------------------------------- */

int gather_ledger(const struct config *config, struct ledger **ret, struct why *why)
{
	CLEANUP(free_p) char *file = place_state(config->mirror, "tally.db");
	return file ? ledger_open(file, false, ret, why) : -ENOMEM;
}

/* A daemon that has not said good-bye and is not heard any more. */
static void see_silent(struct view *view, const struct note *beat, bool here)
{
	if (!here && stage_index(beat->stage) == STAGE_POSTER) {
		add_problem(view,
			"poster on %.*s: silent for %s; if that host will not come back: "
			"mirrorctl forget %.*s",
			SPAN_ARG(beat->host), units_duration(view->now_ns - beat->time_ns),
			SPAN_ARG(beat->host));
	}
}

static bool runs_here(const struct view *view, uint32_t pid)
{
	size_t i;
	json_t *process;
	json_array_foreach(json_object_get(view->supervisor, "processes"), i, process)
	{
		if ((uint32_t)json_integer_value(json_object_get(process, "pid")) == pid) {
			return true;
		}
	}
	return false;
}

/* Two may say that they are active for a moment: the one that died, and who has followed it. */
static void see_winnow(struct view *view, const struct note *beat, bool here)
{
	if (beat->instance >= SHARDS_MAX || (here && !runs_here(view, beat->pid))) {
		return;
	}
	struct shard_view *shard = &view->shards[beat->instance];
	size_t len = strlen(shard->standby);
	if (beat->standby) {
		(void)snprintf(shard->standby + len, sizeof(shard->standby) - len, "%s%.*s",
			len ? ", " : "", SPAN_ARG(beat->host));
	} else if (beat->active && beat->time_ns > shard->active_ns) {
		(void)snprintf(shard->active, sizeof(shard->active), "%.*s", SPAN_ARG(beat->host));
		shard->active_ns = beat->time_ns;
	}
}

static int see_beat(void *arg, const struct note *beat)
{
	struct view *view = arg;
	int index = stage_index(beat->stage);
	bool here = span_equal(beat->host, span_str(place_host()));
	bool fresh = view->now_ns < beat->time_ns + FRESH_NS;
	if (index < 0 || beat->stopping) {
		return 0;
	}
	if (view->now_ns > beat->time_ns + GONE_NS) {
		view->gone += index == STAGE_POSTER && !here;
		return 0;
	}
	struct stage_view *stage = &view->stages[index];
	if (index == STAGE_POSTER) { /* what a silent one still has is open all the same */
		view->facts.backlog += here ? 0 : beat->backlog; /* here the journal tells */
		view->facts.dirty += fresh ? beat->dirty : 0;
		view->facts.rescan = view->facts.rescan || beat->rescan;
		view->lost += beat->lost;
	}
	if (!fresh) {
		see_silent(view, beat, here);
		return 0;
	}
	if (index == STAGE_WINNOW) {
		see_winnow(view, beat, here);
	}
	view->facts.tally_here = view->facts.tally_here || index == STAGE_TALLY;
	view->facts.held += index == STAGE_WINNOW ? beat->backlog : 0;
	view->unreadable += index == STAGE_WINNOW || index == STAGE_COPIER ? beat->lost : 0;
	stage->backlog += beat->backlog;
	stage->done += beat->captured;
	if (!here) {
		stage->wanted++;
		stage->ready++;
	}
	if (beat->problem.len && (view->supervisor || !here)) {
		char text[512];
		log_words(beat->problem, text, sizeof(text));
		struct span host = here ? SPAN_NONE : beat->host;
		add_problem(view, "%.*s%s%.*s: %s", SPAN_ARG(beat->stage), here ? "" : " on ",
			SPAN_ARG(host), text);
	}
	return 0;
}

static int see_open(void *arg, struct ident id, struct span path, uint64_t time_ns)
{
	struct view *view = arg;
	view->facts.open_since_ns = time_ns;
	log_escape(path, view->oldest_path, sizeof(view->oldest_path));
	return 1; /* the oldest is enough */
}

static int see_job(void *arg, const struct ledger_job *job)
{
	struct view *view = arg;
	struct job_view *it = &view->jobs[view->job_count++];
	log_escape(job->id, it->id, sizeof(it->id));
	it->orders = job->orders;
	it->unseen = job->unseen;
	it->found = job->found;
	it->last_ns = job->last_ns;
	it->work = job->work;
	return 0;
}

static void see_ledger(struct view *view)
{
	struct ledger *ledger = NULL;
	struct why why = {0};
	int r = gather_ledger(view->config, &ledger, &why);
	if (r < 0) {
		if (r != -ENOENT) {
			add_problem(view, "ledger: %s", why.text);
		}
		return;
	}
	r = ledger_summary(ledger, &view->sum, &why);
	if (r == 0) {
		view->has_ledger = true;
		(void)ledger_each_open(ledger, 1, see_open, view, &why);
		r = ledger_each_daemon(ledger, see_beat, view, &why);
		r = r < 0 ? r : ledger_each_job(ledger, JOBS_MAX, see_job, view, &why);
	}
	if (r < 0) {
		add_problem(view, "ledger: %s", why.text);
	}
	ledger_close(ledger);
}

/* ---- all together ------------------------------------------------------------------------ */

static uint64_t older(uint64_t a, uint64_t b)
{
	return !a ? b : !b ? a : a < b ? a : b;
}

static void fill_facts(struct view *view)
{
	struct facts *facts = &view->facts;
	struct stage_view *stages = view->stages;
	facts->now_ns = view->now_ns;
	facts->runs = view->supervisor != NULL;
	facts->tally_wanted = stages[STAGE_TALLY].wanted > 0;
	facts->tally_here = facts->tally_here && view->has_ledger;
	facts->down = view->down[0] ? view->down : NULL;
	facts->problem = view->problem_count ? view->problems[0] : NULL;
	facts->open = view->sum.open;
	facts->open_bulk = view->sum.open_bulk;
	facts->oldest_ns = older(view->sum.oldest_ns, view->journal_since_ns);
	facts->last_done_ns = view->sum.last_done_ns;
	facts->failed = view->sum.failed;
	facts->journal = view->journal_bytes;
	facts->rescan = facts->rescan || view->sum.rescan;
	facts->mending = view->sum.mending;
	facts->delay_ns = view->config->delay_ns;
	facts->max_delay_ns = view->config->max_delay_ns;
	if (view->has_ledger && !ledger_balances(&view->sum)) {
		add_problem(view,
			"the tally's sums do not balance: something is not accounted for; "
			"mirror-audit tells what differs");
	}
	if (view->sum.oldest_ns && view->now_ns > view->sum.oldest_ns) {
		stages[STAGE_COPIER].lag_ns = view->now_ns - view->sum.oldest_ns;
	}
}

void gather(const struct config *config, struct view *ret)
{
	*ret = (struct view){.config = config, .now_ns = clock_wall()};
	CLEANUP(free_p) char *flag = place_state(config->mirror, "stopped");
	ret->stopped_flag = flag && access(flag, F_OK) == 0;
	see_supervisor(ret);
	see_journals(ret);
	see_queues(ret);
	see_ledger(ret);
	fill_facts(ret);
	if (ret->down[0]) {
		size_t len = strlen(ret->down);
		(void)snprintf(ret->down + len, sizeof(ret->down) - len, " %s",
			strchr(ret->down, ',') ? "are down" : "is down");
	}
	judge(&ret->facts, &ret->verdict);
}

void gather_finish(struct view *view)
{
	control_drop(&view->supervisor);
	for (size_t i = 0; i < view->problem_count; i++) {
		free(view->problems[i]);
	}
	*view = (struct view){0};
}
