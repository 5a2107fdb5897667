/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of keys, for config.c, config-value.c and config-show.c.
 *
 * A row tells everything about a key; `fallback` is YAML, read by the same code as the file.
 */
#pragma once

#include "flow/config.h"

enum config_type {
	CONFIG_MIRROR,    /* char *: a name fit for queues and files */
	CONFIG_TREES,     /* struct tree *, with tree_count */
	CONFIG_BROKER,    /* char **: "managed" or URLs without a password; NULL-terminated */
	CONFIG_FILE,      /* char *: a path, absolute or ~/…; NULL where not given */
	CONFIG_TEXT,      /* char * */
	CONFIG_TIME,      /* uint64_t, ns */
	CONFIG_PAUSES,    /* uint64_t *, with retry_count: whole seconds */
	CONFIG_COUNT,     /* uint64_t */
	CONFIG_SIZE,      /* uint64_t, bytes */
	CONFIG_RATE,      /* uint64_t, bytes a second */
	CONFIG_RING,      /* uint64_t, bytes, a power of two */
	CONFIG_PLACES,    /* char **: NULL-terminated paths */
	CONFIG_TRANSPORT, /* enum transport */
	CONFIG_FLAG,      /* bool */
};

struct config_row {
	const char *section; /* NULL: top level */
	const char *key;
	enum config_type type;
	size_t offset;
	const char *fallback; /* NULL: none */
	bool required;
	uint64_t min, max;    /* TIME, PAUSES, COUNT, SIZE, RING; in the unit of the field */
	uint64_t step;        /* TIME, PAUSES: a multiple of this, where not 0 */
	const char *expected; /* for people: "a time from 0 to 1d, such as 30s" */
	const char *help;
};

extern const struct config_row config_rows[];
extern const size_t config_row_count;

static inline void *config_field(const struct config *config, const struct config_row *row)
{
	return (char *)config + row->offset;
}

/* NULL-terminated. */
void config_free_list(char **list);
void config_free_trees(struct tree *trees, size_t count);

/* "64MiB", "1000", as config files spell it; returns buffer. */
char *config_size_text(uint64_t bytes, char *buffer, size_t size_bytes);
const char *config_transport_name(enum transport transport);
const char *config_verify_name(enum verify verify);
