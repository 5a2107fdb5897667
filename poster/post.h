/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The poster at work: reads the journal, publishes, and lets the journal go.
 *
 *   post_create(), the loop runs, post_drain(), post_destroy()
 *
 * Nobody wakes it: the host programs must not pay for that.  It looks every 20 ms while there is
 * work and every 200 ms when there is none.  Does not read on while the broker takes nothing more;
 * then the journal's ring fills.
 */
#pragma once

#include "core/why.h"
#include "flow/broker.h"
#include "flow/config.h"
#include "flow/loop.h"
#include "flow/message.h"

struct post_options {
	const struct config *config;
	struct loop *loop;
	struct broker *broker;
	void (*problem)(
		void *arg, const char *words); /* what keeps it from working; NULL: nothing */
	void (*failed)(void *arg, const char *words); /* cannot go on; to be started again */
	void (*beat)(void *arg);                      /* the figures have to be told now */
	void *arg;
};

struct post;

/*
 * Opens the first usable journal, as its only reader.  Returns 0, -EAGAIN (another poster serves
 * it), or -errno with words.
 */
int post_create(const struct post_options *options, struct post **ret, struct why *why);
/* The broker must be gone, or not deliver any more. */
void post_destroy(struct post *post);

/* Reads and publishes what is there by now, waits for the confirms, then calls done. */
void post_drain(struct post *post, loop_fn done, void *arg);
/* The poster's figures. */
void post_beat(const struct post *post, struct note *note);
