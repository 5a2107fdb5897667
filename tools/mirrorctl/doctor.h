/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks, each printed as it is made.
 */
#pragma once

#include "flow/config.h"

struct doctor {
	const struct config *config;
	unsigned bad; /* checks that failed */
};

void doctor_good(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));
void doctor_note(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));
void doctor_bad(struct doctor *doctor, const char *what, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void doctor_check_host(struct doctor *doctor); /* directories, limits, shim, journals, clock */
void doctor_check_broker(struct doctor *doctor);
void doctor_check_trees(struct doctor *doctor); /* both sides of each */
