/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper of the broker: a managed one is a child that is started, watched and ended; any
 * other is only looked for.  In both cases the mirror's objects are declared before `up` is true
 * for the first time; daemons find their own way back to a broker that went away later.
 *
 *   keeper_init(), keeper_want(), …; keeper_is_gone() after keeper_want(false); keeper_finish()
 */
#pragma once

#include "flow/config.h"
#include "flow/managed.h"
#include "process.h"
#include "worker.h"

enum keeper_job { KEEPER_IDLE, KEEPER_PREPARE, KEEPER_DECLARE };

struct keeper {
	const struct config *config;
	struct loop *loop;
	bool wanted;
	bool declared;     /* the objects are there */
	unsigned failures; /* in a row, of what the worker does */
	int error;         /* the last one, 0: none */
	struct why why;
	struct process process; /* managed */
	struct managed_command command;
	struct worker worker;
	enum keeper_job job;
	struct loop_timer timer; /* try again */
	void (*changed)(void *arg);
	void *arg;
	/* the worker's, while it is busy */
	int job_error;
	struct why job_why;
};

int keeper_init(struct keeper *keeper, struct loop *loop, const struct config *config,
	const char *log_directory, void (*changed)(void *arg), void *arg);
void keeper_finish(struct keeper *keeper);
void keeper_want(struct keeper *keeper, bool wanted);
bool keeper_is_up(const struct keeper *keeper);
bool keeper_is_gone(const struct keeper *keeper);
void keeper_reap(struct keeper *keeper);
json_t *keeper_json(const struct keeper *keeper);

/* Ends a managed broker whose supervisor is gone; 0 when none is left (*ret_pid: which it was, or
 * 0).  Blocks until then. */
int keeper_end_orphan(const char *mirror, pid_t *ret_pid, struct why *why);
