/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file at the target holds, block by block: a hash of each, kept in the state directory
 * (delta/TREE-TAG-SIZE) by the copier that wrote the file.
 *
 * How it is known that a record is of the file that is there now: each version of a large file
 * gets a tag of its own, a random time of last access years ahead, which no reader changes and
 * which the file carries along under any name.  Tag, size and mtime must be the record's, as
 * fstat on the open file tells them.  A record that is damaged, of another form, or of none of
 * them is no record; the oldest go when they are too many.
 */
#pragma once

#include <xxhash.h>

#include "job.h"

struct record {
	uint32_t tag;
	uint32_t block_bytes;
	uint64_t size_bytes;
	int64_t mtime_s;
	size_t count; /* of blocks, the last one may be shorter */
	XXH128_hash_t *hashes;
};

/* Block size and room for a file of this size.  Returns 0 or -ENOMEM. */
int record_init(struct record *record, uint64_t size_bytes, uint32_t block_bytes);
void record_finish(struct record *record);
/* Where a block ends. */
uint64_t record_block_end(const struct record *record, size_t i);
/* Whether block i is the same in both, as far as the hashes know. */
bool record_same_block(const struct record *old, const struct record *made, size_t i);
/* A tag that no other file has. */
uint32_t record_tag(void);
/* Of the file that looks like t; 0 or -ENOENT. */
int record_load(const struct pair *pair, const struct side_attr *t, struct record *ret);
/* Makes room first.  It is a saving only: what fails is left. */
void record_save(const struct pair *pair, const struct record *record);
/* The file is no more what it was. */
void record_drop(const struct pair *pair, const struct record *record);
