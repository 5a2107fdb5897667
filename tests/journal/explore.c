/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depth first, with an explicit stack of frames; a frame holds a copy of everything, from which
 * its next choice begins.  Seen states are kept as 128-bit hashes, in an open table.
 *
 * Stacks are at fixed addresses, so a copy is enough to go on from.  What lies below the stack
 * pointer is wiped at each step: remains of deeper calls would make equal states look different.
 */
#include "explore.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <xxhash.h>

#define STACK_BYTES 16384u
#define DEPTH_MAX   20000u

enum life { LIVES, ENDED, DIED };

struct actor {
	ucontext_t context;
	enum life life;
	size_t used; /* bytes of its stack */
};

struct frame {
	char *copy;
	uint64_t low;    /* half of the hash */
	unsigned choice; /* the next one to try: actor, or actor + EXPLORE_ACTORS_MAX for its death
			  */
	unsigned came_by;
};

static struct {
	const struct explore_plan *plan;
	struct explore_figures figures;
	struct actor actors[EXPLORE_ACTORS_MAX];
	char *stacks;
	unsigned deaths;
	size_t running; /* EXPLORE_ACTORS_MAX: none */
	ucontext_t scheduler;
	struct frame *frames;
	size_t depth;
	XXH128_hash_t *seen;
	size_t seen_room;
} it;

/* ---- words ------------------------------------------------------------------------------- */

static void print_choice(unsigned choice)
{
	unsigned actor = choice % EXPLORE_ACTORS_MAX;
	(void)fprintf(stderr, " %s%s", it.plan->actors[actor].name,
		choice >= EXPLORE_ACTORS_MAX ? "-dies" : "");
}

void explore_fault(const char *format, ...)
{
	va_list rest;
	va_start(rest, format);
	(void)fprintf(stderr, "fault: ");
	(void)vfprintf(stderr, format, rest);
	(void)fprintf(stderr, "\nin this order of steps:");
	va_end(rest);
	for (size_t i = 1; i < it.depth; i++) {
		print_choice(it.frames[i].came_by);
	}
	if (it.running < EXPLORE_ACTORS_MAX) {
		print_choice((unsigned)it.running);
	}
	(void)fputc('\n', stderr);
	exit(1);
}

/* ---- actors ------------------------------------------------------------------------------ */

static char *stack_of(size_t actor)
{
	return it.stacks + actor * STACK_BYTES;
}

void explore_step(void)
{
	if (it.running < EXPLORE_ACTORS_MAX) {
		(void)swapcontext(&it.actors[it.running].context, &it.scheduler);
	}
}

bool explore_is_alive(size_t actor)
{
	return it.actors[actor].life != DIED;
}

static void begin(void)
{
	size_t self = it.running;
	const struct explore_actor *actor = &it.plan->actors[self];
	actor->run(actor->arg);
	it.actors[self].life = ENDED;
	(void)setcontext(&it.scheduler);
}

static void wipe_below(size_t index)
{
	struct actor *actor = &it.actors[index];
	uint64_t top = (uint64_t)stack_of(index) + STACK_BYTES;
	uint64_t pointer = (uint64_t)actor->context.uc_mcontext.gregs[REG_RSP];
	actor->used = actor->life == LIVES ? top - pointer : 0;
	memset(stack_of(index), 0, STACK_BYTES - actor->used);
}

static void step(size_t index)
{
	it.running = index;
	(void)swapcontext(&it.scheduler, &it.actors[index].context);
	it.running = EXPLORE_ACTORS_MAX;
	wipe_below(index);
	it.figures.steps++;
}

static void prepare(size_t index)
{
	struct actor *actor = &it.actors[index];
	(void)getcontext(&actor->context);
	actor->context.uc_stack.ss_sp = stack_of(index);
	actor->context.uc_stack.ss_size = STACK_BYTES;
	makecontext(&actor->context, begin, 0);
	actor->life = LIVES;
	actor->used = STACK_BYTES;
}

/* ---- states ------------------------------------------------------------------------------ */

/* Calls fn for each piece of memory that makes up the state. */
static void for_each_piece(void (*fn)(void *arg, void *data, size_t len), void *arg)
{
	for (size_t i = 0; i < it.plan->region_count; i++) {
		fn(arg, it.plan->regions[i].data, it.plan->regions[i].len);
	}
	for (size_t i = 0; i < it.plan->actor_count; i++) {
		size_t used = it.actors[i].life == LIVES ? it.actors[i].used : 0;
		fn(arg, stack_of(i) + STACK_BYTES - used, used);
	}
}

static void save_piece(void *arg, void *data, size_t len)
{
	char **to = arg;
	memcpy(*to, data, len);
	*to += len;
}

static void restore_piece(void *arg, void *data, size_t len)
{
	char **from = arg;
	memcpy(data, *from, len);
	*from += len;
}

static void count_piece(void *arg, void *data, size_t len)
{
	(void)data;
	*(size_t *)arg += len;
}

static char *save(void)
{
	size_t bytes = sizeof(it.actors) + sizeof(it.deaths);
	for_each_piece(count_piece, &bytes);
	char *copy = malloc(bytes), *to = copy;
	if (!copy) {
		abort();
	}
	save_piece(&to, it.actors, sizeof(it.actors));
	save_piece(&to, &it.deaths, sizeof(it.deaths));
	for_each_piece(save_piece, &to);
	return copy;
}

static void restore(char *from)
{
	restore_piece(&from, it.actors, sizeof(it.actors));
	restore_piece(&from, &it.deaths, sizeof(it.deaths));
	for_each_piece(restore_piece, &from);
}

static void hash_piece(void *arg, void *data, size_t len)
{
	(void)XXH3_128bits_update(arg, data, len);
}

static XXH128_hash_t hash(void)
{
	static XXH3_state_t *state;
	state = state ? state : XXH3_createState();
	(void)XXH3_128bits_reset(state);
	hash_piece(state, &it.deaths, sizeof(it.deaths));
	for (size_t i = 0; i < it.plan->actor_count; i++) {
		const struct actor *actor = &it.actors[i];
		hash_piece(state, (void *)&actor->life, sizeof(actor->life));
		if (actor->life == LIVES) {
			hash_piece(state, (void *)actor->context.uc_mcontext.gregs,
				sizeof(actor->context.uc_mcontext.gregs));
		}
	}
	for_each_piece(hash_piece, state);
	return XXH3_128bits_digest(state);
}

/* Returns whether it is new. */
static bool put(XXH128_hash_t *table, size_t room, XXH128_hash_t value)
{
	size_t at = value.low64 & (room - 1);
	while (table[at].low64 || table[at].high64) {
		if (XXH128_isEqual(table[at], value)) {
			return false;
		}
		at = (at + 1) & (room - 1);
	}
	table[at] = value;
	return true;
}

static void grow(void)
{
	size_t room = it.seen_room ? it.seen_room * 2 : 1 << 16;
	XXH128_hash_t *table = calloc(room, sizeof(*table));
	if (!table) {
		abort();
	}
	for (size_t i = 0; i < it.seen_room; i++) {
		if (it.seen[i].low64 || it.seen[i].high64) {
			put(table, room, it.seen[i]);
		}
	}
	free(it.seen);
	it.seen = table;
	it.seen_room = room;
}

/* An actor that comes back to where it was while nobody else did anything never gets done. */
static void look_for_circle(unsigned choice, XXH128_hash_t value)
{
	if (choice >= EXPLORE_ACTORS_MAX || it.plan->actors[choice].patient) {
		return;
	}
	for (size_t i = it.depth; i > 0; i--) {
		if (it.frames[i - 1].low == value.low64) {
			explore_fault("%s goes in circles", it.plan->actors[choice].name);
		}
		if (it.frames[i - 1].came_by != choice) {
			return;
		}
	}
}

/* Where nobody is left who does anything by himself. */
static bool is_end(void)
{
	bool end = true;
	for (size_t i = 0; i < it.plan->actor_count; i++) {
		end = end && (it.plan->actors[i].patient || it.actors[i].life != LIVES);
	}
	return end;
}

/* ---- the search -------------------------------------------------------------------------- */

/* Goes on from the state that there is now, unless it is known. */
static void push(unsigned came_by)
{
	XXH128_hash_t value = hash();
	if (it.figures.states * 2 >= it.seen_room) {
		grow();
	}
	if (!put(it.seen, it.seen_room, value)) {
		look_for_circle(came_by, value);
		return;
	}
	it.figures.states++;
	if (it.depth == DEPTH_MAX) {
		explore_fault("deeper than %u", DEPTH_MAX);
	}
	it.frames[it.depth++] = (struct frame){save(), value.low64, 0, came_by};
	it.figures.deepest = it.depth > it.figures.deepest ? it.depth : it.figures.deepest;
	if (is_end()) {
		it.figures.ends++;
		it.plan->check();
		restore(it.frames[it.depth - 1].copy);
	}
}

static void pop(void)
{
	free(it.frames[--it.depth].copy);
}

static bool is_possible(unsigned choice)
{
	unsigned actor = choice % EXPLORE_ACTORS_MAX;
	bool death = choice >= EXPLORE_ACTORS_MAX;
	return actor < it.plan->actor_count && it.actors[actor].life == LIVES &&
	       (!death || (it.deaths > 0 && it.plan->actors[actor].mortal));
}

static void try_choice(unsigned choice)
{
	if (choice < EXPLORE_ACTORS_MAX) {
		step(choice);
	} else {
		it.actors[choice - EXPLORE_ACTORS_MAX].life = DIED;
		it.deaths--;
		it.plan->died(choice - EXPLORE_ACTORS_MAX);
	}
	push(choice);
}

static void search(void)
{
	push(2 * EXPLORE_ACTORS_MAX);
	while (it.depth > 0) {
		struct frame *top = &it.frames[it.depth - 1];
		if (it.plan->states_max && it.figures.states > it.plan->states_max) {
			it.figures.complete = false;
			pop();
			continue;
		}
		restore(top->copy);
		while (top->choice < 2 * EXPLORE_ACTORS_MAX && !is_possible(top->choice)) {
			top->choice++;
		}
		if (top->choice == 2 * EXPLORE_ACTORS_MAX) {
			pop();
		} else {
			try_choice(top->choice++);
		}
	}
}

struct explore_figures explore(const struct explore_plan *plan)
{
	it.plan = plan;
	it.figures = (struct explore_figures){.complete = true};
	it.deaths = plan->deaths;
	it.running = EXPLORE_ACTORS_MAX;
	it.depth = 0;
	it.frames = calloc(DEPTH_MAX, sizeof(*it.frames));
	it.stacks = mmap(NULL, plan->actor_count * STACK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!it.frames || it.stacks == MAP_FAILED) {
		abort();
	}
	for (size_t i = 0; i < plan->actor_count; i++) {
		prepare(i);
	}
	search();
	munmap(it.stacks, plan->actor_count * STACK_BYTES);
	free(it.frames);
	free(it.seen);
	it.seen = NULL;
	it.seen_room = 0;
	return it.figures;
}
