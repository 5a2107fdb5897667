/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs real code in every order of its steps.
 *
 *   actors    functions on stacks of their own; a step ends where one calls explore_step()
 *   memory    all that they share, and all that the checks remember
 *
 * explore() tries, in each state that it has not seen before, one step of each actor, and, while
 * there are deaths to deal out, the death of each: an actor that dies just never goes on.  A state
 * is the memory and the actors' stacks, byte for byte; so all orders are tried, and loops end.
 *
 * Whoever finds a fault calls explore_fault(), which prints the order that led there and ends the
 * program with status 1.  So does an actor that runs in circles while nobody else moves, unless it
 * is `patient`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPLORE_ACTORS_MAX  4
#define EXPLORE_REGIONS_MAX 8

struct explore_actor {
	const char *name;
	void (*run)(void *arg);
	void *arg;
	bool patient; /* may wait for others, for ever */
	bool mortal;
};

struct explore_plan {
	struct explore_actor actors[EXPLORE_ACTORS_MAX];
	size_t actor_count;
	struct {
		void *data;
		size_t len;
	} regions[EXPLORE_REGIONS_MAX];
	size_t region_count;
	unsigned deaths;
	uint64_t states_max; /* 0: no limit */
	/* When nobody but the patient is left: the end of one order.  Runs without steps. */
	void (*check)(void);
	/* An actor dies; its memory of others' concern may be changed here. */
	void (*died)(size_t actor);
};

struct explore_figures {
	uint64_t states, steps, ends, deepest;
	bool complete; /* no limit was met */
};

struct explore_figures explore(const struct explore_plan *plan);

/* Between two steps of an actor; nothing when none runs. */
void explore_step(void);
bool explore_is_alive(size_t actor);
__attribute__((noreturn, format(printf, 1, 2))) void explore_fault(const char *format, ...);
