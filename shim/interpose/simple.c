/* SPDX-License-Identifier: Apache-2.0 */
/* The wrappers that their row in calls.def says everything about. */
#include "calls.h"
#include "observe.h"
#include "record.h"

#define NOFOLLOW_IF(test) ((test) ? RECORD_NOFOLLOW : 0)

#define NAMED(returns, name, parameters, arguments, kind, flags, dirfd, path, fallback)            \
	returns name parameters                                                                    \
	{                                                                                          \
		struct event event;                                                                \
		observe_named(&event, (kind), (flags), (dirfd), (path));                           \
		returns result = CALL_REAL(name, arguments, (returns)(fallback));                  \
		(void)event_finish(&event, result == 0, NULL);                                     \
		return result;                                                                     \
	}
#define PAIRED(returns, name, parameters, arguments, kind, dirfd, path, dirfd2, path2, fallback)   \
	returns name parameters                                                                    \
	{                                                                                          \
		struct event event;                                                                \
		observe_paired(&event, (kind), (dirfd), (path), (dirfd2), (path2));                \
		returns result = CALL_REAL(name, arguments, (returns)(fallback));                  \
		(void)event_finish(&event, result == 0, NULL);                                     \
		return result;                                                                     \
	}
#define HELD(returns, name, parameters, arguments, fd, fallback)                                   \
	returns name parameters                                                                    \
	{                                                                                          \
		struct event event;                                                                \
		observe_changing(&event, (fd));                                                    \
		returns result = CALL_REAL(name, arguments, (returns)(fallback));                  \
		(void)event_finish(&event, result == 0, NULL);                                     \
		return result;                                                                     \
	}
#define TOUCH(returns, name, parameters, arguments, fd, fallback)                                  \
	returns name parameters                                                                    \
	{                                                                                          \
		observe_touch(fd);                                                                 \
		__typeof__(&name) real = (__typeof__(&name))call_real_at_once(CALL_##name);        \
		return real ? real arguments : (returns)(fallback);                                \
	}
#include "calls.def"
