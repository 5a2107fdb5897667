/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes by the lanes of a large file, and how that ends: side-sftp-lanes.c has the picture.
 */
#include "side/side-sftp-lanes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "flow/task.h"

/* --- writing ------------------------------------------------------------------------------ */

static void on_piece(void *arg, const struct sftp_reply *reply)
{
	struct piece *piece = arg;
	struct sftp_file *file = piece->file;
	int outcome = sftp_file_write_outcome(reply);
	file->writes--;
	if (outcome < 0) {
		piece->next = file->lanes->lost;
		file->lanes->lost = piece;
	} else {
		file->failure = file->failure ? file->failure : outcome;
		free(piece);
	}
	task_wake(file->task);
	sftp_file_unref(file);
}

static void send_lost(struct sftp_file *file)
{
	struct piece *piece;
	while ((piece = file->lanes->lost)) {
		file->lanes->lost = piece->next;
		sftp_file_write_block(file, piece->offset, span_of(piece->data, piece->len));
		free(piece);
	}
}

/* Returns false when the lane has not taken it. */
static bool strand_write(
	struct sftp_file *file, struct strand *strand, uint64_t offset, struct span data)
{
	struct piece *piece = malloc(sizeof(*piece) + data.len);
	if (!piece) {
		return false;
	}
	*piece = (struct piece){.file = file, .offset = offset, .len = data.len};
	memcpy(piece->data, data.data, data.len);
	file->references++;
	file->writes++;
	if (sftp_write(strand->sftp, &strand->handle, offset, span_of(piece->data, data.len),
		    on_piece, piece) < 0) {
		file->references--;
		file->writes--;
		free(piece);
		return false;
	}
	return true;
}

static void strand_end(struct strand *strand, struct sftp_call *call)
{
	sftp_close_handle(strand->sftp, &strand->handle, call);
	sftp_unref(strand->sftp);
	sftp_lane_leave(strand->lane);
}

/* The emptiest lane; NULL: that is session 0.  Those that broke are let go. */
static struct strand *emptiest(struct sftp_file *file)
{
	struct lanes *lanes = file->lanes;
	struct strand *best = NULL;
	uint64_t least = sftp_content_used(file->sftp);
	for (size_t i = 0; i < lanes->count;) {
		struct strand *strand = &lanes->strands[i];
		if (!sftp_is_up(strand->sftp)) {
			strand_end(strand, NULL);
			*strand = lanes->strands[--lanes->count];
			continue;
		}
		if (sftp_content_used(strand->sftp) < least) {
			least = sftp_content_used(strand->sftp);
			best = strand;
		}
		i++;
	}
	return best;
}

bool sftp_lanes_write(struct sftp_file *file, uint64_t offset, struct span data)
{
	if (!sftp_lanes_use(file, SFTP_OPEN_WRITE)) {
		return false;
	}
	send_lost(file);
	struct strand *strand = emptiest(file);
	/* a copy: while it waits for room, others may join and end */
	struct strand chosen = strand ? *strand : (struct strand){0};
	return strand && strand_write(file, &chosen, offset, data);
}

/* --- reading ------------------------------------------------------------------------------ */

void sftp_lanes_read(
	struct sftp_file *file, struct sftp **ret, const struct sftp_handle **ret_handle)
{
	struct strand *strand = sftp_lanes_use(file, SFTP_OPEN_READ) ? emptiest(file) : NULL;
	*ret = strand ? strand->sftp : file->sftp;
	*ret_handle = strand ? &strand->handle : &file->handle;
}

size_t sftp_lanes_count(const struct sftp_file *file)
{
	return file->lanes ? file->lanes->count : 0;
}

/* --- the end ------------------------------------------------------------------------------ */

void sftp_lanes_end(struct sftp_file *file)
{
	struct lanes *lanes = file->lanes;
	if (!lanes) {
		return;
	}
	lanes->ending = true;
	while (file->writes || lanes->lost) {
		send_lost(file);
		if (file->writes) {
			task_wait();
		}
	}
	struct sftp_call *calls = calloc(lanes->count + 1, sizeof(*calls));
	for (size_t i = 0; i < lanes->count; i++) {
		strand_end(&lanes->strands[i], calls ? &calls[i] : NULL);
	}
	for (size_t i = 0; calls && i < lanes->count; i++) {
		int r = sftp_wait(&calls[i]);
		if (r > 0 && !file->failure) {
			file->failure = r; /* a server may tell only here that the disk was full */
		}
		sftp_call_finish(&calls[i]);
	}
	if (!calls && !file->failure) {
		file->failure = -ENOMEM;
	}
	free(calls);
	lanes->count = 0;
}

void sftp_lanes_drop(struct sftp_file *file)
{
	struct lanes *lanes = file->lanes;
	if (!lanes) {
		return;
	}
	lanes->ending = true;
	for (size_t i = 0; i < lanes->count; i++) {
		strand_end(&lanes->strands[i], NULL);
	}
	lanes->count = 0;
}

void sftp_lanes_free(struct sftp_file *file)
{
	struct lanes *lanes = STEAL(file->lanes);
	struct piece *piece;
	if (!lanes) {
		return;
	}
	while ((piece = lanes->lost)) {
		lanes->lost = piece->next;
		free(piece);
	}
	free(lanes->strands);
	free(lanes);
}
