/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private broker: a RabbitMQ of one mirror, run by the ordinary user, on loopback only.
 *
 *   managed_prepare(), then run managed_command() as a child, then managed_ready() until it is 0
 *
 * Everything it needs lies in <state>/broker/: data, logs, settings, cookie, and `url` with port
 * and random password (0600).  It reads none of the system's RabbitMQ settings and needs neither
 * the package's service nor epmd; its only process group is that of the child.
 *
 * The child stays in the foreground under the pid of the exec, writes little to stdout and
 * stderr, and logs to broker/log/.  SIGTERM ends it in order within some seconds (allow 30),
 * SIGKILL loses nothing that was confirmed.  It takes about 10 s until it answers.
 * Blocking; for commands and the supervisor.
 */
#pragma once

#include <stdint.h>

#include "core/why.h"
#include "flow/broker.h"
#include "flow/config.h"

/*
 * Writes what the broker needs to start: directories, settings; at the first time also chooses
 * ports and password.  Ports that others have taken meanwhile are replaced, so not to be called
 * while this mirror's broker runs.  Returns 0, or -errno with words (-ENOENT: not installed).
 */
int managed_prepare(const struct config *config, struct why *why);

/* What to exec: argv[0] is the absolute path of the program. */
struct managed_command {
	char **argv;
	char **envp; /* the whole environment; nothing else may be inherited */
};
int managed_command(const struct config *config, struct managed_command *ret, struct why *why);
void managed_command_finish(struct managed_command *command);

/* Takes no messages while its file system has less room than this. */
#define MANAGED_ROOM_BYTES UINT64_C(200000000)
/* Whether it has that.  Returns 0, -ENOSPC with words, or another error without. */
int managed_room(const struct config *config, struct why *why);

/* How to log in.  Returns 0, or -ENOENT (never started), -errno with words. */
int managed_url(const struct config *config, struct broker_url *ret, struct why *why);

/* Whether it answers a log-in before the deadline.  Returns 0, or -errno with words (not yet). */
int managed_ready(const struct config *config, uint64_t deadline_ns, struct why *why);
