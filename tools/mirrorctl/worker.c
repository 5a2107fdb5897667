/* SPDX-License-Identifier: Apache-2.0 */
#include "worker.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/cleanup.h"

static void *worker_thread(void *arg)
{
	struct worker *worker = arg;
	uint64_t one = 1;
	worker->work(worker->arg);
	ssize_t written = write(worker->event_fd, &one, sizeof(one));
	(void)written; /* an eventfd takes a one */
	return NULL;
}

static void on_event(void *arg, uint32_t events)
{
	struct worker *worker = arg;
	uint64_t count;
	if (read(worker->event_fd, &count, sizeof(count)) == sizeof(count) && worker->busy) {
		(void)pthread_join(worker->thread, NULL);
		worker->busy = false;
		worker->done(worker->arg);
	}
}

int worker_init(struct worker *worker, struct loop *loop)
{
	*worker = (struct worker){.loop = loop, .event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	if (worker->event_fd < 0) {
		return -errno;
	}
	return loop_add_fd(loop, worker->event_fd, EPOLLIN, on_event, worker);
}

void worker_finish(struct worker *worker)
{
	if (!worker->loop) {
		return;
	}
	if (worker->busy) {
		(void)pthread_join(worker->thread, NULL);
	}
	if (worker->event_fd >= 0) {
		loop_remove_fd(worker->loop, worker->event_fd);
		fd_close(&worker->event_fd);
	}
}

bool worker_busy(const struct worker *worker)
{
	return worker->busy;
}

int worker_run(struct worker *worker, loop_fn work, loop_fn done, void *arg)
{
	worker->work = work;
	worker->done = done;
	worker->arg = arg;
	int r = pthread_create(&worker->thread, NULL, worker_thread, worker);
	worker->busy = r == 0;
	return -r;
}
