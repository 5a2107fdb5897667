/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large files over several connections.
 *
 * A server's window is 2 MiB for each channel, so one session moves no more than that in a round
 * trip.  What a file has beyond `split_size` goes by further sessions too, its lanes:
 *
 *   side_write() -> the emptiest of  session 0, where the file was made    FSETSTAT, CLOSE, RENAME
 *                                    lane 1, its own OPEN of the name      WRITE only
 *                                    lane 2, …
 *   side_read()  <- the same of a file that was opened, with READ; a lane's file has to look as
 *                   session 0's did when it was opened
 *
 * How many is measured: while all of them together move what their windows allow, four times as
 * many are tried; where something else is the limit (CPU, link, disk), none is added.  All of them
 * hold no more than `window`.  Sessions are made in the background, kept for the next large file,
 * and closed after a minute without one.
 *
 * A block sent by a lane is kept until its answer is there; when the lane breaks, its blocks, and
 * no others, are sent once more by session 0, or asked for there.  Only when all are good, and the
 * lanes' handles are closed, does a file that was written get its size, mode and times.
 */
#include "side/side-sftp-lanes.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "flow/task.h"

#define WINDOW_BYTES (2U * 1024 * 1024) /* of an sshd's channel */
#define LANE_BYTES   (WINDOW_BYTES + 256 * 1024)
#define LOOK_MIN_NS  (50 * CLOCK_MS)
#define IDLE_NS      (60 * CLOCK_S)
#define AGAIN_NS     (30 * CLOCK_S) /* after a session could not be made */
#define STACK_BYTES  (128 * 1024)

/* A further session of the side. */
struct lane {
	struct sftp *sftp;
	unsigned files;
	bool busy; /* being made */
	uint64_t not_before_ns, idle_since_ns;
};

struct lane_pool {
	struct task_pool *tasks;
	struct loop_timer timer;
	size_t count;
	unsigned running;
	bool over; /* the side is gone; the last task frees this */
	struct lane lanes[];
};

/* --- sessions ----------------------------------------------------------------------------- */

static bool is_up(const struct lane *lane)
{
	return lane->sftp && sftp_is_up(lane->sftp) && !sftp_is_old(lane->sftp);
}

static void lane_close(struct lane *lane)
{
	if (lane->sftp) {
		sftp_end(lane->sftp, -ENOTCONN, "closed");
		sftp_unref(STEAL(lane->sftp));
	}
}

static void on_timer(void *arg)
{
	struct lane_pool *pool = arg;
	uint64_t now = clock_now();
	bool any = false;
	for (size_t i = 0; i < pool->count; i++) {
		struct lane *lane = &pool->lanes[i];
		if (lane->sftp && !lane->files && now - lane->idle_since_ns >= IDLE_NS) {
			lane_close(lane);
		}
		any = any || lane->sftp;
	}
	if (any) {
		(void)loop_timer_set(&pool->timer, now + IDLE_NS / 4);
	}
}

static void pool_free(struct lane_pool *pool)
{
	for (size_t i = 0; i < pool->count; i++) {
		lane_close(&pool->lanes[i]);
	}
	free(pool);
}

static struct lane_pool *pool_of(struct sftp_side *side)
{
	size_t count =
		side->config->copier.connections > 1 ? side->config->copier.connections - 1 : 0;
	if (side->lanes || !count) {
		return side->lanes;
	}
	struct lane_pool *pool = calloc(1, sizeof(*pool) + count * sizeof(pool->lanes[0]));
	if (!pool || task_pool_create(
			     side->side.loop, (unsigned)count * 2, STACK_BYTES, &pool->tasks) < 0) {
		free(pool);
		return NULL;
	}
	pool->count = count;
	loop_timer_init(&pool->timer, side->side.loop, on_timer, pool);
	return side->lanes = pool;
}

bool sftp_lanes_close_all(struct sftp_side *side)
{
	struct lane_pool *pool = STEAL(side->lanes);
	if (!pool) {
		return true;
	}
	loop_timer_stop(&pool->timer);
	pool->over = true;
	if (pool->running) {
		return false;
	}
	task_pool_destroy(pool->tasks);
	pool_free(pool);
	return true;
}

/* --- joining a file ----------------------------------------------------------------------- */

struct joining {
	struct sftp_side *side;
	struct lane_pool *pool;
	struct lane *lane;
	struct sftp_file *file;
};

static int lane_connect(struct joining *joining)
{
	struct lane *lane = joining->lane;
	struct why ignored = {""};
	if (is_up(lane)) {
		return 0;
	}
	lane_close(lane);
	lane->busy = true;
	int r = sftp_side_session(joining->side, &lane->sftp, &ignored);
	lane->busy = false;
	lane->idle_since_ns = clock_now();
	if (r < 0) {
		lane->sftp = NULL;
		lane->not_before_ns = clock_now() + AGAIN_NS;
		return r;
	}
	sftp_limit_content(lane->sftp, LANE_BYTES);
	return joining->pool->over ? -ENOTCONN
				   : loop_timer_set(&joining->pool->timer, clock_now() + IDLE_NS);
}

void sftp_lane_leave(struct lane *lane)
{
	lane->files--;
	lane->idle_since_ns = clock_now();
}

/* Of a file that is read: somebody may have put another one in its place. */
static bool is_the_same(const struct sftp_file *file, struct strand *strand)
{
	const struct sftp_attr *was = &file->opened;
	struct sftp_attr now;
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	if (file->lanes->flags != SFTP_OPEN_READ) {
		return true; /* its name is ours alone */
	}
	sftp_start(strand->sftp, &call, SFTP_FSTAT, "s", sftp_handle_span(&strand->handle));
	return sftp_wait_attr(&call, &now) == 0 && now.flags == was->flags &&
	       now.size_bytes == was->size_bytes && now.mtime == was->mtime &&
	       now.mode == was->mode && now.uid == was->uid && now.gid == was->gid;
}

/* The name is there: session 0 has made it, or opened it, and its answer has come. */
static void lane_open(struct joining *joining)
{
	const struct sftp_attr none = {0};
	struct sftp_file *file = joining->file;
	struct lanes *lanes = file->lanes;
	struct strand strand = {.lane = joining->lane, .sftp = sftp_ref(joining->lane->sftp)};
	if (sftp_open_handle(strand.sftp, &strand.handle, SFTP_OPEN, buf_span(&file->path),
		    lanes->flags, &none) != 0) {
		sftp_unref(strand.sftp);
		joining->lane->not_before_ns = clock_now() + AGAIN_NS;
	} else if (!is_the_same(file, &strand) || lanes->ending) {
		sftp_close_handle(strand.sftp, &strand.handle, NULL);
		sftp_unref(strand.sftp);
	} else {
		joining->lane->files++;
		lanes->strands[lanes->count++] = strand;
	}
}

static void join_run(void *arg)
{
	struct joining joining = *(struct joining *)arg;
	struct lane_pool *pool = joining.pool;
	free(arg);
	if (lane_connect(&joining) == 0 && !joining.file->lanes->ending) {
		lane_open(&joining);
	}
	joining.file->lanes->attaching--;
	sftp_file_unref(joining.file);
	if (--pool->running == 0 && pool->over) {
		pool_free(pool); /* its tasks' stacks stay: we stand on one of them */
	}
}

static bool is_joined(const struct lanes *lanes, const struct lane *lane)
{
	for (size_t i = 0; i < lanes->count; i++) {
		if (lanes->strands[i].lane == lane) {
			return true;
		}
	}
	return false;
}

static void join(struct sftp_file *file, struct lane_pool *pool, struct lane *lane)
{
	struct joining *joining = malloc(sizeof(*joining));
	if (!joining) {
		return;
	}
	*joining = (struct joining){sftp_file_side(file), pool, lane, file};
	if (task_start(pool->tasks, join_run, joining) != 0) {
		free(joining);
		return;
	}
	pool->running++;
	file->references++;
	file->lanes->attaching++;
}

/* Up to so many more; only_up: none that would have to be connected first. */
static void join_more(struct sftp_file *file, struct lane_pool *pool, size_t more, bool only_up)
{
	struct lanes *lanes = file->lanes;
	uint64_t now = clock_now();
	for (size_t i = 0; more && i < pool->count && lanes->count + lanes->attaching < lanes->room;
		i++) {
		struct lane *lane = &pool->lanes[i];
		if (lane->busy || now < lane->not_before_ns || is_joined(lanes, lane) ||
			(only_up && !is_up(lane))) {
			continue;
		}
		join(file, pool, lane);
		more--;
	}
}

/* --- how many ----------------------------------------------------------------------------- */

static struct lanes *lanes_create(struct sftp_file *file, struct lane_pool *pool, uint32_t flags)
{
	size_t room = sftp_file_side(file)->config->copier.window_bytes / WINDOW_BYTES;
	room = room > pool->count ? pool->count : room;
	struct lanes *lanes = room ? calloc(1, sizeof(*lanes)) : NULL;
	if (lanes && !(lanes->strands = calloc(room, sizeof(*lanes->strands)))) {
		free(STEAL(lanes));
	}
	if (lanes) {
		lanes->room = room;
		lanes->flags = flags;
		lanes->looked_ns = file->begun_ns;
	}
	return lanes;
}

/* Whether the windows are what holds it up: they move most of what they can in a round trip. */
static bool is_window_bound(const struct sftp_file *file, uint64_t now)
{
	const struct lanes *lanes = file->lanes;
	uint64_t took_ns = now - lanes->looked_ns;
	uint64_t moved = file->moved_bytes - lanes->looked_bytes;
	bool writes = lanes->flags == SFTP_OPEN_WRITE;
	uint64_t waiting = writes && !lanes->looked_bytes ? sftp_content_used(file->sftp) : 0;
	uint64_t could =
		took_ns * WINDOW_BYTES / (sftp_round_trip_ns(file->sftp) + 1) * (lanes->count + 1);
	return could && moved > waiting && moved - waiting >= could / 2;
}

static void look(struct sftp_file *file, struct lane_pool *pool)
{
	struct lanes *lanes = file->lanes;
	uint64_t now = clock_now(), pause = 4 * sftp_round_trip_ns(file->sftp);
	if (lanes->attaching || now < lanes->look_again_ns) {
		return;
	}
	if (is_window_bound(file, now)) {
		join_more(file, pool, (lanes->count + 1) * 3, false);
	}
	lanes->looked_ns = now;
	lanes->looked_bytes = file->moved_bytes;
	lanes->look_again_ns = now + (pause > LOOK_MIN_NS ? pause : LOOK_MIN_NS);
}

bool sftp_lanes_use(struct sftp_file *file, uint32_t flags)
{
	struct lane_pool *pool = pool_of(sftp_file_side(file));
	if (!pool) {
		return false;
	}
	if (!file->lanes) {
		if (!(file->lanes = lanes_create(file, pool, flags))) {
			return false;
		}
		join_more(file, pool, pool->count, true);
	}
	look(file, pool);
	return true;
}
