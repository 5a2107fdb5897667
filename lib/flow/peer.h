/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The half of a message that MetPX Sarracenia's peers read and write, v03 JSON; for message.c.
 *
 * Names that are not UTF-8 have their bad bytes percent-encoded here; only the other half of the
 * message (mirror) is lossless.
 */
#pragma once

#include "flow/change.h"
#include "flow/wire.h"

/* Members of the outermost object. */
void peer_write_change(struct buf *buf, const struct change *change);
void peer_write_receipt(struct buf *buf, const struct receipt *receipt);

/*
 * A change as posted by an sr3_cpost; body is the whole, its hash becomes the id, so that the
 * same message is the same change wherever and whenever it is read.
 * Returns 0, -ENOMEM, -EBADMSG.
 */
int peer_read_change(
	const struct wire *in, struct span body, struct change *change, struct why *why);

/* "20261120T124535.37511203" and back, nanoseconds since 1970, UTC.  Returns 0 or -EINVAL. */
void peer_write_time(struct buf *buf, int64_t time_ns);
int peer_read_time(struct span text, int64_t *ret_ns);
