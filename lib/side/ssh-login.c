/* SPDX-License-Identifier: Apache-2.0 */
/*
 * known_hosts is read line by line, because libssh2 gives up at the first line that it does not
 * understand.  Lines with a marker are not for it: @revoked keys are kept in a list of their own
 * and refused, @cert-authority is beyond libssh2.
 *
 * A server has keys of several kinds and shows one.  So before the handshake we ask the list,
 * with a key that cannot match, of which kinds it has one for this host (they "mismatch"), and
 * prefer those kinds.
 *
 * Keys are tried in this order: with `identity`, the agent's copy of it, then the file; without,
 * what the agent has, then the usual files.  Servers count attempts, so there is a limit.
 */
#include "side/ssh-login.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/cleanup.h"

#define ATTEMPTS_MAX 5
#define SYSTEM_HOSTS "/etc/ssh/ssh_known_hosts"
#define OTHERWISE    "RSA keys, certificates and Kerberos need copier.transport: ssh"

struct known_hosts {
	LIBSSH2_KNOWNHOSTS *good, *revoked;
};

/* In order of preference. */
static const struct {
	int type, mask;
	const char *name, *short_name;
} kinds[] = {
	{LIBSSH2_HOSTKEY_TYPE_ED25519, LIBSSH2_KNOWNHOST_KEY_ED25519, "ssh-ed25519", "ed25519"},
	{LIBSSH2_HOSTKEY_TYPE_ECDSA_256, LIBSSH2_KNOWNHOST_KEY_ECDSA_256, "ecdsa-sha2-nistp256",
		"ecdsa"},
	{LIBSSH2_HOSTKEY_TYPE_ECDSA_384, LIBSSH2_KNOWNHOST_KEY_ECDSA_384, "ecdsa-sha2-nistp384",
		"ecdsa"},
	{LIBSSH2_HOSTKEY_TYPE_ECDSA_521, LIBSSH2_KNOWNHOST_KEY_ECDSA_521, "ecdsa-sha2-nistp521",
		"ecdsa"},
	{LIBSSH2_HOSTKEY_TYPE_RSA, LIBSSH2_KNOWNHOST_KEY_SSHRSA, "ssh-rsa", "rsa"},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* --- known_hosts -------------------------------------------------------------------------- */

static char *home_file(const char *name)
{
	const char *home = getenv("HOME");
	struct passwd *user = home ? NULL : getpwuid(geteuid());
	struct buf path = BUF_EMPTY;
	buf_printf(&path, "%s/%s", home ? home : user ? user->pw_dir : "", name);
	return buf_steal(&path);
}

static char *known_hosts_file(const struct ssh_login *login)
{
	const char *file = login->config->copier.known_hosts;
	return file ? strdup(file) : home_file(".ssh/known_hosts");
}

static void read_hosts(struct known_hosts *hosts, const char *path)
{
	static const char revoked[] = "@revoked ";
	CLEANUP(free_p) char *line = NULL;
	size_t room = 0;
	ssize_t len;
	FILE *file = fopen(path, "re");
	while (file && (len = getline(&line, &room, file)) > 0) {
		size_t skip = strncmp(line, revoked, sizeof(revoked) - 1) ? 0 : sizeof(revoked) - 1;
		if (line[0] != '@' || skip) {
			(void)libssh2_knownhost_readline(skip ? hosts->revoked : hosts->good,
				line + skip, (size_t)len - skip, LIBSSH2_KNOWNHOST_FILE_OPENSSH);
		}
	}
	if (file) {
		(void)fclose(file);
	}
}

static void hosts_finish(struct known_hosts *hosts)
{
	if (hosts->good) {
		libssh2_knownhost_free(hosts->good);
	}
	if (hosts->revoked) {
		libssh2_knownhost_free(hosts->revoked);
	}
}

static int hosts_read(const struct ssh_login *login, struct known_hosts *ret)
{
	CLEANUP(free_p) char *file = known_hosts_file(login);
	ret->good = libssh2_knownhost_init(login->session);
	ret->revoked = libssh2_knownhost_init(login->session);
	if (!ret->good || !ret->revoked || !file) {
		return -ENOMEM;
	}
	read_hosts(ret, file);
	read_hosts(ret, SYSTEM_HOSTS);
	return 0;
}

static int hosts_check(
	const struct ssh_login *login, LIBSSH2_KNOWNHOSTS *hosts, struct span key, int mask)
{
	return libssh2_knownhost_checkp(hosts, login->location->host,
		(int)(login->location->port ? login->location->port : 22), key.data, key.len,
		LIBSSH2_KNOWNHOST_TYPE_PLAIN | LIBSSH2_KNOWNHOST_KEYENC_RAW | mask, NULL);
}

int ssh_login_prefer(const struct ssh_login *login, struct why *why)
{
	CLEANUP(hosts_finish) struct known_hosts hosts = {0};
	CLEANUP(buf_finish) struct buf list = BUF_EMPTY;
	int r = hosts_read(login, &hosts);
	if (r < 0) {
		return r;
	}
	for (size_t i = 0; i < KINDS; i++) {
		if (hosts_check(login, hosts.good, SPAN("none"), kinds[i].mask) ==
			LIBSSH2_KNOWNHOST_CHECK_MISMATCH) {
			buf_printf(&list, "%s%s", list.len ? "," : "", kinds[i].name);
		}
	}
	for (size_t i = 0; i < KINDS && list.len == 0; i++) {
		buf_printf(&list, "%s%s", i ? "," : "", kinds[i].name);
	}
	if (list.failed) {
		return -ENOMEM;
	}
	(void)libssh2_session_method_pref(login->session, LIBSSH2_METHOD_HOSTKEY, list.data);
	return 0;
}

/* The base64 digit for the six bits that begin at `bit`. */
static char base64_digit(const unsigned char *bytes, size_t len, size_t bit)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t at = bit / 8;
	unsigned next = at + 1 < len ? bytes[at + 1] : 0;
	return digits[((unsigned)bytes[at] << 8 | next) >> (10 - bit % 8) & 63];
}

/* "ssh-ed25519 SHA256:…", as ssh-keygen -l prints it. */
static void fingerprint(LIBSSH2_SESSION *session, const char *kind, char *text, size_t size_bytes)
{
	const unsigned char *hash =
		(const unsigned char *)libssh2_hostkey_hash(session, LIBSSH2_HOSTKEY_HASH_SHA256);
	size_t used = (size_t)snprintf(text, size_bytes, "%s SHA256:", kind);
	for (unsigned bit = 0; hash && bit < 256 && used + 1 < size_bytes; bit += 6) {
		text[used++] = base64_digit(hash, 32, bit);
	}
	text[used < size_bytes ? used : size_bytes - 1] = '\0';
}

int ssh_login_verify(const struct ssh_login *login, struct why *why)
{
	char print[100], host[300];
	size_t len, kind = 0;
	int type, port = (int)(login->location->port ? login->location->port : 22);
	CLEANUP(hosts_finish) struct known_hosts hosts = {0};
	CLEANUP(free_p) char *file = known_hosts_file(login);
	const char *key = libssh2_session_hostkey(login->session, &len, &type);
	int r = hosts_read(login, &hosts);
	if (!key || r < 0) {
		return key ? r : why_error(why, -EPROTO, "the server has no host key");
	}
	while (kind < KINDS - 1 && kinds[kind].type != type) {
		kind++;
	}
	fingerprint(login->session, kinds[kind].name, print, sizeof(print));
	(void)snprintf(
		host, sizeof(host), port == 22 ? "%s" : "[%s]:%d", login->location->host, port);
	if (hosts_check(login, hosts.revoked, span_of(key, len), kinds[kind].mask) ==
		LIBSSH2_KNOWNHOST_CHECK_MATCH) {
		return why_error(why, -EKEYREJECTED,
			"the host key of %s (%s) is marked @revoked in %s", host, print, file);
	}
	switch (hosts_check(login, hosts.good, span_of(key, len), kinds[kind].mask)) {
	case LIBSSH2_KNOWNHOST_CHECK_MATCH:
		return 0;
	case LIBSSH2_KNOWNHOST_CHECK_MISMATCH:
		return why_error(why, -EKEYREJECTED,
			"the host key of %s has CHANGED: it is now %s, %s has another. Somebody "
			"may be in "
			"between. If the change is right: ssh-keygen -f %s -R '%s', then add the "
			"new key",
			host, print, file, file, host);
	default:
		return why_error(why, -EKEYREJECTED,
			"the host key of %s (%s) is not in %s. If it is right: "
			"ssh-keyscan -p %d -t %s %s >> %s",
			host, print, file, port, kinds[kind].short_name, login->location->host,
			file);
	}
}

/* --- our keys ----------------------------------------------------------------------------- */

struct attempt {
	const struct ssh_login *login;
	const char *user;
	struct buf tried; /* for words */
	unsigned count;
};

static int last_error(const struct attempt *attempt)
{
	return libssh2_session_last_errno(attempt->login->session);
}

/* Whether to go on; *r is the outcome of the last call. */
static bool wait_again(const struct attempt *attempt, int *r)
{
	if (*r != LIBSSH2_ERROR_EAGAIN) {
		return false;
	}
	int w = attempt->login->wait(attempt->login->arg);
	if (w < 0) {
		*r = LIBSSH2_ERROR_TIMEOUT;
	}
	return w == 0;
}

static void add_tried(struct attempt *attempt, const char *what, int error)
{
	char *words = NULL;
	const char *outcome = "refused";
	if (error != LIBSSH2_ERROR_AUTHENTICATION_FAILED &&
		error != LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED) {
		libssh2_session_last_error(attempt->login->session, &words, NULL, 0);
		outcome =
			error == LIBSSH2_ERROR_FILE
				? "unreadable, encrypted (then use ssh-agent) or of an unknown kind"
				: words;
	}
	buf_printf(&attempt->tried, "%s%s: %s", attempt->tried.len ? "; " : "", what, outcome);
}

static int try_file(struct attempt *attempt, const char *path)
{
	int r;
	if (attempt->count >= ATTEMPTS_MAX) {
		return -EACCES;
	}
	attempt->count++;
	do {
		r = libssh2_userauth_publickey_fromfile_ex(attempt->login->session, attempt->user,
			(unsigned)strlen(attempt->user), NULL, path, NULL);
	} while (wait_again(attempt, &r));
	if (r) {
		add_tried(attempt, path, r);
	}
	return r ? -EACCES : 0;
}

static int try_agent_key(
	struct attempt *attempt, LIBSSH2_AGENT *agent, struct libssh2_agent_publickey *key)
{
	char name[120];
	int r;
	if (attempt->count >= ATTEMPTS_MAX) {
		return -EACCES;
	}
	attempt->count++;
	do {
		r = libssh2_agent_userauth(agent, attempt->user, key);
	} while (wait_again(attempt, &r));
	if (r) {
		(void)snprintf(name, sizeof(name), "agent's %s", key->comment);
		add_tried(attempt, name, r);
	}
	return r ? -EACCES : 0;
}

/* The second word of IDENTITY.pub is the key in base64; the agent's must be the same one. */
static bool is_identity(const char *identity, const struct libssh2_agent_publickey *key)
{
	char path[PATH_MAX], kind[64], text[4096];
	(void)snprintf(path, sizeof(path), "%s.pub", identity);
	FILE *file = fopen(path, "re");
	bool known = file && fscanf(file, "%63s %4095s", kind, text) == 2;
	if (file) {
		(void)fclose(file);
	}
	for (size_t bit = 0; known && bit < key->blob_len * 8; bit += 6) {
		known = text[bit / 6] == base64_digit(key->blob, key->blob_len, bit);
	}
	return known;
}

/* identity NULL: all keys that the agent has. */
static int try_agent(struct attempt *attempt, const char *identity)
{
	struct libssh2_agent_publickey *key = NULL;
	LIBSSH2_AGENT *agent =
		getenv("SSH_AUTH_SOCK") ? libssh2_agent_init(attempt->login->session) : NULL;
	int r = -EACCES;
	if (!agent) {
		return r;
	}
	if (libssh2_agent_connect(agent) == 0) {
		if (libssh2_agent_list_identities(agent) == 0) {
			while (r && libssh2_agent_get_identity(agent, &key, key) == 0) {
				if (!identity || is_identity(identity, key)) {
					r = try_agent_key(attempt, agent, key);
				}
			}
		}
		libssh2_agent_disconnect(agent);
	}
	libssh2_agent_free(agent);
	return r;
}

static int try_usual_files(struct attempt *attempt)
{
	static const char *const names[] = {".ssh/id_ed25519", ".ssh/id_ecdsa"};
	int r = -EACCES;
	for (size_t i = 0; r && i < sizeof(names) / sizeof(names[0]); i++) {
		CLEANUP(free_p) char *path = home_file(names[i]);
		if (path && access(path, R_OK) == 0) {
			r = try_file(attempt, path);
		}
	}
	return r;
}

/* What the server accepts; NULL when it let us in without a question. */
static const char *ask_methods(struct attempt *attempt)
{
	char *list;
	int r;
	do {
		list = libssh2_userauth_list(
			attempt->login->session, attempt->user, (unsigned)strlen(attempt->user));
		r = list ? 0 : last_error(attempt);
	} while (wait_again(attempt, &r));
	return list;
}

int ssh_login_enter(const struct ssh_login *login, struct why *why)
{
	const struct passwd *self = login->location->user ? NULL : getpwuid(geteuid());
	const char *identity = login->config->copier.identity;
	struct attempt attempt = {.login = login,
		.user = login->location->user ? login->location->user
			: self                ? self->pw_name
					      : "root"};
	const char *methods = ask_methods(&attempt);
	if (!methods && libssh2_userauth_authenticated(login->session)) {
		return 0;
	}
	if (!methods) {
		return why_error(
			why, -ECONNRESET, "the server ended the connection before the login");
	}
	int r = try_agent(&attempt, identity);
	if (r) {
		r = identity ? try_file(&attempt, identity) : try_usual_files(&attempt);
	}
	if (r) {
		why_error(why, r,
			"login as %s refused (the server accepts %s; " OTHERWISE "). Tried: %s",
			attempt.user, methods,
			attempt.tried.len ? attempt.tried.data
					  : "nothing, there is no key: set copier.identity");
	}
	buf_finish(&attempt.tried);
	return r;
}
