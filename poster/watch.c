/* SPDX-License-Identifier: Apache-2.0 */
#include "poster/watch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/pid.h"
#include "flow/map.h"

/* Clocks tick in hundredths, and wall clocks are corrected a little. */
#define SLACK_NS (2 * CLOCK_S)

struct watched {
	struct watch *watch;
	uint32_t pid;
	uint64_t since_ns;
	int fd; /* -1: asked for in each sweep */
};

struct watch {
	struct loop *loop;
	watch_died_fn died;
	void *arg;
	struct map pids;
	unsigned descriptors, descriptors_max;
};

int watch_create(struct loop *loop, unsigned descriptors_max, watch_died_fn died, void *arg,
	struct watch **ret)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	if (!watch) {
		return -ENOMEM;
	}
	watch->loop = loop;
	watch->descriptors_max = descriptors_max;
	watch->died = died;
	watch->arg = arg;
	*ret = watch;
	return 0;
}

static void drop(struct watched *watched)
{
	struct watch *watch = watched->watch;
	map_remove(&watch->pids, span_of(&watched->pid, sizeof(watched->pid)));
	if (watched->fd >= 0) {
		loop_remove_fd(watch->loop, watched->fd);
		close(watched->fd);
		watch->descriptors--;
	}
	free(watched);
}

void watch_destroy(struct watch *watch)
{
	if (!watch) {
		return;
	}
	size_t cursor = 0;
	for (struct watched *it; (it = map_next(&watch->pids, &cursor)); cursor = 0) {
		drop(it);
	}
	map_finish(&watch->pids);
	free(watch);
}

static bool is_dead(const struct watched *watched)
{
	uint64_t started_ns = pid_started_ns(watched->pid);
	return pid_is_gone(watched->pid) || started_ns > watched->since_ns + SLACK_NS;
}

static void has_died(struct watched *watched)
{
	struct watch *watch = watched->watch;
	uint32_t pid = watched->pid;
	drop(watched);
	watch->died(watch->arg, pid);
}

static void descriptor_ready(void *arg, uint32_t events)
{
	(void)events;
	has_died(arg);
}

/* Without a descriptor the next sweep looks. */
static void get_descriptor(struct watched *watched)
{
	struct watch *watch = watched->watch;
	if (watch->descriptors >= watch->descriptors_max) {
		return;
	}
	watched->fd = (int)syscall(SYS_pidfd_open, (pid_t)watched->pid, 0u);
	if (watched->fd < 0) {
		return;
	}
	watch->descriptors++;
	if (is_dead(watched) ||
		loop_add_fd(watch->loop, watched->fd, EPOLLIN, descriptor_ready, watched) < 0) {
		fd_close(&watched->fd);
		watch->descriptors--;
	}
}

int watch_add(struct watch *watch, uint32_t pid, uint64_t since_ns)
{
	struct span key = span_of(&pid, sizeof(pid));
	if (map_get(&watch->pids, key)) {
		return 0;
	}
	struct watched *watched = calloc(1, sizeof(*watched));
	if (!watched) {
		return -ENOMEM;
	}
	*watched = (struct watched){watch, pid, since_ns, -1};
	int r = map_put(&watch->pids, key, watched, NULL);
	if (r < 0) {
		free(watched);
		return r;
	}
	get_descriptor(watched);
	return 0;
}

int watch_look(struct watch *watch)
{
	size_t cursor = 0, count = 0;
	CLEANUP(free_p) struct pollfd *polled = calloc(watch->pids.count + 1, sizeof(*polled));
	CLEANUP(free_p)
	struct watched **watched = calloc(watch->pids.count + 1, sizeof(struct watched *));
	if (!polled || !watched) {
		return -ENOMEM;
	}
	while ((watched[count] = map_next(&watch->pids, &cursor))) {
		polled[count] = (struct pollfd){.fd = watched[count]->fd, .events = POLLIN};
		count++;
	}
	(void)poll(polled, count, 0); /* passes over those without a descriptor */
	for (size_t i = 0; i < count; i++) {
		if (polled[i].revents || (polled[i].fd < 0 && is_dead(watched[i]))) {
			has_died(watched[i]);
		}
	}
	return 0;
}

/* One that can be dropped or is dead; NULL: none is left. */
static struct watched *next_to_end(struct watch *watch, bool (*wanted)(void *arg, uint32_t pid))
{
	size_t cursor = 0;
	struct watched *it;
	while ((it = map_next(&watch->pids, &cursor))) {
		if (!wanted(watch->arg, it->pid) || (it->fd < 0 && is_dead(it))) {
			return it;
		}
	}
	return NULL;
}

void watch_sweep(struct watch *watch, bool (*wanted)(void *arg, uint32_t pid))
{
	struct watched *it;
	while ((it = next_to_end(watch, wanted))) {
		if (wanted(watch->arg, it->pid)) {
			has_died(it);
		} else {
			drop(it);
		}
	}
}
