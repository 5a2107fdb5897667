/* SPDX-License-Identifier: Apache-2.0 */
#include "relay.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVER       "/usr/lib/openssh/sftp-server"
#define PACKET_BYTES (300 * 1024)

/* One direction: whole packets, as many as may pass. */
struct way {
	int from, to;
	unsigned long passed, most;
	bool ended;
	size_t len;
	char bytes[PACKET_BYTES];
};

static bool write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);
		if (n <= 0) {
			return false;
		}
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static size_t packet_length(const struct way *way)
{
	const unsigned char *b = (const unsigned char *)way->bytes;
	return way->len < 4
		       ? SIZE_MAX
		       : 4 + ((size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3]);
}

static void pass(struct way *way)
{
	ssize_t n = read(way->from, way->bytes + way->len, sizeof(way->bytes) - way->len);
	way->ended = n <= 0;
	way->len += n > 0 ? (size_t)n : 0;
	for (size_t len; way->passed < way->most && (len = packet_length(way)) <= way->len;) {
		way->ended |= !write_all(way->to, way->bytes, len);
		way->len -= len;
		memmove(way->bytes, way->bytes + len, way->len);
		way->passed++;
	}
}

static pid_t start_server(int *ret_in, int *ret_out)
{
	int in[2], out[2];
	if (pipe(in) < 0 || pipe(out) < 0) {
		return -1;
	}
	pid_t pid = fork();
	if (pid == 0) {
		(void)dup2(in[0], 0);
		(void)dup2(out[1], 1);
		close(in[1]);
		close(out[0]);
		const char *denied = getenv("RELAY_DENY");
		execl(SERVER, SERVER, denied ? "-P" : NULL, denied, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	*ret_in = in[1];
	*ret_out = out[0];
	return pid;
}

static void read_order(const char *file, unsigned long *ret_most, bool *ret_kill)
{
	char word[8] = "";
	FILE *in = fopen(file, "r");
	*ret_most = ULONG_MAX;
	if (in && fscanf(in, "%lu %7s", ret_most, word) != 2) { /* NOLINT: a test's own words */
		*ret_most = ULONG_MAX;
	}
	*ret_kill = strcmp(word, "kill") == 0;
	if (in) {
		(void)fclose(in);
	}
}

int relay_main(const char *file)
{
	static struct way there = {.from = 0}, back = {.to = 1, .most = ULONG_MAX};
	pid_t parent = getppid();
	bool kills;
	read_order(file, &there.most, &kills);
	pid_t server = start_server(&there.to, &back.from);
	(void)signal(SIGPIPE, SIG_IGN);
	while (server > 0 && !there.ended && !back.ended && back.passed < there.most) {
		bool full = there.passed == there.most;
		struct pollfd fds[2] = {
			{full ? -1 : there.from, POLLIN, 0}, {back.from, POLLIN, 0}};
		(void)poll(fds, 2, -1);
		if (fds[0].revents) {
			pass(&there);
		}
		if (fds[1].revents) {
			pass(&back);
		}
	}
	close(there.to);
	(void)waitpid(server, NULL, 0);
	if (back.passed >= there.most) {
		unlink(file);
		if (kills) {
			kill(parent, SIGKILL);
		}
	}
	return 0;
}
