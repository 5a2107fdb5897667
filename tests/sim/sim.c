/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simulate [--seed N] [--runs N] [--trace] …: worlds in virtual time, see sim.h.
 *
 * Each run is a process of its own.  Prints the seed of each that failed, and what differed; ends
 * 1 if one did.
 */
#include "sim.h"

#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"

struct sim sim;
void seed_dice(uint64_t seed);

#define LIMIT_NS (UINT64_C(48) * 3600 * CLOCK_S)

/* ---- faults -------------------------------------------------------------------------------- */

static void winnow_again(void *arg)
{
	winnow_start((unsigned)(uintptr_t)arg);
}

static void poster_again(void *arg)
{
	poster_start();
}

static void copier_again(void *arg)
{
	copier_start((unsigned)(uintptr_t)arg);
}

/* Nobody is down for longer than this, so a victim is up again when its turn comes. */
#define DOWN_NS (3 * CLOCK_S)
static uint64_t winnow_up_ns[SIM_SHARDS_MAX], copier_up_ns[SIM_COPIERS_MAX], poster_up_ns;

static void kill_poster(void)
{
	if (poster_up_ns <= clock_now()) {
		poster_up_ns = clock_now() + DOWN_NS + CLOCK_S;
		poster_kill();
		sim_after(dice(DOWN_NS), poster_again, NULL);
	}
}

static void kill_winnow(void)
{
	unsigned i = (unsigned)dice(sim.options.shards);
	if (winnow_up_ns[i] <= clock_now()) {
		winnow_up_ns[i] = clock_now() + DOWN_NS + CLOCK_S;
		winnow_kill(i);
		sim_after(dice(DOWN_NS), winnow_again, (void *)(uintptr_t)i);
	}
}

static void kill_copier(void)
{
	unsigned i = (unsigned)dice(sim.options.copiers);
	if (copier_up_ns[i] <= clock_now()) {
		copier_up_ns[i] = clock_now() + DOWN_NS + CLOCK_S;
		copier_kill(i);
		sim_after(dice(DOWN_NS), copier_again, (void *)(uintptr_t)i);
	}
}

static void on_fault(void *arg)
{
	if (sim.quiet) {
		return;
	}
	switch (dice(6)) {
	case 0:
		kill_winnow();
		break;
	case 5:
		kill_poster();
		break;
	case 1:
	case 2:
		kill_copier();
		break;
	default:
		copier_break((unsigned)dice(sim.options.copiers));
	}
	sim_after(dice(10 * CLOCK_S), on_fault, NULL);
}

/* ---- one run ------------------------------------------------------------------------------- */

static void set_up(void)
{
	static uint64_t retry[] = {2 * CLOCK_S, 10 * CLOCK_S, 60 * CLOCK_S};
	static char *no_exclude[] = {NULL};
	static char source[] = "/dev/shm", elsewhere[] = "/nowhere/else", target[] = "/t";
	char *at = sim.options.coherent ? source : elsewhere; /* guard.c asks what is there */
	sim.tree = (struct tree){.exclude = no_exclude};
	sim.tree.source.path = sim.tree.source.text = at;
	sim.tree.target.path = sim.tree.target.text = target;
	sim.tree.source.remote = sim.options.pull;
	sim.tree.target.remote = sim.options.remote;
	sim.config = (struct config){.mirror = (char *)"sim",
		.trees = &sim.tree,
		.tree_count = 1,
		.delay_ns = once_in(4) ? 0 : 3 * CLOCK_S,
		.max_delay_ns = 12 * CLOCK_S,
		.settle_ns = 20 * CLOCK_S,
		.keep_gone_ns = 3600 * CLOCK_S,
		.max_delete = 100000,
		.retry_ns = retry,
		.retry_count = sizeof(retry) / sizeof(retry[0])};
	sim.config.winnow.shards = sim.options.shards;
	sim.config.winnow.held = 10000;
	sim.config.winnow.in_flight = 1000;
	sim.config.copier.in_flight = 6;
	sim.config.copier.window_bytes = 1 << 20;
	must(loop_create(&sim.loop) == 0);
	fs_init(&sim.s);
	fs_init(&sim.t);
	must(fs_make(&sim.t, SPAN(".mirror"), false, FS_FILE, 0600, SPAN_NONE, NULL) == 0);
}

static bool all_idle(void)
{
	return broker_idle() && winnow_idle() && copier_idle() && poster_idle() && tally_idle() &&
	       !sim.ghosts;
}

static void turn(void)
{
	must(loop_turn(sim.loop, CLOCK_NEVER) == 0);
	must(clock_now() < LIMIT_NS); /* it hangs */
}

static int run(void)
{
	seed_dice(sim.options.seed);
	set_up();
	poster_start();
	tally_start();
	for (unsigned i = 0; i < sim.options.shards; i++) {
		winnow_start(i);
	}
	for (unsigned i = 0; i < sim.options.copiers; i++) {
		copier_start(i);
	}
	writers_start();
	if (sim.options.faults) {
		sim_after(dice(10 * CLOCK_S), on_fault, NULL);
	}
	while (sim.writing) {
		turn();
	}
	sim.quiet = true;
	trace("the writers have ended");
	for (uint64_t until = clock_now() + DOWN_NS + CLOCK_S; clock_now() < until;) {
		turn();
	}
	poster_flush((struct ident){0});
	while (!all_idle()) {
		turn();
	}
	sim.left = 0; /* what was seen while it went on */
	unsigned count = sim_compare(false) + tally_check();
	if (sim.failed) {
		printf("%llu orders failed\n", (unsigned long long)sim.failed);
	}
	return count || sim.failed || sim.early;
}

/* ---- many ---------------------------------------------------------------------------------- */

struct totals {
	uint64_t steps, changes, orders, escapes, left;
};

static bool run_apart(struct totals *totals)
{
	int ends[2], status = 0;
	struct totals its = {0};
	must(pipe(ends) == 0);
	(void)fflush(stdout);
	pid_t pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		int r = run();
		(void)fflush(stdout);
		its = (struct totals){sim.steps, sim.changes, sim.orders, sim.escapes, sim.left};
		_exit(write(ends[1], &its, sizeof(its)) == sizeof(its) ? r : 2);
	}
	close(ends[1]);
	(void)!read(ends[0], &its, sizeof(its));
	close(ends[0]);
	must(waitpid(pid, &status, 0) == pid);
	totals->steps += its.steps;
	totals->changes += its.changes;
	totals->orders += its.orders;
	totals->escapes += its.escapes;
	totals->left += its.left;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* What kind of world it is comes from the seed, too. */
static void choose(struct sim_options *options)
{
	seed_dice(options->seed + 77777);
	options->remote = dice(3);
	options->coherent = dice(2);
	options->hasty = once_in(3);
	options->writers = 1 + (unsigned)dice(4);
	options->operations = 10 + (unsigned)dice(60);
	options->copiers = 1 + (unsigned)dice(SIM_COPIERS_MAX);
	options->shards = 1 + (unsigned)dice(SIM_SHARDS_MAX);
	options->pull = !options->remote && once_in(2);
	options->symlinks = once_in(3);
}

static int remove_it(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seed", required_argument, NULL, 's'},
		{"runs", required_argument, NULL, 'n'}, {"trace", no_argument, NULL, 't'},
		{"no-faults", no_argument, NULL, 'f'}, {0}};
	char state[] = "/tmp/simulate-XXXXXX";
	uint64_t seed = 1, runs = 1, bad = 0;
	struct totals totals = {0};
	bool faults = true;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 's':
			seed = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			runs = strtoull(optarg, NULL, 10);
			break;
		case 't':
			sim.options.trace = true;
			break;
		case 'f':
			faults = false;
			break;
		default:
			return 2;
		}
	}

	must(mkdtemp(state));
	setenv("XDG_STATE_HOME", state, 1);
	for (uint64_t i = 0; i < runs; i++) {
		sim.options.seed = seed + i;
		sim.options.faults = faults;
		choose(&sim.options);
		if (!run_apart(&totals)) {
			printf("seed %llu failed%s\n", (unsigned long long)(seed + i),
				faults ? "" : " without faults");
			bad++;
		}
	}
	(void)nftw(state, remove_it, 8, FTW_DEPTH | FTW_PHYS);
	printf("%llu runs, %llu failed; %llu changes, %llu orders, %llu steps\n",
		(unsigned long long)runs, (unsigned long long)bad,
		(unsigned long long)totals.changes, (unsigned long long)totals.orders,
		(unsigned long long)totals.steps);
	/* docs/LIMITS.md says how both can be. */
	printf("%llu requests were led out of the target, %llu temporary names were left\n",
		(unsigned long long)totals.escapes, (unsigned long long)totals.left);
	return bad != 0;
}
