/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon's life, the same for all stages.
 *
 *   static const struct service_stage stage = {"winnow", "…", needs_instance, setup, drain, …};
 *   int main(int argc, char **argv) { return service_main(&stage, argc, argv); }
 *
 * service_main() reads the options (-c FILE, -i N, --log-level, --help, --version), the config,
 * opens the log, creates the loop and the broker, calls setup(), and runs.  When setup is done
 * and the broker is up for the first time it says READY=1 (a line on the descriptor in
 * $MIRROR_NOTIFY_FD, and sd_notify's $NOTIFY_SOCKET).  On SIGTERM and SIGINT it calls drain(),
 * which calls service_stop() when it has handed back everything; after 10 s it stops anyway.
 * A second signal stops at once.  On SIGHUP a stage that has reload() gets the configuration as it
 * is in the file now; one that cannot be read changes nothing and is logged.  Every few seconds it
 * publishes a beat filled in by beat(). Ends 0 stopped, 100 started wrongly (stay down), 111 try
 * again.
 */
#pragma once

#include "flow/broker.h"
#include "flow/config.h"
#include "flow/loop.h"
#include "flow/message.h"

struct service {
	const struct config *config;
	struct loop *loop;
	struct broker *broker;
	unsigned instance;  /* -i N; winnow: the shard */
	const char *name;   /* "winnow-3" */
	struct why problem; /* what keeps it from working; "" when nothing does */
	uint64_t kept;      /* deliveries of a newer version, by service_keep() */
	struct why kept_words;
	bool stopping;
	void *state; /* the stage's */
};

struct service_stage {
	const char *name;    /* "winnow" */
	const char *summary; /* one line for --help */
	bool instances;      /* takes -i N */
	/* Returns 0, -EINVAL and friends: exit 100; -EAGAIN: exit 111.  Words in why. */
	int (*setup)(struct service *service, struct why *why);
	void (*broker_state)(struct service *service, bool up);   /* may be NULL */
	void (*beat)(struct service *service, struct note *note); /* may be NULL */
	void (*drain)(struct service *service);                   /* NULL: stop at once */
	/* Takes over from `fresh`, which lives for this call only, what may change while it runs;
	 * service->config stays as it is.  May be NULL. */
	void (*reload)(struct service *service, const struct config *fresh);
	void (*finish)(struct service *service); /* release the state */
};

int service_main(const struct service_stage *stage, int argc, char **argv);
void service_stop(struct service *service);
/* A beat now: what the last one said is not true any more. */
void service_beat(struct service *service);

/* Sets or clears (NULL) what keeps the stage from working; logs changes once. */
void service_problem(struct service *service, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * A delivery that a newer version has written is not settled: the broker keeps it for a newer
 * daemon, and this one says that it does.  When the connection is lost, it is delivered again.
 */
void service_keep(struct service *service, const struct why *why);
void service_kept_void(struct service *service);

#define SERVICE_EXIT_WRONG 100
#define SERVICE_EXIT_AGAIN 111
