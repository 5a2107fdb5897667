/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which batch job a process belongs to, as its environment tells.
 *
 *   struct job_variables seen = {0};
 *   job_note(&seen, entry) for each entry of the environment, job_name(&seen, text)
 *
 * $MIRROR_JOB, where a person or a site says so, else what Slurm, PBS, LSF or Flux set.  A task of
 * an array is a job of its own, called as its scheduler calls it: 123_4, 123[4].
 * No libc, no heap: for the shim, too.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define JOB_BYTES 64 /* of a name, with NUL; longer ones are cut */

enum job_variable {
	JOB_MIRROR,
	JOB_SLURM_ARRAY,
	JOB_SLURM_TASK,
	JOB_SLURM,
	JOB_PBS,
	JOB_LSF,
	JOB_LSF_INDEX,
	JOB_FLUX,
	JOB_VARIABLE_COUNT
};

struct job_variables {
	const char *values[JOB_VARIABLE_COUNT]; /* NULL where not set, or empty */
};

static inline const char *job_value_(const char *entry, const char *name)
{
	while (*name && *entry == *name) {
		entry++;
		name++;
	}
	return *name == '\0' && entry[0] == '=' && entry[1] ? entry + 1 : NULL;
}

/* entry: "NAME=value" */
static inline void job_note(struct job_variables *seen, const char *entry)
{
	static const char names[JOB_VARIABLE_COUNT][20] = {
		[JOB_MIRROR] = "MIRROR_JOB",
		[JOB_SLURM_ARRAY] = "SLURM_ARRAY_JOB_ID",
		[JOB_SLURM_TASK] = "SLURM_ARRAY_TASK_ID",
		[JOB_SLURM] = "SLURM_JOB_ID",
		[JOB_PBS] = "PBS_JOBID",
		[JOB_LSF] = "LSB_JOBID",
		[JOB_LSF_INDEX] = "LSB_JOBINDEX",
		[JOB_FLUX] = "FLUX_JOB_ID",
	};
	for (int i = 0; i < JOB_VARIABLE_COUNT; i++) {
		const char *value = entry[0] == names[i][0] ? job_value_(entry, names[i]) : NULL;
		if (value && !seen->values[i]) {
			seen->values[i] = value;
		}
	}
}

static inline size_t job_add_(char *to, size_t len, const char *text)
{
	while (*text && len < JOB_BYTES - 1) {
		to[len++] = *text++;
	}
	to[len] = '\0';
	return len;
}

/* Writes the name with NUL; returns its length, 0: of no job. */
static inline size_t job_name(const struct job_variables *seen, char *to)
{
	const char *const *v = seen->values;
	bool slurm = v[JOB_SLURM_ARRAY] && v[JOB_SLURM_TASK];
	bool lsf = v[JOB_LSF] && v[JOB_LSF_INDEX] && v[JOB_LSF_INDEX][0] != '0';
	const char *plain = v[JOB_SLURM] ? v[JOB_SLURM]
			    : v[JOB_PBS] ? v[JOB_PBS]
			    : v[JOB_LSF] ? v[JOB_LSF]
					 : v[JOB_FLUX];
	if (v[JOB_MIRROR]) {
		return job_add_(to, 0, v[JOB_MIRROR]);
	}
	if (slurm) {
		size_t len = job_add_(to, 0, v[JOB_SLURM_ARRAY]);
		return job_add_(to, job_add_(to, len, "_"), v[JOB_SLURM_TASK]);
	}
	if (lsf && plain == v[JOB_LSF]) {
		size_t len = job_add_(to, 0, plain);
		len = job_add_(to, job_add_(to, len, "["), v[JOB_LSF_INDEX]);
		return job_add_(to, len, "]");
	}
	return job_add_(to, 0, plain ? plain : "");
}
