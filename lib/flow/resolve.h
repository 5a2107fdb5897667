/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks up a host name without stopping the loop: a name server that does not answer blocks
 * getaddrinfo() for half a minute, and daemons have to react meanwhile.
 *
 *   resolve_start(), then fn is called once from the loop; or resolve_cancel() before that.
 */
#pragma once

#include <netdb.h>

#include "flow/loop.h"

struct resolve;
/* error: 0 or an EAI_ code; addresses belong to the callee (freeaddrinfo), NULL on errors. */
typedef void (*resolve_fn)(void *arg, int error, struct addrinfo *addresses);

int resolve_start(struct loop *loop, const char *host, unsigned port, resolve_fn fn, void *arg,
	struct resolve **ret);
/* Only before fn was called; NULL is ignored. */
void resolve_cancel(struct resolve *resolve);
