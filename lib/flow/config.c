/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a file to a checked struct:
 *
 *   find and read the file, whole (config.c)
 *   libyaml makes a document of it: nodes with line and column
 *   each key is looked up in the table of rows (config-rows.c)
 *   the value is read as its row says (config-value.c, config-trees.c)
 *   rows without a key in the file: their fallback, which is YAML too, goes the same way
 *   what concerns several keys is checked last
 *
 * There is one way in for a value, so a default can not be something that the file could not say.
 */
#include "flow/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "flow/config-value.h"
#include "flow/place.h"

#define FILE_MAX (256UL * 1024) /* bytes; libyaml is quadratic in what is nested */
#define KEYS_MAX 64

DEFINE_CLEANUP(struct config *, config_destroy)

static struct config *config_create(void)
{
	return calloc(1, sizeof(struct config));
}

void config_destroy(struct config *config)
{
	if (!config) {
		return;
	}
	free(config->file);
	for (size_t i = 0; i < config_row_count; i++) {
		void *field = config_field(config, &config_rows[i]);
		switch (config_rows[i].type) {
		case CONFIG_TREES:
			config_free_trees(config->trees, config->tree_count);
			break;
		case CONFIG_PLACES:
		case CONFIG_BROKER:
			config_free_list(*(char ***)field);
			break;
		case CONFIG_MIRROR:
		case CONFIG_FILE:
		case CONFIG_TEXT:
		case CONFIG_PAUSES:
			free(*(void **)field);
			break;
		default:
			break;
		}
	}
	free(config);
}

/* --- keys --------------------------------------------------------------------------------- */

int config_each_key(const struct config_source *source, yaml_node_t *mapping,
	int (*fn)(void *arg, const char *key, yaml_node_t *key_node, yaml_node_t *value), void *arg)
{
	const yaml_node_pair_t *begin = mapping->data.mapping.pairs.start;
	const yaml_node_pair_t *end = mapping->data.mapping.pairs.top;
	const char *seen[KEYS_MAX];
	for (const yaml_node_pair_t *pair = begin; pair < end; pair++) {
		size_t count = (size_t)(pair - begin);
		yaml_node_t *key = yaml_document_get_node(source->document, pair->key);
		if (key->type != YAML_SCALAR_NODE || count == KEYS_MAX ||
			strlen((const char *)key->data.scalar.value) != key->data.scalar.length) {
			return config_refuse(source, key->start_mark, "expected the name of a key");
		}
		seen[count] = (const char *)key->data.scalar.value;
		for (size_t i = 0; i < count; i++) {
			if (strcmp(seen[i], seen[count]) == 0) {
				return config_refuse(source, key->start_mark,
					"key %s is there twice", log_quote(span_str(seen[i])));
			}
		}
		int r = fn(arg, seen[count], key,
			yaml_document_get_node(source->document, pair->value));
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

/* Edits (insert, delete, replace, swap neighbours) from a to b, both shorter than 32. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][33], len_a = strlen(a), len_b = strlen(b);
	size_t *before = rows[0], *above = rows[1], *row = rows[2];
	for (size_t j = 0; j <= len_b; j++) {
		before[j] = above[j] = j;
	}
	for (size_t i = 1; i <= len_a; i++) {
		row[0] = i;
		for (size_t j = 1; j <= len_b; j++) {
			size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
			best = above[j] + 1 < best ? above[j] + 1 : best;
			best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				before[j - 2] + 1 < best) {
				best = before[j - 2] + 1;
			}
			row[j] = best;
		}
		size_t *oldest = before;
		before = above;
		above = row;
		row = oldest;
	}
	return above[len_b];
}

const char *config_nearest(const char *name, const char *const *names, size_t count)
{
	const char *nearest = NULL;
	size_t best = strlen(name) < 6 ? 2 : 3; /* from here on it is another word */
	for (size_t i = 0; i < count && strlen(name) < 32; i++) {
		size_t edits = distance(name, names[i]);
		if (edits < best) {
			best = edits;
			nearest = names[i];
		}
	}
	return nearest;
}

/* What is being filled in, and which rows the file has given. */
struct loading {
	struct config_source source;
	struct config *config;
	const char *section;         /* NULL: top level */
	bool given[KEYS_MAX];        /* by row */
	yaml_mark_t marks[KEYS_MAX]; /* of their keys */
};

static bool same_section(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_section(const char *key)
{
	for (size_t i = 0; i < config_row_count; i++) {
		if (config_rows[i].section && strcmp(config_rows[i].section, key) == 0) {
			return true;
		}
	}
	return false;
}

/* "a, b, c", each once; the rows of a section stand together. */
static void list_names(const char *const *names, size_t count, struct buf *ret)
{
	for (size_t i = 0; i < count; i++) {
		if (i == 0 || strcmp(names[i], names[i - 1]) != 0) {
			buf_printf(ret, "%s%s", i ? ", " : "", names[i]);
		}
	}
}

static int refuse_key(struct loading *loading, const char *key, yaml_node_t *node)
{
	const char *names[2 * KEYS_MAX] = {0};
	size_t count = 0;
	for (size_t i = 0; i < config_row_count; i++) {
		const struct config_row *row = &config_rows[i];
		if (strcmp(row->key, key) == 0 && !same_section(row->section, loading->section)) {
			return config_refuse(&loading->source, node->start_mark,
				"key '%s' does not belong here; expected it %s%s", key,
				row->section ? "in " : "at the top level",
				row->section ? row->section : "");
		}
		if (same_section(row->section, loading->section)) {
			names[count++] = row->key;
		} else if (!loading->section) {
			names[count++] = row->section;
		}
	}
	const char *near = config_nearest(key, names, count);
	CLEANUP(buf_finish) struct buf all = BUF_EMPTY;
	list_names(names, near ? 0 : count, &all);
	return config_refuse(&loading->source, node->start_mark, "unknown key %s%s%s; %s%.*s%s",
		log_quote(span_str(key)), loading->section ? " of " : "",
		loading->section ? loading->section : "",
		near ? "did you mean '" : "expected one of ",
		near ? (int)strlen(near) : (int)all.len, near ? near : all.data, near ? "'?" : "");
}

static int read_key(void *arg, const char *key, yaml_node_t *key_node, yaml_node_t *value);

static int read_section(struct loading *loading, const char *section, yaml_node_t *value)
{
	if (value->type != YAML_MAPPING_NODE) {
		return config_refuse(&loading->source, value->start_mark,
			"%s: expected a map of keys, such as { … }", section);
	}
	loading->section = section;
	int r = config_each_key(&loading->source, value, read_key, loading);
	loading->section = NULL;
	return r;
}

static int read_key(void *arg, const char *key, yaml_node_t *key_node, yaml_node_t *value)
{
	struct loading *loading = arg;
	for (size_t i = 0; i < config_row_count; i++) {
		const struct config_row *row = &config_rows[i];
		if (same_section(row->section, loading->section) && strcmp(row->key, key) == 0) {
			loading->given[i] = true;
			loading->marks[i] = key_node->start_mark;
			return config_read_value(&loading->source, row, value, loading->config);
		}
	}
	if (!loading->section && is_section(key)) {
		return read_section(loading, key, value);
	}
	return refuse_key(loading, key, key_node);
}

/* --- documents ---------------------------------------------------------------------------- */

/* Where byte offset of text is; libyaml tells no line for bytes that are not UTF-8. */
static yaml_mark_t mark_at(struct span text, size_t offset)
{
	yaml_mark_t mark = {.index = offset};
	for (size_t i = 0; i < offset && i < text.len; i++) {
		mark.column = text.data[i] == '\n' ? 0 : mark.column + 1;
		mark.line += text.data[i] == '\n';
	}
	return mark;
}

static int refuse_syntax(
	const struct config_source *source, const yaml_parser_t *parser, struct span text)
{
	if (parser->error == YAML_MEMORY_ERROR) {
		return -ENOMEM;
	}
	bool is_bytes = parser->error == YAML_READER_ERROR;
	yaml_mark_t mark = is_bytes ? mark_at(text, parser->problem_offset) : parser->problem_mark;
	bool tab = !is_bytes && mark.index < text.len && text.data[mark.index] == '\t';
	return config_refuse(source, mark, "%s%s%s%s",
		parser->problem ? parser->problem : "not YAML", parser->context ? " " : "",
		parser->context ? parser->context : "",
		tab        ? " (a tab; expected spaces)"
		: is_bytes ? "; expected UTF-8"
			   : "");
}

/* Parses text as one document and calls fn with its root (NULL: empty). */
static int with_document(struct config_source *source, struct span text,
	int (*fn)(void *arg, yaml_node_t *root), void *arg)
{
	yaml_parser_t parser;
	yaml_document_t document, second;
	if (!yaml_parser_initialize(&parser)) {
		return -ENOMEM;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.data, text.len);
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	int r = yaml_parser_load(&parser, &document) ? 0 : refuse_syntax(source, &parser, text);
	if (r == 0) {
		source->document = &document;
		r = fn(arg, yaml_document_get_root_node(&document));
		if (r == 0 && !yaml_parser_load(&parser, &second)) {
			r = refuse_syntax(source, &parser, text);
		} else if (r == 0) {
			yaml_node_t *root = yaml_document_get_root_node(&second);
			r = root ? config_refuse(source, root->start_mark,
					   "a second document begins; expected only one")
				 : 0;
			yaml_document_delete(&second);
		}
		yaml_document_delete(&document);
		source->document = NULL;
	}
	yaml_parser_delete(&parser);
	return r;
}

static int read_root(void *arg, yaml_node_t *root)
{
	struct loading *loading = arg;
	if (!root) {
		return config_refuse(&loading->source, (yaml_mark_t){0},
			"the file is empty; expected at least mirror and trees");
	}
	if (root->type != YAML_MAPPING_NODE) {
		return config_refuse(&loading->source, root->start_mark,
			"expected a map of keys, such as 'mirror: demo'");
	}
	return config_each_key(&loading->source, root, read_key, loading);
}

struct fallback {
	struct loading *loading;
	const struct config_row *row;
};

static int read_fallback(void *arg, yaml_node_t *root)
{
	struct fallback *fallback = arg;
	return config_read_value(
		&fallback->loading->source, fallback->row, root, fallback->loading->config);
}

static int read_fallbacks(struct loading *loading)
{
	for (size_t i = 0; i < config_row_count; i++) {
		const struct config_row *row = &config_rows[i];
		struct fallback fallback = {loading, row};
		if (!loading->given[i] && row->required) {
			return config_refuse(&loading->source, (yaml_mark_t){0},
				"missing key '%s'; expected %s", row->key, row->expected);
		}
		int r = loading->given[i] || !row->fallback
				? 0
				: with_document(&loading->source, span_str(row->fallback),
					  read_fallback, &fallback);
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

/* The later of the places where one of two keys stands. */
static yaml_mark_t mark_of(const struct loading *loading, size_t offset_a, size_t offset_b)
{
	yaml_mark_t mark = {0};
	for (size_t i = 0; i < config_row_count; i++) {
		size_t offset = config_rows[i].offset;
		if ((offset == offset_a || offset == offset_b) &&
			loading->marks[i].index > mark.index) {
			mark = loading->marks[i];
		}
	}
	return mark;
}

static int check_key(const struct loading *loading)
{
	size_t key = offsetof(struct config, broker_key);
	return !loading->config->broker_key || loading->config->broker_cert
		       ? 0
		       : config_refuse(&loading->source, mark_of(loading, key, key),
				 "broker_key without broker_cert; expected both, or neither");
}

static int check_delays(const struct loading *loading)
{
	const struct config *config = loading->config;
	char delay[32], max_delay[32];
	if (config->max_delay_ns >= config->delay_ns) {
		return 0;
	}
	return config_refuse(&loading->source,
		mark_of(loading, offsetof(struct config, delay_ns),
			offsetof(struct config, max_delay_ns)),
		"max_delay (%s) is less than delay (%s)",
		clock_exact(config->max_delay_ns, max_delay, sizeof(max_delay)),
		clock_exact(config->delay_ns, delay, sizeof(delay)));
}

int config_parse(struct span text, const char *name, struct config **ret, struct why *why)
{
	CLEANUP(config_destroy_p) struct config *config = config_create();
	if (!config) {
		return -ENOMEM;
	}
	struct loading loading = {{name, NULL, why}, config, NULL, {false}, {{0}}};
	int r = with_document(&loading.source, text, read_root, &loading);
	if (r < 0 || (r = read_fallbacks(&loading)) < 0 || (r = check_delays(&loading)) < 0 ||
		(r = check_key(&loading)) < 0) {
		return r;
	}
	*ret = STEAL(config);
	return 0;
}

/* --- the file ----------------------------------------------------------------------------- */

/* Where to look; NULL when memory ran out. */
static char *find_file(const char *path)
{
	const char *variable = getenv("MIRROR_CONFIG");
	if (path || (variable && *variable)) {
		return strdup(path ? path : variable);
	}
	CLEANUP(buf_finish) struct buf file = BUF_EMPTY;
	CLEANUP(free_p) char *directory = place_config_directory();
	file.failed |= !directory;
	buf_add_str(&file, directory);
	buf_add_str(&file, "/mirror.yaml");
	return file.failed ? NULL : buf_steal(&file);
}

/* Relative paths are kept with the working directory of now: daemons may change theirs. */
static char *absolute(const char *path)
{
	CLEANUP(buf_finish) struct buf whole = BUF_EMPTY;
	if (path[0] != '/') {
		CLEANUP(free_p) char *here = getcwd(NULL, 0);
		whole.failed |= !here;
		buf_add_str(&whole, here);
		buf_add_char(&whole, '/');
	}
	buf_add_str(&whole, path);
	return whole.failed ? NULL : buf_steal(&whole);
}

static int read_file(const char *path, struct buf *ret)
{
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return -errno;
	}
	for (;;) {
		char *at = buf_reserve(ret, 4096);
		ssize_t len = at ? read(fd, at, 4096) : -1;
		if (len <= 0) {
			return !at ? -ENOMEM : len < 0 ? -errno : 0;
		}
		ret->len += (size_t)len;
		if (ret->len > FILE_MAX) {
			return -EFBIG;
		}
	}
}

int config_load(const char *path, struct config **ret, struct why *why)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	CLEANUP(free_p) char *file = find_file(path);
	CLEANUP(config_destroy_p) struct config *config = NULL;
	if (!file) {
		return -ENOMEM;
	}
	int r = read_file(file, &text);
	if (r < 0) {
		bool searched = !path && r == -ENOENT;
		return why_error(why, r, "cannot read %s: %s%s", file, strerror(-r),
			searched ? "; name the configuration with -c FILE or $MIRROR_CONFIG" : "");
	}
	r = config_parse(buf_span(&text), file, &config, why);
	if (r < 0) {
		return r;
	}
	config->file = absolute(file);
	if (!config->file) {
		return -ENOMEM;
	}
	*ret = STEAL(config);
	return 0;
}
