/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One reader per type of row.  Each gets the text of a scalar (or the node, where it takes lists
 * and maps) and says with -EINVAL that it is not what the row expects; the words about where,
 * what was found and what was expected are put together in one place.
 */
#include "flow/config-value.h"

#include <errno.h>
#include <stdlib.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "flow/change.h"
#include "flow/config-trees.h"
#include "flow/place.h"

#define LIST_MAX 16

int config_refuse(const struct config_source *source, yaml_mark_t mark, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	why_verror(source->why, -EINVAL, format, arguments);
	va_end(arguments);
	why_prefix(source->why, "%s:%zu:%zu", source->name, mark.line + 1, mark.column + 1);
	return -EINVAL;
}

static struct span text_of(const yaml_node_t *node)
{
	return span_of(node->data.scalar.value, node->data.scalar.length);
}

static bool is_nothing(const yaml_node_t *node)
{
	struct span text = text_of(node);
	return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (text.len == 0 || span_equal(text, SPAN("~")) || span_equal(text, SPAN("null")));
}

const char *config_found(const yaml_node_t *node, char *buffer, size_t size_bytes)
{
	switch (node->type) {
	case YAML_SEQUENCE_NODE:
		return "a list";
	case YAML_MAPPING_NODE:
		return "a map";
	case YAML_SCALAR_NODE:
		if (is_nothing(node)) {
			return "nothing";
		}
		buffer[0] = '\'';
		log_escape(text_of(node), buffer + 1, size_bytes - 2);
		return strcat(buffer, "'");
	default:
		return "nothing";
	}
}

static int unexpected(
	const struct config_source *source, const struct config_row *row, const yaml_node_t *node)
{
	char found[128];
	return config_refuse(source, node->start_mark, "%s: found %s; expected %s", row->key,
		config_found(node, found, sizeof(found)), row->expected);
}

/* --- numbers ------------------------------------------------------------------------------ */

static int in_range(const struct config_row *row, uint64_t value)
{
	bool uneven = row->step && value % row->step;
	return value >= row->min && value <= row->max && !uneven ? 0 : -EINVAL;
}

static int read_count(const struct config_row *row, struct span text, uint64_t *ret)
{
	uint64_t value = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9' ||
			__builtin_mul_overflow(value, (uint64_t)10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(text.data[i] - '0'), &value)) {
			return -EINVAL;
		}
	}
	*ret = value;
	return text.len ? in_range(row, value) : -EINVAL;
}

static const struct {
	const char *name;
	unsigned shift;
} size_units[] = {{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"T", 40}, {"G", 30},
	{"M", 20}, {"K", 10}, {"B", 0}};
#define SIZE_UNIT_COUNT (sizeof(size_units) / sizeof(size_units[0]))

static int read_size(const struct config_row *row, struct span text, uint64_t *ret)
{
	static const struct config_row any = {.max = UINT64_C(1) << 22};
	unsigned shift = 0;
	for (size_t i = 0; i < SIZE_UNIT_COUNT; i++) {
		size_t len = strlen(size_units[i].name);
		if (text.len > len &&
			memcmp(text.data + text.len - len, size_units[i].name, len) == 0) {
			shift = size_units[i].shift;
			text.len -= len;
			break;
		}
	}
	while (text.len && text.data[text.len - 1] == ' ') {
		text.len--;
	}
	if (shift == 0) {
		return read_count(row, text, ret);
	}
	if (read_count(&any, text, ret) < 0) {
		return -EINVAL;
	}
	*ret <<= shift;
	return in_range(row, *ret);
}

static int read_ring(const struct config_row *row, struct span text, uint64_t *ret)
{
	int r = read_size(row, text, ret);
	return r < 0 || *ret & (*ret - 1) ? -EINVAL : 0;
}

static int read_time(const struct config_row *row, struct span text, uint64_t *ret)
{
	return clock_parse(text, ret) < 0 ? -EINVAL : in_range(row, *ret);
}

char *config_size_text(uint64_t bytes, char *buffer, size_t size_bytes)
{
	size_t i = 0;
	while (i < 3 && (bytes == 0 || bytes & ((UINT64_C(1) << size_units[i].shift) - 1))) {
		i++;
	}
	bool kib = i < 3 || (bytes && bytes % 1024 == 0);
	(void)snprintf(buffer, size_bytes, "%llu%s",
		(unsigned long long)(kib ? bytes >> size_units[i].shift : bytes),
		kib ? size_units[i].name : "");
	return buffer;
}

/* --- words -------------------------------------------------------------------------------- */

/* Hands out a heap string in place of what the field holds. */
static int set_string(char **field, struct span text)
{
	char *copy = strndup(text.data, text.len);
	if (!copy) {
		return -ENOMEM;
	}
	free(*field);
	*field = copy;
	return 0;
}

static bool is_mirror_name(struct span text)
{
	static const char first[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	if (text.len == 0 || text.len > 63 || strchr("-_.", text.data[0])) {
		return false;
	}
	for (size_t i = 0; i < text.len; i++) {
		if (!strchr(first, text.data[i])) {
			return false;
		}
	}
	return true;
}

int config_expand_path(struct span text, char **field)
{
	CLEANUP(buf_finish) struct buf joined = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	if (span_equal(text, SPAN("~")) || span_starts(text, SPAN("~/"))) {
		CLEANUP(free_p) char *home = place_home();
		if (!home) {
			return -ENOMEM;
		}
		buf_add_str(&joined, home);
		text = span_skip(text, 1);
	}
	buf_add(&joined, text);
	int r = joined.failed ? -ENOMEM : path_normalise(&path, buf_span(&joined));
	return r < 0 ? r : set_string(field, buf_span(&path));
}

/* A password in a URL, "//user:password@", stands where every process list shows it. */
bool config_has_password(struct span url)
{
	const char *begin = url.len ? memmem(url.data, url.len, "//", 2) : NULL;
	if (!begin) {
		return false;
	}
	const char *end = url.data + url.len, *host = begin + 2;
	const char *slash = memchr(host, '/', (size_t)(end - host));
	const char *at = memrchr(host, '@', (size_t)((slash ? slash : end) - host));
	return at && memchr(host, ':', (size_t)(at - host));
}

/* One node's URL. */
static int read_node(const struct config_source *source, const struct config_row *row,
	const yaml_node_t *node, struct broker_url *ret, char **ret_text)
{
	bool scalar = node->type == YAML_SCALAR_NODE;
	struct span text = scalar ? text_of(node) : SPAN_NONE;
	struct why why = {""};
	if (!span_starts(text, SPAN("amqp://")) && !span_starts(text, SPAN("amqps://"))) {
		return unexpected(source, row, node);
	}
	if (config_has_password(text)) {
		return config_refuse(source, node->start_mark,
			"broker: no passwords here; put the whole URL into "
			"$XDG_CONFIG_HOME/treemirror/credentials (mode 0600) and leave the "
			"password out "
			"of this one");
	}
	if (broker_url_parse(text, ret, &why) < 0) {
		return config_refuse(source, node->start_mark, "broker: %s; expected %s", why.text,
			row->expected);
	}
	return set_string(ret_text, text);
}

/* Queues of another virtual host are others, with messages that nobody would miss. */
static int read_nodes(const struct config_source *source, const struct config_row *row,
	const yaml_node_t *list, struct config *config)
{
	struct broker_url first, url;
	size_t count = config_list_length(list);
	if (count == 0 || count > BROKER_NODES_MAX) {
		return unexpected(source, row, list);
	}
	for (size_t i = 0; i < count; i++) {
		const yaml_node_t *node = config_list_item(source, list, i);
		int r = read_node(source, row, node, i ? &url : &first, &config->broker[i]);
		if (r < 0) {
			return r;
		}
		if (i && strcmp(url.vhost, first.vhost) != 0) {
			return config_refuse(source, node->start_mark,
				"broker: virtual host '%s', but '%s' at the first node; expected "
				"the nodes of one cluster",
				url.vhost, first.vhost);
		}
	}
	return 0;
}

static int read_broker(const struct config_source *source, const struct config_row *row,
	const yaml_node_t *node, struct config *config)
{
	struct broker_url url;
	bool list = node->type == YAML_SEQUENCE_NODE;
	config->broker = calloc(BROKER_NODES_MAX + 1, sizeof(char *));
	if (!config->broker) {
		return -ENOMEM;
	}
	config->broker_managed =
		node->type == YAML_SCALAR_NODE && span_equal(text_of(node), SPAN("managed"));
	return config->broker_managed ? set_string(&config->broker[0], SPAN("managed"))
	       : list                 ? read_nodes(source, row, node, config)
				      : read_node(source, row, node, &url, &config->broker[0]);
}

static const char *const transport_names[] = {
	[TRANSPORT_LIBSSH2] = "libssh2", [TRANSPORT_SSH] = "ssh"};

const char *config_transport_name(enum transport transport)
{
	return transport_names[transport];
}

static int read_transport(struct span text, enum transport *field)
{
	for (unsigned i = 0; i < sizeof(transport_names) / sizeof(transport_names[0]); i++) {
		if (span_equal(text, span_str(transport_names[i]))) {
			*field = (enum transport)i;
			return 0;
		}
	}
	return -EINVAL;
}

static const char *const verify_names[] = {
	[VERIFY_NONE] = "none", [VERIFY_SIZE] = "size", [VERIFY_CONTENT] = "checksum"};

const char *config_verify_name(enum verify verify)
{
	return verify_names[verify];
}

int config_read_verify(struct span text, enum verify *ret)
{
	for (unsigned i = 0; i < sizeof(verify_names) / sizeof(verify_names[0]); i++) {
		if (span_equal(text, span_str(verify_names[i]))) {
			*ret = (enum verify)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* A size, and "/s" where somebody likes it. */
static int read_rate(const struct config_row *row, struct span text, uint64_t *ret)
{
	if (text.len > 2 && memcmp(text.data + text.len - 2, "/s", 2) == 0) {
		text.len -= 2;
	}
	return read_size(row, text, ret);
}

int config_read_rate(struct span text, uint64_t *ret)
{
	static const struct config_row row = {.min = 1, .max = UINT64_C(1) << 40};
	return read_rate(&row, text, ret);
}

int config_read_flag(struct span text, bool *ret)
{
	*ret = span_equal(text, SPAN("true"));
	return *ret || span_equal(text, SPAN("false")) ? 0 : -EINVAL;
}

/* --- lists -------------------------------------------------------------------------------- */

void config_free_list(char **list)
{
	for (char **item = list; item && *item; item++) {
		free(*item);
	}
	free(list);
}

size_t config_list_length(const yaml_node_t *list)
{
	return (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
}

yaml_node_t *config_list_item(const struct config_source *source, const yaml_node_t *list, size_t i)
{
	return yaml_document_get_node(source->document, list->data.sequence.items.start[i]);
}

int config_read_list(const struct config_source *source, yaml_node_t *list,
	int (*fn)(const struct config_source *source, yaml_node_t *item, char **ret), char ***ret)
{
	size_t count = config_list_length(list);
	char **texts = calloc(count + 1, sizeof(*texts));
	int r = texts ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < count; i++) {
		r = fn(source, config_list_item(source, list, i), &texts[i]);
	}
	if (r < 0) {
		config_free_list(texts);
		return r;
	}
	*ret = texts;
	return 0;
}

static int read_place(const struct config_source *source, yaml_node_t *item, char **ret)
{
	char found[128];
	bool scalar = item->type == YAML_SCALAR_NODE;
	int r = scalar ? config_expand_path(text_of(item), ret) : -EINVAL;
	if (r == 0 && strchr(*ret, ':')) {
		r = -EINVAL; /* they are joined by colons in $MIRROR_JOURNAL */
	}
	return r != -EINVAL ? r
			    : config_refuse(source, item->start_mark,
				      "journal: found %s; expected an absolute path without ':'",
				      config_found(item, found, sizeof(found)));
}

static int read_places(const struct config_source *source, const struct config_row *row,
	yaml_node_t *node, struct config *config)
{
	size_t count = node->type == YAML_SEQUENCE_NODE ? config_list_length(node) : 0;
	if (count == 0 || count > LIST_MAX) {
		return unexpected(source, row, node);
	}
	return config_read_list(source, node, read_place, &config->journal);
}

static int read_pauses(const struct config_source *source, const struct config_row *row,
	yaml_node_t *node, struct config *config)
{
	size_t count = node->type == YAML_SEQUENCE_NODE ? config_list_length(node) : LIST_MAX + 1;
	if (count > LIST_MAX) {
		return unexpected(source, row, node);
	}
	CLEANUP(free_p) uint64_t *pauses = calloc(count + 1, sizeof(*pauses));
	if (!pauses) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		const yaml_node_t *item = config_list_item(source, node, i);
		if (item->type != YAML_SCALAR_NODE ||
			read_time(row, text_of(item), &pauses[i]) < 0) {
			return unexpected(source, row, item);
		}
	}
	config->retry_ns = STEAL(pauses);
	config->retry_count = count;
	return 0;
}

/* --- all ---------------------------------------------------------------------------------- */

/* Scalars whose only trouble can be that they are not what is expected. */
static int read_scalar(const struct config_row *row, struct span text, void *field)
{
	switch (row->type) {
	case CONFIG_MIRROR:
		return is_mirror_name(text) ? set_string(field, text) : -EINVAL;
	case CONFIG_FILE:
		return config_expand_path(text, field);
	case CONFIG_TEXT:
		return text.len ? set_string(field, text) : -EINVAL;
	case CONFIG_TIME:
		return read_time(row, text, field);
	case CONFIG_COUNT:
		return read_count(row, text, field);
	case CONFIG_SIZE:
		return read_size(row, text, field);
	case CONFIG_RATE:
		return read_rate(row, text, field);
	case CONFIG_RING:
		return read_ring(row, text, field);
	case CONFIG_TRANSPORT:
		return read_transport(text, field);
	case CONFIG_FLAG:
		return config_read_flag(text, field);
	default:
		return -EINVAL;
	}
}

int config_read_value(const struct config_source *source, const struct config_row *row,
	yaml_node_t *node, struct config *config)
{
	switch (row->type) {
	case CONFIG_TREES:
		return config_read_trees(source, row, node, config);
	case CONFIG_PLACES:
		return read_places(source, row, node, config);
	case CONFIG_PAUSES:
		return read_pauses(source, row, node, config);
	case CONFIG_BROKER:
		return read_broker(source, row, node, config);
	default:
		break;
	}
	if (node->type != YAML_SCALAR_NODE || is_nothing(node) ||
		memchr(node->data.scalar.value, '\0', node->data.scalar.length)) {
		return unexpected(source, row, node);
	}
	int r = read_scalar(row, text_of(node), config_field(config, row));
	return r == -EINVAL ? unexpected(source, row, node) : r;
}
