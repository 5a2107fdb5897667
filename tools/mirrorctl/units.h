/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers as people read them: "1.2 GB", "12 345", "3 m 20 s".  Each call returns one of sixteen
 * internal buffers in turn, so several may stand in one printf(); not for threads.
 */
#pragma once

#include <stdint.h>

const char *units_bytes(uint64_t bytes);   /* decimal: kB MB GB TB PB */
const char *units_count(uint64_t count);   /* thousands apart: 12,345 */
const char *units_rate(double per_second); /* "0.3/s", "1,200/s" */
const char *units_duration(uint64_t ns);   /* clock_text() */
const char *units_time(uint64_t wall_ns);  /* local: "2026-03-01 12:00:00" */
