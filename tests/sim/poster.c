/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real poster but for its process: translation, outbox and checkpoint, over the model of S, a
 * journal and a state file in memory.  Records are read some time after they were written, when S
 * is another one already; a poster that is killed leaves the journal and its state to the next.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/path.h"
#include "flow/message.h"
#include "flow/topology.h"
#include "poster/checkpoint.h"
#include "poster/intents.h"
#include "poster/outbox.h"
#include "poster/translate.h"
#include "sim.h"

#define GENERATION 7

/* A record, in the order of their positions. */
struct noted {
	struct noted *next;
	struct record record;
	char *bytes;
};

/* What a new poster finds. */
static struct noted *first, **end = &first, *unread; /* from the released position on */
static uint64_t released = 64, head = 64;
static struct state file;
static bool file_there;
static uint32_t *graves; /* processes that have died */
static size_t grave_count;

struct dead {
	struct dead *next;
	uint32_t pid;
	uint64_t head; /* of the journal at the death */
};

/* What dies with it. */
static struct {
	bool lives;
	struct broker *client;
	struct translate *translate;
	struct intents *intents;
	struct outbox *outbox;
	struct checkpoint checkpoint;
	struct dead *first_dead, **dead_end;
	uint64_t cursor;
	bool flushing;   /* what is open has still to be published */
	uint64_t answer; /* the outbox's number then, + 1; 0: not yet */
} now;

static struct ident asked; /* which flush wants an answer; none: .number 0 */
static bool flush_due;     /* one was asked for, and is not answered */

/* ---- the journal and the state file, in memory --------------------------------------------- */

void __wrap_journal_facts(const struct journal *journal, struct journal_facts *ret);
uint64_t __wrap_journal_cursor(const struct journal *journal);
void __wrap_journal_keep(
	struct journal *journal, uint64_t position, const uint64_t values[JOURNAL_KEPT]);
void __wrap_journal_release(struct journal *journal, uint64_t position);
void __wrap_counts_at(const struct counts *counts, uint64_t position, uint64_t repeats,
	uint64_t ret_values[JOURNAL_KEPT]);
void __wrap_unseen_save(const struct unseen *unseen, struct buf *ret);
int __wrap_state_load(const char *name, struct state *ret, struct why *why);
int __wrap_state_save(const char *name, const struct state *state, struct why *why);

void __wrap_journal_facts(const struct journal *journal, struct journal_facts *ret)
{
	*ret = (struct journal_facts){.generation = GENERATION,
		.size_bytes = UINT64_C(1) << 30,
		.head = head,
		.released = released};
}

uint64_t __wrap_journal_cursor(const struct journal *journal)
{
	return now.cursor;
}

void __wrap_journal_keep(
	struct journal *journal, uint64_t position, const uint64_t values[JOURNAL_KEPT])
{
}

void __wrap_journal_release(struct journal *journal, uint64_t position)
{
	released = position;
	while (first && first->record.position < position) {
		struct noted *it = first;
		must(it != unread);
		first = it->next;
		end = first ? end : &first;
		free(it->bytes);
		free(it);
	}
}

void __wrap_counts_at(const struct counts *counts, uint64_t position, uint64_t repeats,
	uint64_t ret_values[JOURNAL_KEPT])
{
}

void __wrap_unseen_save(const struct unseen *unseen, struct buf *ret)
{
}

static void copy_state(struct state *to, const struct state *from)
{
	*to = *from;
	to->intents = to->links = BUF_EMPTY;
	buf_add(&to->intents, buf_span(&from->intents));
	buf_add(&to->links, buf_span(&from->links));
	must(!to->intents.failed && !to->links.failed);
}

int __wrap_state_load(const char *name, struct state *ret, struct why *why)
{
	if (!file_there) {
		return -ENOENT;
	}
	copy_state(ret, &file);
	return 0;
}

int __wrap_state_save(const char *name, const struct state *state, struct why *why)
{
	state_finish(&file);
	copy_state(&file, state);
	file.saved_ns = clock_wall();
	file_there = true;
	return 0;
}

/* ---- the dead ------------------------------------------------------------------------------ */

static void mourn(uint32_t pid)
{
	struct dead *dead = calloc(1, sizeof(*dead));
	must(dead);
	*dead = (struct dead){.pid = pid, .head = head};
	*now.dead_end = dead;
	now.dead_end = &dead->next;
}

static bool is_dead(uint32_t pid)
{
	for (size_t i = 0; i < grave_count; i++) {
		if (graves[i] == pid) {
			return true;
		}
	}
	return false;
}

static uint32_t take_dead(void)
{
	struct dead *dead = now.first_dead;
	uint32_t pid = dead->pid;
	now.first_dead = dead->next;
	now.dead_end = now.first_dead ? now.dead_end : &now.first_dead;
	free(dead);
	return pid;
}

static void bury(void)
{
	while (now.first_dead && now.first_dead->head <= now.cursor) {
		must(translate_died(now.translate, take_dead(), clock_now(), clock_wall()) == 0);
	}
}

void poster_died(uint32_t pid)
{
	graves = realloc(graves, (grave_count + 1) * sizeof(*graves));
	must(graves);
	graves[grave_count++] = pid;
	if (now.lives) {
		mourn(pid);
	}
}

/* ---- reading and telling ------------------------------------------------------------------- */

static int publish(void *arg, const struct change *change, broker_confirmed_fn fn, void *fn_arg)
{
	return topology_publish_change(&sim.config, now.client, change, fn, fn_arg);
}

static int emit(void *arg, struct change *change)
{
	return outbox_add(now.outbox, change);
}

static void take(void)
{
	const struct record *record = &unread->record;
	unread = unread->next;
	now.cursor = record->end;
	must(translate_record(now.translate, record, clock_now()) == 0);
	if (record->kind == RECORD_OPEN && is_dead(record->pid)) {
		mourn(record->pid); /* as who begins to watch it finds */
	}
}

static void answer(void)
{
	struct note note = {.kind = NOTE_MARKER,
		.stage = SPAN("poster"),
		.host = SPAN("elsewhere"),
		.pid = 1,
		.flush = asked};
	if (asked.number) {
		must(topology_publish_note(&sim.config, now.client, &note, NULL, NULL) == 0);
	}
	asked.number = 0;
	flush_due = false;
}

static void go_on_flushing(void)
{
	if (now.flushing && !unread) {
		now.flushing = false;
		must(translate_open_files(now.translate, clock_now(), clock_wall()) == 0);
		must(translate_settle(now.translate, CLOCK_NEVER, clock_wall()) == 0);
		now.answer = outbox_mark(now.outbox) + 1;
	}
	if (now.answer && outbox_done(now.outbox, now.answer - 1)) {
		now.answer = 0;
		answer();
	}
}

static void read_on(void *arg)
{
	if (now.client != arg) {
		return; /* that one is dead */
	}
	bool read_out = false;
	must(outbox_send(now.outbox) == 0);
	for (bury(); !read_out; bury()) {
		read_out = !unread || once_in(20);
		if (!read_out) {
			take();
		}
	}
	must(translate_overdue(now.translate, clock_now(), clock_wall()) == 0);
	must(translate_settle(now.translate, clock_now(), clock_wall()) == 0);
	go_on_flushing();
	must(outbox_send(now.outbox) == 0);
	must(checkpoint_step(&now.checkpoint, false, clock_now(), NULL) == 0);
	sim_after(sim_latency() + 20 * CLOCK_MS, read_on, now.client);
}

/* ---- its life ------------------------------------------------------------------------------ */

/* Those whom the state tells of may have died meanwhile. */
static void look_for_dead(void)
{
	size_t cursor = 0;
	for (uint32_t pid; (pid = intents_next_pid(now.intents, &cursor));) {
		if (is_dead(pid)) {
			mourn(pid);
		}
	}
}

void poster_start(void)
{
	now.lives = true;
	now.dead_end = &now.first_dead;
	now.cursor = released;
	unread = first;
	now.client = client_create();
	now.intents = intents_create(sim.config.max_delay_ns);
	must(now.intents && outbox_create(publish, NULL, &now.outbox) == 0);
	must(checkpoint_open(&now.checkpoint, NULL, now.intents, "state", NULL) == 0);
	const struct translate_options options = {.config = &sim.config,
		.intents = now.intents,
		.host = "elsewhere",
		.generation = GENERATION,
		.blind_ns = now.checkpoint.exists ? clock_wall() : 0,
		.emit = emit};
	must(translate_create(&options, &now.translate) == 0);
	must(translate_load_links(now.translate, buf_span(&now.checkpoint.saved.links), NULL) == 0);
	now.checkpoint.translate = now.translate;
	now.checkpoint.outbox = now.outbox;
	look_for_dead();
	now.flushing = flush_due;
	read_on(now.client);
}

void poster_kill(void)
{
	trace("the poster is killed");
	client_kill(now.client);
	while (now.first_dead) {
		(void)take_dead();
	}
	checkpoint_close(&now.checkpoint);
	outbox_destroy(now.outbox);
	translate_destroy(now.translate);
	intents_destroy(now.intents);
	memset(&now, 0, sizeof(now));
}

static struct span keep(char **at, struct span bytes)
{
	if (bytes.len) {
		memcpy(*at, bytes.data, bytes.len);
	}
	struct span kept = span_of(*at, bytes.len);
	*at += bytes.len;
	return kept;
}

void poster_append(const struct record *record)
{
	struct noted *it = calloc(1, sizeof(*it));
	must(it);
	char *at = it->bytes = malloc(record->path.len + record->path2.len + 1);
	must(at);
	it->record = *record;
	it->record.path = keep(&at, record->path);
	it->record.path2 = keep(&at, record->path2);
	it->record.program = SPAN("sim");
	it->record.time_ns = clock_wall();
	it->record.position = head;
	it->record.end = head += 64;
	*end = it;
	end = &it->next;
	unread = unread ? unread : it;
}

void poster_flush(struct ident flush)
{
	asked = flush;
	flush_due = now.flushing = true;
}

bool poster_idle(void)
{
	return now.lives && !unread && !now.first_dead && !flush_due &&
	       outbox_counts(now.outbox).waiting == 0;
}

/* ---- poster/names.h over the model --------------------------------------------------------- */

int __wrap_names_find(const struct names *names, struct span dir, struct span path, bool follow,
	uint32_t pid, struct buf *ret);
int __wrap_names_text(
	const struct names *names, struct span dir, struct span path, struct buf *ret);
const struct tree *__wrap_names_tree(const struct names *names, struct span path);
int __wrap_names_stat(struct span path, struct stat *ret);
int __wrap_names_readlink(struct span path, struct buf *ret);

int __wrap_names_find(const struct names *names, struct span dir, struct span path, bool follow,
	uint32_t pid, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	struct span rel;
	if (!path_below(path, span_str(sim.tree.source.path), &rel)) {
		buf_add(ret, path);
		return 0;
	}
	if (fs_canonical(&sim.s, rel, follow, &name) < 0) {
		buf_add_str(ret, "/out/side");
		return 0;
	}
	path_join(ret, span_str(sim.tree.source.path), buf_span(&name));
	return 0;
}

int __wrap_names_text(const struct names *names, struct span dir, struct span path, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf whole = BUF_EMPTY;
	path_join(&whole, path.len && path.data[0] == '/' ? SPAN_NONE : dir, path);
	return whole.failed ? -ENOMEM : path_normalise(ret, buf_span(&whole));
}

const struct tree *__wrap_names_tree(const struct names *names, struct span path)
{
	struct span rel;
	const struct tree *tree = config_tree(&sim.config, path, &rel);
	return tree && !tree_excludes(tree, rel) ? tree : NULL;
}

int __wrap_names_stat(struct span path, struct stat *ret)
{
	static const mode_t types[] = {0, S_IFREG, S_IFDIR, S_IFLNK};
	struct span rel;
	struct fs_node *node;
	if (path_below(span_str(sim.tree.source.path), path, &rel)) {
		path = span_str(sim.tree.source.path); /* what is above is a directory, too */
	}
	if (!path_below(path, span_str(sim.tree.source.path), &rel)) {
		return -ENOENT;
	}
	int r = fs_find(&sim.s, rel, true, &node);
	if (r < 0) {
		return r == -EXDEV ? -ENOENT : r;
	}
	*ret = (struct stat){.st_dev = 1,
		.st_ino = node->ino,
		.st_mode = node->mode | types[node->type],
		.st_nlink = node->nlink,
		.st_size = (off_t)node->size,
		.st_mtim = {node->mtime_ns / (int64_t)CLOCK_S, node->mtime_ns % (int64_t)CLOCK_S},
		.st_ctim = {node->ctime_ns / (int64_t)CLOCK_S, node->ctime_ns % (int64_t)CLOCK_S}};
	return 0;
}

int __wrap_names_readlink(struct span path, struct buf *ret)
{
	struct span rel;
	struct fs_node *node;
	if (!path_below(path, span_str(sim.tree.source.path), &rel)) {
		return -ENOENT;
	}
	int r = fs_find(&sim.s, rel, true, &node);
	if (r < 0 || node->type != FS_SYMLINK) {
		return r < 0 ? r : -EINVAL;
	}
	buf_add(ret, span_of(node->content, node->size));
	return 0;
}
