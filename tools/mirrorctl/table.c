/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "term.h"

#define GAP 2

static void add(struct table *table, char *text)
{
	if (table->count == table->room) {
		size_t room = table->room ? table->room * 2 : 64;
		char **cells = realloc(table->cells, room * sizeof(*cells));
		if (!cells) {
			free(text);
			table->failed = true;
			return;
		}
		table->cells = cells;
		table->room = room;
	}
	table->cells[table->count++] = text;
}

void table_head(struct table *table, const char *heads)
{
	while (*heads && table->columns < TABLE_COLUMNS) {
		size_t len = strcspn(heads, " ");
		table->right[table->columns++] = heads[0] == '>';
		add(table, strndup(heads + 1, len - 1));
		heads += len + (heads[len] == ' ');
	}
}

void table_cell(struct table *table, const char *format, ...)
{
	char *text = NULL;
	va_list arguments;
	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0) {
		text = NULL;
	}
	va_end(arguments);
	add(table, text);
}

static const char *cell(const struct table *table, size_t at)
{
	return table->cells[at] ? table->cells[at] : "?";
}

static void pad(FILE *out, size_t columns)
{
	(void)fprintf(out, "%*s", (int)columns, "");
}

/* At most `room` columns of text; the cut is shown. */
static void print_cut(FILE *out, const char *text, size_t room)
{
	if (room == 0 || term_columns(text) <= room) {
		(void)fputs(text, out);
		return;
	}
	size_t columns = 0;
	for (; *text; text++) {
		columns += ((unsigned char)*text & 0xc0) != 0x80;
		if (columns >= room) {
			break;
		}
		(void)fputc(*text, out);
	}
	(void)fputs("…", out);
}

static void print_row(const struct table *table, size_t row, const size_t *widths, FILE *out)
{
	size_t used = 0, limit = term_width(out);
	for (size_t c = 0; c < table->columns; c++) {
		const char *text = cell(table, row * table->columns + c);
		size_t gap = widths[c] - term_columns(text);
		bool last = c + 1 == table->columns;
		if (table->right[c]) {
			pad(out, gap);
		}
		print_cut(out, text, last && limit > used + 8 ? limit - used : 0);
		if (!last) {
			pad(out, (table->right[c] ? 0 : gap) + GAP);
		}
		used += widths[c] + GAP;
	}
	(void)fputc('\n', out);
}

void table_print(const struct table *table, FILE *out)
{
	size_t widths[TABLE_COLUMNS] = {0};
	for (size_t i = 0; i < table->count; i++) {
		size_t columns = term_columns(cell(table, i));
		if (columns > widths[i % table->columns]) {
			widths[i % table->columns] = columns;
		}
	}
	for (size_t row = 0; (row + 1) * table->columns <= table->count; row++) {
		(void)fputs(row == 0 ? term_style(out, STYLE_DIM) : "", out);
		print_row(table, row, widths, out);
		(void)fputs(row == 0 ? term_style(out, STYLE_NONE) : "", out);
	}
}

void table_finish(struct table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		free(table->cells[i]);
	}
	free(table->cells);
	*table = TABLE_EMPTY;
}
