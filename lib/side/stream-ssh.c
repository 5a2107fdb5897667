/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A child process carries the bytes: `ssh … -s -- host sftp`, with all that the site's ssh_config
 * says (Kerberos, ProxyJump, certificates, …).
 *
 *   we <== socketpair ==> stdin and stdout of ssh
 *   we <---- pipe ------- its stderr: the last of it becomes the words of an error
 *
 * The child is in a session of its own, so that no terminal reaches it, and has no signal
 * blocked.  When this process dies, ssh reads the end of its input and goes too.
 */
#include "side/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"

#define ARGUMENTS_MAX 48
#define END_WAIT_MS   200

struct ssh_child {
	struct ssh_stream stream;
	struct loop *loop;
	int fd, errors;  /* errors: its stderr */
	bool is_blocked; /* a write waits for room */
	pid_t pid;
	char *target; /* for words */
	char *known_hosts;
	char tail[1024]; /* of stderr */
	size_t tail_len;
};

static struct ssh_child *ssh_of(struct ssh_stream *stream)
{
	return (struct ssh_child *)stream;
}

/* --- its stderr --------------------------------------------------------------------------- */

static void tail_add(struct ssh_child *ssh, struct span text)
{
	if (text.len > sizeof(ssh->tail)) {
		text = span_skip(text, text.len - sizeof(ssh->tail));
	}
	if (ssh->tail_len + text.len > sizeof(ssh->tail)) {
		size_t drop = ssh->tail_len + text.len - sizeof(ssh->tail);
		memmove(ssh->tail, ssh->tail + drop, ssh->tail_len - drop);
		ssh->tail_len -= drop;
	}
	memcpy(ssh->tail + ssh->tail_len, text.data, text.len);
	ssh->tail_len += text.len;
}

static void read_errors(struct ssh_child *ssh)
{
	char text[1024];
	while (ssh->errors >= 0) {
		ssize_t n = read(ssh->errors, text, sizeof(text));
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			return;
		}
		if (n <= 0) {
			loop_remove_fd(ssh->loop, ssh->errors);
			fd_close(&ssh->errors);
			return;
		}
		tail_add(ssh, span_of(text, (size_t)n));
	}
}

/* The last line that says something. */
static struct span last_line(const struct ssh_child *ssh)
{
	struct span text = span_of(ssh->tail, ssh->tail_len);
	while (text.len && strchr("\r\n .", text.data[text.len - 1])) {
		text.len--;
	}
	const char *newline = text.len ? memrchr(text.data, '\n', text.len) : NULL;
	return newline ? span_skip(text, (size_t)(newline - text.data) + 1) : text;
}

static bool tail_has(const struct ssh_child *ssh, const char *words)
{
	return memmem(ssh->tail, ssh->tail_len, words, strlen(words)) != NULL;
}

/* Why it ended, from what ssh said. */
static int ended(struct ssh_child *ssh, struct why *why)
{
	static const struct {
		const char *words;
		int error;
	} known[] = {
		{"Host key verification failed", -EKEYREJECTED},
		{"Permission denied", -EACCES},
		{"Too many authentication failures", -EACCES},
		{"Connection refused", -ECONNREFUSED},
		{"timed out", -ETIMEDOUT},
		{"Could not resolve", -EHOSTUNREACH},
		{"No route to host", -EHOSTUNREACH},
		{"unreachable", -EHOSTUNREACH},
		{"Unable to negotiate", -EPROTO},
		{"subsystem request failed", -EPROTO},
	};
	char line[240];
	int error = -ENOTCONN;
	read_errors(ssh);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && error == -ENOTCONN; i++) {
		error = tail_has(ssh, known[i].words) ? known[i].error : error;
	}
	log_escape(last_line(ssh), line, sizeof(line));
	if (error == -EKEYREJECTED) {
		return why_error(why, error,
			"%s: %s; if the key is right, add it: ssh-keyscan HOST >> %s", ssh->target,
			line, ssh->known_hosts ? ssh->known_hosts : "~/.ssh/known_hosts");
	}
	return why_error(why, error, "%s: ssh ended%s%s", ssh->target, *line ? ": " : "", line);
}

/* --- bytes -------------------------------------------------------------------------------- */

static ssize_t ssh_read(struct ssh_stream *stream, void *buffer, size_t size_bytes, struct why *why)
{
	ssize_t n = recv(ssh_of(stream)->fd, buffer, size_bytes, 0);
	if (n > 0) {
		return n;
	}
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : ended(ssh_of(stream), why);
}

static ssize_t ssh_write(
	struct ssh_stream *stream, const void *data, size_t size_bytes, struct why *why)
{
	struct ssh_child *ssh = ssh_of(stream);
	ssize_t n = send(ssh->fd, data, size_bytes, MSG_NOSIGNAL);
	bool later = n < 0 && (errno == EAGAIN || errno == EINTR);
	if (n < 0 && !later) {
		return ended(ssh, why);
	}
	bool all = n >= 0 && (size_t)n == size_bytes;
	if (all == ssh->is_blocked) {
		ssh->is_blocked = !all;
		(void)loop_change_fd(ssh->loop, ssh->fd, all ? EPOLLIN : EPOLLIN | EPOLLOUT);
	}
	return later ? -EAGAIN : n;
}

static void on_socket(void *arg, uint32_t epoll_events)
{
	struct ssh_child *ssh = arg;
	if (ssh->stream.event) {
		ssh->stream.event(ssh->stream.arg); /* may close us: nothing after it */
	}
}

static void on_errors(void *arg, uint32_t epoll_events)
{
	read_errors(arg);
}

/* --- the child ---------------------------------------------------------------------------- */

/* It ends by itself when its input does; whoever does not is made to. */
static void reap(pid_t pid)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	kill(pid, SIGTERM);
	for (int i = 0; i < END_WAIT_MS; i++) {
		if (waitpid(pid, NULL, WNOHANG) != 0) {
			return;
		}
		nanosleep(&pause, NULL);
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
	}
}

static void ssh_close(struct ssh_stream *stream)
{
	struct ssh_child *ssh = ssh_of(stream);
	if (ssh->fd >= 0) {
		loop_remove_fd(ssh->loop, ssh->fd);
		fd_close(&ssh->fd);
	}
	if (ssh->errors >= 0) {
		loop_remove_fd(ssh->loop, ssh->errors);
		fd_close(&ssh->errors);
	}
	if (ssh->pid > 0) {
		reap(ssh->pid);
	}
	free(ssh->target);
	free(ssh->known_hosts);
	free(ssh);
}

static const struct ssh_stream_ops ssh_ops = {
	.read = ssh_read, .write = ssh_write, .close = ssh_close};

/* Arguments lie one behind the other, each with its NUL. */
static void add_argument(struct buf *list, size_t *count, const char *option, struct span value)
{
	buf_add_str(list, option);
	buf_add(list, value);
	buf_add_char(list, '\0');
	++*count;
}

/*
 * The words of the configured command, then our options: what is said first counts.  The cipher
 * that processors help with is asked for before the others; it takes half the time of ssh's own
 * choice.
 */
static int make_arguments(
	const struct location *location, const struct config *config, struct buf *list, char **ret)
{
	static const char *const fixed[] = {"-oBatchMode=yes", "-oStrictHostKeyChecking=yes",
		"-oCiphers=^aes128-gcm@openssh.com", "-oServerAliveCountMax=4",
		"-oConnectTimeout=20", "-oForwardX11=no", "-oForwardAgent=no",
		"-oPermitLocalCommand=no", "-oClearAllForwardings=yes", "-oRemoteCommand=none",
		"-oRequestTTY=no", "-oLogLevel=ERROR"};
	const char *command = config->copier.ssh_command ? config->copier.ssh_command : "ssh";
	char port[16], alive[16];
	const uint64_t keepalive_ns = config->copier.keepalive_ns;
	size_t count = 0;
	for (const char *at = command; *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");
		add_argument(list, &count, "", span_of(at, len));
		at += len;
	}
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
		add_argument(list, &count, fixed[i], SPAN(""));
	}
	(void)snprintf(alive, sizeof(alive), "%llu",
		(unsigned long long)(keepalive_ns ? keepalive_ns / CLOCK_S : 30));
	add_argument(list, &count, "-oServerAliveInterval=", span_str(alive));
	if (config->copier.known_hosts) {
		add_argument(list, &count,
			"-oUserKnownHostsFile=", span_str(config->copier.known_hosts));
	}
	if (config->copier.identity) {
		add_argument(list, &count, "-i", span_str(config->copier.identity));
	}
	if (location->port) {
		(void)snprintf(port, sizeof(port), "%u", location->port);
		add_argument(list, &count, "-p", span_str(port));
	}
	if (location->user) {
		add_argument(list, &count, "-l", span_str(location->user));
	}
	add_argument(list, &count, "-s", SPAN(""));
	add_argument(list, &count, "--", SPAN(""));
	add_argument(list, &count, "", span_str(location->host));
	add_argument(list, &count, "sftp", SPAN(""));
	if (list->failed || count >= ARGUMENTS_MAX) {
		return list->failed ? -ENOMEM : -E2BIG;
	}
	char *at = list->data;
	for (size_t i = 0; i < count; i++, at += strlen(at) + 1) {
		ret[i] = at;
	}
	ret[count] = NULL;
	return 0;
}

static int spawn(char **arguments, int socket, int errors, pid_t *ret)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attributes);
	posix_spawn_file_actions_adddup2(&files, socket, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, socket, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, errors, STDERR_FILENO);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setflags(
		&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
	int error = posix_spawnp(ret, arguments[0], &files, &attributes, arguments, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	return -error;
}

static int start(struct ssh_child *ssh, char **arguments, struct why *why)
{
	int pair[2], pipes[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		return why_error(why, -errno, "make a socket pair: %s", strerror(errno));
	}
	ssh->fd = pair[0];
	CLEANUP(fd_close) int child_socket = pair[1];
	if (pipe2(pipes, O_CLOEXEC) < 0) {
		return why_error(why, -errno, "make a pipe: %s", strerror(errno));
	}
	ssh->errors = pipes[0];
	CLEANUP(fd_close) int child_errors = pipes[1];
	if (fcntl(ssh->fd, F_SETFL, O_NONBLOCK) < 0 ||
		fcntl(ssh->errors, F_SETFL, O_NONBLOCK) < 0) {
		return -errno;
	}
	int r = spawn(arguments, child_socket, child_errors, &ssh->pid);
	return r < 0 ? why_error(why, r, "start %s: %s", arguments[0], strerror(-r)) : 0;
}

int ssh_stream_open_ssh(struct loop *loop, const struct location *location,
	const struct config *config, struct ssh_stream **ret, struct why *why)
{
	char *arguments[ARGUMENTS_MAX];
	CLEANUP(buf_finish) struct buf memory = BUF_EMPTY;
	struct ssh_child *ssh = calloc(1, sizeof(*ssh));
	if (!ssh) {
		return -ENOMEM;
	}
	ssh->stream.ops = &ssh_ops;
	ssh->loop = loop;
	ssh->fd = ssh->errors = -1;
	ssh->target = strdup(location->host);
	ssh->known_hosts = config->copier.known_hosts ? strdup(config->copier.known_hosts) : NULL;
	int r = ssh->target ? make_arguments(location, config, &memory, arguments) : -ENOMEM;
	r = r < 0 ? r : start(ssh, arguments, why);
	r = r < 0 ? r : loop_add_fd(loop, ssh->errors, EPOLLIN, on_errors, ssh);
	r = r < 0 ? r : loop_add_fd(loop, ssh->fd, EPOLLIN, on_socket, ssh);
	if (r < 0) {
		ssh_close(&ssh->stream);
		return r;
	}
	*ret = &ssh->stream;
	return 0;
}
