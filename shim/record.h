/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a call to a record in the journal.
 *
 * The journal is the first usable directory of $MIRROR_JOURNAL (absolute, colon-separated, `%h` is
 * the host's name; a number in front is the size of one made here), attached when the first thing
 * happens that matters.  Without one, everything here does nothing.  Nothing blocks, allocates, or
 * touches errno; all is safe in signal handlers, threads, and in the child of vfork().
 *
 * An event is a record with names, made around a call:
 *
 *   event_begin(&event, kind, flags);
 *   event_name(&event, dirfd, path);      once or twice
 *   event_arm(&event);                    from here on, our death does not lose it
 *   r = the call
 *   event_finish(&event, r == 0, NULL);
 *
 * The names lie in a draft in the journal's memory, so no frame holds a path.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/journal.h"

/* What fstat tells. */
struct file {
	uint64_t dev, ino;
	uint64_t size_bytes;
	int64_t mtime_ns, ctime_ns;
	uint64_t stamp; /* differs, as a rule, when content or metadata have changed */
	uint32_t mode, nlink;
};

/* libc's headers have these, the kernel's hide them where libc is about. */
#define MODE_TYPE    0170000u
#define MODE_REGULAR 0100000u
#define MODE_FIFO    0010000u

extern __attribute__((visibility("hidden"))) bool recorder_configured;

/* Reads the environment, which is not NULL; called once, before main(). */
void recorder_start(char *const *environment);

/* What this node's processes have found out, journal_verdict(); does not attach. */
unsigned recorder_verdict(uint64_t key);
void recorder_keep_verdict(uint64_t key, unsigned verdict);

/*
 * Before exec: an intent of this process (pid) for fd has told that file's name.  Behind exec, in
 * the same process: whether that is so; asked once.  Kept for the moment that exec takes.
 */
void recorder_name_known(uint32_t pid, int fd, uint64_t dev, uint64_t ino);
bool recorder_knows_name(uint32_t pid, int fd, uint64_t dev, uint64_t ino);

/* There was no journal a moment ago: nothing need be asked of the kernel. */
bool recorder_absent(void);
/* Whether files on dev are of interest; attaches. */
bool recorder_wants(uint64_t dev);
/* journal_devices_stamp(), or 0; does not attach. */
uint64_t recorder_devices_stamp(void);

/* Attaches and gets ready to record without system calls. */
void recorder_settle(void);

/* What this process is called by the kernel, now: the child of vfork() has another. */
uint32_t recorder_pid(void);
/* From now on others may run in our memory. */
void recorder_pid_uncertain(void);

/*
 * Whether what was learnt about descriptors and the working directory may be believed without a
 * look: nobody else runs in our memory, and nothing has shown that some come and go unseen.
 */
bool recorder_trusts(void);
void recorder_doubt(void);

/* Appends a record without names; fills time, pid where 0, program and job.  0 when it is in. */
int record_append(struct record *record);

/* Copies what fstat knows into the record. */
void record_file(struct record *record, const struct file *file);

/* Asks for the name of fd, which file tells of, where it is not known yet. */
void record_learn_name(int fd, const struct file *file);

bool file_of(int fd, struct file *ret);
/* What lstat tells. */
bool file_at(int dirfd, const char *path, struct file *ret);

/* A path's place in a call that takes no directory (the text of a symlink). */
#define NO_DIRECTORY (-1000)

struct event {
	struct journal_draft *draft; /* NULL: nothing to record */
	uint32_t pid;
	uint32_t used; /* bytes of the draft */
	int dirfd;     /* what the first name starts from */
	bool second;   /* the first name is there */
	bool working;  /* both names start from the working directory */
	bool lost;     /* names that cannot be told */
	bool aside;    /* the draft is a mapping of our own: all others were taken */
};

/* Whether a call with this path can change anything outside /proc and /sys. */
bool path_matters(const char *path);

void event_begin(struct event *event, enum record_kind kind, unsigned flags);
void event_name(struct event *event, int dirfd, const char *path);
/* The name that the kernel has for an open descriptor; of what file says, where not NULL. */
void event_name_of(struct event *event, int fd, const struct file *file);
/* Behind a call that has made up a name in the place of the one given: of the same length. */
void event_made_up(struct event *event, const char *path);
/* Takes back the name given last, to give another. */
void event_forget_names(struct event *event);
void event_arm(struct event *event);

/* It may have happened, but what more there will be is not to be seen: counted as lost. */
void event_finish_blind(struct event *event);

/*
 * Appends it if the call took effect; facts, where not NULL, brings fd and file facts.
 * Returns whether a record was appended.
 */
bool event_finish(struct event *event, bool happened, const struct record *facts);
