/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first name of a group fixes which inode of the target goes with which of the source; each
 * further name must agree in both directions.
 */
#include "links.h"

#include <stdlib.h>

struct inode {
	uint64_t dev, ino;
};

bool links_same(struct links *links, const struct side_attr *source, const struct side_attr *target)
{
	const struct inode s = {source->dev, source->ino}, t = {target->dev, target->ino};
	struct span s_key = span_of(&s, sizeof(s)), t_key = span_of(&t, sizeof(t));
	if (!source->has_inode || !target->has_inode || (source->nlink < 2 && target->nlink < 2)) {
		return true;
	}
	struct inode *of_source = map_get(&links->by_source, s_key);
	struct inode *of_target = map_get(&links->by_target, t_key);
	if (of_source || of_target) {
		return of_source == of_target; /* one object stands for the pair */
	}
	struct inode *pair = malloc(sizeof(*pair));
	if (pair && map_put(&links->by_source, s_key, pair, NULL) < 0) {
		free(pair);
	} else if (pair) {
		*pair = t;
		(void)map_put(&links->by_target, t_key, pair, NULL);
	}
	return true;
}

void links_finish(struct links *links)
{
	size_t cursor = 0;
	void *pair;
	while ((pair = map_next(&links->by_source, &cursor))) {
		free(pair);
	}
	map_finish(&links->by_source);
	map_finish(&links->by_target);
}
