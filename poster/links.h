/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where symlinks led at the time of a record.
 *
 * A record has the path as the program gave it.  When the poster reads of it, a symlink on its way
 * may lead elsewhere or be gone: `current` is turned from one run's directory to the next one's,
 * and what was written by way of it just before lies in the old one.  But records tell of symlinks,
 * too, and are read in the order in which things happened; so what is remembered here is what was
 * true when the record was made.
 *
 * Names are those of names_find().  Bounded: beyond LINKS_KNOWN the one that was used least lately
 * is forgotten, those that lead to files before all others, and the kernel's word of today counts
 * for it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/clock.h"
#include "core/span.h"
#include "core/why.h"
#include "poster/names.h"

#define LINKS_KNOWN    256
#define LINKS_SLACK_NS ((int64_t)CLOCK_S) /* between the clocks of a server and a node */

struct links;

struct links *links_create(void); /* NULL: out of memory */
void links_destroy(struct links *links);

/* Appends all that is remembered; reads it back.  Returns 0, -ENOMEM, or -EBADMSG with words. */
void links_save(const struct links *links, struct buf *ret);
int links_load(struct links *links, struct span bytes, struct why *why);

/* name is a symlink with this text now.  to_file: not to a directory.  Returns 0 or -ENOMEM. */
int links_made(struct links *links, struct span name, struct span text, bool to_file);
/* Appends the text of a symlink, as it is remembered, else as it is.  Returns 0 or -errno. */
int links_text(struct links *links, struct span name, struct buf *ret);
/* What had this name is gone, or something else has it; and all below. */
void links_gone(struct links *links, struct span name);
/* The same after links_gone(to): what was at from and below is at to.  Returns 0 or -ENOMEM. */
int links_moved(struct links *links, struct span from, struct span to);
/* Both have changed hands.  Returns 0 or -ENOMEM. */
int links_exchanged(struct links *links, struct span a, struct span b);

/*
 * Where path, which starts from dir when it is relative, led at that time.  follow: also as the
 * last component.  Returns 0 where no symlink that is remembered is on the way, LINKS_SAME where it
 * still leads there, LINKS_OTHER where that was another place, which is appended, or -ENOMEM.
 */
#define LINKS_SAME  1
#define LINKS_OTHER 2
int links_way(struct links *links, const struct names *names, struct span dir, struct span path,
	bool follow, uint64_t time_ns, struct buf *ret);
/* The first symlink on the way is remembered, if it was there before that time. */
int links_learn(struct links *links, const struct names *names, struct span dir, struct span path,
	uint64_t time_ns);
