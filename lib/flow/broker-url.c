/* SPDX-License-Identifier: Apache-2.0 */
/*
 * amqp[s]://[user[:password]@]host[:port][/vhost]
 *
 * As rabbitmq.com/uri-spec: parts are percent-encoded; no slash after the host means the virtual
 * host "/", and so does a slash with nothing behind it, which the letter of the specification
 * reads as the virtual host "" that nobody has.
 */
#include "flow/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT_AMQP  5672
#define PORT_AMQPS 5671

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* Percent-decodes into a C string; false where it is malformed, too long or holds a NUL. */
static bool decode(struct span text, char *out, size_t size_bytes)
{
	size_t used = 0;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		if (c == '%') {
			int high = i + 2 < text.len ? hex_digit(text.data[i + 1]) : -1;
			int low = i + 2 < text.len ? hex_digit(text.data[i + 2]) : -1;
			if (high < 0 || low < 0) {
				return false;
			}
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (c == '\0' || used + 1 >= size_bytes) {
			return false;
		}
		out[used++] = c;
	}
	out[used] = '\0';
	return true;
}

/* Cuts text at the first (or last) `at`; false where there is none and *ret_before is untouched. */
static bool cut(struct span *text, char at, bool last, struct span *ret_before)
{
	const char *found = !text->len ? NULL
			    : last     ? memrchr(text->data, at, text->len)
				       : memchr(text->data, at, text->len);
	if (!found) {
		return false;
	}
	*ret_before = span_of(text->data, (size_t)(found - text->data));
	*text = span_skip(*text, ret_before->len + 1);
	return true;
}

static bool parse_port(struct span text, unsigned *ret)
{
	char copy[8], *end;
	if (text.len == 0 || text.len >= sizeof(copy) || text.data[0] < '0' || text.data[0] > '9') {
		return false;
	}
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	unsigned long port = strtoul(copy, &end, 10);
	*ret = (unsigned)port;
	return *end == '\0' && port > 0 && port < 65536;
}

/* host, host:port, [v6], [v6]:port */
static bool parse_host(struct span text, struct broker_url *ret)
{
	struct span host = text;
	if (text.len && text.data[0] == '[') {
		text = span_skip(text, 1);
		if (!cut(&text, ']', false, &host) || (text.len && text.data[0] != ':')) {
			return false;
		}
		struct span port = span_skip(text, 1);
		return host.len && decode(host, ret->host, sizeof(ret->host)) &&
		       (!text.len || parse_port(port, &ret->port));
	}
	if (cut(&text, ':', true, &host) && !parse_port(text, &ret->port)) {
		return false;
	}
	return host.len && decode(host, ret->host, sizeof(ret->host));
}

int broker_url_parse(struct span text, struct broker_url *ret, struct why *why)
{
	struct span rest = text, login, user, path = SPAN_NONE, host;
	struct broker_url url = {.port = PORT_AMQP, .user = "guest", .vhost = "/"};
	if (span_starts(text, SPAN("amqps://"))) {
		url.tls = true;
		url.port = PORT_AMQPS;
		rest = span_skip(text, strlen("amqps://"));
	} else if (span_starts(text, SPAN("amqp://"))) {
		rest = span_skip(text, strlen("amqp://"));
	} else {
		return why_error(
			why, -EINVAL, "expected amqp://… or amqps://user@host[:port][/vhost]");
	}
	host = rest;
	if (cut(&rest, '/', false, &host)) {
		path = rest;
	}
	if (cut(&host, '@', true, &login)) {
		user = login;
		bool has_password = cut(&login, ':', false, &user);
		if (!user.len || !decode(user, url.user, sizeof(url.user))) {
			return why_error(why, -EINVAL, "the user in the URL is not well-formed");
		}
		if (has_password && !decode(login, url.password, sizeof(url.password))) {
			return why_error(why, -EINVAL,
				"the password in the URL is not well-formed "
				"(special characters as %%XX)");
		}
	}
	if (!parse_host(host, &url)) {
		return why_error(why, -EINVAL,
			"expected a host name and perhaps :PORT, found '%.*s'", SPAN_ARG(host));
	}
	if (path.len && (memchr(path.data, '/', path.len) || memchr(path.data, '?', path.len) ||
				!decode(path, url.vhost, sizeof(url.vhost)))) {
		return why_error(why, -EINVAL,
			"the virtual host '%.*s' is not well-formed (a slash "
			"in it is written %%2F)",
			SPAN_ARG(path));
	}
	*ret = url;
	return 0;
}
