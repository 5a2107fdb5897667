/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cases that a preload library might miss, one function each.
 *
 *   adversary                 lists the cases
 *   adversary CASE before     makes what must be there; run without the shim
 *   adversary CASE            does it, in the same working directory, which is the mirrored tree
 *   adversary 17              writes to that descriptor, after a while, and is killed
 *
 * "../outside" is a directory that is in no tree.  Status 77: not possible on this system.
 */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

struct adverse {
	const char *name;
	void (*before)(void); /* NULL: nothing */
	void (*act)(void);
};

/* One table for each file, ended by an empty row. */
extern const struct adverse ends[], descriptors[], maps[], children[], names[], metadata[],
	contents[], raw[];

/* The case cannot be tried here. */
_Noreturn void impossible(void);
/* Ends with 99 where what should have worked did not. */
void must(bool worked);

int make(const char *path, const char *text); /* a new file; its descriptor for writing */
int again(const char *path);                  /* for reading and writing */
void put(int fd, const char *text);
void have(const char *path); /* makes it with a line in it, and closes it */
void have_file(void);        /* "f" */
void have_files(void);       /* "f" and "g" */
void have_directory(void);   /* "d" and "d/f" */
void have_both_sides(void);  /* "f" and "../outside/f" */
_Noreturn void killed(void); /* SIGKILL, now */
void later(void);            /* a while, so that times differ */
void finished(int pid);      /* waits for a child */
_Noreturn void run_shell(const char *command);
