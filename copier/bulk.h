/* SPDX-License-Identifier: Apache-2.0 */
/* Files that a bulk pass finds missing, copied by their directory's order. */
#pragma once

#include <stddef.h>

#include "job.h"

/* Whether S may be copied so; t NULL: the target lacks it. */
bool bulk_may_copy(const struct job *job, const struct side_attr *s, const struct side_attr *t);

/*
 * Copies entries[0…count) of the list, which lie in the job's directory, many at once.  What does
 * not simply succeed becomes a change.  Returns 0, or what the tree or the connection is to blame
 * for: then some are not copied.
 */
int bulk_copy(struct job *job, const struct side_list *list, const size_t *entries, size_t count);
