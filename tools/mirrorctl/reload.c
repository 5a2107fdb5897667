/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl reload: what is read here is right, so the copiers can read it, too.
 */
#include <errno.h>
#include <string.h>

#include "control.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "supervisor.h"
#include "verb.h"

#define ASK_NS (5 * CLOCK_S)

static size_t copiers(const json_t *status)
{
	size_t i, count = 0;
	json_t *process;
	json_array_foreach(json_object_get(status, "processes"), i, process)
	{
		const char *stage = json_string_value(json_object_get(process, "stage"));
		count += stage && strcmp(stage, "copier") == 0 &&
			 json_integer_value(json_object_get(process, "pid")) > 0;
	}
	return count;
}

static int reload_run(struct command *command)
{
	const struct config *config = command->config;
	struct why why = {""};
	CLEANUP(control_drop)
	json_t *request =
		json_pack("{s:s, s:o}", "do", "reload", "config", control_text(config->file));
	CLEANUP(control_drop) json_t *status = NULL;
	int r = control_ask(config->mirror, request, clock_now() + ASK_NS, &status, &why);
	if (r < 0) {
		return say(EXIT_FAILED, "%s", why.text);
	}
	unsigned id = (unsigned)json_integer_value(json_object_get(status, "config_id"));
	if (id != supervisor_config_id(config)) {
		(void)say(0, "note: more than limits has changed since what runs was started; "
			     "mirrorctl restart to use that");
	}
	printf("%zu copiers read their limits again\n", copiers(status));
	return EXIT_DONE;
}

const struct verb verb_reload = {
	.name = "reload",
	.arguments = "",
	.summary = "bring changed limits (bandwidth) into effect without ending anything",
	.help = "A configuration that is wrong changes nothing.  Other keys need a restart.",
	.run = reload_run,
};
