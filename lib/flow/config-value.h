/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of mirror.yaml: from a YAML node into the field of a row; for config.c.
 *
 * A value that is not what the row expects gives -EINVAL, with the file, line and column of the
 * node in the words.
 */
#pragma once

#include <yaml.h>

#include "flow/config-rows.h"

/* What is being read. */
struct config_source {
	const char *name; /* for error texts */
	yaml_document_t *document;
	struct why *why;
};

/* "name:line:column: words".  Returns -EINVAL. */
int config_refuse(const struct config_source *source, yaml_mark_t mark, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Reads one value.  Returns 0, -ENOMEM, -EINVAL. */
int config_read_value(const struct config_source *source, const struct config_row *row,
	yaml_node_t *node, struct config *config);

/*
 * Calls fn for each key of a mapping; refuses keys that are no plain words and those that come
 * twice.  Returns 0 or what fn returned.
 */
int config_each_key(const struct config_source *source, yaml_node_t *mapping,
	int (*fn)(void *arg, const char *key, yaml_node_t *key_node, yaml_node_t *value),
	void *arg);

/* The nearest of count names, or NULL when none is near. */
const char *config_nearest(const char *name, const char *const *names, size_t count);
/* "none", "size", "checksum"; "100MiB/s"; "true", "false": 0 or -EINVAL. */
int config_read_verify(struct span text, enum verify *ret);
int config_read_rate(struct span text, uint64_t *ret);
int config_read_flag(struct span text, bool *ret);
