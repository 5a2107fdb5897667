/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal's atomic operations: all that processes tell each other through a ring passes here.
 *
 * A test that runs every order of these steps puts itself between them by defining ATOMIC_STEP().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifndef ATOMIC_STEP
#define ATOMIC_STEP() ((void)0)
#endif

#define LOAD(place)         (ATOMIC_STEP(), __atomic_load_n(&(place), __ATOMIC_ACQUIRE))
#define STORE(place, value) (ATOMIC_STEP(), __atomic_store_n(&(place), (value), __ATOMIC_RELEASE))
#define ADD(place, value)   (ATOMIC_STEP(), __atomic_fetch_add(&(place), (value), __ATOMIC_ACQ_REL))

/* Returns whether place held *expected and holds desired now; else *expected is what it holds. */
static inline bool atomic_swap(uint64_t *place, uint64_t *expected, uint64_t desired)
{
	ATOMIC_STEP();
	return __atomic_compare_exchange_n(
		place, expected, desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
