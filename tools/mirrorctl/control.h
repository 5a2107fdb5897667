/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor's socket: one request a line, one reply a line, both JSON objects.
 *
 *   {"do": "status"}                          how everything is
 *   {"do": "start", "stages": ["copier", …]}  keep these running from now on
 *   {"do": "stop",  "stages": ["copier", …]}  end these; an empty list ends everything, the
 *                                             supervisor last
 *   {"do": "reload", "config": "FILE"}        the copiers read their limits again; refused where
 *                                             what runs has another file
 *
 * Every reply is the status after the request was taken (supervisor.c, status_json()), or
 * {"error": "words"}.  Nothing waits: who wants to see the end asks again.
 *
 * The socket stands in <state>/run, mode 0600 in a directory 0700, and is reached through
 * /proc/self/fd, because a socket's name holds no more than 108 bytes.
 */
#pragma once

#include <stdint.h>

#include <jansson.h>

#include "core/span.h"
#include "core/why.h"

#define CONTROL_LINE_MAX (256 * 1024)

/* Where things of the supervisor are: <state>/run/NAME.  Heap; the caller frees. */
char *control_path(const char *mirror, const char *name);
/* Listens; replaces a socket left behind (the lock is held by the caller).  0 or -errno. */
int control_listen(const char *mirror, int *ret_fd, struct why *why);

/* The lock that says a supervisor lives.  -EBUSY: one does; words say which. */
int control_lock(const char *mirror, int *ret_fd, struct why *why);
/* Who holds it, "pid 123 on host"; empty where nobody does. */
void control_holder(const char *mirror, char *ret, size_t size_bytes);

/* One request, one reply.  -ENOENT: no supervisor runs; -ETIMEDOUT; -EREMOTE: on another host. */
int control_ask(
	const char *mirror, json_t *request, uint64_t deadline_ns, json_t **ret, struct why *why);
/* A request with the stages given (NULL-terminated; NULL: none). */
json_t *control_request(const char *what, char *const *stages);
/* Bytes as a JSON string: themselves where they are UTF-8, else escaped (log_escape()). */
json_t *control_bytes(struct span bytes);
json_t *control_text(const char *text);
/* Drops the reference; for CLEANUP(). */
void control_drop(json_t **json);
