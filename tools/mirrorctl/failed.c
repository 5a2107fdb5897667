/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl failed: what could not be mirrored, and why; and once more, forced.
 */
#include <errno.h>
#include <stdio.h>

#include <jansson.h>

#include "control.h"
#include "core/clock.h"
#include "core/log.h"
#include "gather.h"
#include "publish.h"
#include "table.h"
#include "units.h"
#include "verb.h"

#define LOGIN_NS (10 * CLOCK_S)

struct failed {
	const struct command *command;
	struct broker_session *session; /* retry */
	struct table table;
	json_t *list;
	uint64_t count;
	struct why why;
};

static int print_one(void *arg, const struct ledger_failed *order)
{
	struct failed *failed = arg;
	char path[4096], why[1024];
	log_escape(order->path, path, sizeof(path));
	log_words(order->why, why, sizeof(why));
	failed->count++;
	if (failed->list) {
		json_array_append_new(failed->list,
			json_pack("{s:o, s:o, s:o, s:i, s:f, s:o, s:s}", "path",
				control_bytes(order->path), "why", control_bytes(order->why),
				"host", control_bytes(order->host), "attempts",
				(int)order->attempts + 1, "time",
				(double)order->failed_ns / (double)CLOCK_S, "job",
				control_bytes(order->job), "op", change_op_name(order->op)));
		return 0;
	}
	table_cell(&failed->table, "%s", units_time(order->failed_ns));
	table_cell(&failed->table, "%u", order->attempts + 1);
	table_cell(&failed->table, "%s", path);
	table_cell(&failed->table, "%s", why);
	return 0;
}

static int retry_one(void *arg, const struct ledger_failed *order)
{
	struct failed *failed = arg;
	unsigned facts = (order->facts | CHANGE_FORCE | CHANGE_SOON) & ~(unsigned)CHANGE_SETTLED;
	struct change *change = publish_look(order->path, facts);
	int r = change ? publish_change(
				 failed->command->config, failed->session, change, &failed->why)
		       : why_error(&failed->why, -ENOMEM, "out of memory");
	change_destroy(change);
	failed->count += r == 0;
	return r;
}

static int retry(struct failed *failed, struct ledger *ledger)
{
	struct why why = {0};
	int r = gather_session(
		failed->command->config, clock_now() + LOGIN_NS, &failed->session, &failed->why);
	if (r == 0) {
		r = ledger_each_failed(ledger, retry_one, failed, &why);
	}
	broker_session_close(failed->session);
	if (failed->count) {
		printf("%s order%s given out again\n", units_count(failed->count),
			failed->count == 1 ? "" : "s");
	}
	if (r < 0 || failed->why.text[0]) {
		return say(EXIT_FAILED, "%s", failed->why.text[0] ? failed->why.text : why.text);
	}
	if (!failed->count) {
		printf("nothing has failed\n");
	}
	return EXIT_DONE;
}

static int show(struct failed *failed, struct ledger *ledger)
{
	bool json = command_has(failed->command, "json");
	failed->list = json ? json_array() : NULL;
	table_head(&failed->table, "<WHEN >TRIES <PATH <WHY");
	int r = ledger_each_failed(ledger, print_one, failed, &failed->why);
	if (r == 0 && json) {
		(void)json_dumpf(failed->list, stdout, JSON_COMPACT);
		(void)putchar('\n');
	} else if (r == 0 && failed->count) {
		table_print(&failed->table, stdout);
	} else if (r == 0) {
		printf("nothing has failed\n");
	}
	table_finish(&failed->table);
	control_drop(&failed->list);
	return r < 0 ? say(EXIT_FAILED, "%s", failed->why.text) : EXIT_DONE;
}

static int failed_run(struct command *command)
{
	struct failed failed = {.command = command, .table = TABLE_EMPTY};
	struct ledger *ledger = NULL;
	int r = gather_ledger(command->config, &ledger, &failed.why);
	if (r < 0) {
		return r == -ENOENT ? say(EXIT_FAILED,
					      "there is no ledger on this host yet: the tally of "
					      "mirror %s has not run here",
					      command->config->mirror)
				    : say(EXIT_FAILED, "%s", failed.why.text);
	}
	int status = command_has(command, "retry") ? retry(&failed, ledger) : show(&failed, ledger);
	ledger_close(ledger);
	return status;
}

static const struct option_row failed_options[] = {
	{"retry", 0, NULL, false, "give them out again, content forced"},
	{"json", 0, NULL, false, "for programs: one JSON array"},
	{0},
};

const struct verb verb_failed = {
	.name = "failed",
	.summary = "list the orders that have failed and why, or try them again",
	.options = failed_options,
	.run = failed_run,
};
