/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two places overlap when one is the other or lies in it.  A mirror into itself would never end,
 * two mirrors of one target would remove each other's files, and of two trees with one source
 * nobody knows which a change belongs to.  So no two places of the file may overlap.
 *
 * Changes name source paths without a host (shims see them as local), so sources are compared by
 * path alone; other places overlap only where the hosts are the same too.
 */
#include "flow/config-trees.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/log.h"
#include "core/path.h"

#define TREES_MAX 64

/* --- locations ---------------------------------------------------------------------------- */

static int decode_percent(struct span text, struct buf *ret)
{
	for (; text.len; text = span_skip(text, 1)) {
		char hex[3] = "", *end = hex;
		if (text.data[0] == '%' && text.len >= 3) {
			memcpy(hex, text.data + 1, 2);
			buf_add_char(ret, (char)strtoul(hex, &end, 16));
			text = span_skip(text, 2);
		} else {
			buf_add_char(ret, text.data[0]);
		}
		if ((text.data[0] == '%' || hex[0]) && end != hex + 2) {
			return -EINVAL;
		}
	}
	return 0;
}

/* "host", "host:22", "[::1]:22" */
static int read_host(struct span text, struct location *ret)
{
	const char *end = text.len && text.data[0] == '[' ? memchr(text.data, ']', text.len) : NULL;
	struct span host, rest;
	if (end) {
		host = span_of(text.data + 1, (size_t)(end - text.data) - 1);
		rest = span_skip(text, host.len + 2);
	} else {
		const char *colon = text.len ? memchr(text.data, ':', text.len) : NULL;
		host = span_of(text.data, colon ? (size_t)(colon - text.data) : text.len);
		rest = span_skip(text, host.len);
	}
	if (!host.len || host.data[0] == '-' ||
		(rest.len && (rest.data[0] != ':' || rest.len > 6))) {
		return -EINVAL;
	}
	for (size_t i = 1; i < rest.len; i++) {
		if (rest.data[i] < '0' || rest.data[i] > '9') {
			return -EINVAL;
		}
		ret->port = ret->port * 10 + (unsigned)(rest.data[i] - '0');
	}
	if (rest.len && (ret->port == 0 || ret->port > 65535)) {
		return -EINVAL;
	}
	ret->host = strndup(host.data, host.len);
	return ret->host ? 0 : -ENOMEM;
}

/* What follows sftp:// */
static int read_remote(struct span rest, struct location *ret)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	const char *slash = rest.len ? memchr(rest.data, '/', rest.len) : NULL;
	if (!slash) {
		return -EINVAL;
	}
	struct span host = span_of(rest.data, (size_t)(slash - rest.data));
	const char *at = host.len ? memrchr(host.data, '@', host.len) : NULL;
	if (decode_percent(span_skip(rest, host.len), &path) < 0 ||
		span_starts(buf_span(&path), SPAN("/~"))) {
		return -EINVAL;
	}
	if (at) {
		struct span user = span_of(host.data, (size_t)(at - host.data));
		if (!user.len || user.data[0] == '-') {
			return -EINVAL;
		}
		ret->user = strndup(user.data, user.len);
		host = span_skip(host, user.len + 1);
	}
	int r = path.failed || (at && !ret->user) ? -ENOMEM : read_host(host, ret);
	return r < 0 ? r : config_expand_path(buf_span(&path), &ret->path);
}

int location_parse(struct span text, struct location *ret)
{
	int r;
	*ret = (struct location){.remote = span_starts(text, SPAN("sftp://"))};
	if (!text.len || memchr(text.data, '\0', text.len)) {
		return -EINVAL;
	}
	if (ret->remote && config_has_password(text)) {
		return -EPERM;
	}
	ret->text = strndup(text.data, text.len);
	r = !ret->text    ? -ENOMEM
	    : ret->remote ? read_remote(span_skip(text, 7), ret)
			  : config_expand_path(text, &ret->path);
	if (r < 0) {
		location_finish(ret);
	}
	return r;
}

void location_finish(struct location *location)
{
	free(location->user);
	free(location->host);
	free(location->path);
	free(location->text);
	*location = (struct location){0};
}

static int read_location(const struct config_source *source, const char *key,
	const yaml_node_t *node, struct location *ret)
{
	char found[128];
	int r = -EINVAL;
	if (node->type == YAML_SCALAR_NODE) {
		r = location_parse(span_of(node->data.scalar.value, node->data.scalar.length), ret);
	}
	if (r == -EPERM) {
		return config_refuse(source, node->start_mark,
			"%s: no passwords here; SSH uses keys (copier: identity)", key);
	}
	return r != -EINVAL ? r
			    : config_refuse(source, node->start_mark,
				      "%s: found %s; expected an absolute path or "
				      "sftp://user@host:port/absolute/path",
				      key, config_found(node, found, sizeof(found)));
}

void config_free_trees(struct tree *trees, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		location_finish(&trees[i].source);
		location_finish(&trees[i].target);
		config_free_list(trees[i].exclude);
	}
	free(trees);
}

/* --- one tree ----------------------------------------------------------------------------- */

struct reading {
	const struct config_source *source;
	struct tree *tree;
};

static int read_pattern(const struct config_source *source, yaml_node_t *item, char **ret)
{
	char found[128];
	struct span text = span_of(item->data.scalar.value, item->data.scalar.length);
	if (item->type != YAML_SCALAR_NODE || !text.len || span_equal(text, SPAN("/")) ||
		memchr(text.data, '\0', text.len)) {
		return config_refuse(source, item->start_mark,
			"exclude: found %s; expected a pattern",
			config_found(item, found, sizeof(found)));
	}
	*ret = strndup(text.data, text.len);
	return *ret ? 0 : -ENOMEM;
}

static int read_exclude(const struct config_source *source, yaml_node_t *node, char ***ret)
{
	char found[128];
	if (node->type != YAML_SEQUENCE_NODE) {
		return config_refuse(source, node->start_mark,
			"exclude: found %s; expected a list of patterns, such as [\"*.swp\", "
			"scratch/]",
			config_found(node, found, sizeof(found)));
	}
	return config_read_list(source, node, read_pattern, ret);
}

static int read_verify(struct span text, struct tree *tree)
{
	return config_read_verify(text, &tree->verify);
}

static int read_bandwidth(struct span text, struct tree *tree)
{
	return config_read_rate(text, &tree->bandwidth_bytes);
}

static int read_in_place(struct span text, struct tree *tree)
{
	return config_read_flag(text, &tree->in_place);
}

/* Keys whose value is one word. */
static const struct word {
	const char *key;
	int (*read)(struct span text, struct tree *tree);
	const char *expected;
} words[] = {
	{"verify", read_verify, "none, size or checksum"},
	{"bandwidth", read_bandwidth, "a size a second, such as 100MiB/s"},
	{"in_place", read_in_place, "true or false"},
};

static const struct word *word_find(const char *key)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i].key, key) == 0) {
			return &words[i];
		}
	}
	return NULL;
}

static int read_word(const struct config_source *source, const struct word *word, yaml_node_t *node,
	struct tree *tree)
{
	char found[128];
	int r = -EINVAL;
	if (node->type == YAML_SCALAR_NODE) {
		struct span text = span_of(node->data.scalar.value, node->data.scalar.length);
		r = word->read(text, tree);
	}
	return r != -EINVAL ? r
			    : config_refuse(source, node->start_mark, "%s: found %s; expected %s",
				      word->key, config_found(node, found, sizeof(found)),
				      word->expected);
}

static int read_tree_key(void *arg, const char *key, yaml_node_t *key_node, yaml_node_t *value)
{
	static const char *const keys[] = {
		"source", "target", "exclude", "verify", "bandwidth", "in_place"};
	struct reading *reading = arg;
	const struct word *word = word_find(key);
	if (strcmp(key, "source") == 0) {
		return read_location(reading->source, key, value, &reading->tree->source);
	}
	if (strcmp(key, "target") == 0) {
		return read_location(reading->source, key, value, &reading->tree->target);
	}
	if (strcmp(key, "exclude") == 0) {
		return read_exclude(reading->source, value, &reading->tree->exclude);
	}
	if (word) {
		return read_word(reading->source, word, value, reading->tree);
	}
	const char *near = config_nearest(key, keys, sizeof(keys) / sizeof(keys[0]));
	return config_refuse(reading->source, key_node->start_mark,
		"unknown key %s of a tree; %s%s%s", log_quote(span_str(key)),
		near ? "did you mean '"
		     : "expected source, target, exclude, verify, bandwidth or in_place",
		near ? near : "", near ? "'?" : "");
}

static int read_tree(const struct config_source *source, yaml_node_t *node, struct tree *tree)
{
	char found[128];
	struct reading reading = {source, tree};
	if (node->type != YAML_MAPPING_NODE) {
		return config_refuse(source, node->start_mark,
			"trees: found %s; expected a map with source and target",
			config_found(node, found, sizeof(found)));
	}
	int r = config_each_key(source, node, read_tree_key, &reading);
	if (r == 0 && (!tree->source.path || !tree->target.path)) {
		return config_refuse(source, node->start_mark, "trees: missing key '%s'",
			tree->source.path ? "target" : "source");
	}
	return r;
}

/* --- how they lie to each other ----------------------------------------------------------- */

static bool overlap(const char *a, const char *b)
{
	struct span rel;
	return path_below(span_str(a), span_str(b), &rel) ||
	       path_below(span_str(b), span_str(a), &rel);
}

static bool places_overlap(const struct location *a, const struct location *b)
{
	if (a->remote != b->remote) {
		return false;
	}
	unsigned port_a = a->port ? a->port : 22, port_b = b->port ? b->port : 22;
	return (!a->remote || (strcmp(a->host, b->host) == 0 && port_a == port_b)) &&
	       overlap(a->path, b->path);
}

static int check_pair(const struct config_source *source, yaml_node_t *node, const char *what,
	const struct location *a, const struct location *b, bool overlapping)
{
	if (!overlapping) {
		return 0;
	}
	bool same = strcmp(a->path, b->path) == 0;
	return config_refuse(source, node->start_mark, "trees: %s %s and %s %s", what,
		log_quote(span_str(a->text)), log_quote(span_str(b->text)),
		same ? "are the same place" : "lie one in the other");
}

/* The new tree against itself and those before it. */
static int check_tree(const struct config_source *source, yaml_node_t *node,
	const struct tree *trees, size_t count)
{
	const struct tree *tree = &trees[count];
	int r = check_pair(source, node, "source and target", &tree->source, &tree->target,
		places_overlap(&tree->source, &tree->target));
	for (size_t i = 0; r == 0 && i < count; i++) {
		const struct tree *other = &trees[i];
		if ((r = check_pair(source, node, "the sources", &other->source, &tree->source,
			     overlap(other->source.path, tree->source.path))) == 0 &&
			(r = check_pair(source, node, "the targets", &other->target, &tree->target,
				 places_overlap(&other->target, &tree->target))) == 0 &&
			(r = check_pair(source, node, "a source and a target", &other->source,
				 &tree->target, places_overlap(&other->source, &tree->target))) ==
				0) {
			r = check_pair(source, node, "a target and a source", &other->target,
				&tree->source, places_overlap(&other->target, &tree->source));
		}
	}
	return r;
}

int config_read_trees(const struct config_source *source, const struct config_row *row,
	yaml_node_t *node, struct config *config)
{
	char found[128];
	size_t count = node->type == YAML_SEQUENCE_NODE ? config_list_length(node) : 0;
	if (count == 0 || count > TREES_MAX) {
		return config_refuse(source, node->start_mark, "trees: found %s; expected %s",
			node->type == YAML_SEQUENCE_NODE
				? (count ? "more than 64" : "an empty list")
				: config_found(node, found, sizeof(found)),
			row->expected);
	}
	config->trees = calloc(count, sizeof(*config->trees));
	if (!config->trees) {
		return -ENOMEM;
	}
	config->tree_count = count;
	for (size_t i = 0; i < count; i++) {
		yaml_node_t *item = config_list_item(source, node, i);
		int r = read_tree(source, item, &config->trees[i]);
		if (r < 0 || (r = check_tree(source, item, config->trees, i)) < 0) {
			return r;
		}
	}
	return 0;
}
