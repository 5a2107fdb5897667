/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmirrorshim.so: tells the journal what the program that it is loaded into does to files.
 *
 *   start.c        the first thing that runs: environment, inherited descriptors
 *   calls.def      THE list of calls; calls.[ch] the way to the real ones
 *   resolve.[ch]   finding them, without the dynamic linker's help
 *   interpose/     the wrappers by theme; simple.c is grown from the list
 *   syscall.c      the calls that must not have a frame of ours, by stub.h; lookup.c: dlsym()
 *   observe.[ch]   what is open for writing, and what that means
 *   record.[ch]    names, drafts, records; the journal itself is lib/core/journal.c
 *   unseen.[ch]    programs that will not be seen, recognised before they are run
 *   readable.[ch]  whether a pointer that the program gave can be followed
 *   sandbox.[ch]   filters that the program puts on itself: nothing is called that may kill it
 *   sigbus.[ch]    the journal made shorter under the program, which shall not die of that
 *   summon.[ch]    starting this node's poster where none lives
 *   aside.[ch]     doing something in a child that the program does not notice
 *   directory.[ch] paths that only the kernel knows
 *   bytes.c        what compilers call without being asked
 *
 * A guest: needs nothing at load time, exports only the list, keeps no descriptor, takes no lock,
 * allocates nothing, writes nothing, and hands errno back as found.
 */
#include "observe.h"
#include "record.h"
#include "unseen.h"

extern __attribute__((weak, visibility("default"))) char **environ;

__attribute__((constructor)) static void start(void)
{
	if (&environ && environ) {
		recorder_start(environ);
	}
	if (recorder_configured) {
		unseen_start(environ);
		observe_start();
	}
}
