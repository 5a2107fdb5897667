/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose T is.
 *
 * Between local sides user and group are the source's, as far as the account may give files away.
 * Where one side is a server, the same number may be somebody else's there: then only groups are
 * set, and of these only the ones that both sides call by the same name.  Who could not be given
 * something to is not tried again by this process.
 */
#include <string.h>
#include <unistd.h>

#include "reconcile.h"

static bool means_the_same(struct job *job, uint32_t gid)
{
	struct pair *pair = job->pair;
	const char *here, *there;
	struct why ignored;
	return side_group_name(pair->source, gid, &here, &ignored) == 0 &&
	       side_group_name(pair->target, gid, &there, &ignored) == 0 && *here &&
	       strcmp(here, there) == 0;
}

static bool is_local(const struct pair *pair)
{
	return !side_is_remote(pair->source) && !side_is_remote(pair->target);
}

bool owner_is_shared(struct job *job, const struct side_attr *s)
{
	return s->has_owner && !side_refuses_group(job->pair->target, s->gid) &&
	       (is_local(job->pair) || means_the_same(job, s->gid));
}

bool owner_differs(struct job *job, const struct side_attr *s, const struct side_attr *t)
{
	bool other_user = is_local(job->pair) && geteuid() == 0 && s->uid != t->uid;
	return (other_user || s->gid != t->gid) && owner_is_shared(job, s);
}
