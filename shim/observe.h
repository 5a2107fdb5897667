/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this process does to files through descriptors.
 *
 * A table by number tells which descriptors are open for writing on files of interest, which are of
 * none, and whether content may have changed.  It only ever saves work: everything it does not know
 * is asked from the kernel, assumed changed, and named by the kernel.
 *
 * It is believed while all that opens and closes passes by us.  A call that returns a number which
 * the table has as taken proves the contrary, and somebody else in our memory (the child of
 * vfork()) makes it likely: from then on it is doubted, and an entry counts while fstat says the
 * same inode. What ends an intent is verified in any case.
 *
 * Intents go into the journal before the program gets the descriptor.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "record.h"

/* Marks a fresh process: who we are, and what we inherited as 0 to 9. */
void observe_start(void);

/* How content can reach a descriptor. */
enum channel {
	CHANNEL_CALLS,  /* write and its kin, which are seen */
	CHANNEL_STREAM, /* through a buffer inside libc: unseen */
};

/*
 * Around an open: begin, the real call, end.  path may be NULL in begin where there is no name;
 * where the call makes it up, event_made_up() behind the call gives it.
 */
void observe_opening(struct event *event, int flags, int dirfd, const char *path);
void observe_opened(struct event *event, int fd, int flags, enum channel channel);

/* Around a close of fd, by whatever call. */
struct closing {
	struct event event;   /* has names where nobody has told them yet */
	struct record record; /* kind NONE: nothing to tell */
};
void observe_closing(struct closing *closing, int fd, enum channel channel);
void observe_closed(struct closing *closing, bool closed);
/* fd, a directory's, is about to be closed. */
void observe_directory_closing(int fd);
/* Behind a call that closed all of first to last. */
void observe_range_closed(unsigned first, unsigned last);

/* copy is a new descriptor of what fd names. */
void observe_copied(int fd, int copy);
/* A writable shared map of fd was made; or the kernel keeps the file, and may write to it later. */
void observe_mapped(int fd);
/* The same of all that is open for writing. */
void observe_all_mapped(void);
/* Before a fork whose child begins somewhere else than behind the call. */
void observe_forking(void);
/* Before fork(): learns names that the child will give. */
void observe_before_fork(void);
/* In the child of fork(). */
void observe_forked(void);
/* child was spawned and has what is not closed on exec. */
void observe_spawned(uint32_t child);
/* Not the child of vfork() in its parent's memory, nor of a fork that nobody saw. */
bool observe_own_process(void);
/* Before another program runs in this process: it has what is not closed by that. */
void observe_exec(void);

/* Before a call that takes one path or two; event_finish() behind it. */
void observe_named(
	struct event *event, enum record_kind kind, unsigned flags, int dirfd, const char *path);
void observe_paired(struct event *event, enum record_kind kind, int dirfd, const char *path,
	int dirfd2, const char *path2);

/*
 * Behind linkat(), instead of event_finish(): by its flags, a file gets a name that had none, so
 * what was known of it by descriptor has to find its name by the inode.
 */
void observe_linked(struct event *event, bool happened, int flags, int dirfd, const char *path);

/*
 * Before metadata of fd is changed.  Where an intent is outstanding that suffices, and event stays
 * empty; else event has its name.
 */
void observe_changing(struct event *event, int fd);

/* ---- the hot path ------------------------------------------------------------------------ */

#define HELD_MAX 1024u

enum held_state {
	HELD_UNKNOWN, /* free, or nothing is known */
	HELD_OTHER,   /* not for writing, or no file */
	HELD_OUTSIDE, /* on a device without trees, while its stamp is recorder_devices_stamp() */
	HELD_DIRTY,   /* written, or that cannot be told */
	HELD_CLEAN,   /* open for writing; nothing written since */
	HELD_FORKED,  /* as DIRTY, but a child that nobody has seen coming may be who writes */
};

struct held {
	uint64_t dev, ino, stamp;
	uint8_t state;
	bool recorded; /* an intent with its name is in the journal */
	bool mapped;
};

extern __attribute__((visibility("hidden"))) struct held held[HELD_MAX];
void observe_first_write(int fd);

/* Before content is changed through fd. */
static inline void observe_touch(int fd)
{
	if ((unsigned)fd < HELD_MAX && __builtin_expect(held[fd].state >= HELD_CLEAN, 0)) {
		observe_first_write(fd);
	}
}
