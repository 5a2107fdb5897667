/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   <state>/broker/url               amqp://treemirror:PASSWORD@127.0.0.1:PORT/
 *                  rabbitmq.conf     settings           } written anew by each prepare
 *                  definitions.json  user and password  }
 *                  data/ log/ .erlang.cookie            RabbitMQ's own
 *
 * PORT + 1 is Erlang's own port.  Both lie below the range that the kernel gives to outgoing
 * connections, so nobody takes them by chance between two starts.
 *
 * What keeps the node one process on loopback:
 *   - it is told its name before RabbitMQ's start code runs, and a fixed port, so no epmd is
 *     needed; -start_epmd false stands in ERL_ZFLAGS because RabbitMQ looks for epmd once a
 *     minute and runs another `erl` to start one, which would outlive the node;
 *   - RUNNING_UNDER_SYSTEMD makes the start script exec Erlang instead of waiting for it;
 *   - the environment is made from nothing: no settings of the system, no LD_PRELOAD.
 *
 * The user comes from a definitions file, which is read at each start, and not from default_user,
 * which counts only for an empty database: so a lost `url` costs nothing.
 */
#include "flow/managed.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "flow/place.h"

#define USER              "treemirror"
#define PORT_FIRST        16384
#define PORT_COUNT        16000 /* below 32768, where the kernel's range begins */
#define PORT_TRIES        200
#define SCHEDULERS_MOST   4
#define MEMORY_MOST_BYTES (UINT64_C(2) << 30)

/* The real start script; the one in sbin insists on root or the user rabbitmq. */
static const char *const programs[] = {
	"/usr/lib/rabbitmq/bin/rabbitmq-server",
	"/usr/lib64/rabbitmq/bin/rabbitmq-server",
	"/opt/rabbitmq/sbin/rabbitmq-server",
};

static int find_program(const char **ret, struct why *why)
{
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		if (access(programs[i], X_OK) == 0) {
			*ret = programs[i];
			return 0;
		}
	}
	return why_error(why, -ENOENT,
		"RabbitMQ is not installed (no %s): install the package "
		"rabbitmq-server, or set `broker:` to the URL of a broker",
		programs[0]);
}

static char *broker_path(const struct config *config, const char *name)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	CLEANUP(free_p) char *directory = place_state(config->mirror, "broker");
	path.failed |= !directory;
	buf_printf(&path, "%s/%s", directory ? directory : "", name);
	return path.failed ? NULL : buf_steal(&path);
}

/* ---- files ------------------------------------------------------------------------------- */

static int write_whole(int fd, struct span bytes)
{
	while (bytes.len) {
		ssize_t len = write(fd, bytes.data, bytes.len);
		if (len < 0 && errno != EINTR) {
			return -errno;
		}
		bytes = span_skip(bytes, len > 0 ? (size_t)len : 0);
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* Replaces a file of the broker's directory, mode 0600, as a whole or not at all. */
static int replace_file(
	const struct config *config, const char *name, const struct buf *text, struct why *why)
{
	CLEANUP(free_p) char *path = broker_path(config, name);
	CLEANUP(buf_finish) struct buf temporary = BUF_EMPTY;
	buf_printf(&temporary, "%s.new", path ? path : "");
	if (!path || temporary.failed || text->failed) {
		return why_error(why, -ENOMEM, "out of memory");
	}
	(void)unlink(temporary.data);
	CLEANUP(fd_close)
	int fd = open(temporary.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = fd < 0 ? -errno : write_whole(fd, buf_span(text));
	if (r == 0 && rename(temporary.data, path) < 0) {
		r = -errno;
	}
	return r < 0 ? why_error(why, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

static int make_directories(const struct config *config, struct why *why)
{
	static const char *const names[] = {"data", "log", "conf.d"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		CLEANUP(free_p) char *path = broker_path(config, names[i]);
		int r = path ? place_make(path, why) : -ENOMEM;
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

/* ---- ports and password ------------------------------------------------------------------ */

static bool port_is_free(unsigned port)
{
	int on = 1;
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	CLEANUP(fd_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* as the broker does: connections just ended do not matter, listeners do */
	return fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	       bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0;
}

static int random_bytes(void *ret, size_t size_bytes, struct why *why)
{
	if (getrandom(ret, size_bytes, 0) != (ssize_t)size_bytes) {
		return why_error(why, -EIO, "no random bytes from the kernel");
	}
	return 0;
}

static int choose_ports(unsigned *ret, struct why *why)
{
	for (unsigned i = 0; i < PORT_TRIES; i++) {
		uint32_t random = 0;
		int r = random_bytes(&random, sizeof(random), why);
		if (r < 0) {
			return r;
		}
		unsigned port = PORT_FIRST + random % (PORT_COUNT / 2) * 2;
		if (port_is_free(port) && port_is_free(port + 1)) {
			*ret = port;
			return 0;
		}
	}
	return why_error(why, -EADDRINUSE, "found no free ports on 127.0.0.1 from %u to %u",
		PORT_FIRST, PORT_FIRST + PORT_COUNT);
}

static int choose_password(struct broker_url *url, struct why *why)
{
	unsigned char random[24];
	int r = random_bytes(random, sizeof(random), why);
	for (size_t i = 0; r == 0 && i < sizeof(random); i++) {
		(void)snprintf(url->password + 2 * i, 3, "%02x", random[i]);
	}
	return r;
}

/* What was used before, as far as it still can be; the rest anew. */
static int choose_url(const struct config *config, struct broker_url *url, struct why *why)
{
	int r = managed_url(config, url, NULL);
	if (r < 0) {
		*url = (struct broker_url){.host = "127.0.0.1", .user = USER, .vhost = "/"};
		r = choose_password(url, why);
		if (r < 0) {
			return r;
		}
	}
	bool keep = url->port && port_is_free(url->port) && port_is_free(url->port + 1);
	return keep ? 0 : choose_ports(&url->port, why);
}

static int write_url(const struct config *config, const struct broker_url *url, struct why *why)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	buf_printf(&text, "amqp://%s:%s@%s:%u/\n", url->user, url->password, url->host, url->port);
	return replace_file(config, "url", &text, why);
}

int managed_url(const struct config *config, struct broker_url *ret, struct why *why)
{
	char text[1024];
	CLEANUP(free_p) char *path = broker_path(config, "url");
	if (!path) {
		return why_error(why, -ENOMEM, "out of memory");
	}
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT) {
		return why_error(why, -ENOENT,
			"the broker of mirror '%s' was never started here "
			"(no %s); run `mirrorctl start`",
			config->mirror, path);
	}
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (len < 0) {
		int error = errno;
		return why_error(why, -error, "cannot read %s: %s", path, strerror(error));
	}
	while (len > 0 && text[len - 1] == '\n') {
		len--;
	}
	int r = broker_url_parse(span_of(text, (size_t)len), ret, why);
	if (r < 0) {
		why_prefix(why, "%s", path);
	}
	return r;
}

/* ---- settings ---------------------------------------------------------------------------- */

static uint64_t memory_limit(void)
{
	uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES);
	uint64_t bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE) / 5 * 2;
	return bytes && bytes < MEMORY_MOST_BYTES ? bytes : MEMORY_MOST_BYTES;
}

static int write_settings(
	const struct config *config, const struct broker_url *url, struct why *why)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	CLEANUP(free_p) char *definitions = broker_path(config, "definitions.json");
	buf_printf(&text,
		"# Written by mirrorctl at each start: changes are lost.\n"
		"listeners.tcp.1 = %s:%u\n"
		"load_definitions = %s\n"
		"log.console = false\n"
		"log.file = rabbit.log\n"
		"log.file.level = info\n"
		"log.file.rotation.size = 10485760\n"
		"log.file.rotation.count = 3\n"
		"num_acceptors.tcp = 2\n",
		url->host, url->port, definitions ? definitions : "");
	buf_printf(&text,
		"# A copy of a very large file may take days.\n"
		"consumer_timeout = 31622400000\n"
		"# Memory follows the size of this log.\n"
		"raft.wal_max_size_bytes = 67108864\n"
		"disk_free_limit.absolute = %" PRIu64 "\n"
		"vm_memory_high_watermark.absolute = %" PRIu64 "\n",
		MANAGED_ROOM_BYTES, memory_limit());
	return replace_file(config, "rabbitmq.conf", &text, why);
}

int managed_room(const struct config *config, struct why *why)
{
	struct statvfs fs;
	CLEANUP(free_p) char *directory = place_state(config->mirror, NULL);
	if (!directory || statvfs(directory, &fs) < 0) {
		return directory ? -errno : -ENOMEM;
	}
	uint64_t room_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return room_bytes >= MANAGED_ROOM_BYTES
		       ? 0
		       : why_error(why, -ENOSPC,
				 "takes no messages: %s has only %" PRIu64
				 " MB free, it needs %" PRIu64 " MB",
				 directory, room_bytes / 1000000, MANAGED_ROOM_BYTES / 1000000);
}

static int write_definitions(
	const struct config *config, const struct broker_url *url, struct why *why)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	buf_printf(&text,
		"{\"vhosts\": [{\"name\": \"%s\"}],\n"
		" \"users\": [{\"name\": \"%s\", \"password\": \"%s\", \"tags\": \"\"}],\n"
		" \"permissions\": [{\"user\": \"%s\", \"vhost\": \"%s\","
		" \"configure\": \".*\", \"write\": \".*\", \"read\": \".*\"}]}\n",
		url->vhost, url->user, url->password, url->user, url->vhost);
	return replace_file(config, "definitions.json", &text, why);
}

int managed_prepare(const struct config *config, struct why *why)
{
	struct broker_url url;
	const char *program;
	CLEANUP(buf_finish) struct buf empty_list = BUF_EMPTY;
	buf_add_str(&empty_list, "[].\n");
	int r = find_program(&program, why);
	r = r < 0 ? r : make_directories(config, why);
	r = r < 0 ? r : choose_url(config, &url, why);
	r = r < 0 ? r : write_settings(config, &url, why);
	r = r < 0 ? r : write_definitions(config, &url, why);
	r = r < 0 ? r : replace_file(config, "advanced.config", &empty_list, why);
	r = r < 0 ? r : replace_file(config, "enabled_plugins", &empty_list, why);
	return r < 0 ? r : write_url(config, &url, why);
}

/* ---- the command ------------------------------------------------------------------------- */

static int processors(void)
{
	cpu_set_t set;
	int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
	return count < SCHEDULERS_MOST ? count : SCHEDULERS_MOST;
}

static const struct {
	const char *name;
	const char *value;
	bool path; /* below the broker's directory */
} settings[] = {
	{"HOME", "", true}, /* the cookie's place */
	{"PATH", "/usr/local/bin:/usr/bin:/bin", false},
	{"LANG", "C.UTF-8", false},
	{"RUNNING_UNDER_SYSTEMD", "true", false},
	{"RABBITMQ_NODENAME", USER "@localhost", false},
	{"RABBITMQ_MNESIA_BASE", "data", true},
	{"RABBITMQ_LOG_BASE", "log", true},
	{"RABBITMQ_PID_FILE", "pid", true},
	{"RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins", true},
	{"RABBITMQ_CONFIG_FILE", "rabbitmq.conf", true},
	{"RABBITMQ_CONFIG_FILES", "conf.d", true},
	{"RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config", true},
	{"RABBITMQ_CONF_ENV_FILE", "/dev/null", false},
	{"RABBITMQ_SCHEDULER_BIND_TYPE", "u", false},
	{"RABBITMQ_SERVER_START_ARGS", "+B i", false}, /* an interrupt typed by somebody */
	{"ERL_EPMD_PORT", "1", false},                 /* nobody listens there */
	{"ERL_EPMD_ADDRESS", "127.0.0.1", false},
	{"ERL_MAX_PORTS", "4096", false},
	{"ERL_CRASH_DUMP_SECONDS", "0", false},
};
#define SETTING_COUNT (sizeof(settings) / sizeof(settings[0]))

static char *setting(const struct config *config, size_t index)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	buf_printf(&text, "%s=", settings[index].name);
	if (settings[index].path) {
		CLEANUP(free_p) char *path = broker_path(config, settings[index].value);
		text.failed |= !path;
		buf_add_str(&text, path);
	} else {
		buf_add_str(&text, settings[index].value);
	}
	return text.failed ? NULL : buf_steal(&text);
}

/* Of the node. */
static char *node_arguments(unsigned port)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	int count = processors();
	buf_printf(&text,
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-sname %s@localhost"
		" -kernel inet_dist_listen_min %u -kernel inet_dist_listen_max %u"
		" +sbwt none +sbwtdcpu none +sbwtdio none +S %d:%d +SDcpu %d:%d +SDio 4",
		USER, port, port, count, count, count, count);
	return text.failed ? NULL : buf_steal(&text);
}

/* Of every Erlang that runs under this environment. */
static char *erlang_arguments(unsigned port)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	buf_printf(&text,
		"ERL_ZFLAGS=-start_epmd false -erl_epmd_port %u"
		" -kernel inet_dist_use_interface {127,0,0,1}",
		port);
	return text.failed ? NULL : buf_steal(&text);
}

int managed_command(const struct config *config, struct managed_command *ret, struct why *why)
{
	struct broker_url url;
	const char *program = NULL;
	*ret = (struct managed_command){0};
	int r = find_program(&program, why);
	r = r < 0 ? r : managed_url(config, &url, why);
	if (r < 0) {
		return r;
	}
	ret->argv = calloc(2, sizeof(char *));
	ret->envp = calloc(SETTING_COUNT + 3, sizeof(char *));
	bool failed = !ret->argv || !ret->envp;
	if (!failed) {
		ret->argv[0] = strdup(program);
		failed |= !ret->argv[0];
	}
	for (size_t i = 0; !failed && i < SETTING_COUNT; i++) {
		ret->envp[i] = setting(config, i);
		failed |= !ret->envp[i];
	}
	if (!failed) {
		ret->envp[SETTING_COUNT] = node_arguments(url.port + 1);
		ret->envp[SETTING_COUNT + 1] = erlang_arguments(url.port + 1);
		failed |= !ret->envp[SETTING_COUNT] || !ret->envp[SETTING_COUNT + 1];
	}
	if (failed) {
		managed_command_finish(ret);
		return why_error(why, -ENOMEM, "out of memory");
	}
	return 0;
}

static void free_list(char **list)
{
	for (char **at = list; at && *at; at++) {
		free(*at);
	}
	free(list);
}

void managed_command_finish(struct managed_command *command)
{
	free_list(STEAL(command->argv));
	free_list(STEAL(command->envp));
}

int managed_ready(const struct config *config, uint64_t deadline_ns, struct why *why)
{
	struct broker_url url;
	struct broker_session *session;
	int r = managed_url(config, &url, why);
	r = r < 0 ? r : broker_session_open(&url, deadline_ns, &session, why);
	if (r == 0) {
		broker_session_close(session);
	}
	return r;
}
