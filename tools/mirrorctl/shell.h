/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment of a program under the shim.
 */
#pragma once

#include "core/buf.h"
#include "flow/config.h"

/* What LD_PRELOAD shall be: what it is already, and the shim once, at the end.  0, or words. */
int shell_preload(const char *before, const char *library, struct buf *ret, struct why *why);
/* Both values, for this configuration and this process' environment; the caller frees them. */
int shell_values(
	const struct config *config, char **ret_preload, char **ret_journal, struct why *why);
/* Takes the shim out of this process' environment: our own programs never run under it. */
void shell_leave_shim(void);
/* 'text' so that a POSIX shell reads back these bytes. */
void shell_quote(struct buf *ret, struct span text);
