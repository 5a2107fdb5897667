/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   written ---------------> out ---> socket        socket ---> in ---------------> received
 *      \--> ssl --> wbio --/                            \--> rbio --> ssl --/
 *
 * The TLS engine works on memory (two BIOs), so the socket is handled in one way for both kinds,
 * with MSG_NOSIGNAL; OpenSSL's own socket calls raise SIGPIPE.
 *
 * Writing goes through a timer set to "now": what a turn of the loop writes in many small pieces
 * leaves in one send().
 */
#include "flow/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/why.h"
#include "flow/resolve.h"

#define READ_BYTES ((size_t)64 * 1024)
#define TURN_BYTES ((size_t)256 * 1024) /* read at most in one turn, so that others are served */

struct stream {
	struct loop *loop;
	const struct stream_events *events;
	void *arg;
	char *host;
	unsigned port;
	char *ca_file;

	struct resolve *resolve;
	struct addrinfo *addresses, *address; /* all, and the one being tried */
	int fd;
	bool connected, opened, closed;
	struct loop_timer flush;

	struct buf in, out;
	size_t out_at; /* what of out is sent */

	SSL_CTX *context;
	SSL *ssl;
	BIO *rbio, *wbio;
};

static void stream_advance(struct stream *stream);

static void drop_socket(struct stream *stream)
{
	if (stream->fd >= 0) {
		loop_remove_fd(stream->loop, stream->fd);
		fd_close(&stream->fd);
	}
}

static void stream_fail(struct stream *stream, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void stream_fail(struct stream *stream, int error, const char *format, ...)
{
	struct why why;
	va_list arguments;
	if (stream->closed) {
		return;
	}
	stream->closed = true;
	drop_socket(stream);
	loop_timer_stop(&stream->flush);
	va_start(arguments, format);
	why_verror(&why, error, format, arguments);
	va_end(arguments);
	stream->events->closed(stream->arg, error, why.text);
}

/* ---- TLS --------------------------------------------------------------------------------- */

/* Nobody can be asked. */
static int no_passphrase(char *ret, int room, int writing, void *arg)
{
	(void)ret;
	(void)room;
	(void)writing;
	(void)arg;
	return 0;
}

static int tls_refuse_file(const char *what, const char *file, struct why *why)
{
	unsigned long code = ERR_peek_error();
	const char *words = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
						   : ERR_reason_error_string(code);
	ERR_clear_error();
	return why_error(why, -ENOKEY, "cannot read %s from '%s': %s; expected PEM", what, file,
		words ? words : "unknown error");
}

static int tls_read_files(SSL_CTX *context, const struct stream_options *options, struct why *why)
{
	ERR_clear_error();
	SSL_CTX_set_default_passwd_cb(context, no_passphrase);
	if (SSL_CTX_load_verify_locations(context, options->ca_file, NULL) != 1) {
		return tls_refuse_file("trusted certificates", options->ca_file, why);
	}
	if (!options->cert_file) {
		return 0;
	}
	if (SSL_CTX_use_certificate_chain_file(context, options->cert_file) != 1) {
		return tls_refuse_file("our certificate", options->cert_file, why);
	}
	if (SSL_CTX_use_PrivateKey_file(context, options->key_file, SSL_FILETYPE_PEM) != 1) {
		return tls_refuse_file("our certificate's key", options->key_file, why);
	}
	return 0;
}

static int tls_create(struct stream *stream, const struct stream_options *options, struct why *why)
{
	unsigned char address[16];
	bool numeric = inet_pton(AF_INET, stream->host, address) == 1 ||
		       inet_pton(AF_INET6, stream->host, address) == 1;
	stream->context = SSL_CTX_new(TLS_client_method());
	if (!stream->context) {
		return -ENOMEM;
	}
	SSL_CTX_set_min_proto_version(stream->context, TLS1_2_VERSION);
	SSL_CTX_set_verify(stream->context, SSL_VERIFY_PEER, NULL);
	int r = tls_read_files(stream->context, options, why);
	if (r < 0) {
		return r;
	}
	stream->ssl = SSL_new(stream->context);
	stream->rbio = BIO_new(BIO_s_mem());
	stream->wbio = BIO_new(BIO_s_mem());
	if (!stream->ssl || !stream->rbio || !stream->wbio) {
		return -ENOMEM;
	}
	SSL_set_bio(stream->ssl, stream->rbio, stream->wbio);
	SSL_set_connect_state(stream->ssl);
	int ok = numeric ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(stream->ssl), stream->host)
			 : SSL_set1_host(stream->ssl, stream->host) &&
				   SSL_set_tlsext_host_name(stream->ssl, stream->host);
	return ok ? 0 : -EINVAL;
}

/* Moves what the engine wants to send into out. */
static void tls_drain(struct stream *stream)
{
	size_t pending = BIO_ctrl_pending(stream->wbio);
	char *at = pending ? buf_reserve(&stream->out, pending) : NULL;
	if (at) {
		int len = BIO_read(stream->wbio, at, (int)pending);
		stream->out.len += len > 0 ? (size_t)len : 0;
		(void)loop_timer_set(&stream->flush, 0);
	}
}

static void tls_fail(struct stream *stream)
{
	long verified = SSL_get_verify_result(stream->ssl);
	unsigned long code = ERR_get_error();
	const char *words = code ? ERR_reason_error_string(code) : NULL;
	ERR_clear_error();
	if (verified != X509_V_OK) {
		stream_fail(stream, -EKEYREJECTED,
			"the certificate of '%s' is not accepted: %s (trusted: %s)", stream->host,
			X509_verify_cert_error_string(verified), stream->ca_file);
	} else {
		stream_fail(stream, -EPROTO, "TLS with '%s' port %u failed: %s", stream->host,
			stream->port, words ? words : "unexpected end");
	}
}

/* Lets the engine work on what has come; plain bytes go to in. */
static void tls_pump(struct stream *stream)
{
	int r = 1;
	if (!SSL_is_init_finished(stream->ssl)) {
		r = SSL_do_handshake(stream->ssl);
	}
	while (r > 0 && SSL_is_init_finished(stream->ssl)) {
		char *at = buf_reserve(&stream->in, READ_BYTES);
		r = at ? SSL_read(stream->ssl, at, (int)READ_BYTES) : 0;
		stream->in.len += r > 0 ? (size_t)r : 0;
	}
	int error = SSL_get_error(stream->ssl, r);
	tls_drain(stream);
	if (error == SSL_ERROR_ZERO_RETURN) {
		stream_fail(stream, -ECONNRESET, "'%s' closed the connection", stream->host);
	} else if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_NONE) {
		tls_fail(stream);
	}
}

/* ---- connecting -------------------------------------------------------------------------- */

static void on_socket(void *arg, uint32_t events);

static int try_address(struct stream *stream, const struct addrinfo *address)
{
	int on = 1, r;
	stream->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (stream->fd < 0) {
		return -errno;
	}
	(void)setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	r = connect(stream->fd, address->ai_addr, address->ai_addrlen) < 0 ? -errno : 0;
	if (r == 0 || r == -EINPROGRESS) {
		r = loop_add_fd(stream->loop, stream->fd, EPOLLOUT, on_socket, stream);
	}
	if (r < 0) {
		drop_socket(stream);
	}
	return r;
}

/* Tries one address after the other; error is what the last one said. */
static void try_next(struct stream *stream, int error)
{
	while (stream->address) {
		struct addrinfo *address = stream->address;
		stream->address = address->ai_next;
		error = try_address(stream, address);
		if (error == 0) {
			return;
		}
	}
	stream_fail(stream, error, "cannot connect to '%s' port %u: %s", stream->host, stream->port,
		strerror(-error));
}

static void on_resolved(void *arg, int error, struct addrinfo *addresses)
{
	struct stream *stream = arg;
	stream->resolve = NULL;
	stream->addresses = addresses;
	stream->address = addresses;
	if (error) {
		stream_fail(stream, -EHOSTUNREACH, "cannot find the host '%s': %s", stream->host,
			error == EAI_SYSTEM ? "the resolver failed" : gai_strerror(error));
	} else {
		try_next(stream, -EHOSTUNREACH);
	}
}

static void on_connected(struct stream *stream)
{
	int error = 0;
	socklen_t len = sizeof(error);
	(void)getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		drop_socket(stream);
		try_next(stream, -error);
		return;
	}
	stream->connected = true;
	(void)loop_change_fd(stream->loop, stream->fd, EPOLLIN);
	stream_advance(stream);
}

/* ---- moving bytes ------------------------------------------------------------------------ */

/* After connecting and after each arrival: handshake, opened, received. */
static void stream_advance(struct stream *stream)
{
	if (stream->ssl) {
		tls_pump(stream);
	}
	if (!stream->closed && !stream->opened &&
		(!stream->ssl || SSL_is_init_finished(stream->ssl))) {
		stream->opened = true;
		stream->events->opened(stream->arg);
	}
	if (!stream->closed && stream->opened && stream->in.len) {
		stream->events->received(stream->arg, &stream->in);
	}
}

static void receive(struct stream *stream)
{
	ssize_t len = 1;
	for (size_t total = 0; len > 0 && total < TURN_BYTES && !stream->closed;
		total += (size_t)len) {
		char bytes[READ_BYTES];
		len = recv(stream->fd, bytes, sizeof(bytes), 0);
		if (len > 0 && stream->ssl) {
			(void)BIO_write(stream->rbio, bytes, (int)len);
			stream_advance(stream);
		} else if (len > 0) {
			buf_add(&stream->in, span_of(bytes, (size_t)len));
			stream_advance(stream);
		}
	}
	if (stream->closed) {
		return;
	}
	if (len == 0) {
		stream_fail(stream, -ECONNRESET, "'%s' port %u closed the connection", stream->host,
			stream->port);
	} else if (len < 0 && errno != EAGAIN && errno != EINTR) {
		stream_fail(stream, -errno, "connection to '%s' port %u: %s", stream->host,
			stream->port, strerror(errno));
	} else if (stream->in.failed || stream->out.failed) {
		stream_fail(stream, -ENOMEM, "out of memory");
	}
}

static void send_out(void *arg)
{
	struct stream *stream = arg;
	size_t before = stream_backlog_bytes(stream);
	while (stream->connected && stream->out_at < stream->out.len) {
		ssize_t len = send(stream->fd, stream->out.data + stream->out_at,
			stream->out.len - stream->out_at, MSG_NOSIGNAL);
		if (len < 0 && errno != EAGAIN && errno != EINTR) {
			stream_fail(stream, -errno, "connection to '%s' port %u: %s", stream->host,
				stream->port, strerror(errno));
			return;
		}
		if (len < 0) {
			buf_drop(&stream->out, stream->out_at);
			stream->out_at = 0;
			(void)loop_change_fd(stream->loop, stream->fd, EPOLLIN | EPOLLOUT);
			return;
		}
		stream->out_at += (size_t)len;
	}
	if (before && stream->connected) {
		buf_clear(&stream->out);
		stream->out_at = 0;
		(void)loop_change_fd(stream->loop, stream->fd, EPOLLIN);
		if (stream->opened) {
			stream->events->drained(stream->arg);
		}
	}
}

static void on_socket(void *arg, uint32_t events)
{
	struct stream *stream = arg;
	if (!stream->connected) {
		on_connected(stream);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		receive(stream);
	}
	if (!stream->closed && events & EPOLLOUT) {
		send_out(stream);
	}
}

void stream_write(struct stream *stream, struct span bytes)
{
	if (stream->closed || !stream->opened || !bytes.len) {
		return;
	}
	if (stream->ssl) {
		(void)SSL_write(stream->ssl, bytes.data, (int)bytes.len);
		tls_drain(stream);
		return;
	}
	buf_add(&stream->out, bytes);
	if (stream->flush.deadline_ns != 0) {
		(void)loop_timer_set(&stream->flush, 0);
	}
}

size_t stream_backlog_bytes(const struct stream *stream)
{
	return stream->out.len - stream->out_at;
}

/* ---- life -------------------------------------------------------------------------------- */

DEFINE_CLEANUP(struct stream *, stream_destroy)

static int stream_begin(
	struct stream *stream, const struct stream_options *options, struct why *why)
{
	stream->host = strdup(options->host);
	stream->ca_file = strdup(options->ca_file ? options->ca_file : "");
	if (!stream->host || !stream->ca_file) {
		return -ENOMEM;
	}
	int r = options->tls ? tls_create(stream, options, why) : 0;
	return r < 0 ? r
		     : resolve_start(stream->loop, stream->host, stream->port, on_resolved, stream,
			       &stream->resolve);
}

int stream_create(struct loop *loop, const struct stream_options *options,
	const struct stream_events *events, void *arg, struct stream **ret, struct why *why)
{
	CLEANUP(stream_destroy_p) struct stream *stream = calloc(1, sizeof(*stream));
	if (!stream) {
		return -ENOMEM;
	}
	stream->loop = loop;
	stream->events = events;
	stream->arg = arg;
	stream->fd = -1;
	stream->port = options->port;
	loop_timer_init(&stream->flush, loop, send_out, stream);
	int r = stream_begin(stream, options, why);
	if (r < 0) {
		return r == -ENOKEY ? r
				    : why_error(why, r, "cannot begin to connect to '%s': %s",
					      options->host, strerror(-r));
	}
	*ret = STEAL(stream);
	return 0;
}

void stream_destroy(struct stream *stream)
{
	if (!stream) {
		return;
	}
	resolve_cancel(stream->resolve);
	if (stream->addresses) {
		freeaddrinfo(stream->addresses);
	}
	drop_socket(stream);
	loop_timer_stop(&stream->flush);
	SSL_free(stream->ssl); /* and both BIOs */
	SSL_CTX_free(stream->context);
	buf_finish(&stream->in);
	buf_finish(&stream->out);
	free(stream->host);
	free(stream->ca_file);
	free(stream);
}
