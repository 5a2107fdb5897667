/* SPDX-License-Identifier: Apache-2.0 */
/* The key `trees` of mirror.yaml, and helpers that its reader shares with config-value.c. */
#pragma once

#include "flow/config-value.h"

int config_read_trees(const struct config_source *source, const struct config_row *row,
	yaml_node_t *node, struct config *config);

/* "a list", "'text'", "nothing"; may use the buffer. */
const char *config_found(const yaml_node_t *node, char *buffer, size_t size_bytes);
/* ~/ expanded, normalised, into a heap string.  Returns 0, -ENOMEM, -EINVAL: not absolute. */
int config_expand_path(struct span text, char **field);
bool config_has_password(struct span url);

size_t config_list_length(const yaml_node_t *list);
yaml_node_t *config_list_item(
	const struct config_source *source, const yaml_node_t *list, size_t i);
/* A list of scalars into a NULL-terminated list of strings. */
int config_read_list(const struct config_source *source, yaml_node_t *list,
	int (*fn)(const struct config_source *source, yaml_node_t *item, char **ret), char ***ret);
