/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One short-lived detached thread per look-up does getaddrinfo() and closes its end of a pipe.
 * The question has two owners, the loop's side and the thread; whoever lets go last frees it.
 */
#include "flow/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"

struct question {
	atomic_int owners;
	char *host;
	char port[16];
	int write_fd;
	int error;
	struct addrinfo *addresses;
};

struct resolve {
	struct loop *loop;
	resolve_fn fn;
	void *arg;
	int read_fd;
	struct question *question;
};

static void question_release(struct question *question)
{
	if (!question || atomic_fetch_sub(&question->owners, 1) > 1) {
		return;
	}
	fd_close(&question->write_fd);
	if (question->addresses) {
		freeaddrinfo(question->addresses);
	}
	free(question->host);
	free(question);
}

static void *answer(void *arg)
{
	struct question *question = arg;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	question->error = getaddrinfo(question->host, question->port, &hints, &question->addresses);
	if (question->error) { /* a host with nothing but loopback has no "configured" address */
		hints.ai_flags = 0;
		question->error =
			getaddrinfo(question->host, question->port, &hints, &question->addresses);
	}
	fd_close(&question->write_fd); /* the reader sees the end: answered */
	question_release(question);
	return NULL;
}

static void on_answer(void *arg, uint32_t events)
{
	struct resolve *resolve = arg;
	resolve_fn fn = resolve->fn;
	void *fn_arg = resolve->arg;
	int error = resolve->question->error;
	struct addrinfo *addresses = STEAL(resolve->question->addresses);
	(void)events;
	resolve_cancel(resolve);
	fn(fn_arg, error, addresses);
}

static int start_thread(struct question *question)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int r = pthread_attr_init(&attributes);
	if (r) {
		return -r;
	}
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 256 * 1024);
	r = pthread_create(&thread, &attributes, answer, question);
	pthread_attr_destroy(&attributes);
	return -r;
}

DEFINE_CLEANUP(struct resolve *, resolve_cancel)

int resolve_start(struct loop *loop, const char *host, unsigned port, resolve_fn fn, void *arg,
	struct resolve **ret)
{
	int fds[2];
	CLEANUP(resolve_cancel_p) struct resolve *resolve = calloc(1, sizeof(*resolve));
	struct question *question = resolve ? calloc(1, sizeof(*question)) : NULL;
	if (!question) {
		return -ENOMEM;
	}
	*resolve = (struct resolve){loop, fn, arg, -1, question};
	atomic_init(&question->owners, 1);
	question->write_fd = -1;
	question->host = strdup(host);
	(void)snprintf(question->port, sizeof(question->port), "%u", port);
	if (!question->host || pipe2(fds, O_CLOEXEC) < 0) {
		return question->host ? -errno : -ENOMEM;
	}
	resolve->read_fd = fds[0];
	question->write_fd = fds[1];
	int r = loop_add_fd(loop, resolve->read_fd, EPOLLIN, on_answer, resolve);
	if (r < 0) {
		return r;
	}
	atomic_store(&question->owners, 2);
	r = start_thread(question);
	if (r < 0) {
		atomic_store(&question->owners, 1);
		return r;
	}
	*ret = STEAL(resolve);
	return 0;
}

void resolve_cancel(struct resolve *resolve)
{
	if (!resolve) {
		return;
	}
	if (resolve->read_fd >= 0) {
		loop_remove_fd(resolve->loop, resolve->read_fd);
		fd_close(&resolve->read_fd);
	}
	question_release(resolve->question);
	free(resolve);
}
