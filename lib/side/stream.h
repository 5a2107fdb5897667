/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes to and from an SFTP server, whatever carries them.
 *
 * Opening runs in a task and returns when the server's subsystem is there.  Afterwards nothing
 * waits: `event` is called from the loop whenever reading or writing may go on.
 *
 * What a write did not take must be given again at the same address, at least as long, before
 * anything else is written.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/why.h"
#include "flow/config.h"
#include "flow/loop.h"

struct ssh_stream;

struct ssh_stream_ops {
	/* Bytes read (more than 0), -EAGAIN, or the reason why the stream is over. */
	ssize_t (*read)(
		struct ssh_stream *stream, void *buffer, size_t size_bytes, struct why *why);
	/* Bytes taken (more than 0), -EAGAIN, or the reason why the stream is over. */
	ssize_t (*write)(
		struct ssh_stream *stream, const void *data, size_t size_bytes, struct why *why);
	/*
	 * To be called each ask_ns while an answer is due: asks the other end for a sign of life
	 * when it has been silent for so long.  0, or -ETIMEDOUT: it has not answered for long.
	 * NULL: the stream ends by itself then.
	 */
	int (*ask)(struct ssh_stream *stream, struct why *why);
	/* Ends it at once, whatever its state, and frees it.  Allowed inside `event`. */
	void (*close)(struct ssh_stream *stream);
};

/* First member of each kind. */
struct ssh_stream {
	const struct ssh_stream_ops *ops;
	loop_fn event; /* set by the user, before it gives the loop a turn */
	void *arg;
	uint64_t age_limit_bytes; /* moved in one direction: open a new one soon; 0: none */
	uint64_t ask_ns;          /* see `ask`; 0: never */
};

/* Through libssh2.  -EKEYREJECTED, -EACCES, -ECONNREFUSED, … with words that say what to do. */
int ssh_stream_open_libssh2(struct loop *loop, const struct location *location,
	const struct config *config, struct ssh_stream **ret, struct why *why);
/* Through a child process, `ssh -s host sftp`: errors show in the first read. */
int ssh_stream_open_ssh(struct loop *loop, const struct location *location,
	const struct config *config, struct ssh_stream **ret, struct why *why);
