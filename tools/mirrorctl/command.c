/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was typed, held against the rows of the verb.
 *
 *   mirrorctl [common options] VERB [options and arguments in any order] [-- arguments]
 *
 * The options all verbs have are accepted on both sides of the verb.  A verb that takes a command
 * ends its own options at the first argument.
 */
#include "verb.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "flow/place.h"
#include "nearest.h"

const struct option_row common_options[] = {
	{"config", 'c', "FILE", false,
		"the configuration (else $MIRROR_CONFIG, else mirror.yaml in "
		"$XDG_CONFIG_HOME/treemirror)"},
	{"help", 'h', NULL, false, "this help"},
	{"version", 'V', NULL, false, "the version"},
	{0},
};

int say(int status, const char *format, ...)
{
	char text[2048];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	(void)fflush(stdout);
	(void)fprintf(stderr, "mirrorctl: %s\n", text);
	return status;
}

const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; verbs[i]; i++) {
		if (strcmp(verbs[i]->name, name) == 0) {
			return verbs[i];
		}
	}
	return NULL;
}

static int unknown_verb(const char *name)
{
	const char *best = NULL;
	for (size_t i = 0; verbs[i]; i++) {
		if (!verbs[i]->hidden) {
			nearest_offer(name, verbs[i]->name, &best);
		}
	}
	if (best) {
		return say(EXIT_USAGE, "there is no verb '%s'; did you mean '%s'?", name, best);
	}
	return say(EXIT_USAGE, "there is no verb '%s'; mirrorctl --help lists them", name);
}

static int unknown_option(const struct verb *verb, const char *typed)
{
	const char *best = NULL;
	const struct option_row *const tables[] = {common_options, verb ? verb->options : NULL};
	for (size_t t = 0; t < 2; t++) {
		for (const struct option_row *row = tables[t]; row && row->name; row++) {
			nearest_offer(typed + strspn(typed, "-"), row->name, &best);
		}
	}
	const char *of = verb ? verb->name : "mirrorctl";
	if (best) {
		return say(
			EXIT_USAGE, "%s has no option '%s'; did you mean '--%s'?", of, typed, best);
	}
	return say(EXIT_USAGE, "%s has no option '%s'; --help lists them", of, typed);
}

/* Whether row is what the argument names; *ret_value is what follows in the same argument. */
static bool option_matches(
	const struct option_row *row, const char *argument, const char **ret_value)
{
	*ret_value = NULL;
	if (argument[1] != '-') {
		if (row->letter == 0 || argument[1] != row->letter) {
			return false;
		}
		*ret_value = argument[2] ? argument + 2 : NULL;
		return true;
	}
	size_t len = strlen(row->name);
	if (strncmp(argument + 2, row->name, len) != 0) {
		return false;
	}
	if (argument[2 + len] == '=') {
		*ret_value = argument + 2 + len + 1;
		return true;
	}
	return argument[2 + len] == '\0';
}

static const struct option_row *option_find(
	const struct option_row *rows, const char *argument, const char **ret_value)
{
	for (; rows && rows->name; rows++) {
		if (option_matches(rows, argument, ret_value)) {
			return rows;
		}
	}
	return NULL;
}

/* Takes the option at *argv; *argv moves on where its value is the next argument. */
static int take_option(struct command *command, char ***argv)
{
	const char *typed = **argv, *value;
	const struct option_row *rows = command->verb ? command->verb->options : NULL;
	const struct option_row *row = option_find(rows, typed, &value);
	bool common = !row;
	if (!row) {
		row = option_find(common_options, typed, &value);
	}
	if (!row) {
		return unknown_option(command->verb, typed);
	}
	if (!row->value && value) {
		return say(EXIT_USAGE, "--%s takes no value", row->name);
	}
	if (row->value && !row->optional && !value) {
		value = (*argv)[1];
		if (!value) {
			return say(EXIT_USAGE, "--%s needs a value: %s", row->name, row->value);
		}
		(*argv)++;
	}
	if (!common) {
		command->values[row - rows] = value ? value : "";
	} else if (row->letter == 'c') {
		command->config_file = value;
	} else if (row->letter == 'h') {
		command->help = true;
	} else {
		command->version = true;
	}
	return 0;
}

/* Arguments are moved to the front of the very array they came in. */
int command_parse(char **argv, struct command *ret)
{
	char **kept = argv, **at = argv + 1;
	bool options = true;
	*ret = (struct command){.arguments = kept};
	for (; *at; at++) {
		if (options && strcmp(*at, "--") == 0) {
			options = false;
		} else if (options && (*at)[0] == '-' && (*at)[1] != '\0') {
			int r = take_option(ret, &at);
			if (r) {
				return r;
			}
		} else if (!ret->verb) {
			ret->verb = verb_find(*at);
			if (!ret->verb) {
				return unknown_verb(*at);
			}
		} else {
			kept[ret->argument_count++] = *at;
			options = options && ret->verb->words != WORDS_COMMAND;
		}
	}
	kept[ret->argument_count] = NULL;
	if (ret->verb && ret->verb->words == WORDS_NONE && ret->argument_count && !ret->help) {
		return say(
			EXIT_USAGE, "%s takes no arguments; found '%s'", ret->verb->name, kept[0]);
	}
	return 0;
}

const char *command_value(const struct command *command, const char *option)
{
	const struct option_row *rows = command->verb->options;
	for (size_t i = 0; rows && rows[i].name; i++) {
		if (strcmp(rows[i].name, option) == 0) {
			return command->values[i];
		}
	}
	return NULL;
}

bool command_has(const struct command *command, const char *option)
{
	return command_value(command, option) != NULL;
}

int command_duration(
	const struct command *command, const char *option, uint64_t fallback_ns, uint64_t *ret_ns)
{
	const char *text = command_value(command, option);
	*ret_ns = fallback_ns;
	if (!text || !text[0]) {
		return 0;
	}
	if (clock_parse(span_str(text), ret_ns) == 0) {
		return 0;
	}
	size_t digits = strspn(text, "0123456789");
	if (digits < 9 && text[digits] == '\0') { /* a bare number is seconds, as for sleep(1) */
		*ret_ns = 0;
		for (size_t i = 0; i < digits; i++) {
			*ret_ns = *ret_ns * 10 + (uint64_t)(text[i] - '0') * CLOCK_S;
		}
		return 0;
	}
	return say(EXIT_USAGE,
		"--%s '%s' is not a duration; expected a number and s, m, h or d: 30s", option,
		text);
}

static void say_no_config(void)
{
	char *directory = place_config_directory();
	(void)fprintf(stderr,
		"mirrorctl: no configuration found; looked at -c FILE, $MIRROR_CONFIG and\n"
		"%s/mirror.yaml.  The smallest one:\n\n"
		"  mirror: demo\n"
		"  trees:\n"
		"    - source: /path/of/the/tree\n"
		"      target: sftp://user@host/path/of/its/copy\n\n"
		"mirrorctl config show --defaults prints all keys with their meaning.\n",
		directory ? directory : "~/.config/treemirror");
	free(directory);
}

int command_load_config(struct command *command)
{
	struct why why = {0};
	int r = config_load(command->config_file, &command->config, &why);
	if (r == 0) {
		return EXIT_DONE;
	}
	if (r == -ENOENT && !command->config_file && !getenv("MIRROR_CONFIG")) {
		say_no_config();
		return EXIT_USAGE;
	}
	return say(EXIT_USAGE, "%s", why.text[0] ? why.text : strerror(-r));
}

static void usage_options(const struct option_row *rows, FILE *out)
{
	for (; rows && rows->name; rows++) {
		char left[64], letter[8] = "    ";
		if (rows->letter) {
			(void)snprintf(letter, sizeof(letter), "-%c, ", rows->letter);
		}
		(void)snprintf(left, sizeof(left), "%s--%s%s%s%s", letter, rows->name,
			!rows->value     ? ""
			: rows->optional ? "[="
					 : " ",
			rows->value ? rows->value : "", rows->value && rows->optional ? "]" : "");
		(void)fprintf(out, "  %-24s %s\n", left, rows->help);
	}
}

void command_usage(const struct verb *verb, FILE *out)
{
	(void)fprintf(out, "usage: mirrorctl %s%s%s%s\n\n%s\n", verb->name,
		verb->options ? " [OPTION…]" : "", verb->arguments ? " " : "",
		verb->arguments ? verb->arguments : "", verb->summary);
	if (verb->help) {
		(void)fprintf(out, "\n%s\n", verb->help);
	}
	(void)fputs("\noptions:\n", out);
	usage_options(verb->options, out);
	usage_options(common_options, out);
}
