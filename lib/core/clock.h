/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time, in nanoseconds.
 *
 * Deadlines are absolute values of clock_now(), which never goes back; CLOCK_NEVER waits for ever.
 * Times that leave the process (records, messages) are clock_wall(): nanoseconds since 1970, UTC.
 * Durations in text are a number and a unit: ns us ms s m h d.  Zero needs no unit.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/span.h"

#define CLOCK_MS    UINT64_C(1000000)
#define CLOCK_S     UINT64_C(1000000000)
#define CLOCK_NEVER UINT64_MAX

uint64_t clock_now(void);
uint64_t clock_wall(void);

/* Reads "250ms", "1.5h", "0".  Returns 0 or -EINVAL; -ERANGE above 100 years. */
int clock_parse(struct span text, uint64_t *ret_ns);

/* Writes a duration for people: "42 s", "3 m 20 s", "180 ms".  Returns buffer. */
char *clock_text(uint64_t ns, char *buffer, size_t size_bytes);

/* Writes a duration as config files spell it: "30s", "1500ms"; clock_parse() reads it back. */
char *clock_exact(uint64_t ns, char *buffer, size_t size_bytes);
