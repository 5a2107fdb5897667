/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One channel of one SSH connection of our own, by libssh2, never blocking.
 *
 * libssh2 keeps the state of a half-sent packet in the session, whoever sent it.  When a call
 * returns EAGAIN because the socket takes no more, that call owns the session: nothing else may
 * be called until the same call, with the same arguments, has got through.  Reads send, too
 * (window adjustments, answers to the server's keep-alives).  So:
 *
 *   owner NOBODY   all may be called
 *   owner READER   only channel_read: a window adjustment is half out
 *   owner WRITER   only channel_write, with the same pointer and length
 *
 * Writing drains the socket into libssh2's own queue, without a further event for us: the user
 * reads again after it wrote.
 *
 * TCP's own keepalive sees hosts that are gone, but not what stands between us and them and has
 * lost the rest of the way (a relay, a jump host).  So a server that is silent while an answer is
 * due is asked by SSH (keepalive@libssh2.org, which sshd answers whatever its SFTP server is busy
 * with).
 *
 * A connection that has moved 48 GiB is old: at 64 GiB the server renews the keys, which libssh2
 * does badly in the middle of a transfer.
 */
#include "side/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <libssh2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/resolve.h"
#include "flow/task.h"
#include "side/ssh-login.h"

#define OPEN_NS         (30 * CLOCK_S)
#define AGE_LIMIT_BYTES (UINT64_C(48) << 30)
#define WINDOW_BYTES    (4U * 1024 * 1024)
#define ASK_TIMES       3 /* so long after it was asked it is given up */

enum owner { NOBODY, READER, WRITER };

struct ssh_link {
	struct ssh_stream stream;
	struct loop *loop;
	int fd;
	uint32_t interest; /* in events of fd */
	LIBSSH2_SESSION *session;
	LIBSSH2_CHANNEL *channel;
	enum owner owner;
	size_t write_len; /* of the write that owns the session */
	uint64_t heard_ns;
	uint64_t asked_ns; /* not answered yet; 0: nothing was asked */

	struct task *task; /* while it opens */
	uint64_t deadline_ns;
	struct addrinfo *addresses;
	int resolve_error;
	bool resolved;
	bool socket_spoke; /* an event came */
};

static struct ssh_link *link_of(struct ssh_stream *stream)
{
	return (struct ssh_link *)stream;
}

static bool is_half_sent(const struct ssh_link *link)
{
	return libssh2_session_block_directions(link->session) & LIBSSH2_SESSION_BLOCK_OUTBOUND;
}

static void update_interest(struct ssh_link *link)
{
	uint32_t interest = is_half_sent(link) ? EPOLLIN | EPOLLOUT : EPOLLIN;
	if (interest != link->interest) {
		link->interest = interest;
		(void)loop_change_fd(link->loop, link->fd, interest);
	}
}

static int say(const struct ssh_link *link, struct why *why, int error, const char *what)
{
	char *words = NULL;
	libssh2_session_last_error(link->session, &words, NULL, 0);
	return why_error(why, error, "%s: %s", what, words && *words ? words : "no reason given");
}

/* --- bytes -------------------------------------------------------------------------------- */

static ssize_t link_read(
	struct ssh_stream *stream, void *buffer, size_t size_bytes, struct why *why)
{
	struct ssh_link *link = link_of(stream);
	if (link->owner == WRITER) {
		return -EAGAIN;
	}
	ssize_t n = libssh2_channel_read(link->channel, buffer, size_bytes);
	link->owner = n == LIBSSH2_ERROR_EAGAIN && is_half_sent(link) ? READER : NOBODY;
	update_interest(link);
	if (n > 0) {
		return n;
	}
	if (n == LIBSSH2_ERROR_EAGAIN || (n == 0 && !libssh2_channel_eof(link->channel))) {
		return -EAGAIN;
	}
	return n == 0 ? why_error(why, -ENOTCONN, "the server ended the session")
		      : say(link, why, -ENOTCONN, "read");
}

static ssize_t link_write(
	struct ssh_stream *stream, const void *data, size_t size_bytes, struct why *why)
{
	struct ssh_link *link = link_of(stream);
	if (link->owner == READER) {
		return -EAGAIN;
	}
	size_t len = link->owner == WRITER ? link->write_len : size_bytes;
	ssize_t n = libssh2_channel_write(link->channel, data, len);
	link->owner = n == LIBSSH2_ERROR_EAGAIN && is_half_sent(link) ? WRITER : NOBODY;
	link->write_len = len;
	update_interest(link);
	if (n > 0) {
		return n;
	}
	return n == 0 || n == LIBSSH2_ERROR_EAGAIN ? -EAGAIN : say(link, why, -ENOTCONN, "write");
}

static void on_socket(void *arg, uint32_t epoll_events)
{
	struct ssh_link *link = arg;
	link->socket_spoke = true;
	if (epoll_events & EPOLLIN) {
		link->heard_ns = clock_now();
		link->asked_ns = 0;
	}
	if (link->task) {
		task_wake(link->task);
	} else if (link->stream.event) {
		link->stream.event(link->stream.arg); /* may close us: nothing after it */
	}
}

/* The question must get out in one piece: what is half sent would own the session. */
static bool can_send(const struct ssh_link *link)
{
	struct pollfd socket = {.fd = link->fd, .events = POLLOUT};
	return link->owner == NOBODY && !is_half_sent(link) && poll(&socket, 1, 0) == 1 &&
	       socket.revents == POLLOUT;
}

/* A socket that takes no more and says nothing has been asked as well. */
static int link_ask(struct ssh_stream *stream, struct why *why)
{
	struct ssh_link *link = link_of(stream);
	uint64_t now = clock_now();
	int seconds = 0;
	char silent[32];
	if (link->asked_ns && now - link->asked_ns >= ASK_TIMES * stream->ask_ns) {
		return why_error(why, -ETIMEDOUT, "the server's host has been silent for %s",
			clock_text(now - link->heard_ns, silent, sizeof(silent)));
	}
	if (!link->asked_ns && now - link->heard_ns >= stream->ask_ns) {
		link->asked_ns = now;
		if (can_send(link)) {
			(void)libssh2_keepalive_send(link->session, &seconds);
		}
	}
	return 0;
}

/* The goodbye is tried once; then the socket is shut, so that nothing below can wait. */
static void link_close(struct ssh_stream *stream)
{
	struct ssh_link *link = link_of(stream);
	if (link->fd >= 0) {
		loop_remove_fd(link->loop, link->fd);
	}
	if (link->session) {
		if (link->owner == NOBODY) {
			(void)libssh2_session_disconnect(link->session, "done");
		}
		(void)shutdown(link->fd, SHUT_RDWR);
		for (int i = 0; i < 10 && libssh2_session_free(link->session); i++) {
		}
	}
	fd_close(&link->fd);
	free(link);
}

static const struct ssh_stream_ops link_ops = {
	.read = link_read, .write = link_write, .ask = link_ask, .close = link_close};

/* --- opening ------------------------------------------------------------------------------ */

/* Until the socket is ready for what libssh2 waits for. */
static int link_wait(void *arg)
{
	struct ssh_link *link = arg;
	if (clock_now() >= link->deadline_ns) {
		return -ETIMEDOUT;
	}
	if (link->session) {
		update_interest(link);
	}
	task_wait_until(link->deadline_ns);
	return 0;
}

static void on_resolved(void *arg, int error, struct addrinfo *addresses)
{
	struct ssh_link *link = arg;
	link->resolve_error = error;
	link->addresses = addresses;
	link->resolved = true;
	task_wake(link->task);
}

static int look_up(struct ssh_link *link, const struct location *location, struct why *why)
{
	struct resolve *resolve;
	int r = resolve_start(link->loop, location->host, location->port ? location->port : 22,
		on_resolved, link, &resolve);
	if (r < 0) {
		return r;
	}
	while (!link->resolved) {
		if (link_wait(link) < 0) {
			resolve_cancel(resolve);
			return why_error(
				why, -ETIMEDOUT, "no name server answers for %s", location->host);
		}
	}
	return link->resolve_error ? why_error(why, -EHOSTUNREACH, "cannot find the host %s: %s",
					     location->host, gai_strerror(link->resolve_error))
				   : 0;
}

/* A peer that is gone without a word is noticed after about a minute and a half. */
static void set_options(int fd)
{
	const int yes = 1, idle_s = 30, interval_s = 10, count = 6, user_ms = 90000;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof(user_ms));
}

static int connect_one(struct ssh_link *link, const struct addrinfo *address)
{
	int error = 0, r;
	socklen_t len = sizeof(error);
	link->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (link->fd < 0) {
		return -errno;
	}
	set_options(link->fd);
	if (connect(link->fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS) {
		return -errno;
	}
	link->interest = EPOLLOUT;
	link->socket_spoke = false;
	r = loop_add_fd(link->loop, link->fd, EPOLLOUT, on_socket, link);
	while (r == 0 && !link->socket_spoke) {
		r = link_wait(link);
	}
	if (r == 0 && getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0) {
		error = errno;
	}
	return r < 0 ? r : -error;
}

static int connect_any(struct ssh_link *link, const struct location *location, struct why *why)
{
	int r = -EHOSTUNREACH;
	for (struct addrinfo *at = link->addresses; at && r < 0; at = at->ai_next) {
		if (link->fd >= 0) {
			loop_remove_fd(link->loop, link->fd);
			fd_close(&link->fd);
		}
		r = connect_one(link, at);
	}
	return r < 0 ? why_error(why, r, "cannot connect to port %u of %s: %s",
			       location->port ? location->port : 22, location->host, strerror(-r))
		     : 0;
}

/* What libssh2 returned, after all waiting; only calls that never return EAGAIN in the end. */
#define LIBSSH2_WAIT(link, r, call)                                                                \
	do {                                                                                       \
		(r) = (call);                                                                      \
		if ((r) == LIBSSH2_ERROR_EAGAIN && link_wait(link) < 0) {                          \
			(r) = LIBSSH2_ERROR_TIMEOUT;                                               \
		}                                                                                  \
	} while ((r) == LIBSSH2_ERROR_EAGAIN)

static int shake_hands(struct ssh_link *link, const struct ssh_login *login, struct why *why)
{
	int r = ssh_login_prefer(login, why);
	if (r < 0) {
		return r;
	}
	(void)libssh2_session_method_pref(
		link->session, LIBSSH2_METHOD_CRYPT_CS, "aes128-ctr,aes192-ctr,aes256-ctr");
	(void)libssh2_session_method_pref(
		link->session, LIBSSH2_METHOD_CRYPT_SC, "aes128-ctr,aes192-ctr,aes256-ctr");
	LIBSSH2_WAIT(link, r, libssh2_session_handshake(link->session, link->fd));
	if (r == LIBSSH2_ERROR_TIMEOUT) {
		return why_error(
			why, -ETIMEDOUT, "the server did not finish the SSH handshake in time");
	}
	if (r) {
		say(link, why, -EPROTO, "SSH handshake");
		bool transport = r == LIBSSH2_ERROR_SOCKET_DISCONNECT ||
				 r == LIBSSH2_ERROR_SOCKET_RECV || r == LIBSSH2_ERROR_SOCKET_SEND ||
				 r == LIBSSH2_ERROR_BANNER_RECV;
		return transport ? -ECONNRESET
				 : why_error(why, -EPROTO,
					   "libssh2 and the server have no key exchange, host key, "
					   "cipher "
					   "or MAC in common: set copier.transport: ssh (%.200s)",
					   why ? why->text : "");
	}
	return ssh_login_verify(login, why);
}

static int open_channel(struct ssh_link *link, struct why *why)
{
	int r;
	for (;;) {
		link->channel = libssh2_channel_open_ex(link->session, "session", 7, WINDOW_BYTES,
			LIBSSH2_CHANNEL_PACKET_DEFAULT, NULL, 0);
		if (link->channel ||
			libssh2_session_last_errno(link->session) != LIBSSH2_ERROR_EAGAIN ||
			link_wait(link) < 0) {
			break;
		}
	}
	if (!link->channel) {
		return say(link, why, -EPROTO, "open a channel");
	}
	LIBSSH2_WAIT(link, r,
		libssh2_channel_handle_extended_data2(
			link->channel, LIBSSH2_CHANNEL_EXTENDED_DATA_IGNORE));
	LIBSSH2_WAIT(link, r, libssh2_channel_subsystem(link->channel, "sftp"));
	return r ? say(link, why, -EPROTO, "the server does not start its SFTP subsystem") : 0;
}

static int link_open(struct ssh_link *link, const struct location *location,
	const struct config *config, struct why *why)
{
	struct ssh_login login = {
		.location = location, .config = config, .wait = link_wait, .arg = link};
	int r = look_up(link, location, why);
	r = r < 0 ? r : connect_any(link, location, why);
	if (link->addresses) {
		freeaddrinfo(STEAL(link->addresses));
	}
	if (r < 0) {
		return r;
	}
	link->session = login.session = libssh2_session_init();
	if (!link->session) {
		return -ENOMEM;
	}
	libssh2_session_set_blocking(link->session, 0);
	r = shake_hands(link, &login, why);
	r = r < 0 ? r : ssh_login_enter(&login, why);
	return r < 0 ? r : open_channel(link, why);
}

int ssh_stream_open_libssh2(struct loop *loop, const struct location *location,
	const struct config *config, struct ssh_stream **ret, struct why *why)
{
	static bool initialised;
	struct ssh_link *link = calloc(1, sizeof(*link));
	if (!link || (!initialised && libssh2_init(0))) {
		free(link);
		return -ENOMEM;
	}
	initialised = true;
	link->stream.ops = &link_ops;
	link->stream.age_limit_bytes = AGE_LIMIT_BYTES;
	link->stream.ask_ns = config->copier.keepalive_ns;
	link->loop = loop;
	link->fd = -1;
	link->task = task_self();
	link->deadline_ns = clock_now() + OPEN_NS;
	int r = link_open(link, location, config, why);
	link->task = NULL;
	if (r < 0) {
		link_close(&link->stream);
		return r;
	}
	libssh2_keepalive_config(link->session, 1, 1); /* when to ask is decided in link_ask() */
	link->heard_ns = clock_now();
	update_interest(link);
	*ret = &link->stream;
	return 0;
}
