/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What mirrorctl itself says to the pipeline, over a blocking session; each call returns when the
 * broker has confirmed.  0, or -errno with words.
 */
#pragma once

#include "flow/change.h"
#include "flow/config.h"
#include "flow/message.h"

/* To the shard of its path. */
int publish_change(const struct config *config, struct broker_session *session,
	const struct change *change, struct why *why);
/* To x_<m>_control or x_<m>_notes ("control", "notes"). */
int publish_note(const struct config *config, struct broker_session *session, const char *exchange,
	const struct note *note, struct why *why);
/* A change that asks to look at path, with an id of this process; NULL: out of memory. */
struct change *publish_look(struct span path, unsigned facts);
/* Never the same twice. */
struct ident publish_ident(void);
