/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One epoll loop per process: descriptors, absolute deadlines, signals as events.
 *
 *   loop_create(), loop_add_fd()/loop_timer_init()…, loop_run() until loop_stop(), loop_destroy().
 *
 * Single-threaded.  Callbacks may add and remove anything, themselves included.  Level-triggered.
 * The caller owns descriptors; remove before closing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;
typedef void (*loop_fd_fn)(void *arg, uint32_t epoll_events);
typedef void (*loop_fn)(void *arg);
typedef void (*loop_signal_fn)(void *arg, int signal_number);

int loop_create(struct loop **ret);
void loop_destroy(struct loop *loop);

/* One registration per descriptor.  Returns 0 or -errno. */
int loop_add_fd(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn fn, void *arg);
int loop_change_fd(struct loop *loop, int fd, uint32_t epoll_events);
void loop_remove_fd(struct loop *loop, int fd);

/* Blocks the signal and delivers it as an event. */
int loop_add_signal(struct loop *loop, int signal_number, loop_signal_fn fn, void *arg);

/* A timer, embedded in its owner; set again at any time; one shot. */
struct loop_timer {
	struct loop *loop;
	loop_fn fn;
	void *arg;
	uint64_t deadline_ns; /* of clock_now(); CLOCK_NEVER: not set */
	unsigned slot;        /* the loop's */
};
void loop_timer_init(struct loop_timer *timer, struct loop *loop, loop_fn fn, void *arg);
/* Returns 0 or -ENOMEM. */
int loop_timer_set(struct loop_timer *timer, uint64_t deadline_ns);
void loop_timer_stop(struct loop_timer *timer);
/* All of them: before what they lie in is freed. */
void loop_stop_timers(struct loop *loop);

/* Runs fn once, soon, from the loop (never from within this call).  Returns 0 or -ENOMEM. */
int loop_defer(struct loop *loop, loop_fn fn, void *arg);

/* Runs until loop_stop(); returns 0 or -errno. */
int loop_run(struct loop *loop);
/* Handles what is ready, waiting at most until the deadline; returns 0 or -errno. */
int loop_turn(struct loop *loop, uint64_t deadline_ns);
void loop_stop(struct loop *loop);
