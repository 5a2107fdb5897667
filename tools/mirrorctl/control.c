/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "flow/place.h"

#define SOCKET_NAME "supervisor.sock"
#define LOCK_NAME   "supervisor.lock"

char *control_path(const char *mirror, const char *name)
{
	char below[64];
	(void)snprintf(below, sizeof(below), "run/%s", name);
	return place_state(mirror, below);
}

/* The address of the socket, by way of a descriptor of its directory that stays open meanwhile. */
static int control_address(const char *mirror, int *ret_directory, struct sockaddr_un *ret)
{
	CLEANUP(free_p) char *run = place_state(mirror, "run");
	int fd = run ? open(run, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0) {
		return run ? -errno : -ENOMEM;
	}
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(
		ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", fd, SOCKET_NAME);
	*ret_directory = fd;
	return 0;
}

int control_listen(const char *mirror, int *ret_fd, struct why *why)
{
	CLEANUP(fd_close) int directory = -1;
	struct sockaddr_un address;
	int r = control_address(mirror, &directory, &address);
	if (r < 0) {
		return why_error(why, r, "open the run directory: %s", strerror(-r));
	}
	CLEANUP(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)unlinkat(directory, SOCKET_NAME, 0);
	mode_t mask = umask(0177);
	r = fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
			    listen(fd, 16) < 0
		    ? -errno
		    : 0;
	umask(mask);
	if (r < 0) {
		return why_error(why, r, "listen on run/%s: %s", SOCKET_NAME, strerror(-r));
	}
	*ret_fd = STEAL_FD(fd);
	return 0;
}

void control_holder(const char *mirror, char *ret, size_t size_bytes)
{
	CLEANUP(free_p) char *path = control_path(mirror, LOCK_NAME);
	CLEANUP(fd_close) int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	ret[0] = '\0';
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0) {
		return;
	}
	ssize_t len = pread(fd, ret, size_bytes - 1, 0);
	ret[len > 0 ? len : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	if (!ret[0]) {
		(void)snprintf(ret, size_bytes, "somebody");
	}
}

int control_lock(const char *mirror, int *ret_fd, struct why *why)
{
	char text[320];
	CLEANUP(free_p) char *path = control_path(mirror, LOCK_NAME);
	CLEANUP(fd_close) int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	if (fd < 0) {
		return why_error(why, -errno, "open %s: %s", path ? path : "?", strerror(errno));
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		control_holder(mirror, text, sizeof(text));
		return why_error(why, -EBUSY, "a supervisor runs already: %s", text);
	}
	int len = snprintf(text, sizeof(text), "pid %d on %s\n", (int)getpid(), place_host());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len) {
		return why_error(why, -errno, "write %s: %s", path, strerror(errno));
	}
	*ret_fd = STEAL_FD(fd);
	return 0;
}

static int control_connect(const char *mirror, int *ret_fd, struct why *why)
{
	CLEANUP(fd_close) int directory = -1;
	struct sockaddr_un address;
	char holder[320];
	int r = control_address(mirror, &directory, &address);
	CLEANUP(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (r == 0 && (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)) {
		r = -errno;
	}
	if (r == 0) {
		*ret_fd = STEAL_FD(fd);
		return 0;
	}
	control_holder(mirror, holder, sizeof(holder));
	const char *host = strstr(holder, " on ");
	if (host && strcmp(host + 4, place_host()) != 0) {
		return why_error(why, -EREMOTE,
			"the supervisor of mirror %s runs as %s; work with it "
			"there, or give this host an XDG_STATE_HOME of its own",
			mirror, holder);
	}
	return why_error(why, r == -ECONNREFUSED ? -ENOENT : r, "nothing runs");
}

/* Waits until the descriptor can do what is asked.  0 or -errno. */
static int control_wait(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd at = {.fd = fd, .events = events};
	uint64_t now = clock_now();
	if (now >= deadline_ns) {
		return -ETIMEDOUT;
	}
	int r = poll(&at, 1, (int)((deadline_ns - now) / CLOCK_MS) + 1);
	return r > 0 ? 0 : r == 0 ? -ETIMEDOUT : errno == EINTR ? 0 : -errno;
}

static int control_send(int fd, struct span bytes, uint64_t deadline_ns)
{
	while (bytes.len > 0) {
		ssize_t len = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (len >= 0) {
			bytes = span_skip(bytes, (size_t)len);
		} else if (errno != EAGAIN && errno != EINTR) {
			return errno == EPIPE ? -ECONNRESET : -errno; /* ended before it took us */
		} else {
			int r = control_wait(fd, POLLOUT, deadline_ns);
			if (r < 0) {
				return r;
			}
		}
	}
	return 0;
}

static int control_receive(int fd, struct buf *line, uint64_t deadline_ns)
{
	while (!line->len || line->data[line->len - 1] != '\n') {
		char *room = buf_reserve(line, 4096);
		if (!room || line->len > CONTROL_LINE_MAX) {
			return -ENOMEM;
		}
		ssize_t len = recv(fd, room, 4096, MSG_DONTWAIT);
		if (len == 0) {
			return -ECONNRESET;
		}
		if (len > 0) {
			line->len += (size_t)len;
			continue;
		}
		int r = errno == EAGAIN || errno == EINTR ? control_wait(fd, POLLIN, deadline_ns)
							  : -errno;
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

int control_ask(
	const char *mirror, json_t *request, uint64_t deadline_ns, json_t **ret, struct why *why)
{
	CLEANUP(fd_close) int fd = -1;
	CLEANUP(buf_finish) struct buf line = BUF_EMPTY;
	int r = control_connect(mirror, &fd, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(free_p) char *text = json_dumps(request, JSON_COMPACT);
	buf_add_str(&line, text);
	buf_add_char(&line, '\n');
	r = !text || line.failed ? -ENOMEM : control_send(fd, buf_span(&line), deadline_ns);
	buf_clear(&line);
	if (r == 0) {
		r = control_receive(fd, &line, deadline_ns);
	}
	if (r < 0) {
		return why_error(why, r, "the supervisor does not answer: %s", strerror(-r));
	}
	CLEANUP(control_drop) json_t *reply = json_loadb(line.data, line.len, 0, NULL);
	const char *error = json_string_value(json_object_get(reply, "error"));
	if (!json_is_object(reply) || error) {
		return why_error(why, -EPROTO, "the supervisor says: %s",
			error ? error : "nothing sensible");
	}
	*ret = STEAL(reply);
	return 0;
}

json_t *control_request(const char *what, char *const *stages)
{
	json_t *list = json_array();
	for (; stages && *stages; stages++) {
		json_array_append_new(list, json_string(*stages));
	}
	return json_pack("{s:s, s:o}", "do", what, "stages", list);
}

json_t *control_bytes(struct span bytes)
{
	json_t *text = json_stringn(bytes.data ? bytes.data : "", bytes.len);
	if (text) {
		return text;
	}
	size_t size = bytes.len * 4 + 16;
	CLEANUP(free_p) char *escaped = malloc(size);
	return escaped ? json_string(log_escape(bytes, escaped, size)) : NULL;
}

json_t *control_text(const char *text)
{
	return control_bytes(span_str(text));
}

void control_drop(json_t **json)
{
	json_decref(*json);
	*json = NULL;
}
