/* SPDX-License-Identifier: Apache-2.0 */
#include "side/compare.h"

/* As SFTP tells them; rounded down, before 1970 too. */
static uint32_t whole_seconds(int64_t ns)
{
	return (uint32_t)(ns / 1000000000 - (ns % 1000000000 < 0));
}

bool compare_same_mtime(int64_t source_ns, int64_t target_ns, unsigned can)
{
	return can & SIDE_CAN_NANOSECONDS ? source_ns == target_ns
					  : whole_seconds(source_ns) == whole_seconds(target_ns);
}

unsigned compare(const struct compare_entry *source, const struct compare_entry *target,
	unsigned can, bool owner)
{
	const struct side_attr *s = &source->attr, *t = &target->attr;
	unsigned differs = 0;
	if (s->type != t->type) {
		return COMPARE_TYPE;
	}
	if (s->type == SIDE_NONE || s->type == SIDE_OTHER) {
		return 0;
	}
	if (s->type == SIDE_FILE && s->size_bytes != t->size_bytes) {
		differs |= COMPARE_SIZE;
	}
	if (s->type == SIDE_SYMLINK && !span_equal(source->link, target->link)) {
		differs |= COMPARE_LINK;
	}
	if (s->type != SIDE_SYMLINK && s->mode != t->mode) {
		differs |= COMPARE_MODE;
	}
	if ((s->type != SIDE_SYMLINK || can & SIDE_CAN_SET_LINK) &&
		!compare_same_mtime(s->mtime_ns, t->mtime_ns, can)) {
		differs |= COMPARE_MTIME;
	}
	if (owner && s->has_owner && t->has_owner && (s->uid != t->uid || s->gid != t->gid)) {
		differs |= COMPARE_OWNER;
	}
	return differs;
}
