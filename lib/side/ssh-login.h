/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom we talk to and as whom, for stream-libssh2.c: the server's key against known_hosts, then
 * our keys, from the agent and from files.
 *
 *   ssh_login_prefer() before the handshake, ssh_login_verify() and ssh_login_enter() after it
 *
 * Functions that wait do so in a task, through `wait`, which returns 0 or -ETIMEDOUT.
 */
#pragma once

#include <libssh2.h>

#include "core/why.h"
#include "flow/config.h"

struct ssh_login {
	LIBSSH2_SESSION *session;
	const struct location *location;
	const struct config *config;
	int (*wait)(void *arg);
	void *arg;
};

/* Asks for a host key of a kind that known_hosts has for this host. */
int ssh_login_prefer(const struct ssh_login *login, struct why *why);
/* -EKEYREJECTED with words that say what to type, unless the key is known and not revoked. */
int ssh_login_verify(const struct ssh_login *login, struct why *why);
/* -EACCES with words that say what was tried. */
int ssh_login_enter(const struct ssh_login *login, struct why *why);
