/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One turn (pump):
 *
 *   send what waits ─ full? then only what does not add to it
 *   read a batch:  record ─▶ translate ─▶ outbox      the dead are buried in between, in order
 *   chores         once a second: overdue, missing, losses, processes; devices more rarely
 *   unseen         a slice of looking for what programs have done that nobody tells of
 *   barriers       answer flushes
 *   send, and go on with the checkpoint that releases the journal
 *
 * A process that dies is buried when the journal is read up to where it stood at the death: what
 * it still said about its files comes first.
 */
#include "poster/post.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/pid.h"
#include "flow/place.h"
#include "flow/topology.h"
#include "poster/barrier.h"
#include "poster/checkpoint.h"
#include "poster/counts.h"
#include "poster/holders.h"
#include "poster/intents.h"
#include "poster/names.h"
#include "poster/outbox.h"
#include "poster/translate.h"
#include "poster/unseen.h"
#include "poster/watch.h"

#define BATCH           512
#define PAUSE_SHORT_NS  (20 * CLOCK_MS)
#define PAUSE_LONG_NS   (200 * CLOCK_MS)
#define BUSY_NS         (1 * CLOCK_S)
#define CHORES_NS       (1 * CLOCK_S)
#define DEVICES_NS      (5 * CLOCK_S)
#define DRAIN_LOOK_NS   (5 * CLOCK_S) /* for unseen programs; the next poster goes on */
#define DESCRIPTORS_MAX 1024
#define RECORD_BYTES    192 /* about, for the first estimate of the backlog */

struct dead {
	struct dead *next;
	uint32_t pid;
	uint64_t head; /* of the journal at the death */
};

struct post {
	struct post_options options;
	struct journal *journal;
	struct names *names;
	struct intents *intents;
	struct translate *translate;
	struct outbox *outbox;
	struct watch *watch;
	struct unseen *unseen;
	struct checkpoint checkpoint;
	struct barriers barriers;
	struct dead *first_dead, *last_dead;
	struct loop_timer timer;
	uint64_t pause_ns, worked_ns, chores_ns, devices_ns, file_ns;
	struct counts counts;
	uint64_t read, read_bytes; /* by this process */
	uint64_t source, number;   /* of ids of notes */
	uint64_t devices[NAMES_DEVICES_MAX];
	size_t device_count;
	bool devices_set;
	bool read_out; /* the journal was found empty in this turn */
	bool full;     /* the broker takes no more for now */
	bool problem;
	bool open; /* files are being written: last told so */
	/* draining */
	loop_fn drained;
	void *drained_arg;
	uint64_t drain_head, drain_until_ns, drain_stage;
	bool drain_published, finished;
};

/* ---- what goes out ----------------------------------------------------------------------- */

static int emit(void *arg, struct change *change)
{
	struct post *post = arg;
	post->counts.values[COUNT_MADE]++;
	return outbox_add(post->outbox, change);
}

static int publish(void *arg, const struct change *change, broker_confirmed_fn fn, void *fn_arg)
{
	struct post *post = arg;
	return topology_publish_change(
		post->options.config, post->options.broker, change, fn, fn_arg);
}

/* ---- the dead ---------------------------------------------------------------------------- */

static void died(void *arg, uint32_t pid)
{
	struct post *post = arg;
	struct dead *dead = calloc(1, sizeof(*dead));
	if (!dead) {
		return; /* its intents stay and are overdue one day */
	}
	dead->pid = pid;
	dead->head = journal_head(post->journal);
	if (post->last_dead) {
		post->last_dead->next = dead;
	} else {
		post->first_dead = dead;
	}
	post->last_dead = dead;
}

static bool has_intents(void *arg, uint32_t pid)
{
	struct post *post = arg;
	uint64_t oldest_ns;
	return intents_of(post->intents, pid, &oldest_ns);
}

static int find_dead(void *arg)
{
	struct post *post = arg;
	return watch_look(post->watch);
}

static uint32_t take_dead(struct post *post)
{
	CLEANUP(free_p) struct dead *dead = post->first_dead;
	post->first_dead = dead->next;
	if (!post->first_dead) {
		post->last_dead = NULL;
	}
	return dead->pid;
}

/* What is open for writing below a tree, though no record may have told. */
static int adopt(void *arg, const struct record *record)
{
	struct post *post = arg;
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	int r = names_find(post->names, SPAN_NONE, record->path, false, record->pid, &name);
	if (r < 0 || !names_tree(post->names, buf_span(&name))) {
		return r == -ENOMEM ? r : 0;
	}
	r = translate_record(post->translate, record, clock_now());
	return r < 0 ? r : watch_add(post->watch, record->pid, record->time_ns);
}

/* It seemed to be dead, as a clock was set; what it has open it has still to close. */
static int take_back(struct post *post, uint32_t pid)
{
	return pid_is_gone(pid) ? 0 : holders_of(pid, adopt, post);
}

/* Those who said their last before the cursor. */
static int bury(struct post *post)
{
	uint64_t cursor = journal_cursor(post->journal);
	int r = 0;
	while (r == 0 && post->first_dead && post->first_dead->head <= cursor) {
		uint32_t pid = take_dead(post);
		r = translate_died(post->translate, pid, clock_now(), clock_wall());
		r = r < 0 ? r : take_back(post, pid);
	}
	return r;
}

/* ---- reading ----------------------------------------------------------------------------- */

static bool is_intent(const struct record *record)
{
	return record->kind == RECORD_OPEN || record->kind == RECORD_INHERIT ||
	       record->kind == RECORD_MAP || record->kind == RECORD_UNSEEN; /* of a draft, too: the
									       sweep forgets it */
}

static struct counts_moment moment(const struct post *post)
{
	const struct translate_counts *counts = translate_counts(post->translate);
	return (struct counts_moment){
		post->counts.values[COUNT_MADE], counts->outside, counts->unnamed};
}

static int take_record(struct post *post, const struct record *record)
{
	struct counts_moment before = moment(post);
	post->read++;
	post->checkpoint.read_ns = record->time_ns;
	post->read_bytes += record->end - record->position;
	int r = translate_record(post->translate, record, clock_now());
	counts_record(&post->counts, record, before, moment(post));
	if (r == 0 && is_intent(record)) {
		r = watch_add(post->watch, record->pid, record->time_ns);
	}
	return r;
}

/* The rescan is for what was written so far, this for what will be. */
static int before_rescan(void *arg)
{
	return holders_each(adopt, arg);
}

/* What was read of the old ring is not read again. */
static void keep_counts(struct post *post)
{
	uint64_t values[JOURNAL_KEPT];
	counts_at(&post->counts, UINT64_MAX - 1, outbox_counts(post->outbox).repeats, values);
	journal_keep(post->journal, journal_cursor(post->journal), values);
}

/* The ring is damaged: begin with a new one; what was lost becomes a rescan. */
static int renew(struct post *post, struct why *why)
{
	struct journal_facts facts;
	log_error("%s; a new journal takes its place", why->text);
	journal_facts(post->journal, &facts);
	uint64_t torn = facts.torn;
	int r = journal_renew(post->journal, why);
	if (r < 0) {
		return r;
	}
	journal_facts(post->journal, &facts);
	counts_renewed(&post->counts, torn);
	keep_counts(post);
	translate_set_generation(post->translate, facts.generation);
	checkpoint_renewed(&post->checkpoint);
	barriers_renewed(&post->barriers);
	for (struct dead *dead = post->first_dead; dead; dead = dead->next) {
		dead->head = 0;
	}
	post->devices_set = false;
	post->drain_head = 0;
	return 0;
}

/* Now and then, and before it is said that all is read. */
static int check_file(struct post *post, struct why *why)
{
	uint64_t now_ns = clock_now();
	if (now_ns < post->file_ns && !post->drained && !barriers_wait(&post->barriers)) {
		return 0;
	}
	post->file_ns = now_ns + CHORES_NS;
	return journal_check_file(post->journal, why);
}

static bool may_read(const struct post *post)
{
	return !post->drained || journal_cursor(post->journal) < post->drain_head;
}

static int read_batch(struct post *post, struct why *why)
{
	for (unsigned i = 0; i < BATCH && may_read(post); i++) {
		struct record record;
		int r = bury(post);
		if (r == 0) {
			r = journal_next(post->journal, &record, why);
		}
		if (r == JOURNAL_EMPTY) {
			r = check_file(post, why);
			post->read_out = r == 0;
		}
		if (post->read_out) {
			return 0;
		}
		r = r == -EBADMSG ? renew(post, why) : r == 0 ? take_record(post, &record) : r;
		if (r < 0) {
			return r;
		}
		post->worked_ns = clock_now();
	}
	return bury(post);
}

/* ---- chores ------------------------------------------------------------------------------ */

static int refresh_devices(struct post *post)
{
	uint64_t devices[NAMES_DEVICES_MAX];
	size_t count;
	int r = names_refresh(post->names);
	if (r < 0) {
		return r;
	}
	names_devices(post->names, devices, &count);
	if (!post->devices_set || count != post->device_count ||
		memcmp(devices, post->devices, count * sizeof(devices[0])) != 0) {
		journal_set_devices(post->journal, devices, count);
		memcpy(post->devices, devices, count * sizeof(devices[0]));
		post->device_count = count;
		post->devices_set = true;
	}
	return 0;
}

/* Figures only: what the broker does not take now is counted no more. */
static int tell_shares(struct post *post)
{
	struct note note = {.kind = NOTE_UNSEEN,
		.stage = SPAN("poster"),
		.host = span_str(place_host()),
		.pid = (uint32_t)getpid(),
		.time_ns = clock_wall()};
	int r = 0;
	while (r == 0 && unseen_next_share(post->unseen, &note)) {
		note.id = (struct ident){post->source, ++post->number};
		r = topology_publish_note(
			post->options.config, post->options.broker, &note, NULL, NULL);
	}
	return r < 0 ? r : 0;
}

/* `status` must not say IN SYNC for long while a file is being written. */
static void tell_of_open(struct post *post)
{
	bool open = translate_open_count(post->translate) > 0;
	if (open != post->open) {
		post->open = open;
		post->options.beat(post->options.arg);
	}
}

static int do_chores(struct post *post, uint64_t now_ns)
{
	uint64_t wall_ns = clock_wall();
	if (now_ns < post->chores_ns) {
		return 0;
	}
	post->chores_ns = now_ns + CHORES_NS;
	tell_of_open(post);
	if (post->read_out) {
		post->checkpoint.read_ns = wall_ns;
	}
	watch_sweep(post->watch, has_intents);
	int r = unseen_sweep(post->unseen);
	r = r < 0 ? r : tell_shares(post);
	r = r < 0 ? r : translate_overdue(post->translate, now_ns, wall_ns);
	if (r == 0 && (post->read_out || !may_read(post))) {
		r = translate_settle(post->translate, now_ns, wall_ns);
	}
	if (r == 0 && now_ns >= post->devices_ns) {
		post->devices_ns = now_ns + DEVICES_NS;
		r = refresh_devices(post);
	}
	return r < 0 ? r : checkpoint_check_losses(&post->checkpoint, false, now_ns);
}

/* ---- barriers and the end ---------------------------------------------------------------- */

/*
 * Publishes all that is open or owed.  Returns 0, 1 where a rescan cannot be ordered yet, or where
 * unseen programs are still to be looked after: *stage is the number of the looks asked for.
 */
static int publish_all(void *arg, uint64_t *stage)
{
	struct post *post = arg;
	uint64_t now_ns = clock_now(), wall_ns = clock_wall();
	int r = checkpoint_check_losses(&post->checkpoint, true, now_ns);
	if (r == 0 && checkpoint_owes(&post->checkpoint) && !post->checkpoint.ordered) {
		return 1;
	}
	if (r == 0 && *stage == 0) {
		r = translate_open_files(post->translate, now_ns, wall_ns);
		*stage = unseen_asked(post->unseen) + 1;
	}
	if (r == 0 && unseen_done(post->unseen) + 1 < *stage) {
		return 1;
	}
	return r < 0 ? r : translate_settle(post->translate, CLOCK_NEVER, wall_ns);
}

static int drain_step(struct post *post)
{
	if (!post->drained || may_read(post)) {
		return 0;
	}
	if (!post->drain_published) {
		int r = publish_all(post, &post->drain_stage);
		if (r < 0 || (r > 0 && clock_now() < post->drain_until_ns)) {
			return r < 0 ? r : 0;
		}
		post->drain_published = true;
		return 0;
	}
	if (outbox_counts(post->outbox).waiting == 0 && checkpoint_is_complete(&post->checkpoint)) {
		post->finished = true;
		post->drained(post->drained_arg);
	}
	return 0;
}

/* ---- the turn ---------------------------------------------------------------------------- */

static bool is_crowded(const struct post *post)
{
	struct journal_facts facts;
	journal_facts(post->journal, &facts);
	return journal_cursor(post->journal) - facts.released > facts.size_bytes / 4;
}

/* The file of the checkpoint cannot be written: the journal waits, and so it is told. */
static int tell_problem(struct post *post, int r, const struct why *why)
{
	if (r < 0 || post->problem) {
		post->problem = r < 0;
		post->options.problem(post->options.arg, r < 0 ? why->text : NULL);
	}
	return 0;
}

static int turn(struct post *post, struct why *why)
{
	uint64_t now_ns = clock_now();
	post->read_out = false;
	int r = outbox_send(post->outbox);
	if (r == 0) {
		r = read_batch(post, why);
		r = r < 0 ? r : do_chores(post, now_ns);
		r = r < 0 ? r : unseen_step(post->unseen, now_ns);
		r = r < 0 ? r : barriers_step(&post->barriers, post->read_out, publish_all, post);
		r = r < 0 ? r : drain_step(post);
		r = r < 0 ? r : outbox_send(post->outbox);
	}
	post->full = r == BROKER_FULL;
	if (r < 0) {
		return r;
	}
	struct why file = {""};
	bool urgent = post->drained || is_crowded(post);
	r = checkpoint_step(&post->checkpoint, urgent, now_ns, &file);
	return tell_problem(post, r, &file);
}

static uint64_t next_pause(struct post *post, uint64_t now_ns)
{
	if (!post->read_out && !post->full && may_read(post)) {
		return 0; /* there is more to read */
	}
	if (now_ns < post->worked_ns + BUSY_NS || post->drained || unseen_waiting(post->unseen) ||
		barriers_wait(&post->barriers)) {
		post->pause_ns = PAUSE_SHORT_NS;
	} else if (post->pause_ns < PAUSE_LONG_NS) {
		post->pause_ns += PAUSE_SHORT_NS;
	}
	return post->pause_ns;
}

static void pump(void *arg)
{
	struct post *post = arg;
	struct why why = {""};
	int r = turn(post, &why);
	if (r < 0) {
		if (!why.text[0]) {
			(void)why_error(&why, r, "%s", strerror(-r));
		}
		post->options.failed(post->options.arg, why.text);
		return;
	}
	if (!post->finished) {
		uint64_t now_ns = clock_now();
		(void)loop_timer_set(&post->timer, now_ns + next_pause(post, now_ns));
	}
}

static void pump_soon(void *arg)
{
	struct post *post = arg;
	if (!post->finished) {
		(void)loop_timer_set(&post->timer, clock_now());
	}
}

/* ---- life -------------------------------------------------------------------------------- */

static int open_journal(struct post *post, struct why *why)
{
	const struct config *config = post->options.config;
	int r = why_error(why, -EINVAL, "no place for a journal is configured");
	for (size_t i = 0; config->journal[i]; i++) {
		CLEANUP(free_p) char *directory = place_journal(config, i);
		r = !directory ? -ENOMEM
			       : journal_create(directory, config->journal_size_bytes,
					 &post->journal, why);
		if (r == 0) {
			log_info("serves the journal in %s", log_quote(span_str(directory)));
			return 0;
		}
		if (r == -EBUSY) {
			return why_error(why, -EAGAIN, "another poster serves the journal in '%s'",
				directory);
		}
		log_warning("the journal in %s is of no use: %s",
			directory ? log_quote(span_str(directory)) : "?", why->text);
	}
	return r;
}

static int open_checkpoint(struct post *post, struct why *why)
{
	struct buf name = BUF_EMPTY;
	const char *mirror = post->options.config->mirror;
	buf_printf(&name, "poster-%s.state", place_host());
	CLEANUP(free_p) char *directory = place_state(mirror, NULL);
	CLEANUP(free_p) char *file = name.failed ? NULL : place_state(mirror, name.data);
	buf_finish(&name);
	int r = !directory || !file ? -ENOMEM : place_make(directory, why);
	return r < 0 ? r
		     : checkpoint_open(&post->checkpoint, post->journal, post->intents, file, why);
}

static int visit_unseen(
	void *arg, const struct intent *place, struct span path, const struct stat *st)
{
	struct post *post = arg;
	return translate_visit(post->translate, place, path, st);
}

static int watch_unseen(void *arg, uint32_t pid, uint64_t since_ns)
{
	struct post *post = arg;
	return watch_add(post->watch, pid, since_ns);
}

static int place_unseen(void *arg, struct span directory, struct buf *ret)
{
	struct post *post = arg;
	return translate_place(post->translate, directory, ret);
}

static int load_links(struct post *post)
{
	struct why why;
	int r = translate_load_links(
		post->translate, buf_span(&post->checkpoint.saved.links), &why);
	if (r == -EBADMSG) {
		log_error(
			"where symlinks led is not known, so all is looked at again: %s", why.text);
		post->checkpoint.rescan = true;
	}
	return r == -EBADMSG ? 0 : r;
}

static int open_translate(struct post *post)
{
	struct journal_facts facts;
	journal_facts(post->journal, &facts);
	struct unseen_options unseen = {
		post->intents, visit_unseen, watch_unseen, place_unseen, post};
	struct translate_options options = {post->options.config, post->names, post->intents, NULL,
		place_host(), facts.generation, post->checkpoint.exists ? clock_wall() : 0, emit,
		post};
	int r = names_create(post->options.config, &post->names);
	r = r < 0 ? r : unseen_create(&unseen, &post->unseen);
	options.names = post->names;
	options.unseen = post->unseen;
	r = r < 0 ? r : translate_create(&options, &post->translate);
	r = r < 0 ? r : load_links(post);
	r = r < 0 ? r : outbox_create(publish, post, &post->outbox);
	post->checkpoint.translate = post->translate;
	post->checkpoint.outbox = post->outbox;
	post->checkpoint.before_rescan = before_rescan;
	post->checkpoint.arg = post;
	post->checkpoint.unseen = post->unseen;
	post->checkpoint.counts = &post->counts;
	counts_open(&post->counts, post->journal);
	return r < 0 ? r : refresh_devices(post);
}

/* Half of what is allowed: the broker, files and directories need some too. */
static unsigned descriptors_max(void)
{
	struct rlimit limit;
	unsigned max = DESCRIPTORS_MAX;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 2 < max) {
		max = (unsigned)(limit.rlim_cur / 2);
	}
	return max;
}

/* Those whom the state file knows may have died meanwhile. */
static int open_watch(struct post *post)
{
	size_t cursor = 0;
	int r = watch_create(post->options.loop, descriptors_max(), died, post, &post->watch);
	for (uint32_t pid; r == 0 && (pid = intents_next_pid(post->intents, &cursor));) {
		uint64_t oldest_ns;
		(void)intents_of(post->intents, pid, &oldest_ns);
		r = watch_add(post->watch, pid, oldest_ns);
	}
	return r;
}

static int open_all(struct post *post, struct why *why)
{
	post->intents = intents_create(post->options.config->max_delay_ns);
	int r = post->intents ? open_journal(post, why) : -ENOMEM;
	r = r < 0 ? r : open_checkpoint(post, why);
	r = r < 0 ? r : open_translate(post);
	r = r < 0 ? r : open_watch(post);
	if (r < 0) {
		return r;
	}
	post->barriers = (struct barriers){post->options.config, post->options.broker,
		post->journal, post->outbox, NULL, NULL, pump_soon, post, find_dead, post,
		post->options.beat, post->options.arg};
	r = barriers_open(&post->barriers);
	broker_on_room(post->options.broker, pump_soon, post);
	return r < 0 ? r : loop_timer_set(&post->timer, clock_now());
}

int post_create(const struct post_options *options, struct post **ret, struct why *why)
{
	struct post *post = calloc(1, sizeof(*post));
	if (!post) {
		return -ENOMEM;
	}
	post->options = *options;
	post->source = ident_source();
	loop_timer_init(&post->timer, options->loop, pump, post);
	int r = open_all(post, why);
	if (r < 0) {
		post_destroy(post);
		return r;
	}
	*ret = post;
	return 0;
}

void post_destroy(struct post *post)
{
	if (!post) {
		return;
	}
	loop_timer_stop(&post->timer);
	while (post->first_dead) {
		(void)take_dead(post);
	}
	barriers_close(&post->barriers);
	watch_destroy(post->watch);
	unseen_destroy(post->unseen);
	outbox_destroy(post->outbox);
	translate_destroy(post->translate);
	names_destroy(post->names);
	checkpoint_close(&post->checkpoint);
	intents_destroy(post->intents);
	journal_destroy(post->journal);
	free(post);
}

void post_drain(struct post *post, loop_fn done, void *arg)
{
	post->drained = done;
	post->drained_arg = arg;
	post->drain_head = journal_head(post->journal);
	post->drain_until_ns = clock_now() + DRAIN_LOOK_NS;
	pump_soon(post);
}

void post_beat(const struct post *post, struct note *note)
{
	struct journal_facts facts;
	struct outbox_counts out = outbox_counts(post->outbox);
	const struct translate_counts *counts = translate_counts(post->translate);
	journal_facts(post->journal, &facts);
	uint64_t unread_bytes = facts.head - journal_cursor(post->journal);
	uint64_t record_bytes = post->read ? post->read_bytes / post->read : 0;
	record_bytes = record_bytes ? record_bytes : RECORD_BYTES;
	note->backlog = out.waiting + unseen_waiting(post->unseen) +
			(unread_bytes + record_bytes - 1) / record_bytes;
	note->dirty = translate_open_count(post->translate);
	note->published = out.published;
	note->dropped = out.repeats + counts->outside;
	note->lost = facts.dropped + facts.torn;
	counts_tell(&post->counts, out.repeats, note);
	/* What a stopping poster leaves is done by the next one: until then a flush must not be
	 * early. */
	note->rescan = checkpoint_owes(&post->checkpoint) ||
		       (post->finished && unseen_waiting(post->unseen));
}
