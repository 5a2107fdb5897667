/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One child of the supervisor (a daemon, or the managed broker): started, ready, dead, started
 * again.
 *
 *   process_init(), then process_want() and process_allow() as things change; process_finish().
 *
 * It runs while it is wanted and allowed (the broker is there).  It tells on a pipe when it is
 * ready; what it writes to stderr goes to its log, and the last line is kept for `status`.  One
 * that ends without being asked is started again after a pause that grows while it keeps dying
 * soon; one that ends with 100 was started wrongly and stays down until asked for anew.  Asked to
 * stop, it gets SIGTERM, and SIGKILL after stop_ns.  It is ended by the kernel when this
 * process dies.  Everything happens in the loop's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "core/buf.h"
#include "core/clock.h"
#include "flow/loop.h"

#define PROCESS_SOON_NS  (20 * CLOCK_S) /* who dies younger than this died soon */
#define PROCESS_OFTEN    4              /* so many soon deaths in a row: it keeps dying */
#define PROCESS_PAUSE_NS (60 * CLOCK_S) /* the longest pause */

enum process_state {
	PROCESS_OFF,      /* not wanted, not there */
	PROCESS_WAITING,  /* wanted, not allowed yet */
	PROCESS_STARTING, /* there, not ready yet */
	PROCESS_READY,
	PROCESS_STOPPING, /* there, asked to end */
	PROCESS_PAUSING,  /* died; starts again after a pause */
	PROCESS_WRONG,    /* was started wrongly: stays down */
};

struct process {
	char name[32];     /* "winnow-3" */
	const char *stage; /* "winnow" */
	unsigned instance;
	char **argv, **envp; /* argv[0] is the program; envp NULL: ours */
	char *log;           /* path */
	uint64_t stop_ns;    /* how long it may take to end in order */
	struct loop *loop;
	void (*changed)(void *arg);
	void *arg;

	bool wanted, allowed;
	bool known;  /* was wanted once: when it is not any more, that is told */
	bool reload; /* when it is ready: it may have read the configuration too early */
	enum process_state state;
	pid_t pid;              /* 0: none */
	uint64_t started_ns;    /* clock_now() */
	uint64_t since_wall_ns; /* of the state */
	uint64_t restarts;      /* not asked for */
	unsigned soon_deaths;   /* in a row */
	char last_exit[48];     /* "exit 111", "signal 9 (Killed)"; "" before the first */
	char last_words[512];   /* last line on stderr */
	struct buf line;        /* begun, not ended yet */
	int log_fd, words_fd, ready_fd;
	struct loop_timer timer; /* PAUSING: start; STOPPING: kill */
	char *own_argv[6];       /* of a daemon */
};

/* instance < 0: the stage has one process only.  0 or -errno. */
int process_init(struct process *process, struct loop *loop, const char *stage, int instance,
	const char *log_directory, void (*changed)(void *arg), void *arg);
/* What it runs, before it is allowed for the first time: one of our daemons; or any program (the
 * arrays are the caller's and live as long as they are set). */
int process_set_daemon(struct process *process, const char *config_file);
void process_set_program(struct process *process, char **argv, char **envp, uint64_t stop_ns);
/* Ends it the hard way if it still lives. */
void process_finish(struct process *process);

/* Wanted anew forgets earlier deaths and starts at once. */
void process_want(struct process *process, bool wanted);
void process_allow(struct process *process, bool allowed);
/* It has to read its configuration again, if it runs. */
void process_reload(struct process *process);
/* To be called on SIGCHLD. */
void process_reap(struct process *process);
/* For a program that cannot tell by itself: it is ready now. */
void process_set_ready(struct process *process);

/* How long to wait after so many soon deaths in a row. */
uint64_t process_pause_ns(unsigned soon_deaths);
bool process_keeps_dying(const struct process *process);
const char *process_state_name(enum process_state state);
json_t *process_json(const struct process *process);
