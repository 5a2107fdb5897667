/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor: one process in the background of each host and mirror that keeps the broker
 * (where managed) and the wanted daemons running, and tells how they are (control.h).
 *
 * supervisor_run() returns when everything was stopped, by request or by SIGTERM.
 * 0, -EBUSY (another one lives), or -errno with words.
 */
#pragma once

#include "flow/config.h"

int supervisor_run(const struct config *config, struct why *why);

/* The stages in the order of the flow, NULL-terminated; each has a daemon "mirror-STAGE". */
extern const char *const supervisor_stages[];
/* "poster", …, "broker". */
bool supervisor_knows(const char *stage);
/* A number that differs where the configurations differ in more than limits, which a reload can
 * change. */
unsigned supervisor_config_id(const struct config *config);
