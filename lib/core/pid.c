/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of /proc/PID/stat, by their numbers in proc(5); the name in field 2 may hold anything. */
#include "core/pid.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"

#define STAT_BYTES 1024

enum { STATE = 3, PARENT = 4, SESSION = 6, STARTED = 22, MEMORY = 23 };

/* Field STATE and what follows it, or NULL. */
static const char *read_state(uint32_t pid, char text[STAT_BYTES])
{
	char path[32];
	(void)snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, STAT_BYTES - 1);
	if (len <= 0) {
		return NULL;
	}
	text[len] = '\0';
	const char *end = strrchr(text, ')');
	return end && end[1] == ' ' ? end + 2 : NULL;
}

static uint64_t number_in(const char *state, int field)
{
	const char *at = state;
	for (int i = STATE; i < field && at; i++) {
		at = strchr(at + 1, ' ');
	}
	return at ? strtoull(at, NULL, 10) : 0;
}

static bool is_over(const char *state)
{
	return state[0] == 'Z' || state[0] == 'X';
}

bool pid_is_gone(uint32_t pid)
{
	char text[STAT_BYTES];
	if (pid == 0 || (kill((pid_t)pid, 0) < 0 && errno == ESRCH)) {
		return true;
	}
	const char *state = read_state(pid, text);
	return state && is_over(state);
}

bool pid_is_stopped(uint32_t pid)
{
	char text[STAT_BYTES];
	const char *state = read_state(pid, text);
	return state && (state[0] == 'T' || state[0] == 't');
}

uint64_t pid_started_ticks(uint32_t pid)
{
	char text[STAT_BYTES];
	const char *state = read_state(pid, text);
	return state && !is_over(state) ? number_in(state, STARTED) : 0;
}

bool pid_origin(uint32_t pid, uint32_t *ret_parent, uint32_t *ret_session)
{
	char text[STAT_BYTES];
	const char *state = read_state(pid, text);
	if (!state || is_over(state) || !number_in(state, MEMORY)) {
		return false;
	}
	*ret_parent = (uint32_t)number_in(state, PARENT);
	*ret_session = (uint32_t)number_in(state, SESSION);
	return true;
}

uint64_t pid_started_ns(uint32_t pid)
{
	struct timespec up;
	uint64_t ticks = pid_started_ticks(pid);
	clock_gettime(CLOCK_BOOTTIME, &up);
	uint64_t up_ns = (uint64_t)up.tv_sec * CLOCK_S + (uint64_t)up.tv_nsec;
	return ticks ? clock_wall() - up_ns + ticks * (CLOCK_S / (uint64_t)sysconf(_SC_CLK_TCK))
		     : 0;
}
