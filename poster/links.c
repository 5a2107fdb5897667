/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A short list that is searched by hash.  Where the kernel knows another symlink (or another thing)
 * by the name today, its ctime decides: older than the record, and nobody has told of the change,
 * so what is remembered is wrong; younger, and it is what the record meant.
 */
#include "poster/links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/path.h"
#include "poster/tell.h"

#define FOLLOWED_MAX 8

struct link {
	uint64_t hash, used; /* when, counted in uses */
	struct buf name, text;
	bool to_file;
};

struct links {
	struct link known[LINKS_KNOWN];
	size_t count;
	uint64_t uses;
};

/* --- the list ----------------------------------------------------------------------------- */

struct links *links_create(void)
{
	return calloc(1, sizeof(struct links));
}

void links_destroy(struct links *links)
{
	for (size_t i = 0; links && i < links->count; i++) {
		buf_finish(&links->known[i].name);
		buf_finish(&links->known[i].text);
	}
	free(links);
}

static uint64_t hash_of(struct span name)
{
	return XXH3_64bits(name.data, name.len);
}

static struct link *find(struct links *links, struct span name)
{
	uint64_t hash = hash_of(name);
	for (size_t i = 0; i < links->count; i++) {
		struct link *link = &links->known[i];
		if (link->hash == hash && span_equal(buf_span(&link->name), name)) {
			link->used = ++links->uses;
			return link;
		}
	}
	return NULL;
}

/* A job makes thousands that lead to files; by way of those to directories much more is named. */
static bool matters_less(const struct link *a, const struct link *b)
{
	return a->to_file != b->to_file ? a->to_file : a->used < b->used;
}

static struct link *room_for_one(struct links *links)
{
	if (links->count < LINKS_KNOWN) {
		return &links->known[links->count++];
	}
	struct link *least = &links->known[0];
	for (size_t i = 1; i < links->count; i++) {
		least = matters_less(&links->known[i], least) ? &links->known[i] : least;
	}
	return least;
}

static void drop(struct links *links, struct link *link)
{
	struct link last = links->known[--links->count];
	links->known[links->count] = *link;
	*link = last;
	struct link *out = &links->known[links->count];
	buf_finish(&out->name);
	buf_finish(&out->text);
	*out = (struct link){0};
}

static int set(struct buf *buf, struct span bytes)
{
	buf_clear(buf);
	buf_add(buf, bytes);
	return buf->failed ? -ENOMEM : 0;
}

static int rename_one(struct links *links, struct link *link, struct span name)
{
	int r = set(&link->name, name);
	link->hash = hash_of(name);
	if (r < 0) {
		drop(links, link);
	}
	return r;
}

int links_made(struct links *links, struct span name, struct span text, bool to_file)
{
	struct link *link = find(links, name);
	if (!link) {
		link = room_for_one(links);
		link->used = ++links->uses;
	}
	link->to_file = to_file;
	int r = set(&link->text, text);
	if (r < 0) {
		drop(links, link);
		return r;
	}
	return rename_one(links, link, name);
}

int links_text(struct links *links, struct span name, struct buf *ret)
{
	const struct link *link = find(links, name);
	if (!link) {
		return names_readlink(name, ret);
	}
	buf_add(ret, buf_span(&link->text));
	return ret->failed ? -ENOMEM : 0;
}

void links_gone(struct links *links, struct span name)
{
	struct span rel;
	for (size_t i = links->count; i-- > 0;) {
		if (path_below(buf_span(&links->known[i].name), name, &rel)) {
			drop(links, &links->known[i]);
		}
	}
}

static int move_one(struct links *links, struct link *link, struct span to, struct span rel)
{
	CLEANUP(buf_finish) struct buf name = BUF_EMPTY;
	path_join(&name, to, rel);
	return name.failed ? -ENOMEM : rename_one(links, link, buf_span(&name));
}

int links_moved(struct links *links, struct span from, struct span to)
{
	struct span rel;
	int r = 0;
	for (size_t i = links->count; r == 0 && i-- > 0;) {
		if (path_below(buf_span(&links->known[i].name), from, &rel)) {
			r = move_one(links, &links->known[i], to, rel);
		}
	}
	return r;
}

int links_exchanged(struct links *links, struct span a, struct span b)
{
	struct span rel;
	int r = 0;
	for (size_t i = links->count; r == 0 && i-- > 0;) {
		struct link *link = &links->known[i];
		if (path_below(buf_span(&link->name), a, &rel)) {
			r = move_one(links, link, b, rel);
		} else if (path_below(buf_span(&link->name), b, &rel)) {
			r = move_one(links, link, a, rel);
		}
	}
	return r;
}

/* --- kept for the next poster -------------------------------------------------------------- */

struct saved {
	uint32_t name_len, text_len;
	uint32_t to_file;
};

void links_save(const struct links *links, struct buf *ret)
{
	for (size_t i = 0; i < links->count; i++) {
		const struct link *link = &links->known[i];
		struct saved saved = {
			(uint32_t)link->name.len, (uint32_t)link->text.len, link->to_file};
		buf_add(ret, span_of(&saved, sizeof(saved)));
		buf_add(ret, buf_span(&link->name));
		buf_add(ret, buf_span(&link->text));
	}
}

int links_load(struct links *links, struct span bytes, struct why *why)
{
	int r = 0;
	while (bytes.len && r == 0) {
		struct saved saved = {0};
		bool whole = bytes.len >= sizeof(saved);
		memcpy(&saved, bytes.data, whole ? sizeof(saved) : 0);
		size_t texts = (size_t)saved.name_len + saved.text_len;
		if (!whole || texts > bytes.len - sizeof(saved)) {
			return why_error(why, -EBADMSG, "a symlink is cut off");
		}
		bytes = span_skip(bytes, sizeof(saved));
		struct span name = span_cut(&bytes, saved.name_len);
		struct span text = span_cut(&bytes, saved.text_len);
		r = links_made(links, name, text, saved.to_file);
	}
	return r;
}

/* --- the way ------------------------------------------------------------------------------ */

static bool is_older(const struct stat *st, uint64_t time_ns)
{
	return stat_ctime(st) + LINKS_SLACK_NS < (int64_t)time_ns;
}

/* A way that is being gone: what lies behind, as names say it, and what lies ahead. */
struct way {
	const struct names *names;
	struct buf base; /* what a relative path starts from: no symlink in it counts */
	struct buf whole;
	size_t at; /* how much of whole lies behind */
};

static void way_finish(struct way *way)
{
	buf_finish(&way->base);
	buf_finish(&way->whole);
}

static void way_restart(struct way *way)
{
	struct span rel;
	bool below = way->base.len && path_below(buf_span(&way->whole), buf_span(&way->base), &rel);
	way->at = below ? way->base.len : 0;
}

static bool climbs(struct span path)
{
	struct span name;
	while (path_next(&path, &name)) {
		if (span_equal(name, SPAN(".."))) {
			return true;
		}
	}
	return false;
}

/* ".." behind a symlink is not what the text says: such paths are left to the kernel. */
static int way_begin(struct way *way, struct span dir, struct span path)
{
	bool relative = !path.len || path.data[0] != '/';
	if ((relative && (!dir.len || dir.data[0] != '/')) || climbs(path) ||
		memchr(path.data ? path.data : "", '\0', path.len)) {
		return -EINVAL;
	}
	int r = relative ? names_text(way->names, SPAN_NONE, dir, &way->base) : 0;
	r = r < 0 ? r : names_text(way->names, dir, path, &way->whole);
	way_restart(way);
	return r;
}

/* One component further; false at the end.  *ret_last: nothing comes behind it. */
static bool way_step(struct way *way, bool *ret_last)
{
	struct span whole = buf_span(&way->whole), rest = span_skip(whole, way->at), name;
	if (!path_next(&rest, &name)) {
		return false;
	}
	way->at = whole.len - rest.len;
	*ret_last = !path_next(&rest, &name);
	return true;
}

static struct span way_behind(const struct way *way)
{
	return span_of(way->whole.data, way->at);
}

/* The symlink that was reached is replaced by its text. */
static int way_follow(struct way *way, struct span text)
{
	CLEANUP(buf_finish) struct buf next = BUF_EMPTY;
	path_join(&next, text, span_skip(buf_span(&way->whole), way->at));
	if (next.failed) {
		return -ENOMEM;
	}
	CLEANUP(buf_finish) struct buf whole = BUF_EMPTY;
	int r = names_text(way->names, path_parent(way_behind(way)), buf_span(&next), &whole);
	if (r == 0) {
		r = set(&way->whole, buf_span(&whole));
	}
	way_restart(way);
	return r;
}

/* What the kernel says of a remembered symlink: it is so, it is wrong, or it was so. */
enum verdict { STILL, WRONG, FORMERLY };

static enum verdict judge(struct span name, struct span text, uint64_t time_ns)
{
	CLEANUP(buf_finish) struct buf now = BUF_EMPTY;
	struct stat st;
	if (names_readlink(name, &now) == 0 && span_equal(buf_span(&now), text)) {
		return STILL;
	}
	return names_stat(name, &st) == 0 && is_older(&st, time_ns) ? WRONG : FORMERLY;
}

int links_way(struct links *links, const struct names *names, struct span dir, struct span path,
	bool follow, uint64_t time_ns, struct buf *ret)
{
	CLEANUP(way_finish) struct way way = {.names = names};
	bool last, other = false;
	unsigned followed = 0;
	int r = links->count ? way_begin(&way, dir, path) : -EINVAL;
	while (r == 0 && way_step(&way, &last) && (!last || follow)) {
		struct link *link = find(links, way_behind(&way));
		enum verdict verdict =
			link ? judge(way_behind(&way), buf_span(&link->text), time_ns) : STILL;
		if (verdict == WRONG) {
			drop(links, link);
		} else if (link) {
			other = other || verdict == FORMERLY;
			r = ++followed > FOLLOWED_MAX ? -EINVAL
						      : way_follow(&way, buf_span(&link->text));
		}
	}
	if (r < 0 || !other) {
		return r == -ENOMEM ? r : r == 0 && followed ? LINKS_SAME : 0;
	}
	buf_add(ret, buf_span(&way.whole));
	return ret->failed ? -ENOMEM : LINKS_OTHER;
}

int links_learn(struct links *links, const struct names *names, struct span dir, struct span path,
	uint64_t time_ns)
{
	CLEANUP(way_finish) struct way way = {.names = names};
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	struct stat st = {0};
	bool last;
	int r = way_begin(&way, dir, path);
	while (r == 0 && way_step(&way, &last)) {
		if (!names_tree(names, way_behind(&way))) {
			continue;
		}
		if (names_stat(way_behind(&way), &st) < 0) {
			return 0;
		}
		if (S_ISLNK(st.st_mode)) {
			r = is_older(&st, time_ns) ? names_readlink(way_behind(&way), &text)
						   : -EINVAL;
			return r < 0 ? 0
				     : links_made(links, way_behind(&way), buf_span(&text), last);
		}
	}
	return r == -ENOMEM ? r : 0;
}
