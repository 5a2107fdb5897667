/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests change what is wanted; supervisor_adjust(), run after every change, does the next step
 * towards it:
 *
 *   starting   broker and its objects, then all wanted daemons at once
 *   stopping   poster, winnow, copier; then the tally, so that it hears their last words; then
 *              the broker; then this process ends
 *
 * Daemons stay allowed once the broker was there: they find back to it by themselves.
 */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "flow/place.h"
#include "keeper.h"
#include "logfile.h"
#include "process.h"
#include "stray.h"

#define CLIENTS_MAX 32

const char *const supervisor_stages[] = {"poster", "winnow", "copier", "tally", NULL};

struct client {
	struct supervisor *supervisor;
	int fd; /* -1: free */
	struct buf in, out;
};

struct supervisor {
	const struct config *config;
	struct loop *loop;
	struct keeper keeper;
	struct process *processes; /* the poster first */
	size_t process_count;
	uint64_t cleared; /* the poster's restarts when strays were looked for */
	bool stopping;
	bool adjusting; /* is deferred already */
	uint64_t since_wall_ns;
	char *log;
	int listen_fd;
	struct client clients[CLIENTS_MAX];
	struct loop_timer log_timer;
};

bool supervisor_knows(const char *stage)
{
	for (size_t i = 0; supervisor_stages[i]; i++) {
		if (strcmp(supervisor_stages[i], stage) == 0) {
			return true;
		}
	}
	return strcmp(stage, "broker") == 0;
}

unsigned supervisor_config_id(const struct config *config)
{
	CLEANUP(free_p) char *text = NULL;
	CLEANUP(free_p) struct tree *trees = calloc(config->tree_count, sizeof(*trees));
	struct config fixed = *config;
	size_t len = 0;
	unsigned hash = 2166136261u; /* FNV-1a */
	FILE *out = trees ? open_memstream(&text, &len) : NULL;
	if (!out) {
		return 0;
	}
	fixed.trees = trees;
	fixed.copier.bandwidth_bytes = 0;
	for (size_t i = 0; i < config->tree_count; i++) {
		trees[i] = config->trees[i];
		trees[i].bandwidth_bytes = 0;
	}
	config_show(&fixed, out);
	(void)fclose(out);
	for (size_t i = 0; i < len; i++) {
		hash = (hash ^ (unsigned char)text[i]) * 16777619u;
	}
	return hash & 0x7fffffff;
}

/* ---- towards what is wanted -------------------------------------------------------------- */

static bool is_tally(const struct process *process)
{
	return strcmp(process->stage, "tally") == 0;
}

static void supervisor_stop_step(struct supervisor *supervisor)
{
	bool others = false, all = false;
	for (size_t i = 0; i < supervisor->process_count; i++) {
		struct process *process = &supervisor->processes[i];
		all = all || process->pid > 0;
		others = others || (process->pid > 0 && !is_tally(process));
	}
	for (size_t i = 0; i < supervisor->process_count; i++) {
		struct process *process = &supervisor->processes[i];
		if (process->wanted && (!is_tally(process) || !others)) {
			process_want(process, false);
		}
	}
	if (!all && supervisor->keeper.wanted) {
		keeper_want(&supervisor->keeper, false);
	}
	if (!all && keeper_is_gone(&supervisor->keeper)) {
		loop_stop(supervisor->loop);
	}
}

/* A poster that keeps dying may have found another one at the journal. */
static void supervisor_clear_way(struct supervisor *supervisor)
{
	struct process *poster = &supervisor->processes[0];
	if (poster->state == PROCESS_PAUSING && poster->restarts != supervisor->cleared) {
		supervisor->cleared = poster->restarts;
		if (stray_stop(supervisor->config, getpid()) > 0) {
			log_info("a poster started elsewhere is asked to stop");
		}
	}
}

static void supervisor_adjust(void *arg)
{
	struct supervisor *supervisor = arg;
	supervisor->adjusting = false;
	if (supervisor->stopping) {
		supervisor_stop_step(supervisor);
		return;
	}
	supervisor_clear_way(supervisor);
	bool allowed = keeper_is_up(&supervisor->keeper);
	for (size_t i = 0; i < supervisor->process_count; i++) {
		if (supervisor->processes[i].allowed != allowed) {
			process_allow(&supervisor->processes[i], allowed);
		}
	}
}

static void on_changed(void *arg)
{
	struct supervisor *supervisor = arg;
	if (!supervisor->adjusting) {
		supervisor->adjusting =
			loop_defer(supervisor->loop, supervisor_adjust, supervisor) == 0;
	}
}

static void on_child(void *arg, int signal_number)
{
	struct supervisor *supervisor = arg;
	for (size_t i = 0; i < supervisor->process_count; i++) {
		process_reap(&supervisor->processes[i]);
	}
	keeper_reap(&supervisor->keeper);
	on_changed(supervisor);
}

static void supervisor_stop_all(struct supervisor *supervisor)
{
	if (!supervisor->stopping) {
		log_info("stopping everything");
		supervisor->stopping = true;
	}
	on_changed(supervisor);
}

static void on_terminate(void *arg, int signal_number)
{
	supervisor_stop_all(arg);
}

/* ---- requests ---------------------------------------------------------------------------- */

static json_t *status_json(const struct supervisor *supervisor)
{
	json_t *processes = json_array();
	for (size_t i = 0; i < supervisor->process_count; i++) {
		json_array_append_new(processes, process_json(&supervisor->processes[i]));
	}
	return json_pack("{s:i, s:s, s:o, s:i, s:I, s:b, s:o, s:o, s:o}", "pid", (int)getpid(),
		"host", place_host(), "config", control_text(supervisor->config->file), "config_id",
		(int)supervisor_config_id(supervisor->config), "since_ns",
		(json_int_t)supervisor->since_wall_ns, "stopping", supervisor->stopping, "log",
		control_text(supervisor->log), "broker", keeper_json(&supervisor->keeper),
		"processes", processes);
}

static json_t *error_json(const char *words, const char *what)
{
	char text[256];
	(void)snprintf(text, sizeof(text), "%s '%s'", words, what ? what : "");
	return json_pack("{s:s}", "error", text);
}

static void want_stage(struct supervisor *supervisor, const char *stage, bool wanted)
{
	if (strcmp(stage, "broker") == 0 && !wanted) {
		keeper_want(&supervisor->keeper, false);
	}
	for (size_t i = 0; i < supervisor->process_count; i++) {
		struct process *process = &supervisor->processes[i];
		if (strcmp(process->stage, stage) == 0) {
			process_want(process, wanted);
		}
	}
}

static json_t *take_stages(struct supervisor *supervisor, const json_t *stages, bool wanted)
{
	size_t i;
	json_t *value;
	json_array_foreach(stages, i, value)
	{
		const char *stage = json_string_value(value);
		if (!stage || !supervisor_knows(stage)) {
			return error_json("there is no stage", stage);
		}
	}
	if (wanted && supervisor->stopping) {
		return error_json("everything is being stopped; try again in a moment:", "start");
	}
	json_array_foreach(stages, i, value)
	{
		want_stage(supervisor, json_string_value(value), wanted);
	}
	if (wanted) { /* also: try again now */
		keeper_want(&supervisor->keeper, true);
	}
	on_changed(supervisor);
	return NULL;
}

static json_t *take_reload(struct supervisor *supervisor, const char *file)
{
	if (!file || strcmp(file, supervisor->config->file) != 0) {
		return error_json("what runs has another configuration:", supervisor->config->file);
	}
	log_info("the copiers are asked to read their limits again");
	for (size_t i = 0; i < supervisor->process_count; i++) {
		if (strcmp(supervisor->processes[i].stage, "copier") == 0) {
			process_reload(&supervisor->processes[i]);
		}
	}
	return NULL;
}

static json_t *take_request(struct supervisor *supervisor, struct span line)
{
	CLEANUP(control_drop) json_t *request = json_loadb(line.data, line.len, 0, NULL);
	const char *what = json_string_value(json_object_get(request, "do"));
	const json_t *stages = json_object_get(request, "stages");
	json_t *error = NULL;
	if (!what) {
		return error_json("not a request:", NULL);
	}
	if (strcmp(what, "start") == 0) {
		error = take_stages(supervisor, stages, true);
	} else if (strcmp(what, "stop") == 0 && json_array_size(stages) > 0) {
		error = take_stages(supervisor, stages, false);
	} else if (strcmp(what, "stop") == 0) {
		supervisor_stop_all(supervisor);
	} else if (strcmp(what, "reload") == 0) {
		error = take_reload(
			supervisor, json_string_value(json_object_get(request, "config")));
	} else if (strcmp(what, "status") != 0) {
		error = error_json("cannot do", what);
	}
	return error ? error : status_json(supervisor);
}

/* ---- clients ----------------------------------------------------------------------------- */

static void client_close(struct client *client)
{
	loop_remove_fd(client->supervisor->loop, client->fd);
	fd_close(&client->fd);
	buf_finish(&client->in);
	buf_finish(&client->out);
}

static void client_reply(struct client *client, struct span line)
{
	CLEANUP(control_drop) json_t *reply = take_request(client->supervisor, line);
	CLEANUP(free_p) char *text = json_dumps(reply, JSON_COMPACT);
	buf_add_str(&client->out, text ? text : "{\"error\": \"out of memory\"}");
	buf_add_char(&client->out, '\n');
}

/* Answers every whole line that has come. */
static void client_answer(struct client *client)
{
	const char *end;
	while (client->in.len && (end = memchr(client->in.data, '\n', client->in.len))) {
		size_t len = (size_t)(end - client->in.data);
		client_reply(client, span_of(client->in.data, len));
		buf_drop(&client->in, len + 1);
	}
}

/* Sends what it takes now; false: the client is gone. */
static bool client_send(struct client *client)
{
	while (client->out.len) {
		ssize_t len = send(client->fd, client->out.data, client->out.len, MSG_NOSIGNAL);
		if (len < 0) {
			bool later = errno == EAGAIN || errno == EINTR;
			return later && loop_change_fd(client->supervisor->loop, client->fd,
						EPOLLIN | EPOLLOUT) == 0;
		}
		buf_drop(&client->out, (size_t)len);
	}
	return loop_change_fd(client->supervisor->loop, client->fd, EPOLLIN) == 0;
}

static void on_client(void *arg, uint32_t events)
{
	struct client *client = arg;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		char *room = buf_reserve(&client->in, 4096);
		ssize_t len = room ? recv(client->fd, room, 4096, 0) : 0;
		bool again = len < 0 && (errno == EAGAIN || errno == EINTR);
		if ((len <= 0 && !again) || client->in.len > CONTROL_LINE_MAX) {
			client_close(client);
			return;
		}
		client->in.len += len > 0 ? (size_t)len : 0;
		client_answer(client);
	}
	if (client->in.failed || client->out.failed || !client_send(client)) {
		client_close(client);
	}
}

static bool same_user(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

static void on_connection(void *arg, uint32_t events)
{
	struct supervisor *supervisor = arg;
	CLEANUP(fd_close)
	int fd = accept4(supervisor->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	for (size_t i = 0; fd >= 0 && same_user(fd) && i < CLIENTS_MAX; i++) {
		struct client *client = &supervisor->clients[i];
		if (client->fd < 0) {
			if (loop_add_fd(supervisor->loop, fd, EPOLLIN, on_client, client) == 0) {
				client->fd = STEAL_FD(fd);
			}
			return;
		}
	}
}

/* ---- life -------------------------------------------------------------------------------- */

static void on_log_timer(void *arg)
{
	struct supervisor *supervisor = arg;
	logfile_rotate(supervisor->log, STDERR_FILENO);
	(void)loop_timer_set(&supervisor->log_timer, clock_now() + 60 * CLOCK_S);
}

/* How many processes a stage has on this host. */
static size_t stage_size(const struct config *config, const char *stage, bool *ret_numbered)
{
	*ret_numbered = strcmp(stage, "winnow") == 0 || strcmp(stage, "copier") == 0;
	if (!*ret_numbered) {
		return 1;
	}
	return (size_t)(stage[0] == 'w' ? config->winnow.shards : config->copier.instances);
}

static int add_processes(struct supervisor *supervisor, const char *logs)
{
	const struct config *config = supervisor->config;
	size_t most = (size_t)(config->winnow.shards + config->copier.instances) + 2;
	bool numbered;
	supervisor->processes = calloc(most, sizeof(*supervisor->processes));
	for (size_t s = 0; supervisor->processes && supervisor_stages[s]; s++) {
		size_t size = stage_size(config, supervisor_stages[s], &numbered);
		for (size_t i = 0; i < size; i++) {
			struct process *process =
				&supervisor->processes[supervisor->process_count++];
			int r = process_init(process, supervisor->loop, supervisor_stages[s],
				numbered ? (int)i : -1, logs, on_changed, supervisor);
			r = r < 0 ? r : process_set_daemon(process, config->file);
			if (r < 0) {
				return r;
			}
		}
	}
	return supervisor->processes ? 0 : -ENOMEM;
}

static int supervisor_init(struct supervisor *supervisor, struct why *why)
{
	CLEANUP(free_p) char *logs = place_state(supervisor->config->mirror, "log");
	supervisor->log = place_state(supervisor->config->mirror, "log/supervisor.log");
	if (!logs || !supervisor->log) {
		return -ENOMEM;
	}
	int r = loop_create(&supervisor->loop);
	if (r < 0) {
		return r;
	}
	loop_timer_init(&supervisor->log_timer, supervisor->loop, on_log_timer, supervisor);
	on_log_timer(supervisor);
	if ((r = loop_add_signal(supervisor->loop, SIGCHLD, on_child, supervisor)) < 0 ||
		(r = loop_add_signal(supervisor->loop, SIGTERM, on_terminate, supervisor)) < 0 ||
		(r = loop_add_signal(supervisor->loop, SIGINT, on_terminate, supervisor)) < 0 ||
		(r = keeper_init(&supervisor->keeper, supervisor->loop, supervisor->config, logs,
			 on_changed, supervisor)) < 0 ||
		(r = add_processes(supervisor, logs)) < 0 ||
		(r = control_listen(supervisor->config->mirror, &supervisor->listen_fd, why)) < 0) {
		return r;
	}
	return loop_add_fd(
		supervisor->loop, supervisor->listen_fd, EPOLLIN, on_connection, supervisor);
}

static void supervisor_finish(struct supervisor *supervisor)
{
	CLEANUP(free_p) char *path = control_path(supervisor->config->mirror, "supervisor.sock");
	if (supervisor->listen_fd >= 0) {
		(void)unlink(path);
		loop_remove_fd(supervisor->loop, supervisor->listen_fd);
		fd_close(&supervisor->listen_fd);
	}
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		if (supervisor->clients[i].fd >= 0) {
			client_close(&supervisor->clients[i]);
		}
	}
	for (size_t i = 0; i < supervisor->process_count; i++) {
		process_finish(&supervisor->processes[i]);
	}
	keeper_finish(&supervisor->keeper);
	free(supervisor->processes);
	free(supervisor->log);
	loop_destroy(supervisor->loop);
}

int supervisor_run(const struct config *config, struct why *why)
{
	CLEANUP(fd_close) int lock = -1;
	struct supervisor supervisor = {
		.config = config, .listen_fd = -1, .since_wall_ns = clock_wall()};
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		supervisor.clients[i] = (struct client){.supervisor = &supervisor, .fd = -1};
	}
	int r = control_lock(config->mirror, &lock, why);
	if (r < 0) {
		return r;
	}
	log_info("supervisor of mirror %s, config %s pid=%d", config->mirror, config->file,
		(int)getpid());
	r = supervisor_init(&supervisor, why);
	r = r < 0 ? r : loop_run(supervisor.loop);
	log_info("supervisor ends");
	supervisor_finish(&supervisor);
	return r;
}
