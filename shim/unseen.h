/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that no preload library can see, recognised before they are run.
 *
 *   reason = unseen_reason(&program, envp);       some system calls; 0: the shim will be in it
 *   unseen_record(pid, reason, &program, argv);   RECORD_UNSEEN, so that the poster looks itself
 *
 * Static programs, those written in Go, those that gain privileges, those of another machine or
 * word size, and all that are given an environment without us.  Of a script, its interpreter.
 * What cannot be told (a file that may be run but not read) counts as seen.
 *
 * As all of the shim: no heap, no lock, errno as found; safe in the child of vfork().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A program as exec and its kin are told of it. */
struct program {
	int dirfd;
	const char *path;
	int flags;   /* of execveat() */
	bool search; /* a name without slash is looked for in $PATH */
};

/* Reads what our own environment has of us; called once, before main(). */
void unseen_start(char *const *environment);

/* The environment of this process, now. */
char *const *unseen_environment(void);

/* enum unseen_reason, or 0. */
unsigned unseen_reason(const struct program *program, char *const *environment);

/*
 * Under `mirrorctl run --trace`: the vector that runs mirror-trace instead, which then runs the
 * program; NULL: not traced.  few is the caller's, for short ones; give it back when exec has
 * failed or the child has begun.
 */
#define UNSEEN_FEW 32
char **unseen_traced(unsigned reason, const struct program *program, char *const *argv, char **few);
void unseen_untraced(char **vector, char *const *few);

/* Takes as many records as the arguments need. */
void unseen_record(uint32_t pid, unsigned reason, const struct program *program, char *const *argv);
