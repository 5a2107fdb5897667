/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte stream to a server, plain TCP or TLS, that never blocks: name look-up, connecting and
 * the TLS handshake go on in the background.  The only user of OpenSSL.
 *
 *   stream_create(), then `opened`, then any number of `received`, at last one `closed`
 *
 * Certificates are always verified: chain, host name, or address where the host is one.
 * The owner destroys the stream at any time but from within its callbacks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"
#include "core/span.h"
#include "core/why.h"
#include "flow/loop.h"

struct stream;
struct stream_events {
	void (*opened)(void *arg);
	/* Takes what it can use from the front of `in`; the rest is there the next time. */
	void (*received)(void *arg, struct buf *in);
	/* All that was written has been handed to the kernel. */
	void (*drained)(void *arg);
	/* Nothing comes any more.  error is a negative errno. */
	void (*closed)(void *arg, int error, const char *words);
};

struct stream_options {
	const char *host;
	unsigned port;
	bool tls;
	const char *ca_file;   /* trusted certificates */
	const char *cert_file; /* the certificate that is shown, or NULL */
	const char *key_file;  /* and its key */
};

/* The events (kept, not copied) come from the loop, never from within a call. */
int stream_create(struct loop *loop, const struct stream_options *options,
	const struct stream_events *events, void *arg, struct stream **ret, struct why *why);
void stream_destroy(struct stream *stream);

/* Queues a copy; sent at the end of this turn.  Failures come as `closed`. */
void stream_write(struct stream *stream, struct span bytes);
/* What the kernel has not taken yet. */
size_t stream_backlog_bytes(const struct stream *stream);
