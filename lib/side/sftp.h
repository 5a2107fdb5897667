/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One SFTP session: many requests of many tasks in flight on one stream.
 *
 *   sftp_open(), then per request sftp_start() and a sftp_wait…(); in between other requests may
 *   be started, they all share the stream; sftp_unref() when nobody uses it any more.
 *
 * Everything runs in tasks, except the functions that say otherwise.  Requests are carried out by
 * the server in the order in which they were started; it goes on after a failed one.  Where too
 * much is in flight, patient tasks (flow/task.h) wait until no other one does.
 *
 * Returns 0, a positive SFTP status (sftp-wire.h), or -errno: then the session is over, every
 * request in flight has ended with -ENOTCONN, and sftp_why() has the words.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/span.h"
#include "core/why.h"
#include "flow/loop.h"
#include "flow/task.h"
#include "side/sftp-wire.h"
#include "side/stream.h"

struct sftp;

/* What the server offers beyond version 3, and its limits (OpenSSH's where it does not say). */
struct sftp_features {
	bool posix_rename, hardlink, fsync, lsetstat, statvfs, limits, copy_data, names;
	uint32_t read_bytes, write_bytes; /* at most in one request */
	uint32_t handles;                 /* open at once */
};

/* Takes the stream, also on failure.  in_flight: requests at once, 0 for the default. */
int sftp_open(struct loop *loop, struct ssh_stream *stream, unsigned in_flight, struct sftp **ret,
	struct why *why);
struct sftp *sftp_ref(struct sftp *sftp);
void sftp_unref(struct sftp *sftp);
/* Ends the session: what is in flight ends with -ENOTCONN.  Also outside of tasks. */
void sftp_end(struct sftp *sftp, int error, const char *words);
bool sftp_is_up(const struct sftp *sftp);
/* So much went through that a fresh session is better (stream.h: age_limit_bytes). */
bool sftp_is_old(const struct sftp *sftp);
/* Content in flight, or waiting for its turn. */
uint64_t sftp_content_used(const struct sftp *sftp);
void sftp_limit_content(struct sftp *sftp, uint64_t bytes);
/* Of one small request, as it was at the beginning. */
uint64_t sftp_round_trip_ns(const struct sftp *sftp);
const char *sftp_why(const struct sftp *sftp);
const struct sftp_features *sftp_features(const struct sftp *sftp);

/* --- requests that a task waits for ------------------------------------------------------- */

struct sftp_call {
	struct sftp *sftp;
	struct task *task;
	bool started, done;
	int error;
	uint8_t type;
	struct buf body;
};
#define SFTP_CALL ((struct sftp_call){0})

/*
 * Starts a request.  `fields` has a letter for each that follows: s struct span, u uint32_t,
 * q uint64_t, a const struct sftp_attr *.  Waits only while too much is in flight.
 */
void sftp_start(
	struct sftp *sftp, struct sftp_call *call, enum sftp_type type, const char *fields, ...);
/* Waits for the end of a call that was started, and releases it.  For CLEANUP(). */
void sftp_call_finish(struct sftp_call *call);

/* Waits; STATUS is the answer. */
int sftp_wait(struct sftp_call *call);
/* Waits for an answer of this type; its fields are read through *ret while the call lives. */
int sftp_wait_for(struct sftp_call *call, enum sftp_type type, struct sftp_reader *ret);
int sftp_wait_attr(struct sftp_call *call, struct sftp_attr *ret);
/* The one name that REALPATH and READLINK answer. */
int sftp_wait_name(struct sftp_call *call, struct span *ret);

/* --- open files and directories ----------------------------------------------------------- */

struct sftp_handle {
	size_t len;
	char bytes[256];
};
static inline struct span sftp_handle_span(const struct sftp_handle *handle)
{
	return (struct span){handle->bytes, handle->len};
}

/* OPEN or OPENDIR with their fields; waits while too many handles are open. */
int sftp_open_handle(struct sftp *sftp, struct sftp_handle *ret, enum sftp_type type,
	struct span path, uint32_t flags, const struct sftp_attr *attr);
/* Starts a CLOSE; call NULL: nobody waits for the answer. */
void sftp_close_handle(struct sftp *sftp, const struct sftp_handle *handle, struct sftp_call *call);

/* --- requests with a callback: content of files ------------------------------------------- */

struct sftp_reply {
	int error; /* 0, or -ENOTCONN: then nothing else is set */
	uint8_t type;
	struct span body; /* valid during the callback */
};
/* Called from the loop, exactly once per request; must not wait, may start nothing but
 * sftp_read_again(). */
typedef void (*sftp_reply_fn)(void *arg, const struct sftp_reply *reply);

/* Both wait while too much is in flight.  Return 0 (fn will be called), or -errno (never). */
int sftp_read(struct sftp *sftp, const struct sftp_handle *handle, uint64_t offset, uint32_t len,
	sftp_reply_fn fn, void *arg);
int sftp_write(struct sftp *sftp, const struct sftp_handle *handle, uint64_t offset,
	struct span data, sftp_reply_fn fn, void *arg);
/* In the callback of a READ that was answered short: asks for the rest without waiting. */
int sftp_read_again(struct sftp *sftp, const struct sftp_handle *handle, uint64_t offset,
	uint32_t len, sftp_reply_fn fn, void *arg);
