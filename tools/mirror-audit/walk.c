/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers (tasks) take items from a stack and put what they find back on it:
 *
 *   DIRECTORY   list both sides at once, merge the two listings; sub-directories become items
 *   ENTRY       a symlink or, with --checksum, a file: needs more than a listing tells
 *   SAMPLE      go down from the root at random, compare where the way ends
 *
 * The stack gives depth first: at most the siblings along one path wait per worker.
 * The two sides of an item are asked at the same time: the target by a helper task.
 */
#include "walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "content.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "flow/task.h"
#include "links.h"
#include "mirrorctl/term.h"
#include "mirrorctl/units.h"

#define WORKERS     32
#define STACK_BYTES (128U * 1024)
#define PROGRESS_NS (200 * CLOCK_MS)
#define TRIES       3

enum kind { DIRECTORY, ENTRY, SAMPLE };

struct item {
	struct item *next;
	enum kind kind;
	struct audit_pair *pair;
	struct side_attr source, target; /* ENTRY */
	size_t rel_len;
	char rel[];
};

struct walk {
	const struct walk_options *options;
	const struct audit_pairs *pairs;
	struct report *report;
	struct loop *loop;
	struct task_pool *workers, *helpers;
	struct item *items;
	struct task *idle[WORKERS];
	unsigned idle_count, busy;
	uint64_t samples_left;
	struct links links;
	struct loop_timer timer;
	struct buf at; /* the directory looked at last, for progress */
	uint64_t begun_ns;
};

static struct span item_rel(const struct item *item)
{
	return span_of(item->rel, item->rel_len);
}

/* --- the stack ---------------------------------------------------------------------------- */

static struct item *item_push(
	struct walk *walk, enum kind kind, struct audit_pair *pair, struct span rel)
{
	struct item *item = calloc(1, sizeof(*item) + rel.len);
	if (!item) {
		report_trouble(walk->report, rel, "out of memory");
		return NULL;
	}
	item->kind = kind;
	item->pair = pair;
	item->rel_len = rel.len;
	if (rel.len) {
		memcpy(item->rel, rel.data, rel.len);
	}
	item->next = walk->items;
	walk->items = item;
	if (walk->idle_count) {
		task_wake(walk->idle[--walk->idle_count]);
	}
	return item;
}

/* A late wake-up of something else may find it in the list already. */
static void idle_add(struct walk *walk, struct task *task)
{
	for (unsigned i = 0; i < walk->idle_count; i++) {
		if (walk->idle[i] == task) {
			return;
		}
	}
	walk->idle[walk->idle_count++] = task;
}

/* The next item; NULL when all is done. */
static struct item *item_pop(struct walk *walk)
{
	while (!walk->items && walk->busy) {
		idle_add(walk, task_self());
		task_wait();
	}
	struct item *item = walk->items;
	if (item) {
		walk->items = item->next;
	}
	return item;
}

/* --- findings ----------------------------------------------------------------------------- */

static void shown_path(const struct audit_pair *pair, struct span rel, struct buf *ret)
{
	path_join(ret, pair->shown, rel);
	if (!ret->len) {
		buf_add_char(ret, '.');
	}
}

static void trouble(
	struct walk *walk, struct audit_pair *pair, struct span rel, const struct why *why)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	if (!pair->dead) {
		shown_path(pair, rel, &path);
		report_trouble(walk->report, buf_span(&path), why->text);
	}
}

static void tell(
	struct walk *walk, struct audit_pair *pair, struct span rel, struct finding *finding)
{
	struct why why = {""};
	struct repair *repair = walk->options->repair;
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	shown_path(pair, rel, &path);
	finding->path = buf_span(&path);
	report_finding(walk->report, finding);
	if (repair && repair->session && repair_publish(repair, finding, &why) < 0) {
		report_trouble(walk->report, SPAN_NONE, why.text);
		repair_close(repair);
	}
}

static unsigned both_can(const struct audit_pair *pair)
{
	return side_can(pair->source) & side_can(pair->target);
}

/* Both are there, and all that is needed of them is known. */
static void judge(
	struct walk *walk, struct audit_pair *pair, struct span rel, struct finding *finding)
{
	finding->what |= compare(&finding->source, &finding->target, both_can(pair), false);
	if (finding->source.attr.type == SIDE_FILE && finding->target.attr.type == SIDE_FILE &&
		!links_same(&walk->links, &finding->source.attr, &finding->target.attr)) {
		finding->what |= DIFFERS_GROUP;
	}
	if (finding->what) {
		tell(walk, pair, rel, finding);
	}
}

static bool needs_more(
	const struct walk *walk, const struct side_attr *s, const struct side_attr *t)
{
	return s->type == t->type &&
	       (s->type == SIDE_SYMLINK || (s->type == SIDE_FILE && walk->options->checksum &&
						   s->size_bytes == t->size_bytes));
}

/* What the listings tell of one name; NULL: that side lacks it. */
static void take_entry(struct walk *walk, struct audit_pair *pair, struct span rel,
	const struct side_attr *s, const struct side_attr *t)
{
	struct finding finding = {0};
	if (s && !t && s->type == SIDE_OTHER) {
		walk->report->skipped++;
		return;
	}
	walk->report->entries++;
	walk->report->bytes += s && s->type == SIDE_FILE ? s->size_bytes : 0;
	if (s && t && needs_more(walk, s, t)) {
		struct item *item = item_push(walk, ENTRY, pair, rel);
		if (item) {
			item->source = *s;
			item->target = *t;
		}
		return;
	}
	finding.source.attr = s ? *s : finding.source.attr;
	finding.target.attr = t ? *t : finding.target.attr;
	if (s && t) {
		judge(walk, pair, rel, &finding);
	} else {
		tell(walk, pair, rel, &finding);
	}
}

/* Our own names are never compared; one that has lain at the target for long is told. */
static void take_our_name(struct walk *walk, struct audit_pair *pair, struct span rel,
	const struct side_attr *s, const struct side_attr *t, void *arg)
{
	struct finding finding = {.left = true};
	(void)s;
	(void)arg;
	if (t && t->type != SIDE_DIRECTORY &&
		tree_temporary_is_left(path_name(rel), t->mtime_ns, (int64_t)clock_wall())) {
		finding.target.attr = *t;
		tell(walk, pair, rel, &finding);
	}
}

/* --- both sides at once ------------------------------------------------------------------- */

struct ask {
	struct side *side;
	struct span rel;
	int (*fn)(struct ask *ask);
	struct task *task; /* waits for the end */
	bool done;
	int error;
	struct why why;
	/* answers */
	struct side_list list;
	struct digest digest;
	char *link;
	size_t link_len;
};

static int ask_list(struct ask *ask)
{
	return side_list(ask->side, ask->rel, &ask->list, &ask->why);
}

static int ask_digest(struct ask *ask)
{
	return content_digest(ask->side, ask->rel, &ask->digest, &ask->why);
}

static int ask_link(struct ask *ask)
{
	return side_readlink(ask->side, ask->rel, &ask->link, &ask->link_len, &ask->why);
}

/* A broken connection is no answer: it is made again and asked again. */
static void ask_one(struct ask *ask)
{
	ask->error = -ENOTCONN;
	for (int i = 0; i < TRIES && ask->error == -ENOTCONN; i++) {
		ask->error = ask->fn(ask);
	}
	ask->done = true;
	task_wake(ask->task);
}

static void ask_beside(void *arg)
{
	ask_one(arg);
}

static void ask_both(struct walk *walk, struct ask *source, struct ask *target)
{
	target->task = task_self();
	if (task_start(walk->helpers, ask_beside, target) != 0) {
		ask_one(target);
	}
	ask_one(source);
	while (!target->done) {
		task_wait();
	}
}

static void ask_finish(struct ask *ask)
{
	side_list_finish(&ask->list);
	free(ask->link);
}

static struct ask ask_of(struct side *side, struct span rel, int (*fn)(struct ask *ask))
{
	return (struct ask){.side = side, .rel = rel, .fn = fn};
}

/* A side that cannot be reached any more ends its pair. */
static bool is_lost(int error)
{
	return error == -ENOTCONN || error == -ECONNREFUSED || error == -EHOSTUNREACH ||
	       error == -ETIMEDOUT || error == -EKEYREJECTED || error == -ECONNRESET;
}

static bool is_gone(int error)
{
	return error == -ENOENT || error == -ENOTDIR || error == -ELOOP || error == -EISDIR;
}

/* Looks at one name on both sides; false where that could not be told. */
static bool look(struct walk *walk, struct audit_pair *pair, struct span rel,
	struct side_attr *source, struct side_attr *target)
{
	struct side *sides[] = {pair->source, pair->target};
	struct side_attr *attrs[] = {source, target};
	for (size_t i = 0; i < 2; i++) {
		struct why why = {""};
		int r = side_lstat(sides[i], rel, attrs[i], &why);
		if (r == -ENOENT || r == -ENOTDIR) {
			*attrs[i] = (struct side_attr){0};
		} else if (r < 0) {
			trouble(walk, pair, rel, &why);
			pair->dead |= is_lost(r);
			return false;
		}
	}
	return true;
}

/* What was listed has changed meanwhile: what is there now is what counts. */
static void look_again(struct walk *walk, const struct item *item)
{
	struct side_attr s, t;
	struct finding finding = {0};
	if (!look(walk, item->pair, item_rel(item), &s, &t) || (!s.type && !t.type)) {
		return;
	}
	finding.source.attr = s;
	finding.target.attr = t;
	if (s.type && t.type) {
		finding.what = s.type == t.type ? 0 : COMPARE_TYPE;
		if (!finding.what) {
			trouble(walk, item->pair, item_rel(item),
				&(struct why){"changes while it is compared"});
			return;
		}
	}
	tell(walk, item->pair, item_rel(item), &finding);
}

/* True where both have answered. */
static bool answered(struct walk *walk, const struct item *item, const struct ask *source,
	const struct ask *target)
{
	const struct ask *asks[] = {source, target};
	for (size_t i = 0; i < 2; i++) {
		if (is_gone(asks[i]->error)) {
			look_again(walk, item);
			return false;
		}
		if (asks[i]->error < 0) {
			trouble(walk, item->pair, item_rel(item), &asks[i]->why);
			item->pair->dead |= is_lost(asks[i]->error);
			return false;
		}
	}
	return true;
}

/* --- items -------------------------------------------------------------------------------- */

typedef void (*each_fn)(struct walk *walk, struct audit_pair *pair, struct span rel,
	const struct side_attr *s, const struct side_attr *t, void *arg);

static int by_name(struct span a, struct span b)
{
	int r = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
	return r ? r : (a.len > b.len) - (a.len < b.len);
}

/* Each name of two listings, both sorted, but for those that no mirror touches. */
static void each_name(struct walk *walk, const struct item *item, const struct side_list *s,
	const struct side_list *t, each_fn fn, void *arg)
{
	CLEANUP(buf_finish) struct buf rel = BUF_EMPTY;
	for (size_t i = 0, k = 0; i < s->count || k < t->count;) {
		int order = i == s->count   ? 1
			    : k == t->count ? -1
					    : by_name(s->entries[i].name, t->entries[k].name);
		const struct side_entry *here = order <= 0 ? &s->entries[i++] : NULL;
		const struct side_entry *there = order >= 0 ? &t->entries[k++] : NULL;
		buf_clear(&rel);
		path_join(&rel, item_rel(item), here ? here->name : there->name);
		bool ours = !rel.failed && tree_is_our_name(buf_span(&rel));
		if (!rel.failed && (ours || !tree_excludes(item->pair->tree, buf_span(&rel)))) {
			(ours ? take_our_name : fn)(walk, item->pair, buf_span(&rel),
				here ? &here->attr : NULL, there ? &there->attr : NULL, arg);
		}
	}
}

static void take_name(struct walk *walk, struct audit_pair *pair, struct span rel,
	const struct side_attr *s, const struct side_attr *t, void *arg)
{
	take_entry(walk, pair, rel, s, t);
	if (s && t && s->type == SIDE_DIRECTORY && t->type == SIDE_DIRECTORY) {
		(void)item_push(walk, DIRECTORY, pair, rel);
	}
}

static void run_directory(struct walk *walk, const struct item *item)
{
	CLEANUP(ask_finish) struct ask s = ask_of(item->pair->source, item_rel(item), ask_list);
	CLEANUP(ask_finish) struct ask t = ask_of(item->pair->target, item_rel(item), ask_list);
	buf_clear(&walk->at);
	shown_path(item->pair, item_rel(item), &walk->at);
	ask_both(walk, &s, &t);
	if (answered(walk, item, &s, &t)) {
		each_name(walk, item, &s.list, &t.list, take_name, NULL);
	}
}

static void run_entry(struct walk *walk, const struct item *item)
{
	bool is_link = item->source.type == SIDE_SYMLINK;
	struct finding finding = {0};
	CLEANUP(ask_finish)
	struct ask s = ask_of(item->pair->source, item_rel(item), is_link ? ask_link : ask_digest);
	CLEANUP(ask_finish)
	struct ask t = ask_of(item->pair->target, item_rel(item), is_link ? ask_link : ask_digest);
	ask_both(walk, &s, &t);
	if (!answered(walk, item, &s, &t)) {
		return;
	}
	finding.source = (struct compare_entry){item->source, span_of(s.link, s.link_len)};
	finding.target = (struct compare_entry){item->target, span_of(t.link, t.link_len)};
	finding.source_digest = s.digest;
	finding.target_digest = t.digest;
	if (s.digest.high != t.digest.high || s.digest.low != t.digest.low) {
		finding.what = DIFFERS_CONTENT;
	}
	judge(walk, item->pair, item_rel(item), &finding);
}

/* One of the names, each as likely as the others. */
struct choice {
	uint64_t seen;
	struct buf rel;
	struct side_attr source, target;
};

static uint64_t random_below(uint64_t limit)
{
	uint64_t value = 0;
	ssize_t got = getrandom(&value, sizeof(value), 0);
	(void)got; /* so few bytes never fail */
	return value % limit;
}

static void choose(struct walk *walk, struct audit_pair *pair, struct span rel,
	const struct side_attr *s, const struct side_attr *t, void *arg)
{
	struct choice *choice = arg;
	if (random_below(++choice->seen) == 0) {
		buf_clear(&choice->rel);
		buf_add(&choice->rel, rel);
		choice->source = s ? *s : (struct side_attr){0};
		choice->target = t ? *t : (struct side_attr){0};
	}
}

static void choice_finish(struct choice *choice)
{
	buf_finish(&choice->rel);
}

/* One step down.  A directory that both have is stepped into, all else is the sample. */
static void run_sample(struct walk *walk, const struct item *item)
{
	CLEANUP(choice_finish) struct choice choice = {0};
	CLEANUP(ask_finish) struct ask s = ask_of(item->pair->source, item_rel(item), ask_list);
	CLEANUP(ask_finish) struct ask t = ask_of(item->pair->target, item_rel(item), ask_list);
	ask_both(walk, &s, &t);
	if (!answered(walk, item, &s, &t)) {
		return;
	}
	each_name(walk, item, &s.list, &t.list, choose, &choice);
	if (!choice.seen) {
		walk->report->entries++; /* an empty directory, the same on both sides */
	} else if (choice.source.type == SIDE_DIRECTORY && choice.target.type == SIDE_DIRECTORY) {
		(void)item_push(walk, SAMPLE, item->pair, buf_span(&choice.rel));
	} else {
		take_entry(walk, item->pair, buf_span(&choice.rel),
			choice.source.type ? &choice.source : NULL,
			choice.target.type ? &choice.target : NULL);
	}
}

static void run_item(struct walk *walk, const struct item *item)
{
	if (item->pair->dead) {
		return;
	}
	if (item->kind == DIRECTORY) {
		run_directory(walk, item);
	} else if (item->kind == ENTRY) {
		run_entry(walk, item);
	} else {
		run_sample(walk, item);
	}
}

/* A further sample where some are left and nothing else waits. */
static void next_sample(struct walk *walk)
{
	const struct audit_pairs *pairs = walk->pairs;
	if (walk->samples_left && !walk->items) {
		walk->samples_left--;
		const struct audit_start *start = &pairs->starts[random_below(pairs->start_count)];
		(void)item_push(walk, SAMPLE, start->pair, buf_span(&start->rel));
	}
}

static void work(void *arg)
{
	struct walk *walk = arg;
	struct item *item;
	while (next_sample(walk), (item = item_pop(walk))) {
		walk->busy++;
		run_item(walk, item);
		walk->busy--;
		free(item);
	}
	while (walk->idle_count) {
		task_wake(walk->idle[--walk->idle_count]);
	}
}

/* --- beginning and end -------------------------------------------------------------------- */

/* Both sides of a pair are there.  Returns false, said, where not. */
static bool reach(struct walk *walk, struct audit_pair *pair)
{
	struct side *sides[] = {pair->source, pair->target};
	for (size_t i = 0; i < 2; i++) {
		struct why why = {""};
		if (side_connect(sides[i], &why) < 0) {
			report_trouble(walk->report, SPAN_NONE, why.text);
			pair->dead = true;
			return false;
		}
	}
	return true;
}

/* The parents must be real directories; whether the name itself is there, the look tells. */
static bool parents_good(struct walk *walk, const struct audit_start *start)
{
	struct side *sides[] = {start->pair->source, start->pair->target};
	struct span rel = buf_span(&start->rel);
	for (size_t i = 0; i < 2; i++) {
		struct why why = {""};
		size_t bad_len = 0;
		int r = side_check(sides[i], path_parent(rel), &bad_len, &why);
		if (r < 0 && r != -ENOENT && r != -ENOTDIR) {
			trouble(walk, start->pair, rel, &why);
			return false;
		}
	}
	return true;
}

static void begin(struct walk *walk, const struct audit_start *start)
{
	struct side_attr s, t;
	struct span rel = buf_span(&start->rel);
	if (!parents_good(walk, start) || !look(walk, start->pair, rel, &s, &t)) {
		return;
	}
	if (!s.type && !t.type) {
		trouble(walk, start->pair, rel, &(struct why){"is on neither side"});
		return;
	}
	take_name(walk, start->pair, rel, s.type ? &s : NULL, t.type ? &t : NULL, NULL);
}

static void begin_all(void *arg)
{
	struct walk *walk = arg;
	const struct audit_pairs *pairs = walk->pairs;
	size_t reached = 0;
	walk->busy++;
	for (size_t i = 0; i < pairs->pair_count; i++) {
		reached += reach(walk, &pairs->pairs[i]);
	}
	for (size_t i = 0; i < pairs->start_count && !walk->options->sample; i++) {
		if (!pairs->starts[i].pair->dead) {
			begin(walk, &pairs->starts[i]);
		}
	}
	walk->samples_left = reached ? walk->options->sample : 0;
	walk->busy--;
	for (unsigned i = 1; i < WORKERS; i++) {
		(void)task_start(walk->workers, work, walk);
	}
	work(walk);
}

static void on_progress(void *arg)
{
	struct walk *walk = arg;
	const struct report *report = walk->report;
	double seconds = (double)(clock_now() - walk->begun_ns) / 1e9;
	char at[400];
	term_progress("%s entries, %s, %s differ  %s", units_count(report->entries),
		units_rate((double)report->entries / seconds),
		units_count(report->missing + report->extra + report->differing),
		log_escape(buf_span(&walk->at), at, sizeof(at)));
	(void)loop_timer_set(&walk->timer, clock_now() + PROGRESS_NS);
}

static int run(struct walk *walk)
{
	int r = task_pool_create(walk->loop, WORKERS, STACK_BYTES, &walk->workers);
	r = r < 0 ? r : task_pool_create(walk->loop, WORKERS, STACK_BYTES, &walk->helpers);
	r = r < 0 ? r : task_start(walk->workers, begin_all, walk);
	if (r < 0) {
		return r;
	}
	loop_timer_init(&walk->timer, walk->loop, on_progress, walk);
	if (walk->options->progress) {
		(void)loop_timer_set(&walk->timer, clock_now() + PROGRESS_NS);
	}
	while (r == 0 && task_pool_running(walk->workers)) {
		r = loop_turn(walk->loop, CLOCK_NEVER);
	}
	loop_timer_stop(&walk->timer);
	return r;
}

int walk_run(struct loop *loop, const struct audit_pairs *pairs, const struct walk_options *options,
	struct report *report, struct why *why)
{
	struct walk walk = {.options = options,
		.pairs = pairs,
		.report = report,
		.loop = loop,
		.begun_ns = clock_now()};
	int r = run(&walk);
	task_pool_destroy(walk.workers);
	task_pool_destroy(walk.helpers);
	links_finish(&walk.links);
	buf_finish(&walk.at);
	return r < 0 ? why_error(why, r, "%s", strerror(-r)) : 0;
}
