/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What takes long (choosing ports, logging in, declaring) is done by a worker; this is what it is
 * given to do, looked at after every change:
 *
 *   the child WAITS to be started    PREPARE: end an orphan, write settings; then it may start
 *   the child is STARTING            DECLARE: log in, declare; good: it is ready
 *   not managed, not declared yet    DECLARE
 *
 * A failure is remembered in words and tried again, soon while the child is still coming up, else
 * after a growing pause.
 *
 * run/broker.pid has the child's pid and its start time (in the kernel's ticks since boot, which
 * with the boot's id names a process for ever): a broker that outlived its supervisor is found by
 * it and ended before another starts on the same data.
 */
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "core/cleanup.h"
#include "core/log.h"
#include "flow/topology.h"
#include "procfs.h"

#define PID_NAME       "broker.pid"
#define BROKER_STOP_NS (40 * CLOCK_S)
#define LOGIN_NS       (10 * CLOCK_S)
#define SOON_NS        (300 * CLOCK_MS)
#define PAUSE_MAX_NS   (30 * CLOCK_S)

static void keeper_adjust(struct keeper *keeper);

/* ---- the pid file ------------------------------------------------------------------------ */

static void pid_write(const char *mirror, pid_t pid)
{
	CLEANUP(free_p) char *path = control_path(mirror, PID_NAME);
	char birth[PROCFS_BIRTH] = "";
	FILE *file = path && pid > 0 && procfs_birth(pid, birth) == 0 ? fopen(path, "we") : NULL;
	if (file) {
		(void)fprintf(file, "%d %s\n", (int)pid, birth);
		(void)fclose(file);
	} else if (path && pid <= 0) {
		(void)unlink(path);
	}
}

/* The broker named by the file, if it is still that very process; else 0. */
static pid_t pid_read(const char *mirror)
{
	CLEANUP(free_p) char *path = control_path(mirror, PID_NAME);
	FILE *file = path ? fopen(path, "re") : NULL;
	char birth[PROCFS_BIRTH] = "", now[PROCFS_BIRTH] = "";
	int pid = 0;
	if (!file) {
		return 0;
	}
	bool read = fscanf(file, "%d %95s", &pid, birth) == 2;
	(void)fclose(file);
	return read && pid > 1 && procfs_birth(pid, now) == 0 && strcmp(birth, now) == 0 ? pid : 0;
}

static bool gone_until(const char *mirror, uint64_t deadline_ns)
{
	while (pid_read(mirror)) {
		if (clock_now() > deadline_ns) {
			return false;
		}
		(void)usleep(100000);
	}
	return true;
}

int keeper_end_orphan(const char *mirror, pid_t *ret_pid, struct why *why)
{
	pid_t pid = pid_read(mirror);
	*ret_pid = pid;
	if (!pid) {
		return 0;
	}
	(void)kill(pid, SIGTERM);
	if (!gone_until(mirror, clock_now() + BROKER_STOP_NS)) {
		(void)kill(pid, SIGKILL);
		if (!gone_until(mirror, clock_now() + 5 * CLOCK_S)) {
			return why_error(
				why, -EBUSY, "a broker left over does not end: pid %d", (int)pid);
		}
	}
	return 0;
}

/* ---- the worker's jobs ------------------------------------------------------------------- */

static void work_prepare(void *arg)
{
	struct keeper *keeper = arg;
	pid_t orphan;
	keeper->job_error = keeper_end_orphan(keeper->config->mirror, &orphan, &keeper->job_why);
	if (keeper->job_error == 0) {
		keeper->job_error = managed_prepare(keeper->config, &keeper->job_why);
	}
	if (keeper->job_error == 0) {
		keeper->job_error =
			managed_command(keeper->config, &keeper->command, &keeper->job_why);
	}
}

static void work_declare(void *arg)
{
	struct keeper *keeper = arg;
	struct broker_nodes nodes;
	struct broker_session *session = NULL;
	uint64_t deadline = clock_now() + LOGIN_NS;
	int r = config_broker(keeper->config, &nodes, &keeper->job_why);
	if (r == 0) {
		r = broker_session_open_any(&nodes, deadline, &session, &keeper->job_why);
	}
	if (r == 0) {
		r = topology_declare(keeper->config, session, &keeper->job_why);
		broker_session_close(session);
	}
	keeper->job_error = r;
}

static uint64_t retry_pause_ns(const struct keeper *keeper)
{
	if (keeper->job == KEEPER_DECLARE && keeper->config->broker_managed) {
		return SOON_NS; /* it is still coming up */
	}
	uint64_t pause = CLOCK_S << (keeper->failures < 6 ? keeper->failures : 6);
	return pause < PAUSE_MAX_NS ? pause : PAUSE_MAX_NS;
}

static void job_failed(struct keeper *keeper)
{
	keeper->error = keeper->job_error;
	keeper->why = keeper->job_why;
	if (!keeper->why.text[0]) {
		(void)snprintf(
			keeper->why.text, sizeof(keeper->why.text), "%s", strerror(-keeper->error));
	}
	keeper->failures++;
	if (keeper->job != KEEPER_DECLARE || !keeper->config->broker_managed) {
		log_warning("broker: %s", keeper->why.text);
	}
	(void)loop_timer_set(&keeper->timer, clock_now() + retry_pause_ns(keeper));
}

static void job_done(void *arg)
{
	struct keeper *keeper = arg;
	enum keeper_job job = keeper->job;
	if (keeper->job_error < 0) {
		job_failed(keeper);
		keeper->job = KEEPER_IDLE;
		keeper->changed(keeper->arg);
		return;
	}
	keeper->job = KEEPER_IDLE;
	keeper->failures = 0;
	keeper->error = 0;
	if (job == KEEPER_PREPARE) {
		process_set_program(&keeper->process, keeper->command.argv, keeper->command.envp,
			BROKER_STOP_NS);
		process_allow(&keeper->process, true);
	} else {
		keeper->declared = true;
		log_info("the broker is ready and has all objects");
		process_set_ready(&keeper->process);
	}
	keeper_adjust(keeper);
	keeper->changed(keeper->arg);
}

static void job_begin(struct keeper *keeper, enum keeper_job job, loop_fn work)
{
	keeper->job = job;
	keeper->job_error = 0;
	keeper->job_why.text[0] = '\0';
	int r = worker_run(&keeper->worker, work, job_done, keeper);
	if (r < 0) {
		keeper->job_error =
			why_error(&keeper->job_why, r, "start a thread: %s", strerror(-r));
		job_failed(keeper);
		keeper->job = KEEPER_IDLE;
	}
}

/* ---- what is to be done ------------------------------------------------------------------ */

static void keeper_adjust(struct keeper *keeper)
{
	enum process_state state = keeper->process.state;
	bool managed = keeper->config->broker_managed;
	if (!keeper->wanted || worker_busy(&keeper->worker) ||
		keeper->timer.deadline_ns != CLOCK_NEVER) {
		return;
	}
	if (managed && state == PROCESS_WAITING && !keeper->process.allowed) {
		managed_command_finish(&keeper->command);
		job_begin(keeper, KEEPER_PREPARE, work_prepare);
	} else if (managed ? state == PROCESS_STARTING : !keeper->declared) {
		job_begin(keeper, KEEPER_DECLARE, work_declare);
	}
}

static void on_timer(void *arg)
{
	keeper_adjust(arg);
}

static void on_process(void *arg)
{
	struct keeper *keeper = arg;
	if (keeper->process.state == PROCESS_PAUSING || keeper->process.state == PROCESS_OFF) {
		/* Settings are written anew before the next start. */
		keeper->process.allowed = false;
		pid_write(keeper->config->mirror, 0);
	} else if (keeper->process.state == PROCESS_STARTING) {
		pid_write(keeper->config->mirror, keeper->process.pid);
	}
	keeper_adjust(keeper);
	keeper->changed(keeper->arg);
}

void keeper_want(struct keeper *keeper, bool wanted)
{
	keeper->wanted = wanted;
	keeper->failures = 0;
	keeper->error = 0;
	loop_timer_stop(&keeper->timer);
	if (keeper->config->broker_managed) {
		process_want(&keeper->process, wanted);
	}
	keeper_adjust(keeper);
}

bool keeper_is_up(const struct keeper *keeper)
{
	return keeper->declared;
}

bool keeper_is_gone(const struct keeper *keeper)
{
	return !keeper->wanted && keeper->process.pid == 0;
}

void keeper_reap(struct keeper *keeper)
{
	process_reap(&keeper->process);
}

/* "ready", "starting", "off", "stopping", or "failing" with the words. */
static const char *state_name(const struct keeper *keeper)
{
	bool managed = keeper->config->broker_managed;
	enum process_state state = keeper->process.state;
	if (managed && (state == PROCESS_READY || state == PROCESS_STOPPING)) {
		return process_state_name(state);
	}
	if (!keeper->wanted) {
		return "off";
	}
	if (managed && process_keeps_dying(&keeper->process)) {
		return "failing";
	}
	bool refused = keeper->error == -EACCES || keeper->error == -EPERM ||
		       keeper->error == -ENOENT || keeper->error == -EINVAL;
	if (keeper->error && !(managed && state == PROCESS_STARTING) &&
		(refused || keeper->failures > 1)) {
		return "failing";
	}
	return !managed && keeper->declared ? "ready" : "starting";
}

json_t *keeper_json(const struct keeper *keeper)
{
	const struct process *process = &keeper->process;
	const char *words = keeper->error                  ? keeper->why.text
			    : process_keeps_dying(process) ? process->last_words
							   : "";
	return json_pack("{s:b, s:s, s:o, s:i, s:i, s:I, s:I, s:s, s:s}", "managed",
		keeper->config->broker_managed, "state", state_name(keeper), "words",
		control_text(words), "error", keeper->error, "pid", (int)process->pid, "restarts",
		(json_int_t)process->restarts, "since_ns", (json_int_t)process->since_wall_ns,
		"last_exit", process->last_exit, "url", keeper->config->broker[0]);
}

int keeper_init(struct keeper *keeper, struct loop *loop, const struct config *config,
	const char *log_directory, void (*changed)(void *arg), void *arg)
{
	*keeper = (struct keeper){.config = config, .loop = loop, .changed = changed, .arg = arg};
	loop_timer_init(&keeper->timer, loop, on_timer, keeper);
	int r = worker_init(&keeper->worker, loop);
	return r < 0 ? r
		     : process_init(&keeper->process, loop, "broker", -1, log_directory, on_process,
			       keeper);
}

void keeper_finish(struct keeper *keeper)
{
	worker_finish(&keeper->worker);
	process_finish(&keeper->process);
	managed_command_finish(&keeper->command);
	loop_timer_stop(&keeper->timer);
}
