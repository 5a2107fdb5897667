/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror-poster: journal -> broker.  One process per node and mirror.
 *
 *   journal ──▶ post.c        the turn: read, publish, release
 *                │
 *                ├─ translate.c   a record becomes changes
 *                │    ├─ tell.c       making them; where a file went
 *                │    ├─ names.c      the path as the mirror knows it
 *                │    ├─ intents.c    which process has which file open for writing
 *                │    ├─ recent.c     what was written, and renamed, lately
 *                │    └─ missing.c    what is not where the record says
 *                ├─ unseen.c      programs that no shim is in: looking for what they did
 *                │    ├─ found.c      what becomes of such a record, and of what is found
 *                │    └─ walk.c       through a directory in slices
 *                ├─ watch.c       who has died
 *                ├─ holders.c     who has files open, where the journal has lost records
 *                ├─ outbox.c      changes on their way; confirms          ──▶ broker
 *                ├─ barrier.c     flushes, answered by markers            ◀─▶ broker
 *                └─ checkpoint.c  how far the journal is done with, and what is owed
 *                     ├─ counts.c     what became of its records
 *                     └─ state.c      the file that survives us
 *
 * Started by the supervisor, or by a job's shim (summoned.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "flow/place.h"
#include "flow/service.h"
#include "poster/post.h"
#include "poster/summoned.h"

static bool is_summoned;

static void problem(void *arg, const char *words)
{
	if (words) {
		service_problem(arg, "%s", words);
	} else {
		service_problem(arg, NULL);
	}
}

/* All that matters is in journal and state file: beginning anew is the way to go on. */
static void failed(void *arg, const char *words)
{
	(void)arg;
	log_error("cannot go on: %s", words);
	exit(SERVICE_EXIT_AGAIN);
}

static void tell(void *arg)
{
	service_beat(arg);
}

/* After `mirrorctl stop`, a job's shim must not bring us back; the supervisor may. */
static int check_stopped(const struct service *service, struct why *why)
{
	CLEANUP(free_p) char *flag = place_state(service->config->mirror, "stopped");
	if (!flag) {
		return -ENOMEM;
	}
	bool supervised = getenv("MIRROR_NOTIFY_FD") || getenv("NOTIFY_SOCKET");
	return supervised || access(flag, F_OK) < 0
		       ? 0
		       : why_error(why, -EPERM,
				 "mirror '%s' was stopped: `mirrorctl start` begins again",
				 service->config->mirror);
}

static int setup(struct service *service, struct why *why)
{
	int stopped = check_stopped(service, why);
	if (stopped < 0) {
		return stopped;
	}
	struct post_options options = {
		service->config, service->loop, service->broker, problem, failed, tell, service};
	struct post *post = NULL;
	int r = post_create(&options, &post, why);
	service->state = post;
	return r == 0 && is_summoned ? summoned_watch(service->loop, service->config->mirror) : r;
}

static void beat(struct service *service, struct note *note)
{
	if (service->state) {
		post_beat(service->state, note);
	}
}

static void drained(void *arg)
{
	service_stop(arg);
}

static void drain(struct service *service)
{
	post_drain(service->state, drained, service);
}

static void finish(struct service *service)
{
	post_destroy(service->state);
}

int main(int argc, char **argv)
{
	static const struct service_stage stage = {
		.name = "poster",
		.summary = "reads this node's journal and publishes what changed",
		.setup = setup,
		.beat = beat,
		.drain = drain,
		.finish = finish,
	};
	if (argc != 3 || strcmp(argv[1], "--summoned") != 0) {
		return service_main(&stage, argc, argv);
	}
	char option[] = "-c";
	CLEANUP(free_p) char *file = summoned_begin(argv[2]);
	char *arguments[] = {argv[0], option, file, NULL};
	is_summoned = true;
	return file ? service_main(&stage, 3, arguments) : SERVICE_EXIT_WRONG;
}
