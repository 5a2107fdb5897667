/* SPDX-License-Identifier: Apache-2.0 */
/* The rows once more, the other way: what is in force, the commented file, the manual. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/utf8.h"
#include "flow/config-rows.h"

#define WIDTH 76 /* of comments */

/* The UTF-8 sequence at the front as a number. */
static uint32_t code_point(struct span text, size_t len)
{
	uint32_t code = (unsigned char)text.data[0] & (len == 1 ? 0x7f : 0xff >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		code = code << 6 | ((unsigned char)text.data[i] & 0x3f);
	}
	return code;
}

/* One character in double quotes; what YAML takes for a line break or refuses is escaped. */
static size_t show_character(FILE *out, struct span text)
{
	size_t len = utf8_length(text) ? utf8_length(text) : 1;
	uint32_t code = code_point(text, len);
	if (code == '"' || code == '\\') {
		(void)fprintf(out, "\\%c", (char)code);
	} else if (code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 ||
		   code == 0x2029 || code == 0xfeff || code == 0xfffe || code == 0xffff) {
		(void)fprintf(out, "\\u%04x", code);
	} else {
		(void)fwrite(text.data, 1, len, out);
	}
	return len;
}

/* As it is where YAML takes it for plain text without doubt, else in double quotes. */
static void show_string(FILE *out, const char *string)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "_-./@:%+~";
	struct span text = span_str(string);
	bool nothing = span_equal(text, SPAN("null")) || span_equal(text, SPAN("~"));
	if (text.len && strspn(string, plain) == text.len && !strchr("-:%@", string[0]) &&
		string[text.len - 1] != ':' && !nothing) {
		(void)fputs(string, out);
		return;
	}
	(void)fputc('"', out);
	while (text.len) {
		text = span_skip(text, show_character(out, text));
	}
	(void)fputc('"', out);
}

static void show_list(FILE *out, char *const *list)
{
	(void)fputc('[', out);
	for (size_t i = 0; list[i]; i++) {
		(void)fputs(i ? ", " : "", out);
		show_string(out, list[i]);
	}
	(void)fputc(']', out);
}

static void show_time(FILE *out, uint64_t ns)
{
	char text[32];
	(void)fputs(clock_exact(ns, text, sizeof(text)), out);
}

static void show_pauses(FILE *out, const struct config *config)
{
	(void)fputc('[', out);
	for (size_t i = 0; i < config->retry_count; i++) {
		(void)fputs(i ? ", " : "", out);
		show_time(out, config->retry_ns[i]);
	}
	(void)fputc(']', out);
}

static void show_rate(FILE *out, uint64_t bytes)
{
	char text[32];
	(void)fprintf(out, "%s%s", config_size_text(bytes, text, sizeof(text)), bytes ? "/s" : "");
}

static void show_broker(FILE *out, const struct config *config)
{
	if (config->broker[1]) {
		show_list(out, config->broker);
	} else {
		show_string(out, config->broker[0]);
	}
}

static void show_trees(FILE *out, const struct config *config)
{
	for (size_t i = 0; i < config->tree_count; i++) {
		const struct tree *tree = &config->trees[i];
		(void)fputs("\n  - source: ", out);
		show_string(out, tree->source.remote ? tree->source.text : tree->source.path);
		(void)fputs("\n    target: ", out);
		show_string(out, tree->target.remote ? tree->target.text : tree->target.path);
		if (tree->exclude) {
			(void)fputs("\n    exclude: ", out);
			show_list(out, tree->exclude);
		}
		if (tree->verify != VERIFY_NONE) {
			(void)fprintf(out, "\n    verify: %s", config_verify_name(tree->verify));
		}
		if (tree->bandwidth_bytes) {
			(void)fputs("\n    bandwidth: ", out);
			show_rate(out, tree->bandwidth_bytes);
		}
		if (tree->in_place) {
			(void)fputs("\n    in_place: true", out);
		}
	}
}

static void show_value(FILE *out, const struct config *config, const struct config_row *row)
{
	const void *field = config_field(config, row);
	char text[32];
	switch (row->type) {
	case CONFIG_TREES:
		show_trees(out, config);
		break;
	case CONFIG_BROKER:
		show_broker(out, config);
		break;
	case CONFIG_MIRROR:
	case CONFIG_FILE:
	case CONFIG_TEXT:
		show_string(out, *(char *const *)field);
		break;
	case CONFIG_TIME:
		show_time(out, *(const uint64_t *)field);
		break;
	case CONFIG_PAUSES:
		show_pauses(out, config);
		break;
	case CONFIG_COUNT:
		(void)fprintf(out, "%" PRIu64, *(const uint64_t *)field);
		break;
	case CONFIG_SIZE:
	case CONFIG_RING:
		(void)fputs(config_size_text(*(const uint64_t *)field, text, sizeof(text)), out);
		break;
	case CONFIG_RATE:
		show_rate(out, *(const uint64_t *)field);
		break;
	case CONFIG_PLACES:
		show_list(out, config->journal);
		break;
	case CONFIG_TRANSPORT:
		(void)fputs(config_transport_name(*(const enum transport *)field), out);
		break;
	case CONFIG_FLAG:
		(void)fputs(*(const bool *)field ? "true" : "false", out);
		break;
	}
}

static bool is_string(const struct config_row *row)
{
	return row->type == CONFIG_FILE || row->type == CONFIG_TEXT;
}

static bool begins_section(size_t i)
{
	const char *before = i ? config_rows[i - 1].section : NULL,
		   *section = config_rows[i].section;
	return section && (!before || strcmp(before, section) != 0);
}

/* Prints "section:" where one begins; returns how far its keys are indented. */
static int show_section(FILE *out, size_t i, const char *comment)
{
	if (begins_section(i)) {
		(void)fprintf(out, "%s%s:\n", comment, config_rows[i].section);
	}
	return config_rows[i].section ? 2 : 0;
}

void config_show(const struct config *config, FILE *out)
{
	for (size_t i = 0; i < config_row_count; i++) {
		const struct config_row *row = &config_rows[i];
		int indent = show_section(out, i, "");
		if (is_string(row) && !*(char **)config_field(config, row)) {
			(void)fprintf(out, "%*s# %s: (not set)\n", indent, "", row->key);
			continue;
		}
		const char *space = row->type == CONFIG_TREES ? "" : " ";
		(void)fprintf(out, "%*s%s:%s", indent, "", row->key, space);
		show_value(out, config, row);
		(void)fputc('\n', out);
	}
}

/* Words in lines that each begin with the prefix. */
static void show_wrapped(FILE *out, const char *prefix, const char *text)
{
	size_t column = 0;
	while (*text) {
		size_t word = strcspn(text, " ");
		if (column == 0 || column + 1 + word > WIDTH) {
			(void)fprintf(out, "%s%s", column ? "\n" : "", prefix);
			column = strlen(prefix);
		} else {
			(void)fputc(' ', out);
			column++;
		}
		(void)fwrite(text, 1, word, out);
		column += word;
		text += word + strspn(text + word, " ");
	}
	(void)fputc('\n', out);
}

void config_show_defaults(FILE *out)
{
	(void)fputs("# treemirror: all keys with their defaults, as comments; see mirror.yaml(5).\n"
		    "# Found by -c FILE, else $MIRROR_CONFIG, else\n"
		    "# $XDG_CONFIG_HOME/treemirror/mirror.yaml.\n",
		out);
	for (size_t i = 0; i < config_row_count; i++) {
		const struct config_row *row = &config_rows[i];
		const char *prefix = row->section ? "#  # " : "# ";
		(void)fputs(!row->section || begins_section(i) ? "\n" : "", out);
		int indent = show_section(out, i, "#");
		show_wrapped(out, prefix, row->help);
		if (row->type == CONFIG_TREES) {
			(void)fputs("trees:\n  - source: /fs/primary/ops\n"
				    "    target: sftp://ops@second.example/fs/secondary/ops\n"
				    "#    exclude: [\"*.swp\", scratch/]\n"
				    "#    verify: none\n"
				    "#    bandwidth: 100MiB/s\n"
				    "#    in_place: false\n",
				out);
		} else if (row->type == CONFIG_MIRROR) {
			(void)fputs("mirror: demo\n", out);
		} else {
			(void)fprintf(out, "#%*s%s:%s%s\n", indent, "", row->key,
				row->fallback ? " " : "", row->fallback ? row->fallback : "");
		}
	}
}

/* What scdoc would take for markup. */
static void show_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (strchr("_~#[]*\\", *text)) {
			(void)fputc('\\', out);
		}
		(void)fputc(*text, out);
	}
}

void config_show_manual(FILE *out)
{
	for (size_t i = 0; i < config_row_count; i++) {
		const struct config_row *row = &config_rows[i];
		(void)fputc('*', out);
		if (row->section) {
			(void)fprintf(out, "%s: ", row->section);
		}
		show_escaped(out, row->key);
		(void)fputs("*\n\t", out);
		show_escaped(out, row->help);
		(void)fputs("\n\n\tExpected: ", out);
		show_escaped(out, row->expected);
		if (row->fallback) {
			(void)fputs(". Default: ", out);
			show_escaped(out, row->fallback);
		}
		(void)fputs(row->required ? ". Required.\n\n" : ".\n\n", out);
	}
}
