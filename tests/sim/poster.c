/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real translation of records into changes, over the model of S.  Records are read some time
 * after they were written, when S is another one already.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/path.h"
#include "flow/message.h"
#include "flow/topology.h"
#include "poster/intents.h"
#include "poster/translate.h"
#include "sim.h"

struct noted {
	struct noted *next;
	struct record record;
	char *bytes;
	uint32_t died; /* instead of a record */
};

static struct translate *translate;
static struct intents *intents;
static struct broker *client;
static struct noted *first, **end = &first;
static uint64_t position, unconfirmed;
static bool flushing;
static struct ident asked; /* which flush wants an answer; none: .number 0 */

static void on_confirmed(void *arg)
{
	unconfirmed--;
}

static int emit(void *arg, struct change *change)
{
	unconfirmed++;
	int r = topology_publish_change(&sim.config, client, change, on_confirmed, NULL);
	change_destroy(change);
	return r;
}

static void take(struct noted *it)
{
	int r = it->died ? translate_died(translate, it->died, clock_now(), clock_wall())
			 : translate_record(translate, &it->record, clock_now());
	must(r == 0);
	free(it->bytes);
	free(it);
}

static void answer(void)
{
	struct note note = {.kind = NOTE_MARKER,
		.stage = SPAN("poster"),
		.host = SPAN("elsewhere"),
		.pid = 1,
		.flush = asked};
	must(topology_publish_note(&sim.config, client, &note, NULL, NULL) == 0);
	asked.number = 0;
}

static void read_on(void *arg)
{
	while (first) {
		struct noted *it = first;
		first = it->next;
		end = first ? end : &first;
		take(it);
		if (once_in(20)) {
			break;
		}
	}
	must(translate_overdue(translate, clock_now(), clock_wall()) == 0);
	must(translate_settle(translate, clock_now(), clock_wall()) == 0);
	if (flushing && !first) {
		flushing = false;
		must(translate_open_files(translate, clock_now(), clock_wall()) == 0);
		must(translate_settle(translate, CLOCK_NEVER, clock_wall()) == 0);
	}
	if (asked.number && !flushing && !unconfirmed) {
		answer();
	}
	sim_after(sim_latency() + 20 * CLOCK_MS, read_on, NULL);
}

void poster_start(void)
{
	const struct translate_options options = {.config = &sim.config,
		.intents = intents = intents_create(sim.config.max_delay_ns),
		.host = "elsewhere",
		.generation = 7,
		.emit = emit};
	client = client_create();
	must(intents && translate_create(&options, &translate) == 0);
	read_on(NULL);
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

static void add(struct noted *it)
{
	*end = it;
	end = &it->next;
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
	it->record.position = position += 64;
	it->record.end = position + 64;
	add(it);
}

void poster_died(uint32_t pid)
{
	struct noted *it = calloc(1, sizeof(*it));
	must(it);
	it->died = pid;
	add(it);
}

void poster_flush(struct ident flush)
{
	asked = flush;
	flushing = true;
}

bool poster_idle(void)
{
	return !first && !unconfirmed && !flushing && !asked.number;
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
