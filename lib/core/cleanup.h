/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Releasing at the end of the scope.
 *
 *   CLEANUP(fd_close) int fd = open(…);        closed on every way out
 *   return STEAL(pointer);                     ownership handed out, the local becomes NULL
 *   return STEAL_FD(fd);                       the same for descriptors, the local becomes -1
 *
 * A release function takes a pointer to the variable and accepts an empty one (NULL, -1).
 * DEFINE_CLEANUP(type, fn) makes such a function, named fn_p, of a `void fn(type)`.
 */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

#define DEFINE_CLEANUP(type, fn)                                                                   \
	static inline void fn##_p(type *object)                                                    \
	{                                                                                          \
		if (*object) {                                                                     \
			fn(*object);                                                               \
		}                                                                                  \
	}

#define STEAL(pointer)                                                                             \
	__extension__({                                                                            \
		__typeof__(pointer) stolen_ = (pointer);                                           \
		(pointer) = NULL;                                                                  \
		stolen_;                                                                           \
	})

static inline int steal_fd_(int *fd)
{
	int stolen = *fd;
	*fd = -1;
	return stolen;
}
#define STEAL_FD(fd) steal_fd_(&(fd))

static inline void fd_close(int *fd)
{
	if (*fd >= 0) {
		close(*fd);
		*fd = -1;
	}
}

static inline void free_p(void *pointer)
{
	free(*(void **)pointer);
}
