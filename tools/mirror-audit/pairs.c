/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A path that people type may lead to a tree through symlinks, or be a symlink in it.  So it is
 * tried as typed (made absolute), then with its parent's symlinks resolved, then resolved whole.
 */
#include "pairs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/path.h"

/* --- paths that were typed ---------------------------------------------------------------- */

static int make_absolute(const char *typed, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf joined = BUF_EMPTY;
	CLEANUP(free_p) char *directory = typed[0] == '/' ? NULL : getcwd(NULL, 0);
	path_join(&joined, span_str(directory), span_str(typed));
	return joined.failed ? -ENOMEM : path_normalise(ret, buf_span(&joined));
}

static void make_real(struct span path, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	buf_add(&text, path.len ? path : SPAN("/"));
	CLEANUP(free_p) char *real = text.failed ? NULL : realpath(text.data, NULL);
	buf_add_str(ret, real);
}

static const struct tree *find_tree(
	const struct config *config, const char *typed, struct buf *ret_rel)
{
	CLEANUP(buf_finish) struct buf plain = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf parent = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf beside = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf real = BUF_EMPTY;
	struct span rel;
	if (make_absolute(typed, &plain) < 0) {
		return NULL;
	}
	make_real(path_parent(buf_span(&plain)), &parent);
	path_join(&beside, buf_span(&parent), path_name(buf_span(&plain)));
	make_real(buf_span(&plain), &real);
	const struct buf *tries[] = {&plain, &beside, &real};
	for (size_t i = 0; i < 3; i++) {
		const struct tree *tree =
			tries[i]->len ? config_tree(config, buf_span(tries[i]), &rel) : NULL;
		if (tree) {
			buf_add(ret_rel, rel);
			return ret_rel->failed ? NULL : tree;
		}
	}
	return NULL;
}

bool pairs_is_below(const struct config *config, const char *argument)
{
	CLEANUP(buf_finish) struct buf rel = BUF_EMPTY;
	return strncmp(argument, "sftp://", 7) != 0 && find_tree(config, argument, &rel) != NULL;
}

/* --- pairs -------------------------------------------------------------------------------- */

static int open_pair(struct loop *loop, const struct config *config, const struct tree *tree,
	struct audit_pair *ret, struct why *why)
{
	const struct side_options options = {.config = config};
	ret->tree = tree;
	int r = side_create(loop, &tree->source, &options, &ret->source, why);
	return r < 0 ? r : side_create(loop, &tree->target, &options, &ret->target, why);
}

static int make_room(struct audit_pairs *pairs, size_t pair_count, size_t start_count)
{
	pairs->pairs = calloc(pair_count + 1, sizeof(*pairs->pairs));
	pairs->starts = calloc(start_count + 1, sizeof(*pairs->starts));
	return pairs->pairs && pairs->starts ? 0 : -ENOMEM;
}

/* The pair of a tree, made when the tree is met for the first time. */
static int pair_of_tree(struct audit_pairs *pairs, struct loop *loop, const struct config *config,
	const struct tree *tree, struct audit_pair **ret, struct why *why)
{
	struct audit_pair *pair = pairs->pairs;
	while (pair < pairs->pairs + pairs->pair_count && pair->tree != tree) {
		pair++;
	}
	*ret = pair;
	if (pair->tree) {
		return 0;
	}
	pairs->pair_count++;
	pair->shown = span_str(tree->source.path);
	return open_pair(loop, config, tree, pair, why);
}

int pairs_of_config(struct loop *loop, const struct config *config, char **paths, size_t count,
	struct audit_pairs *ret, struct why *why)
{
	size_t start_count = count ? count : config->tree_count;
	int r = make_room(ret, config->tree_count, start_count);
	for (size_t i = 0; r == 0 && i < start_count; i++) {
		struct audit_start *start = &ret->starts[ret->start_count++];
		const struct tree *tree =
			count ? find_tree(config, paths[i], &start->rel) : &config->trees[i];
		if (!tree) {
			return why_error(why, -EINVAL,
				"%s lies in no source tree of mirror %s (%s)",
				log_quote(span_str(paths[i])), config->mirror, config->file);
		}
		r = pair_of_tree(ret, loop, config, tree, &start->pair, why);
	}
	return r;
}

static int read_location(const char *typed, struct location *ret, struct why *why)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	bool remote = strncmp(typed, "sftp://", 7) == 0;
	if (!remote && make_absolute(typed, &path) < 0) {
		return why_error(why, -EINVAL, "%s is not a path", log_quote(span_str(typed)));
	}
	int r = location_parse(remote ? span_str(typed) : buf_span(&path), ret);
	return r == -EPERM ? why_error(why, r, "no passwords here; SSH uses keys")
	       : r < 0     ? why_error(why, r, "%s: expected a path or sftp://user@host:port/path",
				     log_quote(span_str(typed)))
			   : 0;
}

int pairs_of_two(struct loop *loop, const struct config *config, char *const *locations,
	struct audit_pairs *ret, struct why *why)
{
	int r = make_room(ret, 1, 1);
	r = r < 0 ? r : read_location(locations[0], &ret->two.source, why);
	r = r < 0 ? r : read_location(locations[1], &ret->two.target, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(buf_finish) struct buf rel = BUF_EMPTY;
	const struct tree *tree =
		pairs_is_below(config, locations[0]) ? find_tree(config, locations[0], &rel) : NULL;
	ret->two.exclude =
		tree && !rel.len ? tree->exclude : NULL; /* patterns count from the root */
	ret->pair_count = ret->start_count = 1;
	ret->starts[0].pair = &ret->pairs[0];
	return open_pair(loop, config, &ret->two, &ret->pairs[0], why);
}

void pairs_finish(struct audit_pairs *pairs)
{
	for (size_t i = 0; i < pairs->pair_count; i++) {
		side_destroy(pairs->pairs[i].source);
		side_destroy(pairs->pairs[i].target);
	}
	for (size_t i = 0; i < pairs->start_count; i++) {
		buf_finish(&pairs->starts[i].rel);
	}
	free(pairs->pairs);
	free(pairs->starts);
	location_finish(&pairs->two.source);
	location_finish(&pairs->two.target);
	*pairs = (struct audit_pairs){0};
}
