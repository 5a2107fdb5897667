/* SPDX-License-Identifier: Apache-2.0 */
/* Calls by name about which a row of the list does not say everything. */
#include "calls.h"
#include "observe.h"

char *mkdtemp(char *path)
{
	struct event event;
	observe_named(&event, RECORD_MKDIR, 0, AT_FDCWD, path);
	char *made = CALL_REAL(mkdtemp, (path), NONE_AT_ALL);
	if (made) {
		event_made_up(&event, made);
	}
	(void)event_finish(&event, made, NULL);
	return made;
}

int linkat(int dirfd, const char *from, int dirfd2, const char *to, int flags)
{
	struct event event;
	observe_paired(&event, RECORD_LINK, dirfd, from, dirfd2, to);
	int result = CALL_REAL(linkat, (dirfd, from, dirfd2, to, flags),
		(int)RAW(linkat, dirfd, from, dirfd2, to, flags));
	observe_linked(&event, result == 0, flags, dirfd2, to);
	return result;
}

/* libc opens, writes and closes it. */
#define WRITES_FILE(name, parameters, arguments, path)                                             \
	void name parameters                                                                       \
	{                                                                                          \
		struct event event;                                                                \
		observe_named(&event, RECORD_TRUNCATE, 0, AT_FDCWD, path);                         \
		void(*real) parameters = REAL(name);                                               \
		if (real) {                                                                        \
			real arguments;                                                            \
		}                                                                                  \
		(void)event_finish(&event, true, NULL);                                            \
	}

WRITES_FILE(updwtmp, (const char *path, const void *entry), (path, entry), path)
WRITES_FILE(updwtmpx, (const char *path, const void *entry), (path, entry), path)
WRITES_FILE(_mcleanup, (void), (), "gmon.out") /* at the end of a program built for gprof */
