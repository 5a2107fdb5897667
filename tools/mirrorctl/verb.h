/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A verb of mirrorctl: one row, its options, and what runs.
 *
 * Each verb has a file of its own that defines one `const struct verb verb_NAME`; main.c has the
 * table of all.  Help, the check of what was typed, suggestions and shell completion all come
 * from these rows.
 *
 * run() returns the exit status.  Results go to stdout, words to stderr (say()).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/span.h"
#include "core/why.h"
#include "flow/config.h"

#define EXIT_DONE    0
#define EXIT_FAILED  1
#define EXIT_USAGE   2
#define EXIT_DOWN    3  /* status: something does not run */
#define EXIT_ORDERS  4  /* status: orders have failed */
#define EXIT_TIMEOUT 75 /* flush: time ran out (sysexits: try again later) */

/* One option; the last row of a table has no name. */
struct option_row {
	const char *name;  /* without the dashes */
	char letter;       /* or 0 */
	const char *value; /* what it takes, for the help: "FILE"; NULL: nothing */
	bool optional;     /* the value only as --name=VALUE */
	const char *help;
};
#define OPTIONS_MAX 12

enum words {
	WORDS_NONE,
	WORDS_STAGES,
	WORDS_FILES,
	WORDS_COMMAND,
	WORDS_CONFIG,
	WORDS_HOSTS,
	WORDS_SHELLS
};

struct command;

struct verb {
	const char *name;
	const char *arguments;            /* for the usage line: "[STAGE…]" */
	const char *summary;              /* one line */
	const char *help;                 /* more paragraphs, or NULL */
	const struct option_row *options; /* or NULL */
	enum words words;                 /* which arguments it takes */
	bool no_config;                   /* runs without a configuration */
	bool hidden;
	int (*run)(struct command *command);
};

/* What was typed. */
struct command {
	const struct verb *verb;
	struct config *config;   /* NULL where no_config */
	const char *config_file; /* -c, or NULL */
	bool help, version;
	char **arguments; /* NULL-terminated */
	size_t argument_count;
	const char *values[OPTIONS_MAX]; /* as verb->options; "" without a value; NULL: not given */
};

/* The value of an option, "" for one without; NULL: not given. */
const char *command_value(const struct command *command, const char *option);
bool command_has(const struct command *command, const char *option);
/* A duration given with an option; fallback_ns where it is not given.  0, or EXIT_USAGE, said. */
int command_duration(
	const struct command *command, const char *option, uint64_t fallback_ns, uint64_t *ret_ns);

/* Reads argv into *ret.  0, or EXIT_USAGE with the words said. */
int command_parse(char **argv, struct command *ret);
/* Reads the configuration into command->config.  0, or EXIT_USAGE with the words said. */
int command_load_config(struct command *command);
void command_usage(const struct verb *verb, FILE *out);

/* "mirrorctl: words" on stderr; returns status, so that failing is one line. */
int say(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* All verbs, ending with NULL (main.c). */
extern const struct verb *const verbs[];
const struct verb *verb_find(const char *name);
extern const struct option_row common_options[];

extern const struct verb verb_start, verb_stop, verb_restart, verb_reload, verb_status, verb_env,
	verb_run, verb_sync, verb_flush, verb_failed, verb_forget, verb_journal, verb_config,
	verb_doctor, verb_supervise, verb_completion;
