/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl config: whether the configuration is right, and what it amounts to.
 */
#include <stdio.h>
#include <string.h>

#include "nearest.h"
#include "verb.h"

static int config_run(struct command *command)
{
	const char *what = command->argument_count ? command->arguments[0] : "";
	bool defaults = command_has(command, "defaults");
	if (command->argument_count != 1 ||
		(strcmp(what, "check") != 0 && strcmp(what, "show") != 0)) {
		const char *best = NULL;
		nearest_offer(what, "check", &best);
		nearest_offer(what, "show", &best);
		return say(EXIT_USAGE, "config takes one word, check or show%s%s%s",
			best ? "; did you mean '" : "", best ? best : "", best ? "'?" : "");
	}
	if (defaults && what[0] == 's') {
		config_show_defaults(stdout);
		return EXIT_DONE;
	}
	if (defaults) {
		return say(EXIT_USAGE, "--defaults goes with show");
	}
	int status = command_load_config(command);
	if (status != EXIT_DONE) {
		return status;
	}
	const struct config *config = command->config;
	if (what[0] == 's') {
		config_show(config, stdout);
	} else {
		printf("OK: %s: mirror %s, %zu tree%s, broker %s\n", config->file, config->mirror,
			config->tree_count, config->tree_count == 1 ? "" : "s", config->broker[0]);
	}
	return EXIT_DONE;
}

static const struct option_row config_options[] = {
	{"defaults", 0, NULL, false, "show: the commented file of all keys and their defaults"},
	{0},
};

const struct verb verb_config = {
	.name = "config",
	.arguments = "check|show",
	.summary = "check the configuration, or show what it amounts to",
	.options = config_options,
	.words = WORDS_CONFIG,
	.no_config = true,
	.run = config_run,
};
