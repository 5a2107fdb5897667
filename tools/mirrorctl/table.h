/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aligned columns.
 *
 *   struct table table = TABLE_EMPTY;
 *   table_head(&table, "<STAGE >QUEUE");                < left, > right
 *   table_cell(&table, "%s", stage); table_cell(…);     row after row
 *   table_print(&table, stdout); table_finish(&table);
 *
 * The last column is cut where the terminal is too narrow for the whole.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS 12

struct table {
	char **cells; /* heads first */
	size_t count, room;
	size_t columns;
	bool right[TABLE_COLUMNS];
	bool failed;
};
#define TABLE_EMPTY ((struct table){0})

/* One word for each column. */
void table_head(struct table *table, const char *heads);
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_print(const struct table *table, FILE *out);
void table_finish(struct table *table);
