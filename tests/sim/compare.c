/* SPDX-License-Identifier: Apache-2.0 */
/* What differs between S and T when all is done. */
#include <stdio.h>

#include "core/cleanup.h"
#include "core/path.h"
#include "sim.h"

static unsigned differ(struct span rel, const char *what)
{
	printf("differs: '%.*s' %s\n", SPAN_ARG(rel), what);
	return 1;
}

static bool same_time(int64_t a, int64_t b)
{
	int64_t second = (int64_t)CLOCK_S;
	return sim.options.remote || sim.options.pull ? a / second == b / second : a == b;
}

static bool repeats;

static unsigned compare_node(struct span rel, const struct fs_node *s, const struct fs_node *t);

static unsigned compare_entries(struct span rel, const struct fs_node *s, const struct fs_node *t)
{
	unsigned count = 0;
	size_t i = 0, k = 0;
	while (i < s->entry_count || k < t->entry_count) {
		int order = i == s->entry_count   ? 1
			    : k == t->entry_count ? -1
						  : strcmp(s->entries[i].name, t->entries[k].name);
		const char *name = order <= 0 ? s->entries[i].name : t->entries[k].name;
		CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
		path_join(&path, rel, span_str(name));
		bool is_ours = tree_is_our_name(buf_span(&path));
		if (order < 0) {
			count += differ(buf_span(&path), "is missing");
		} else if (order > 0 && !is_ours) {
			count += differ(buf_span(&path), "is too much");
		} else if (order > 0) {
			sim.left += strlen(name) > sizeof(".mirror-links");
		} else if (order == 0) {
			count += compare_node(
				buf_span(&path), s->entries[i].node, t->entries[k].node);
		}
		i += order <= 0;
		k += order >= 0;
	}
	return count;
}

/* Two names of one file in S are two names of one file in T. */
static unsigned compare_links(struct span rel, const struct fs_node *s, const struct fs_node *t)
{
	static struct pair_of {
		uint64_t s, t;
	} seen[4096];
	static size_t count;
	if (rel.len == 0) {
		count = 0;
	}
	if (s->type != FS_FILE || s->nlink < 2 || repeats ||
		sim.options.pull) { /* SFTP shows no links */
		return 0;
	}
	for (size_t i = 0; i < count; i++) {
		if (seen[i].s == s->ino) {
			return seen[i].t == t->ino ? 0 : differ(rel, "is not linked");
		}
	}
	must(count < 4096);
	seen[count++] = (struct pair_of){s->ino, t->ino};
	return 0;
}

static unsigned compare_node(struct span rel, const struct fs_node *s, const struct fs_node *t)
{
	if (s->type != t->type) {
		return differ(rel, "has another type");
	}
	unsigned count = compare_links(rel, s, t);
	if (s->type != FS_SYMLINK && s->mode != t->mode) {
		count += differ(rel, "has another mode");
	}
	bool in_flux = s->type == FS_DIRECTORY && (repeats || t->haunted);
	if (!same_time(s->mtime_ns, t->mtime_ns) && rel.len && !in_flux) {
		count += differ(rel, "has another mtime");
	}
	if (s->type == FS_DIRECTORY) {
		return count + compare_entries(rel, s, t);
	}
	bool same = s->size == t->size && memcmp(s->content, t->content, s->size) == 0;
	return count + (same ? 0 : differ(rel, "has another content"));
}

unsigned sim_compare(bool with_repeats)
{
	repeats = with_repeats;
	return compare_node(SPAN(""), sim.s.root, sim.t.root);
}
