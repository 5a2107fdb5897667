/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A turn is a lock on one of eight files in the state directory.  A process that dies gives its
 * turn back.  Nobody is woken when one becomes free: a handshake takes long enough to look again.
 */
#include "side/handshake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/place.h"
#include "flow/task.h"

#define TURNS     8
#define LOOK_NS   (40 * CLOCK_MS)
#define PATIENCE  (120 * CLOCK_S)
#define NO_TURNS  2 /* locks do not work here: go ahead */
#define ALL_TAKEN 1

/* Returns 0, ALL_TAKEN or NO_TURNS. */
static int take_turn(const struct config *config, int *ret_fd)
{
	for (unsigned i = 0; i < TURNS; i++) {
		char name[320];
		(void)snprintf(name, sizeof(name), "handshakes/%s.%u", place_host(), i);
		CLEANUP(free_p) char *path = place_state(config->mirror, name);
		CLEANUP(fd_close)
		int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
		if (fd < 0) {
			return NO_TURNS;
		}
		if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
			*ret_fd = STEAL_FD(fd);
			return 0;
		}
		if (errno != EWOULDBLOCK) {
			return NO_TURNS;
		}
	}
	return ALL_TAKEN;
}

int handshake_turn(const struct config *config, int *ret_fd, struct why *why)
{
	const uint64_t deadline = clock_now() + PATIENCE;
	CLEANUP(free_p)
	char *directory = config->mirror ? place_state(config->mirror, "handshakes") : NULL;
	if (!directory || place_make(directory, NULL) < 0) {
		return 0;
	}
	while (take_turn(config, ret_fd) == ALL_TAKEN) {
		uint64_t now = clock_now();
		if (now >= deadline) {
			return why_error(why, -ETIMEDOUT,
				"eight other connections of this mirror have been logging in for "
				"two minutes");
		}
		task_wait_until(now + LOOK_NS + now / 1000 % 40 * CLOCK_MS);
	}
	return 0;
}
