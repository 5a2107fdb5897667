/* SPDX-License-Identifier: Apache-2.0 */
#include "stray.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/journal.h"
#include "flow/place.h"
#include "procfs.h"

#define POSTER_NAME "mirror-poster"

/* The reader of a journal, if it is a poster and not the supervisor's; else 0. */
static pid_t stray_of(const struct config *config, size_t index, pid_t supervisor)
{
	CLEANUP(free_p) char *directory = place_journal(config, index);
	struct journal *journal = NULL;
	struct journal_facts facts;
	char name[PROCFS_NAME];
	pid_t parent;
	if (!directory || journal_peek(directory, &journal, NULL) < 0) {
		return 0;
	}
	journal_facts(journal, &facts);
	journal_destroy(journal);
	pid_t pid = (pid_t)facts.reader_pid;
	if (pid <= 1 || procfs_name(pid, name, &parent) < 0 || strcmp(name, POSTER_NAME) != 0) {
		return 0;
	}
	return supervisor && parent == supervisor ? 0 : pid;
}

static unsigned each_stray(const struct config *config, pid_t supervisor, int signal_number)
{
	unsigned count = 0;
	for (size_t i = 0; config->journal[i]; i++) {
		pid_t pid = stray_of(config, i, supervisor);
		count += pid && kill(pid, signal_number) == 0;
	}
	return count;
}

unsigned stray_stop(const struct config *config, pid_t supervisor)
{
	return each_stray(config, supervisor, SIGTERM);
}

int stray_end(const struct config *config, pid_t supervisor, uint64_t deadline_ns, struct why *why)
{
	unsigned count = stray_stop(config, supervisor);
	while (count > 0) {
		if (clock_now() > deadline_ns) {
			return why_error(
				why, -ETIMEDOUT, "a poster started by a job does not stop");
		}
		(void)usleep(100000);
		count = each_stray(config, supervisor, 0);
	}
	return 0;
}
