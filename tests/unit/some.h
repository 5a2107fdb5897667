/* SPDX-License-Identifier: Apache-2.0 */
/* Random but repeatable changes for properties: the same seed gives the same ones. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "flow/change.h"

static uint64_t some_state = 1;

/* splitmix64 */
static inline uint64_t some_number(uint64_t below)
{
	uint64_t z = (some_state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return below ? z % below : z;
}

/* Any bytes but NUL and slash, at most 255. */
static inline size_t some_name(char *ret)
{
	size_t len = 1 + some_number(some_number(8) ? 12 : 255);
	do {
		for (size_t i = 0; i < len; i++) {
			ret[i] = (char)(some_number(3) ? 0x20 + some_number(0x5f)
						       : 1 + some_number(255));
			ret[i] = ret[i] == '/' ? '_' : ret[i];
		}
	} while (len <= 2 && ret[0] == '.');
	return len;
}

static inline void some_path(struct span *field)
{
	char path[4096];
	size_t len = 0, depth = 1 + some_number(5);
	for (size_t i = 0; i < depth; i++) {
		path[len++] = '/';
		len += some_name(path + len);
	}
	change_set(field, span_of(path, len));
}

static inline void some_text(struct span *field)
{
	char text[256];
	change_set(field, span_of(text, some_number(3) ? some_name(text) : 0));
}

/* A small world of pairs, so that changes meet the same ones. */
static inline void some_pair(struct change *change)
{
	char from[16], to[16];
	(void)snprintf(from, sizeof(from), "/from%d", (int)some_number(4));
	(void)snprintf(to, sizeof(to), "/to%d", (int)some_number(4));
	(some_number(2) ? change_add_pair : change_add_link)(change, span_str(from), span_str(to));
}

static inline struct change *some_change(void)
{
	struct change *change = change_create();
	change->id = (struct ident){some_number(0), some_number(0)};
	change->cause =
		some_number(2) ? IDENT_NONE : (struct ident){some_number(0), some_number(9)};
	change->op = (enum change_op)some_number(CHANGE_OP_COUNT);
	change->facts = (unsigned)some_number(64);
	change->time_ns = some_number(UINT64_C(4000000000000000000));
	some_path(&change->path);
	for (size_t i = some_number(4); i > 0; i--) {
		some_pair(change);
	}
	change->seen.has_inode = some_number(2);
	change->seen.has_stat = some_number(2);
	if (change->seen.has_inode) {
		change->seen.dev = some_number(0);
		change->seen.ino = some_number(0);
	}
	if (change->seen.has_stat) {
		change->seen.size_bytes = some_number(0);
		change->seen.mtime_ns = (int64_t)some_number(0);
		change->seen.mode = (uint32_t)some_number(0200000);
		change->seen.nlink = (uint32_t)some_number(5);
	}
	change->attempt = (unsigned)some_number(5);
	change->newer_ns = some_number(2) ? 0 : (int64_t)some_number(0);
	change->older_ns = some_number(2) ? 0 : (int64_t)some_number(0);
	some_text(&change->link);
	some_text(&change->host);
	some_text(&change->program);
	some_text(&change->job);
	change->pid = (uint32_t)some_number(0);
	return change;
}
