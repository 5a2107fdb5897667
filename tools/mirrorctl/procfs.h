/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What /proc tells of a process.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCFS_BIRTH 96

/* A text that this very process alone has, on this host, for ever: boot and start time. */
int procfs_birth(pid_t pid, char ret[PROCFS_BIRTH]);

#define PROCFS_NAME 32

/* The program's name (at most 15 bytes) and the parent.  0, or -errno. */
int procfs_name(pid_t pid, char ret[PROCFS_NAME], pid_t *ret_parent);

struct procfs_use {
	uint64_t cpu_ns; /* user and system, threads included */
	uint64_t rss_bytes;
};
/* Adds to *use.  0, or -errno (-ENOENT: no such process). */
int procfs_add_use(pid_t pid, struct procfs_use *use);
