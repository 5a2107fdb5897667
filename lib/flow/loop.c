/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors are found by number in an array.  An event carries the number and the generation of
 * its registration, so an event of the same batch whose descriptor was removed, or closed and
 * registered again, by an earlier callback is recognised and dropped.
 *
 * Timers are a binary heap of pointers to their owners' objects; slot is the index plus one.
 * One turn runs only the timers and deferred calls that were there when it began, so neither can
 * keep descriptors from being served.
 *
 * epoll_wait() counts milliseconds: deadlines are rounded up, a timer never fires early.
 */
#include "flow/loop.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"

#define LOOP_EVENTS 64

struct watch {
	loop_fd_fn fn; /* NULL: not registered */
	void *arg;
	uint32_t generation;
};

struct call {
	loop_fn fn;
	void *arg;
};

struct loop {
	int epoll_fd;
	bool stopped;

	struct watch *watches; /* by descriptor */
	size_t watch_count;
	uint32_t generation;

	struct loop_timer **heap;
	size_t timer_count, timer_room;

	struct call *deferred;
	size_t deferred_count, deferred_room;

	int signal_fd;
	sigset_t signals;
	struct {
		loop_signal_fn fn;
		void *arg;
	} signal_watch[_NSIG];
};

/* Room for one more element of an array; doubles. */
static int grow(void *array, size_t *room, size_t needed, size_t element_bytes)
{
	size_t count = *room ? *room : 16;
	void *old, *grown;
	if (needed <= *room) {
		return 0;
	}
	while (count < needed) {
		count *= 2;
	}
	memcpy(&old, array, sizeof(old));
	grown = reallocarray(old, count, element_bytes);
	if (!grown) {
		return -ENOMEM;
	}
	memcpy(array, &grown, sizeof(grown));
	*room = count;
	return 0;
}

DEFINE_CLEANUP(struct loop *, loop_destroy)

int loop_create(struct loop **ret)
{
	CLEANUP(loop_destroy_p) struct loop *loop = calloc(1, sizeof(*loop));
	if (!loop) {
		return -ENOMEM;
	}
	loop->signal_fd = -1;
	sigemptyset(&loop->signals);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		return -errno;
	}
	*ret = STEAL(loop);
	return 0;
}

void loop_destroy(struct loop *loop)
{
	if (!loop) {
		return;
	}
	fd_close(&loop->signal_fd);
	fd_close(&loop->epoll_fd);
	free(loop->watches);
	free(loop->heap);
	free(loop->deferred);
	free(loop);
}

/* ---- descriptors ------------------------------------------------------------------------- */

static int watch_control(struct loop *loop, int operation, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events};
	event.data.u64 = (uint64_t)loop->watches[fd].generation << 32 | (uint32_t)fd;
	return epoll_ctl(loop->epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

int loop_add_fd(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn fn, void *arg)
{
	size_t before = loop->watch_count;
	if (fd < 0 || !fn) {
		return -EINVAL;
	}
	int r = grow(&loop->watches, &loop->watch_count, (size_t)fd + 1, sizeof(struct watch));
	if (r < 0) {
		return r;
	}
	memset(loop->watches + before, 0, (loop->watch_count - before) * sizeof(struct watch));
	struct watch *watch = &loop->watches[fd];
	if (watch->fn) {
		return -EEXIST;
	}
	watch->generation = ++loop->generation;
	r = watch_control(loop, EPOLL_CTL_ADD, fd, epoll_events);
	if (r < 0) {
		return r;
	}
	watch->fn = fn;
	watch->arg = arg;
	return 0;
}

static struct watch *watch_find(struct loop *loop, int fd)
{
	bool known = fd >= 0 && (size_t)fd < loop->watch_count && loop->watches[fd].fn;
	return known ? &loop->watches[fd] : NULL;
}

int loop_change_fd(struct loop *loop, int fd, uint32_t epoll_events)
{
	return watch_find(loop, fd) ? watch_control(loop, EPOLL_CTL_MOD, fd, epoll_events)
				    : -ENOENT;
}

void loop_remove_fd(struct loop *loop, int fd)
{
	struct watch *watch = watch_find(loop, fd);
	if (watch) {
		watch->fn = NULL;
		(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	}
}

static void run_event(struct loop *loop, const struct epoll_event *event)
{
	struct watch *watch = watch_find(loop, (int)(uint32_t)event->data.u64);
	if (watch && watch->generation == event->data.u64 >> 32) {
		watch->fn(watch->arg, event->events);
	}
}

/* ---- signals ----------------------------------------------------------------------------- */

static void on_signal(void *arg, uint32_t events)
{
	struct loop *loop = arg;
	struct signalfd_siginfo info;
	(void)events;
	while (read(loop->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo < _NSIG && loop->signal_watch[info.ssi_signo].fn) {
			loop->signal_watch[info.ssi_signo].fn(
				loop->signal_watch[info.ssi_signo].arg, (int)info.ssi_signo);
		}
	}
}

int loop_add_signal(struct loop *loop, int signal_number, loop_signal_fn fn, void *arg)
{
	bool first = loop->signal_fd < 0;
	if (signal_number <= 0 || signal_number >= _NSIG || !fn) {
		return -EINVAL;
	}
	sigaddset(&loop->signals, signal_number);
	int r = -pthread_sigmask(SIG_BLOCK, &loop->signals, NULL);
	if (r < 0) {
		return r;
	}
	int fd = signalfd(loop->signal_fd, &loop->signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0) {
		return -errno;
	}
	loop->signal_fd = fd;
	loop->signal_watch[signal_number].fn = fn;
	loop->signal_watch[signal_number].arg = arg;
	return first ? loop_add_fd(loop, fd, EPOLLIN, on_signal, loop) : 0;
}

/* ---- timers ------------------------------------------------------------------------------ */

static void heap_put(struct loop *loop, size_t at, struct loop_timer *timer)
{
	loop->heap[at] = timer;
	timer->slot = (unsigned)at + 1;
}

/* Moves the timer at `at` to where it belongs, after its deadline or its neighbours changed. */
static void heap_settle(struct loop *loop, size_t at)
{
	struct loop_timer *timer = loop->heap[at];
	while (at > 0 && loop->heap[(at - 1) / 2]->deadline_ns > timer->deadline_ns) {
		heap_put(loop, at, loop->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	for (;;) {
		size_t child = 2 * at + 1;
		if (child + 1 < loop->timer_count &&
			loop->heap[child + 1]->deadline_ns < loop->heap[child]->deadline_ns) {
			child++;
		}
		if (child >= loop->timer_count ||
			loop->heap[child]->deadline_ns >= timer->deadline_ns) {
			break;
		}
		heap_put(loop, at, loop->heap[child]);
		at = child;
	}
	heap_put(loop, at, timer);
}

void loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn fn, void *arg)
{
	*timer = (struct loop_timer){loop, fn, arg, CLOCK_NEVER, 0};
}

int loop_timer_set(struct loop_timer *timer, uint64_t deadline_ns)
{
	struct loop *loop = timer->loop;
	if (deadline_ns == CLOCK_NEVER) {
		loop_timer_stop(timer);
		return 0;
	}
	if (!timer->slot) {
		int r = grow(&loop->heap, &loop->timer_room, loop->timer_count + 1,
			sizeof(struct loop_timer *));
		if (r < 0) {
			return r;
		}
		heap_put(loop, loop->timer_count++, timer);
	}
	timer->deadline_ns = deadline_ns;
	heap_settle(loop, timer->slot - 1);
	return 0;
}

void loop_timer_stop(struct loop_timer *timer)
{
	struct loop *loop = timer->loop;
	if (!timer->slot) {
		return;
	}
	size_t at = timer->slot - 1;
	struct loop_timer *last = loop->heap[--loop->timer_count];
	if (last != timer) {
		heap_put(loop, at, last);
		heap_settle(loop, at);
	}
	timer->slot = 0;
	timer->deadline_ns = CLOCK_NEVER;
}

void loop_stop_timers(struct loop *loop)
{
	while (loop->timer_count > 0) {
		loop_timer_stop(loop->heap[0]);
	}
}

static void run_timers(struct loop *loop)
{
	uint64_t now = clock_now();
	for (size_t left = loop->timer_count; left > 0 && loop->timer_count > 0; left--) {
		struct loop_timer *timer = loop->heap[0];
		if (timer->deadline_ns > now) {
			break;
		}
		loop_timer_stop(timer);
		timer->fn(timer->arg);
	}
}

/* ---- deferred calls ---------------------------------------------------------------------- */

int loop_defer(struct loop *loop, loop_fn fn, void *arg)
{
	int r = grow(&loop->deferred, &loop->deferred_room, loop->deferred_count + 1,
		sizeof(struct call));
	if (r < 0) {
		return r;
	}
	loop->deferred[loop->deferred_count++] = (struct call){fn, arg};
	return 0;
}

static void run_deferred(struct loop *loop)
{
	size_t count = loop->deferred_count;
	for (size_t i = 0; i < count; i++) {
		struct call call = loop->deferred[i];
		call.fn(call.arg);
	}
	loop->deferred_count -= count;
	if (loop->deferred_count) {
		memmove(loop->deferred, loop->deferred + count,
			loop->deferred_count * sizeof(struct call));
	}
}

/* ---- turning ----------------------------------------------------------------------------- */

static int wait_ms(const struct loop *loop, uint64_t deadline_ns)
{
	uint64_t now = clock_now();
	if (loop->timer_count && loop->heap[0]->deadline_ns < deadline_ns) {
		deadline_ns = loop->heap[0]->deadline_ns;
	}
	if (loop->deferred_count || deadline_ns <= now) {
		return 0;
	}
	if (deadline_ns == CLOCK_NEVER) {
		return -1;
	}
	uint64_t ms = (deadline_ns - now) / CLOCK_MS + 1;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

int loop_turn(struct loop *loop, uint64_t deadline_ns)
{
	struct epoll_event events[LOOP_EVENTS];
	int count = epoll_wait(loop->epoll_fd, events, LOOP_EVENTS, wait_ms(loop, deadline_ns));
	if (count < 0 && errno != EINTR) {
		return -errno;
	}
	for (int i = 0; i < count; i++) {
		run_event(loop, &events[i]);
	}
	run_timers(loop);
	run_deferred(loop);
	return 0;
}

int loop_run(struct loop *loop)
{
	int r = 0;
	while (r == 0 && !loop->stopped) {
		r = loop_turn(loop, CLOCK_NEVER);
	}
	loop->stopped = false;
	return r;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
}
