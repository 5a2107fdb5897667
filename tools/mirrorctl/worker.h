/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One blocking call beside the loop, in a thread of its own.
 *
 *   worker_init(), then worker_run() whenever worker_busy() is false; worker_finish().
 *
 * work() runs in the thread and must touch nothing that the loop's thread uses meanwhile; done()
 * then runs in the loop.  worker_finish() waits for a call that is still under way.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "flow/loop.h"

struct worker {
	struct loop *loop;
	pthread_t thread;
	int event_fd;
	bool busy;
	loop_fn work, done;
	void *arg;
};

int worker_init(struct worker *worker, struct loop *loop);
void worker_finish(struct worker *worker);
bool worker_busy(const struct worker *worker);
/* 0, or -errno: then neither is called. */
int worker_run(struct worker *worker, loop_fn work, loop_fn done, void *arg);
