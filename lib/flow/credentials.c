/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passwords live in one file of the user's own, one URL a line, like
 *
 *   # the broker of the second hall
 *   amqps://opsM:secret@broker.example/vhost
 *
 * The line that agrees with the configured URL in scheme, host, port, virtual host and (where the
 * configured one names any) user gives user and password.  No line's text is ever shown.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/cleanup.h"
#include "flow/config.h"
#include "flow/managed.h"
#include "flow/place.h"

static void close_file(FILE **file)
{
	if (*file) {
		(void)fclose(*file);
	}
}

/* Only the user's own file, closed to all others, may hold passwords. */
static int check_owner(const char *path, int fd, struct why *why)
{
	struct stat st;
	if (fstat(fd, &st) < 0) {
		int error = errno;
		return why_error(why, -error, "cannot read %s: %s", path, strerror(error));
	}
	if (st.st_uid != getuid()) {
		return why_error(why, -EPERM, "%s belongs to another user; refused", path);
	}
	if (!S_ISREG(st.st_mode) || st.st_mode & 07177) {
		return why_error(why, -EPERM, "%s has mode %04o; expected 0600 (chmod 600 %s)",
			path, st.st_mode & 07777, path);
	}
	return 0;
}

static int open_file(const char *path, FILE **ret, struct why *why)
{
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		int error = errno;
		return why_error(why, -error, "cannot read %s: %s", path, strerror(error));
	}
	int r = check_owner(path, fd, why);
	if (r < 0) {
		return r;
	}
	*ret = fdopen(fd, "r");
	if (!*ret) {
		return -ENOMEM;
	}
	(void)STEAL_FD(fd);
	return 0;
}

static struct span trimmed(const char *line, size_t len)
{
	struct span text = span_of(line, len);
	while (text.len && strchr(" \t\r\n", text.data[text.len - 1])) {
		text.len--;
	}
	while (text.len && strchr(" \t", text.data[0])) {
		text = span_skip(text, 1);
	}
	return text;
}

static bool agrees(const struct broker_url *line, const struct broker_url *wanted, bool any_user)
{
	return line->tls == wanted->tls && line->port == wanted->port &&
	       strcasecmp(line->host, wanted->host) == 0 &&
	       strcmp(line->vhost, wanted->vhost) == 0 &&
	       (any_user || strcmp(line->user, wanted->user) == 0);
}

/* Returns 0, -ENOENT (no line agrees), -EINVAL (a line is no URL). */
static int search(
	FILE *file, const char *path, bool any_user, struct broker_url *url, struct why *why)
{
	CLEANUP(free_p) char *line = NULL;
	size_t room = 0;
	ssize_t len;
	for (unsigned number = 1; (len = getline(&line, &room, file)) >= 0; number++) {
		struct span text = trimmed(line, (size_t)len);
		struct broker_url found;
		if (!text.len || text.data[0] == '#') {
			continue;
		}
		if (broker_url_parse(text, &found, NULL) < 0) {
			return why_error(why, -EINVAL,
				"%s:%u: expected a URL such as amqps://user:password@host/vhost",
				path, number);
		}
		if (agrees(&found, url, any_user)) {
			*url = found;
			return 0;
		}
	}
	return -ENOENT;
}

static int with_password(const char *text, struct broker_url *url, struct why *why)
{
	CLEANUP(free_p) char *directory = place_config_directory();
	CLEANUP(close_file) FILE *file = NULL;
	char path[4096];
	if (!directory) {
		return -ENOMEM;
	}
	(void)snprintf(path, sizeof(path), "%s/credentials", directory);
	int r = open_file(path, &file, why);
	if (r == 0) {
		r = search(file, path, strchr(text, '@') == NULL, url, why);
	}
	if (r == -ENOENT) {
		return why_error(why, -ENOENT, "no password for %s; expected a line for it in %s",
			text, path);
	}
	return r;
}

static int copy_path(const char *key, const char *path, char ret[BROKER_FILE_MAX], struct why *why)
{
	if (path && (size_t)snprintf(ret, BROKER_FILE_MAX, "%s", path) >= BROKER_FILE_MAX) {
		return why_error(why, -ENAMETOOLONG, "%s: %s is too long", key, path);
	}
	return 0;
}

static int whole_url(
	const struct config *config, const char *text, struct broker_url *ret, struct why *why)
{
	CLEANUP(close_file) FILE *file = NULL;
	int r = broker_url_parse(span_str(text), ret, why);
	if (r == 0) {
		r = with_password(text, ret, why);
	}
	r = r < 0 ? r : copy_path("broker_ca", config->broker_ca, ret->ca_file, why);
	r = r < 0 ? r : copy_path("broker_cert", config->broker_cert, ret->cert_file, why);
	if (r < 0 || !config->broker_cert) {
		return r;
	}
	const char *key = config->broker_key ? config->broker_key : config->broker_cert;
	r = copy_path("broker_key", key, ret->key_file, why);
	return r < 0 ? r : open_file(key, &file, why);
}

int config_broker(const struct config *config, struct broker_nodes *ret, struct why *why)
{
	ret->count = 0;
	if (config->broker_managed) {
		ret->count = 1;
		return managed_url(config, &ret->urls[0], why);
	}
	for (size_t i = 0; config->broker[i]; i++) {
		int r = whole_url(config, config->broker[i], &ret->urls[i], why);
		if (r < 0) {
			return r;
		}
		ret->count = i + 1;
	}
	return 0;
}
