/* SPDX-License-Identifier: Apache-2.0 */
/* What side-sftp-lanes.c (sessions, and which files they carry) and side-sftp-strands.c (what goes
 * by them) share. */
#pragma once

#include "side/side-sftp-file.h"

struct lane;

/* A file's part of a lane. */
struct strand {
	struct lane *lane;
	struct sftp *sftp;
	struct sftp_handle handle;
};

struct piece {
	struct piece *next;
	struct sftp_file *file;
	uint64_t offset;
	size_t len;
	char data[];
};

struct lanes {
	struct strand *strands;
	uint32_t flags; /* of their OPEN */
	size_t count, attaching, room;
	bool ending;
	struct piece *lost;
	uint64_t looked_ns, looked_bytes, look_again_ns;
};

/* Gets more lanes where that helps.  flags: of their OPEN.  false: this file has none. */
bool sftp_lanes_use(struct sftp_file *file, uint32_t flags);
/* A file has no part of it any more. */
void sftp_lane_leave(struct lane *lane);
