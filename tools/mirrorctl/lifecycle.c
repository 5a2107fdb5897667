/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor does the work; here it is asked, and looked at until it is done.
 *
 * The file `stopped` in the state directory tells shims and posters that people want this mirror
 * to rest: a shim then starts no poster.  `stop` makes it first and `start` removes it first.
 * The link `config` beside it, which `start` leaves, tells a poster that a shim starts on some node
 * what it is to do; without it shims start nothing.
 */
#include "lifecycle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/place.h"
#include "keeper.h"
#include "logfile.h"
#include "nearest.h"
#include "shell.h"
#include "stray.h"
#include "supervisor.h"
#include "term.h"
#include "units.h"
#include "verb.h"

#define ASK_NS  (5 * CLOCK_S)
#define LOOK_US 100000

static int check_stages(char *const *stages)
{
	for (; stages && *stages; stages++) {
		const char *best = NULL;
		for (size_t i = 0; supervisor_stages[i]; i++) {
			nearest_offer(*stages, supervisor_stages[i], &best);
		}
		if (!supervisor_knows(*stages) && best) {
			return say(EXIT_USAGE, "there is no stage '%s'; did you mean '%s'?",
				*stages, best);
		}
		if (!supervisor_knows(*stages)) {
			return say(EXIT_USAGE,
				"there is no stage '%s'; the stages are broker, poster, winnow, "
				"copier and tally",
				*stages);
		}
	}
	return 0;
}

static bool concerns(char *const *stages, const char *stage)
{
	if (!stages || !*stages) {
		return true;
	}
	for (; *stages; stages++) {
		if (strcmp(*stages, stage) == 0) {
			return true;
		}
	}
	return false;
}

static int set_stopped(const struct config *config, bool stopped, struct why *why)
{
	CLEANUP(free_p) char *path = place_state(config->mirror, "stopped");
	if (!path) {
		return -ENOMEM;
	}
	if (!stopped) {
		return unlink(path) < 0 && errno != ENOENT
			       ? why_error(why, -errno, "remove %s: %s", path, strerror(errno))
			       : 0;
	}
	CLEANUP(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 ? why_error(why, -errno, "make %s: %s", path, strerror(errno)) : 0;
}

/* Replaced in one step: somebody may be reading it. */
static int leave_config(const struct config *config, struct why *why)
{
	char name[64];
	(void)snprintf(name, sizeof(name), "config.%d", (int)getpid());
	CLEANUP(free_p) char *path = place_state(config->mirror, "config");
	CLEANUP(free_p) char *next = place_state(config->mirror, name);
	if (!path || !next) {
		return -ENOMEM;
	}
	if (symlink(config->file, next) < 0 || rename(next, path) < 0) {
		int error = errno;
		(void)unlink(next);
		return why_error(why, -error, "make %s: %s", path, strerror(error));
	}
	return 0;
}

static int make_directories(const struct config *config, struct why *why)
{
	static const char *const names[] = {NULL, "log", "run"};
	for (size_t i = 0; i < 3; i++) {
		CLEANUP(free_p) char *path = place_state(config->mirror, names[i]);
		int r = path ? place_make(path, why) : -ENOMEM;
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

/* ---- starting ---------------------------------------------------------------------------- */

/* In the child: a session of its own, no terminal, the log as stderr; then the supervisor. */
static void become_supervisor(const struct config *config, int log)
{
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	(void)setsid();
	shell_leave_shim();
	if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) {
		_exit(EXIT_FAILED);
	}
	(void)close_range(3, ~0u, 0); /* whatever the caller's shell left open */
	execl("/proc/self/exe", "mirrorctl", "-c", config->file, "supervise", (char *)NULL);
	_exit(EXIT_FAILED);
}

static int spawn_supervisor(const struct config *config, pid_t *ret_pid, struct why *why)
{
	CLEANUP(fd_close) int log = -1;
	CLEANUP(free_p) char *path = place_state(config->mirror, "log/supervisor.log");
	int r = path ? logfile_open(path, &log, why) : -ENOMEM;
	if (r < 0) {
		return r;
	}
	pid_t pid = fork();
	if (pid == 0) {
		become_supervisor(config, log);
	}
	*ret_pid = pid;
	return pid < 0 ? why_error(why, -errno, "fork: %s", strerror(errno)) : 0;
}

static int supervisor_failed(const struct config *config)
{
	char tail[2048] = "";
	CLEANUP(free_p) char *path = place_state(config->mirror, "log/supervisor.log");
	if (path) {
		logfile_tail(path, tail, sizeof(tail));
	}
	return say(EXIT_FAILED, "the supervisor does not start; its last words, from %s:\n%s",
		path ? path : "its log", tail);
}

/*
 * Sends the request, to a new supervisor where none runs.  One that is just ending is waited for.
 */
static int ask_to_start(
	const struct config *config, char *const *stages, uint64_t deadline_ns, json_t **ret)
{
	struct why why = {0};
	pid_t child = 0;
	CLEANUP(control_drop) json_t *request = control_request("start", stages);
	for (;;) {
		int r = control_ask(config->mirror, request, clock_now() + ASK_NS, ret, &why);
		if (r == 0) {
			return EXIT_DONE;
		}
		if ((r != -ENOENT && r != -EPROTO && r != -ECONNRESET) ||
			clock_now() > deadline_ns) {
			return say(EXIT_FAILED, "%s", why.text);
		}
		int status = 0;
		if (child && waitpid(child, &status, WNOHANG) == child) {
			child = 0;
		}
		if (status != 0) {
			return supervisor_failed(config);
		}
		if (r == -ENOENT && !child && spawn_supervisor(config, &child, &why) < 0) {
			return say(EXIT_FAILED, "%s", why.text);
		}
		(void)usleep(LOOK_US);
	}
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

/* Says what keeps a process down for good; EXIT_DONE: nothing does. */
static int check_process(const json_t *process)
{
	bool wrong = strcmp(text_of(process, "state"), "wrong") == 0;
	if (!wrong && !json_is_true(json_object_get(process, "keeps_dying"))) {
		return EXIT_DONE;
	}
	term_progress_end();
	const char *words = text_of(process, "last_words");
	return say(EXIT_FAILED, "%s %s: %s\n  its log: %s", text_of(process, "name"),
		wrong ? "does not run" : "keeps dying",
		words[0] ? words : text_of(process, "last_exit"), text_of(process, "log"));
}

static int check_broker(const json_t *broker)
{
	long long error = json_integer_value(json_object_get(broker, "error"));
	if (strcmp(text_of(broker, "state"), "failing") != 0) {
		return EXIT_DONE;
	}
	term_progress_end();
	return say(EXIT_FAILED, "the broker: %s%s", text_of(broker, "words"),
		error == -ENOENT ? ""
				 : "; it is tried again in the background until mirrorctl stop");
}

/* How far starting is: EXIT_DONE with *ret_pending empty when all is ready. */
static int look(const json_t *status, char *const *stages, struct buf *ret_pending)
{
	size_t i;
	json_t *process;
	const json_t *broker = json_object_get(status, "broker");
	int failed = check_broker(broker);
	buf_clear(ret_pending);
	if (strcmp(text_of(broker, "state"), "ready") != 0) {
		buf_add_str(ret_pending, " broker");
	}
	json_array_foreach(json_object_get(status, "processes"), i, process)
	{
		if (failed || !concerns(stages, text_of(process, "stage"))) {
			continue;
		}
		failed = check_process(process);
		if (strcmp(text_of(process, "state"), "ready") != 0) {
			buf_printf(ret_pending, " %s", text_of(process, "name"));
		}
	}
	return failed;
}

static void note_other_config(const struct config *config, const json_t *status)
{
	unsigned id = (unsigned)json_integer_value(json_object_get(status, "config_id"));
	if (id != supervisor_config_id(config)) {
		(void)say(0,
			"note: what runs was started with another configuration (%s); "
			"mirrorctl restart to use this one",
			text_of(status, "config"));
	}
}

static int wait_ready(
	const struct config *config, char *const *stages, json_t *status, uint64_t deadline_ns)
{
	CLEANUP(buf_finish) struct buf pending = BUF_EMPTY;
	CLEANUP(control_drop) json_t *request = control_request("status", NULL);
	CLEANUP(control_drop) json_t *now = json_incref(status);
	uint64_t begin = clock_now();
	struct why why = {0};
	for (;;) {
		int failed = look(now, stages, &pending);
		if (failed || pending.len == 0) {
			term_progress_end();
			return failed;
		}
		if (clock_now() > deadline_ns) {
			term_progress_end();
			return say(EXIT_FAILED,
				"not ready after %s:%s; mirrorctl status tells more",
				units_duration(clock_now() - begin), pending.data);
		}
		term_progress(
			"starting (%s):%s", units_duration(clock_now() - begin), pending.data);
		(void)usleep(LOOK_US);
		control_drop(&now);
		if (control_ask(config->mirror, request, clock_now() + ASK_NS, &now, &why) < 0) {
			term_progress_end();
			return say(EXIT_FAILED, "%s while starting", why.text);
		}
	}
}

/* 0: none runs on this host. */
static pid_t supervisor_pid(const struct config *config)
{
	char holder[320];
	int pid = 0;
	control_holder(config->mirror, holder, sizeof(holder));
	return sscanf(holder, "pid %d", &pid) == 1 ? pid : 0;
}

int lifecycle_start(const struct config *config, char *const *stages, uint64_t timeout_ns)
{
	struct why why = {0};
	CLEANUP(control_drop) json_t *status = NULL;
	uint64_t deadline = clock_now() + timeout_ns;
	int failed = check_stages(stages);
	if (failed) {
		return failed;
	}
	if (make_directories(config, &why) < 0 || leave_config(config, &why) < 0 ||
		set_stopped(config, false, &why) < 0) {
		return say(EXIT_FAILED, "%s", why.text);
	}
	if (concerns(stages, "poster") &&
		stray_end(config, supervisor_pid(config), deadline, &why) < 0) {
		return say(EXIT_FAILED, "%s", why.text);
	}
	char *const *wanted = stages && *stages ? stages : (char *const *)supervisor_stages;
	failed = ask_to_start(config, wanted, deadline, &status);
	if (failed) {
		return failed;
	}
	note_other_config(config, status);
	return wait_ready(config, wanted, status, deadline);
}

/* ---- ending ------------------------------------------------------------------------------ */

static size_t running(const json_t *status, char *const *stages)
{
	size_t i, count = 0;
	json_t *process;
	json_array_foreach(json_object_get(status, "processes"), i, process)
	{
		count += concerns(stages, text_of(process, "stage")) &&
			 json_integer_value(json_object_get(process, "pid")) > 0;
	}
	const json_t *broker = json_object_get(status, "broker");
	count += concerns(stages, "broker") &&
		 json_integer_value(json_object_get(broker, "pid")) > 0;
	return count;
}

/* Asks until nothing of it runs any more, or the supervisor itself is gone. */
static int wait_stopped(const struct config *config, char *const *stages, uint64_t deadline_ns)
{
	struct why why = {0};
	uint64_t begin = clock_now();
	CLEANUP(control_drop) json_t *stop = control_request("stop", stages);
	for (;;) {
		CLEANUP(control_drop) json_t *status = NULL;
		int r = control_ask(config->mirror, stop, clock_now() + ASK_NS, &status, &why);
		if (r == -ECONNRESET) {
			continue; /* it ended while it was asked */
		}
		if (r < 0) {
			term_progress_end();
			return r == -ENOENT ? EXIT_DONE : say(EXIT_FAILED, "%s", why.text);
		}
		size_t count = running(status, stages);
		if (stages && *stages && count == 0) {
			term_progress_end();
			return EXIT_DONE;
		}
		if (clock_now() > deadline_ns) {
			term_progress_end();
			return say(EXIT_FAILED,
				"%zu processes still run after %s; mirrorctl status tells which",
				count, units_duration(clock_now() - begin));
		}
		term_progress("stopping (%s): %zu processes left",
			units_duration(clock_now() - begin), count);
		(void)usleep(LOOK_US);
	}
}

/* The socket is gone a moment before the lock is. */
static int wait_unlocked(const struct config *config, uint64_t deadline_ns)
{
	char holder[320];
	for (;;) {
		control_holder(config->mirror, holder, sizeof(holder));
		if (!holder[0]) {
			return EXIT_DONE;
		}
		if (clock_now() > deadline_ns) {
			return say(EXIT_FAILED, "the supervisor does not end: %s", holder);
		}
		(void)usleep(LOOK_US / 2);
	}
}

int lifecycle_stop(const struct config *config, char *const *stages, uint64_t timeout_ns)
{
	struct why why = {0};
	pid_t orphan = 0;
	uint64_t deadline = clock_now() + timeout_ns;
	bool all = !stages || !*stages;
	int failed = check_stages(stages);
	if (failed) {
		return failed;
	}
	if (all && (make_directories(config, &why) < 0 || set_stopped(config, true, &why) < 0)) {
		return say(EXIT_FAILED, "%s", why.text);
	}
	failed = wait_stopped(config, stages, deadline);
	if (failed || !all) {
		return failed;
	}
	failed = wait_unlocked(config, deadline);
	if (!failed && stray_end(config, 0, deadline, &why) < 0) {
		return say(EXIT_FAILED, "%s", why.text);
	}
	if (!failed && keeper_end_orphan(config->mirror, &orphan, &why) < 0) {
		return say(EXIT_FAILED, "%s", why.text);
	}
	return failed;
}
