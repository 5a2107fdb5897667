/* SPDX-License-Identifier: Apache-2.0 */
/* The simulation's own assertion: says where, and with which seed, and ends the process. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

void sim_broken(const char *file, int line, const char *what) __attribute__((noreturn));
#define must(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			sim_broken(__FILE__, __LINE__, #condition);                                \
		}                                                                                  \
	} while (0)

/* The dice: a number below bound, or true once in n times. */
uint64_t dice(uint64_t bound);
bool once_in(uint64_t n);
