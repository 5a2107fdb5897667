/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory at the other end of SFTP.
 *
 *   side-sftp.c        the connection; the table of all calls
 *   side-sftp-visit.c  one call: its session, its paths, what its outcome means
 *   side-sftp-look.c   looking, listing          side-sftp-name.c   making, renaming, removing
 *   side-sftp-file.c   content, written          side-sftp-read.c   … and read
 *   side-sftp-lanes.c  large files: sessions     side-sftp-strands.c  … and what goes by them
 *
 * Connecting: the first task that needs the session makes it, the others wait for its outcome.
 * One attempt a second at most; after failures the pause doubles up to half a minute, and a task
 * that comes earlier waits for its end: so orders wait for the connection instead of failing.
 */
#include "side/side-sftp-file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "side/handshake.h"

#define PAUSE_MIN_NS CLOCK_S
#define PAUSE_MAX_NS (30 * CLOCK_S)

struct connect_waiter {
	struct connect_waiter *next;
	struct task *task;
	bool done;
	int error;
	struct why why;
};

/* --- the connection ----------------------------------------------------------------------- */

static int open_stream(struct sftp_side *s, struct ssh_stream **ret, struct why *why)
{
	return s->config->copier.transport == TRANSPORT_SSH
		       ? ssh_stream_open_ssh(s->side.loop, &s->location, s->config, ret, why)
		       : ssh_stream_open_libssh2(s->side.loop, &s->location, s->config, ret, why);
}

static unsigned can_of(const struct sftp_features *features)
{
	return (features->posix_rename ? SIDE_CAN_REPLACE : 0) |
	       (features->hardlink ? SIDE_CAN_LINK : 0) |
	       (features->lsetstat ? SIDE_CAN_SET_LINK : 0) |
	       (features->fsync ? SIDE_CAN_FSYNC : 0) |
	       (features->copy_data ? SIDE_CAN_COPY_DATA : 0);
}

/* One attempt; few of this host's copiers make one at the same time. */
static int shake_hands(struct sftp_side *s, struct sftp **ret, struct why *why)
{
	struct ssh_stream *stream;
	CLEANUP(fd_close) int turn = -1;
	int r = handshake_turn(s->config, &turn, why);
	r = r < 0 ? r : open_stream(s, &stream, why);
	return r < 0 ? r : sftp_open(s->side.loop, stream, s->in_flight, ret, why);
}

int sftp_side_session(struct sftp_side *s, struct sftp **ret, struct why *why)
{
	int r = s->sftp ? shake_hands(s, ret, why) : -ENOTCONN;
	bool same = r == 0 && s->sftp &&
		    sftp_features(*ret)->write_bytes == sftp_features(s->sftp)->write_bytes;
	if (r == 0 && !same) {
		sftp_unref(STEAL(*ret));
		return why_error(why, -EPROTO, "this connection leads to another kind of server");
	}
	return r;
}

static int open_session(struct sftp_side *s, struct why *why)
{
	struct sftp *sftp;
	int r = shake_hands(s, &sftp, why);
	if (r < 0) {
		return r;
	}
	if (!sftp_features(sftp)->posix_rename && !s->config->copier.allow_non_atomic) {
		sftp_unref(sftp);
		return why_error(why, -EPROTO,
			"the server cannot replace a file atomically (posix-rename@openssh.com); "
			"set copier.allow_non_atomic to mirror all the same");
	}
	s->sftp = sftp;
	s->can = can_of(sftp_features(sftp));
	return 0;
}

static uint64_t with_jitter(uint64_t ns)
{
	return ns - ns / 4 + clock_now() / 1000 % (ns / 2000 + 1) * 1000;
}

/* Files that are still open in the session may go on in it until the next one grows old. */
static void end_session(struct sftp **sftp)
{
	if (*sftp) {
		sftp_end(*sftp, -ENOTCONN, "closed");
		sftp_unref(STEAL(*sftp));
	}
}

static int new_session(struct sftp_side *s, struct why *why)
{
	end_session(&s->old);
	s->old = STEAL(s->sftp);
	free(STEAL(s->root));
	while (clock_now() < s->not_before_ns) {
		task_wait_until(s->not_before_ns);
	}
	s->not_before_ns = clock_now() + PAUSE_MIN_NS;
	int r = open_session(s, why);
	if (r < 0) {
		uint64_t pause = s->pause_ns ? s->pause_ns * 2 : PAUSE_MIN_NS;
		s->pause_ns = pause > PAUSE_MAX_NS ? PAUSE_MAX_NS : pause;
		s->not_before_ns = clock_now() + with_jitter(s->pause_ns);
		return r;
	}
	s->pause_ns = 0;
	s->side.epoch++;
	return 0;
}

/* The root's real path, if it is a directory. */
static int learn_root(struct sftp_side *s, struct why *why)
{
	struct span name, path = span_str(s->location.path);
	struct sftp_attr attr = {0};
	CLEANUP(sftp_call_finish) struct sftp_call real = SFTP_CALL;
	CLEANUP(sftp_call_finish) struct sftp_call look = SFTP_CALL;
	sftp_start(s->sftp, &real, SFTP_REALPATH, "s", path);
	sftp_start(s->sftp, &look, SFTP_STAT, "s", path);
	int r = sftp_wait_name(&real, &name);
	int l = sftp_wait_attr(&look, &attr);
	if (r < 0 || l < 0) {
		return why_error(why, -ENOTCONN, "%s", sftp_why(s->sftp));
	}
	if (r || l) {
		return r == SFTP_PERMISSION_DENIED || l == SFTP_PERMISSION_DENIED
			       ? why_error(why, -EACCES, "no permission to enter the directory %s",
					 s->location.path)
			       : why_error(why, -ENOENT, "there is no directory %s",
					 s->location.path);
	}
	if (!S_ISDIR(attr.mode) || !name.len || name.data[0] != '/') {
		return why_error(why, -ENOTDIR, "%s is not a directory", s->location.path);
	}
	s->root = strndup(name.data, name.len);
	return s->root ? 0 : -ENOMEM;
}

static bool is_usable(const struct sftp_side *s)
{
	return s->sftp && sftp_is_up(s->sftp) && !sftp_is_old(s->sftp);
}

static int establish(struct sftp_side *s, struct why *why)
{
	int r = is_usable(s) ? 0 : new_session(s, why);
	r = r == 0 ? learn_root(s, why) : r;
	if (r < 0) {
		why_prefix(why, "%s", s->side.name);
	}
	return r;
}

static void tell_waiters(struct sftp_side *s, int error, const struct why *why)
{
	struct connect_waiter *waiter = STEAL(s->waiters);
	while (waiter) {
		struct connect_waiter *next = waiter->next;
		waiter->error = error;
		waiter->why = *why;
		waiter->done = true;
		task_wake(waiter->task);
		waiter = next;
	}
}

/* Apart, because a compiler that sees through it warns of what leaves with the task's stack. */
static __attribute__((noinline)) void join(struct sftp_side *s, struct connect_waiter *waiter)
{
	waiter->next = s->waiters;
	s->waiters = waiter;
}

static int wait_for_other(struct sftp_side *s, struct why *why)
{
	struct connect_waiter waiter = {.task = task_self()};
	join(s, &waiter);
	while (!waiter.done) {
		task_wait();
	}
	return waiter.error < 0 ? why_error(why, waiter.error, "%s", waiter.why.text) : 0;
}

int side_sftp_connect(struct side *side, struct why *why)
{
	struct sftp_side *s = sftp_side_of(side);
	struct why words = {""};
	while (!is_usable(s) || !s->root) {
		int r;
		if (s->connecting) {
			r = wait_for_other(s, why);
		} else {
			s->connecting = true;
			r = establish(s, &words);
			s->connecting = false;
			tell_waiters(s, r, &words);
			why_error(why, r, "%s", words.text);
		}
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

static void side_sftp_destroy(struct side *side)
{
	struct sftp_side *s = sftp_side_of(side);
	bool unused = sftp_lanes_close_all(s);
	end_session(&s->old);
	end_session(&s->sftp);
	if (!unused) {
		return; /* the process ends in the middle of a handshake */
	}
	free(s->root);
	free(s->location.user);
	free(s->location.host);
	free(s->location.path);
	free(s);
}

static unsigned side_sftp_can(const struct side *side)
{
	return ((const struct sftp_side *)side)->can;
}

/* --- all calls ---------------------------------------------------------------------------- */

static const struct side_ops sftp_ops = {
	.can = side_sftp_can,
	.remote = true,
	.destroy = side_sftp_destroy,
	.connect = side_sftp_connect,
	.lstat = side_sftp_lstat,
	.check = side_sftp_check,
	.check_entry = side_sftp_check_entry,
	.list = side_sftp_list,
	.open = sftp_file_open,
	.read = sftp_file_read,
	.next_data = sftp_file_next_data,
	.file_attr = sftp_file_attr,
	.make = sftp_file_make,
	.edit = sftp_file_edit,
	.write = sftp_file_write,
	.copy_data = sftp_file_copy_data,
	.copied = sftp_file_copied,
	.complete = sftp_file_complete,
	.close = sftp_file_close,
	.mkdir = side_sftp_mkdir,
	.rmdir = side_sftp_rmdir,
	.unlink = side_sftp_unlink,
	.rename = side_sftp_rename,
	.rename_new = side_sftp_rename_new,
	.link = side_sftp_link,
	.symlink = side_sftp_symlink,
	.readlink = side_sftp_readlink,
	.set = side_sftp_set,
	.group_name = side_sftp_group_name,
};

int side_create_sftp(const struct location *location, const struct side_options *options,
	struct side **ret, struct why *why)
{
	struct sftp_side *s = calloc(1, sizeof(*s));
	if (!s) {
		return -ENOMEM;
	}
	s->side.ops = &sftp_ops;
	s->config = options->config;
	s->in_flight = options->in_flight;
	s->location.remote = true;
	s->location.port = location->port;
	s->location.host = strdup(location->host);
	s->location.path = strdup(location->path);
	s->location.user = location->user ? strdup(location->user) : NULL;
	if (!s->location.host || !s->location.path || (location->user && !s->location.user)) {
		side_sftp_destroy(&s->side);
		return -ENOMEM;
	}
	*ret = &s->side;
	return 0;
}
