/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl completion bash|zsh: prints the completion file, from the very rows that parse what
 * is typed.  The build installs what this prints.
 */
#include <stdio.h>
#include <string.h>

#include "verb.h"

static void print_options(const struct option_row *rows)
{
	for (; rows && rows->name; rows++) {
		printf(" --%s%s", rows->name, rows->value && rows->optional ? "=" : "");
	}
}

static const char *words_of(enum words words)
{
	switch (words) {
	case WORDS_STAGES:
		return "broker poster winnow copier tally";
	case WORDS_CONFIG:
		return "check show";
	default:
		return "";
	}
}

static void bash_verb(const struct verb *verb)
{
	printf("\t%s)\n\t\toptions='", verb->name);
	print_options(verb->options);
	print_options(common_options);
	printf("'\n\t\twords='%s'\n", words_of(verb->words));
	if (verb->words == WORDS_FILES || verb->words == WORDS_COMMAND) {
		printf("\t\tfiles=-%c\n", verb->words == WORDS_FILES ? 'f' : 'c');
	}
	printf("\t\t;;\n");
}

static void print_bash(void)
{
	printf("# bash completion for mirrorctl\n_mirrorctl()\n{\n"
	       "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
	       "\tlocal verb= options= words= files= i\n"
	       "\tcase $before in\n\t-c | --config)\n"
	       "\t\tCOMPREPLY=($(compgen -f -- \"$word\"))\n\t\treturn\n\t\t;;\n\tesac\n"
	       "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	       "\t\tcase ${COMP_WORDS[i]} in\n\t\t-c | --config) ((i++)) ;;\n\t\t-*) ;;\n"
	       "\t\t*)\n\t\t\tverb=${COMP_WORDS[i]}\n\t\t\tbreak\n\t\t\t;;\n\t\tesac\n\tdone\n"
	       "\tcase $verb in\n\t'')\n\t\toptions='");
	print_options(common_options);
	printf("'\n\t\twords='");
	for (size_t i = 0; verbs[i]; i++) {
		printf("%s%s", verbs[i]->hidden ? "" : " ", verbs[i]->hidden ? "" : verbs[i]->name);
	}
	printf("'\n\t\t;;\n");
	for (size_t i = 0; verbs[i]; i++) {
		if (!verbs[i]->hidden) {
			bash_verb(verbs[i]);
		}
	}
	printf("\tesac\n\t[[ $word == -* ]] || options=\n"
	       "\tCOMPREPLY=($(compgen $files -W \"$options $words\" -- \"$word\"))\n}\n"
	       "complete -F _mirrorctl mirrorctl\n");
}

/* Inside '…' of the shell, and inside […] of _arguments. */
static void print_zsh_text(const char *text)
{
	for (; *text; text++) {
		if (*text == '\'') {
			printf("'\\''");
		} else if (strchr("[]:\\", *text)) {
			printf("\\%c", *text);
		} else {
			(void)putchar(*text);
		}
	}
}

/* "[help]", and for an option with a value ":VALUE:" and how to complete it. */
static void zsh_rest(const struct option_row *row)
{
	printf("[");
	print_zsh_text(row->help);
	printf("]");
	if (row->value) {
		printf("%s%s:%s", row->optional ? "::" : ":", row->value,
			strcmp(row->value, "FILE") == 0 ? "_files" : "");
	}
	printf("'");
}

static void zsh_options(const struct option_row *rows)
{
	for (; rows && rows->name; rows++) {
		const char *how = !rows->value ? "" : rows->optional ? "=-" : "=";
		printf(" \\\n\t\t\t'--%s%s", rows->name, how);
		zsh_rest(rows);
		if (rows->letter) {
			printf(" \\\n\t\t\t'-%c%s", rows->letter, rows->value ? "+" : "");
			zsh_rest(rows);
		}
	}
}

static void zsh_verb(const struct verb *verb)
{
	static const char *const actions[] = {
		[WORDS_NONE] = "",
		[WORDS_STAGES] = " \\\n\t\t\t'*:stage:(broker poster winnow copier tally)'",
		[WORDS_FILES] = " \\\n\t\t\t'*:path:_files'",
		[WORDS_COMMAND] = " \\\n\t\t\t'*::command:_normal'",
		[WORDS_CONFIG] = " \\\n\t\t\t'1:what:(check show)'",
		[WORDS_HOSTS] = " \\\n\t\t\t'*:host:_hosts'",
	};
	printf("\t\t%s)\n\t\t\t_arguments", verb->name);
	zsh_options(verb->options);
	zsh_options(common_options);
	printf("%s\n\t\t\t;;\n", actions[verb->words]);
}

static void print_zsh(void)
{
	printf("#compdef mirrorctl\n_mirrorctl()\n{\n\tlocal -a verbs\n\tlocal state "
	       "line\n\tverbs=(\n");
	for (size_t i = 0; verbs[i]; i++) {
		if (!verbs[i]->hidden) {
			printf("\t\t'%s:", verbs[i]->name);
			print_zsh_text(verbs[i]->summary);
			printf("'\n");
		}
	}
	printf("\t)\n\t_arguments -C");
	zsh_options(common_options);
	printf(" \\\n\t\t\t'1:verb:->verb' '*:::argument:->rest'\n"
	       "\tcase $state in\n\tverb) _describe verb verbs ;;\n\trest)\n"
	       "\t\twords=($line[1] \"${words[@]}\")\n\t\t((CURRENT += 1))\n"
	       "\t\tcase $line[1] in\n");
	for (size_t i = 0; verbs[i]; i++) {
		if (!verbs[i]->hidden) {
			zsh_verb(verbs[i]);
		}
	}
	printf("\t\tesac\n\t\t;;\n\tesac\n}\n_mirrorctl \"$@\"\n");
}

static int completion_run(struct command *command)
{
	const char *shell = command->argument_count ? command->arguments[0] : "";
	if (strcmp(shell, "bash") == 0) {
		print_bash();
	} else if (strcmp(shell, "zsh") == 0) {
		print_zsh();
	} else {
		return say(EXIT_USAGE, "completion for which shell?  bash or zsh");
	}
	return EXIT_DONE;
}

const struct verb verb_completion = {
	.name = "completion",
	.arguments = "bash|zsh",
	.summary = "print the shell's completion file",
	.words = WORDS_SHELLS,
	.no_config = true,
	.hidden = true,
	.run = completion_run,
};
