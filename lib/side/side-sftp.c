/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory at the other end of SFTP.
 *
 * The server follows symlinks in all but the last component, and some requests in that one too.
 * So paths begin with the root's real path, callers check the parent right before (side_check),
 * and requests that would follow the last component are sent after an LSTAT, or in the form that
 * does not follow (lsetstat@openssh.com).
 *
 * Version 3 has few words for errors: ENOTDIR and ELOOP are "no such file", EEXIST, ENOTEMPTY,
 * ENOSPC, EROFS and all the rest are "failure".  After a failure we look what is there and tell
 * what the system would have said.
 *
 * Connecting: the first task that needs the session makes it, the others wait for its outcome.
 * One attempt a second at most; after failures the pause doubles up to half a minute, and a task
 * that comes earlier waits for its end: so orders wait for the connection instead of failing.
 */
#include "side/side-sftp-file.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "side/handshake.h"

#define PAUSE_MIN_NS      CLOCK_S
#define PAUSE_MAX_NS      (30 * CLOCK_S)
#define READDIR_AT_ONCE   16
#define NEARLY_FULL_BYTES (1024 * 1024)

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

static int side_sftp_connect(struct side *side, struct why *why)
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

/* --- visits ------------------------------------------------------------------------------- */

static int full_path(const struct sftp_side *s, struct span rel, struct buf *ret)
{
	path_join(ret, span_str(s->root), rel);
	return ret->failed ? -ENOMEM : 0;
}

int visit_begin(struct side *side, struct span rel, struct visit *ret, struct why *why)
{
	int r = side_sftp_connect(side, why);
	if (r < 0) {
		return r;
	}
	ret->side = sftp_side_of(side);
	ret->sftp = sftp_ref(ret->side->sftp);
	return full_path(ret->side, rel, &ret->path);
}

static int visit_begin_two(struct side *side, struct span first, struct span second,
	struct visit *ret, struct why *why)
{
	int r = visit_begin(side, first, ret, why);
	return r < 0 ? r : full_path(ret->side, second, &ret->second);
}

void visit_finish(struct visit *visit)
{
	buf_finish(&visit->path);
	buf_finish(&visit->second);
	sftp_unref(STEAL(visit->sftp));
}

int visit_status(struct visit *visit, enum sftp_type type, struct span path)
{
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit->sftp, &call, type, "s", path);
	return sftp_wait(&call);
}

int visit_lstat(struct visit *visit, struct span path, struct sftp_attr *ret)
{
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit->sftp, &call, SFTP_LSTAT, "s", path);
	return sftp_wait_attr(&call, ret);
}

/* Whether the file system around path is full or read-only: 0 where it is neither or unknown. */
static int disk_trouble(struct visit *visit, struct span path)
{
	struct sftp_reader reader;
	uint64_t fields[11];
	struct span directory = path_parent(path);
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	if (!sftp_features(visit->sftp)->statvfs) {
		return 0;
	}
	sftp_start(visit->sftp, &call, SFTP_EXTENDED, "ss", SPAN("statvfs@openssh.com"),
		directory.len ? directory : SPAN("/"));
	if (sftp_wait_for(&call, SFTP_EXTENDED_REPLY, &reader) != 0) {
		return 0;
	}
	/* bsize frsize blocks bfree bavail files ffree favail fsid flag namemax */
	for (size_t i = 0; i < 11; i++) {
		fields[i] = sftp_take_u64(&reader);
	}
	if (reader.bad) {
		return 0;
	}
	if (fields[9] & 1) {
		return -EROFS;
	}
	bool few_blocks = fields[4] < NEARLY_FULL_BYTES / (fields[1] ? fields[1] : 1);
	bool no_inodes = fields[5] && !fields[7];
	return (fields[2] && few_blocks) || no_inodes ? -ENOSPC : 0;
}

static int error_of(struct visit *visit, int outcome, struct span path)
{
	static const struct {
		enum sftp_status status;
		int error;
	} known[] = {
		{SFTP_NO_SUCH_FILE, -ENOENT},
		{SFTP_NO_SUCH_PATH, -ENOENT},
		{SFTP_PERMISSION_DENIED, -EACCES},
		{SFTP_UNSUPPORTED, -EOPNOTSUPP},
		{SFTP_FILE_ALREADY_EXISTS, -EEXIST},
		{SFTP_WRITE_PROTECT, -EROFS},
		{SFTP_NO_SPACE, -ENOSPC},
		{SFTP_QUOTA_EXCEEDED, -EDQUOT},
		{SFTP_DIR_NOT_EMPTY, -ENOTEMPTY},
		{SFTP_NOT_A_DIRECTORY, -ENOTDIR},
		{SFTP_FILE_IS_A_DIRECTORY, -EISDIR},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if ((int)known[i].status == outcome) {
			return known[i].error;
		}
	}
	if (outcome == SFTP_BAD_MESSAGE) {
		return path.len + 1 >= PATH_MAX || path_name(path).len > NAME_MAX ? -ENAMETOOLONG
										  : -EINVAL;
	}
	outcome = disk_trouble(visit, path);
	return outcome ? outcome : -EIO;
}

int visit_result(
	struct visit *visit, int outcome, const char *what, struct span path, struct why *why)
{
	char text[300];
	if (outcome == 0) {
		return 0;
	}
	if (outcome < 0 && !sftp_is_up(visit->sftp)) {
		return why_error(why, -ENOTCONN, "%s: the connection broke: %s",
			visit->side->side.name, sftp_why(visit->sftp));
	}
	int error = outcome > 0 ? error_of(visit, outcome, path) : outcome;
	log_escape(path, text, sizeof(text));
	return why_error(why, error, "cannot %s '%s' on %s: %s%s", what, text,
		visit->side->side.name, strerror(-error),
		error == -EIO ? " (the server says only \"failure\"; a quota?)" : "");
}

/* --- looking ------------------------------------------------------------------------------ */

static enum side_type type_of(uint32_t mode)
{
	return S_ISREG(mode)   ? SIDE_FILE
	       : S_ISDIR(mode) ? SIDE_DIRECTORY
	       : S_ISLNK(mode) ? SIDE_SYMLINK
			       : SIDE_OTHER;
}

int sftp_side_attr(const struct sftp_attr *attr, struct side_attr *ret)
{
	*ret = (struct side_attr){
		.type = type_of(attr->mode),
		.mode = attr->mode & 07777,
		.size_bytes = attr->size_bytes,
		.mtime_ns = (int64_t)attr->mtime * 1000000000,
		.atime_s = attr->flags & SFTP_ATTR_TIMES ? attr->atime : 0,
		.has_owner = attr->flags & SFTP_ATTR_OWNER,
		.uid = attr->uid,
		.gid = attr->gid,
	};
	return attr->flags & SFTP_ATTR_MODE ? 0 : -EPROTO;
}

static int side_sftp_lstat(
	struct side *side, struct span rel, struct side_attr *ret, struct why *why)
{
	struct sftp_attr attr;
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = visit_lstat(&visit, buf_span(&visit.path), &attr);
	r = r == 0 ? sftp_side_attr(&attr, ret) : r;
	return visit_result(&visit, r, "look at", buf_span(&visit.path), why);
}

/* The topmost of rel's ancestors, or rel, that is not a directory; all are asked at once. */
static int find_bad(struct visit *visit, struct span rel, size_t *ret_bad_len)
{
	size_t count = 0, root_len = visit->path.len - rel.len;
	struct span rest = rel, name;
	int r = 0;
	while (path_next(&rest, &name)) {
		count++;
	}
	struct sftp_call *calls = calloc(count ? count : 1, sizeof(*calls));
	if (!calls) {
		return -ENOMEM;
	}
	rest = rel;
	for (size_t i = 0; i < count && path_next(&rest, &name); i++) {
		size_t len = root_len + (size_t)(name.data + name.len - rel.data);
		sftp_start(visit->sftp, &calls[i], SFTP_LSTAT, "s", span_of(visit->path.data, len));
	}
	rest = rel;
	for (size_t i = 0; r == 0 && i < count && path_next(&rest, &name); i++) {
		struct sftp_attr attr;
		r = sftp_wait_attr(&calls[i], &attr);
		*ret_bad_len = (size_t)(name.data + name.len - rel.data);
		if (r == 0 && !S_ISDIR(attr.mode)) {
			r = S_ISLNK(attr.mode) ? -ELOOP : -ENOTDIR;
		}
	}
	for (size_t i = 0; i < count; i++) {
		sftp_call_finish(&calls[i]);
	}
	free(calls);
	return r;
}

/* Real path and type in one round trip: 0, 1 (look closer), or the end of the session.  entry: what
 * is asked with them, behind them; empty: nothing.  What it is stands in call. */
static int check_with(
	struct visit *visit, struct span path, struct span entry, struct sftp_call *call)
{
	struct span name;
	struct sftp_attr attr = {0};
	CLEANUP(sftp_call_finish) struct sftp_call real = SFTP_CALL;
	CLEANUP(sftp_call_finish) struct sftp_call look = SFTP_CALL;
	sftp_start(visit->sftp, &real, SFTP_REALPATH, "s", path);
	sftp_start(visit->sftp, &look, SFTP_LSTAT, "s", path);
	if (entry.len) {
		sftp_start(visit->sftp, call, SFTP_LSTAT, "s", entry);
	}
	int r = sftp_wait_name(&real, &name);
	int l = sftp_wait_attr(&look, &attr);
	if (r < 0 || l < 0) {
		return -ENOTCONN;
	}
	return r || l || !S_ISDIR(attr.mode) || !span_equal(name, path);
}

static int check_quickly(struct visit *visit, struct span path)
{
	return check_with(visit, path, SPAN(""), NULL);
}

static int side_sftp_check(struct side *side, struct span rel, size_t *ret_bad_len, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	*ret_bad_len = 0;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = check_quickly(&visit, buf_span(&visit.path));
	if (r != 1) {
		return visit_result(&visit, r, "enter", buf_span(&visit.path), why);
	}
	r = find_bad(&visit, rel, ret_bad_len);
	if (r == 0 && check_quickly(&visit, buf_span(&visit.path)) != 0) {
		/* Directories all the way, and yet elsewhere: the root is not what it was, or
		 * somebody moved one of them in between. */
		size_t root_len = visit.path.len - rel.len - (rel.len > 0);
		r = -ENOENT;
		if (check_quickly(&visit, span_of(visit.path.data, root_len)) != 0) {
			sftp_end(visit.sftp, -ENOTCONN, "the root now has another real path");
			r = -ENOTCONN;
		}
	}
	size_t len = visit.path.len - rel.len + *ret_bad_len;
	return visit_result(&visit, r, "enter", span_of(visit.path.data, len), why);
}

static int entry_attr(struct sftp_call *call, struct side_attr *ret)
{
	struct sftp_attr attr;
	int r = sftp_wait_attr(call, &attr);
	if (r == SFTP_NO_SUCH_FILE || r == SFTP_NO_SUCH_PATH) {
		*ret = (struct side_attr){.type = SIDE_NONE};
		return 0;
	}
	return r == 0 ? sftp_side_attr(&attr, ret) : r;
}

static int side_sftp_check_entry(struct side *side, struct span rel, struct side_attr *ret,
	size_t *ret_bad_len, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	int r = visit_begin_two(side, path_parent(rel), rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = check_with(&visit, buf_span(&visit.path), buf_span(&visit.second), &call);
	int l = entry_attr(&call, ret);
	if (r == 1) {
		r = side_sftp_check(side, path_parent(rel), ret_bad_len, why);
		return r < 0 ? r : side_sftp_lstat(side, rel, ret, why);
	}
	return visit_result(&visit, r ? r : l, "look at", buf_span(&visit.second), why);
}

/* Entries of one NAME answer. */
static int add_names(struct sftp_reader *reader, struct side_list *list, size_t *room)
{
	uint32_t count = sftp_take_u32(reader);
	if (count == 0) {
		return -EPROTO;
	}
	while (count-- && !reader->bad) {
		struct side_attr attr;
		struct span name = sftp_take_string(reader);
		(void)sftp_take_string(reader); /* the line of ls -l */
		struct sftp_attr told = sftp_take_attr(reader);
		if (span_equal(name, SPAN(".")) || span_equal(name, SPAN(".."))) {
			continue;
		}
		if (reader->bad || !sftp_name_possible(name) || sftp_side_attr(&told, &attr) < 0) {
			return -EPROTO;
		}
		int r = side_listing_add(list, room, name, &attr);
		if (r < 0) {
			return r;
		}
	}
	return reader->bad ? -EPROTO : 0;
}

/* Several READDIRs under way at once; the server carries them out one after the other. */
static int read_names(struct visit *visit, const struct sftp_handle *handle, struct side_list *list)
{
	struct sftp_call calls[READDIR_AT_ONCE] = {0};
	size_t room = 0;
	int r = 0;
	for (size_t width = 2; r == 0; width = width < READDIR_AT_ONCE ? width * 2 : width) {
		struct sftp_reader reader;
		for (size_t i = 0; i < width; i++) {
			sftp_start(visit->sftp, &calls[i], SFTP_READDIR, "s",
				sftp_handle_span(handle));
		}
		for (size_t i = 0; i < width; i++) {
			r = r ? r : sftp_wait_for(&calls[i], SFTP_NAME, &reader);
			r = r ? r : add_names(&reader, list, &room);
			sftp_call_finish(&calls[i]);
		}
	}
	return r == SFTP_EOF ? 0 : r;
}

/* Positive SFTP status or -errno, no words. */
static int list_names(struct visit *visit, struct side_list *ret)
{
	struct sftp_handle handle;
	struct sftp_attr attr = {0};
	struct span path = buf_span(&visit->path);
	CLEANUP(sftp_call_finish) struct sftp_call look = SFTP_CALL;
	sftp_start(visit->sftp, &look, SFTP_LSTAT, "s", path);
	int o = sftp_open_handle(visit->sftp, &handle, SFTP_OPENDIR, path, 0, NULL);
	int r = sftp_wait_attr(&look, &attr);
	if (r == 0 && !S_ISDIR(attr.mode)) {
		r = S_ISLNK(attr.mode) ? -ELOOP : -ENOTDIR;
	}
	if (o == 0) {
		r = r ? r : read_names(visit, &handle, ret);
		sftp_close_handle(visit->sftp, &handle, NULL);
	}
	side_listing_done(ret);
	return r ? r : o;
}

static int side_sftp_list(
	struct side *side, struct span rel, struct side_list *ret, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	return visit_result(&visit, list_names(&visit, ret), "list", buf_span(&visit.path), why);
}

/* --- names -------------------------------------------------------------------------------- */

/* What a "failure" to make path means when something is there. */
static int exists_already(struct visit *visit, int outcome, struct span path)
{
	struct sftp_attr attr;
	if (outcome != SFTP_FAILURE) {
		return outcome;
	}
	int r = visit_lstat(visit, path, &attr);
	return r == 0 ? -EEXIST : r < 0 ? r : outcome;
}

struct sftp_attr sftp_mode_and_time(const struct side_attr *attr, unsigned what)
{
	struct sftp_attr told = {
		.mode = attr->mode,
		.atime = (uint32_t)time(NULL),
		.mtime =
			(uint32_t)(attr->mtime_ns / 1000000000 - (attr->mtime_ns % 1000000000 < 0)),
	};
	told.flags = (what & SIDE_SET_MODE ? SFTP_ATTR_MODE : 0) |
		     (what & SIDE_SET_MTIME ? SFTP_ATTR_TIMES : 0);
	return told;
}

static int set_attr(struct visit *visit, const struct sftp_attr *attr, bool follow)
{
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	if (follow) {
		sftp_start(visit->sftp, &call, SFTP_SETSTAT, "sa", buf_span(&visit->path), attr);
	} else {
		sftp_start(visit->sftp, &call, SFTP_EXTENDED, "ssa", SPAN("lsetstat@openssh.com"),
			buf_span(&visit->path), attr);
	}
	return sftp_wait(&call);
}

/*
 * lsetstat@ never follows.  Old systems cannot do all of it, and servers may not have it: then a
 * look at what is there comes first, and a symlink is left as it is.
 */
static int set_attr_safely(struct visit *visit, const struct sftp_attr *attr)
{
	struct sftp_attr now;
	int r = SFTP_UNSUPPORTED;
	if (sftp_features(visit->sftp)->lsetstat) {
		r = set_attr(visit, attr, false);
		if (r != SFTP_UNSUPPORTED && r != SFTP_FAILURE) {
			return r;
		}
	}
	r = visit_lstat(visit, buf_span(&visit->path), &now);
	if (r) {
		return r;
	}
	return S_ISLNK(now.mode) ? 0 : set_attr(visit, attr, true);
}

/* As whom the server would own it, where the account cannot give files away. */
static int set_owner(struct visit *visit, const struct side_attr *attr)
{
	struct sftp_attr now,
		owner = {.flags = SFTP_ATTR_OWNER, .uid = attr->uid, .gid = attr->gid};
	int r = visit_lstat(visit, buf_span(&visit->path), &now);
	if (r || (now.uid == attr->uid && now.gid == attr->gid)) {
		return r;
	}
	r = set_attr_safely(visit, &owner);
	if (r > 0 && now.gid != attr->gid) {
		owner.uid = now.uid;
		r = set_attr_safely(visit, &owner);
	}
	return r < 0 ? r : 0;
}

static int side_sftp_set(struct side *side, struct span rel, const struct side_attr *attr,
	unsigned what, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	if (attr->type == SIDE_SYMLINK) {
		what &= ~(unsigned)SIDE_SET_MODE;
	}
	struct sftp_attr told = sftp_mode_and_time(attr, what);
	r = what & SIDE_SET_OWNER ? set_owner(&visit, attr) : 0;
	r = r == 0 && told.flags ? set_attr_safely(&visit, &told) : r;
	return visit_result(&visit, r, "set attributes of", buf_span(&visit.path), why);
}

static int side_sftp_mkdir(struct side *side, struct span rel, uint32_t mode, struct why *why)
{
	const struct sftp_attr attr = {.flags = SFTP_ATTR_MODE, .mode = mode};
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit.sftp, &call, SFTP_MKDIR, "sa", buf_span(&visit.path), &attr);
	r = exists_already(&visit, sftp_wait(&call), buf_span(&visit.path));
	r = r == 0 ? set_attr_safely(&visit, &attr) : r; /* the server's umask */
	return visit_result(&visit, r, "make directory", buf_span(&visit.path), why);
}

static int side_sftp_rmdir(struct side *side, struct span rel, struct why *why)
{
	struct sftp_attr attr;
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = visit_status(&visit, SFTP_RMDIR, buf_span(&visit.path));
	if ((r == SFTP_FAILURE || r == SFTP_NO_SUCH_FILE) &&
		visit_lstat(&visit, buf_span(&visit.path), &attr) == 0) {
		CLEANUP(side_list_finish) struct side_list list = {0};
		if (!S_ISDIR(attr.mode)) {
			r = -ENOTDIR;
		} else if (list_names(&visit, &list) == 0 && list.count) {
			r = -ENOTEMPTY;
		}
	}
	return visit_result(&visit, r, "remove directory", buf_span(&visit.path), why);
}

static int side_sftp_unlink(struct side *side, struct span rel, struct why *why)
{
	struct sftp_attr attr;
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	r = visit_status(&visit, SFTP_REMOVE, buf_span(&visit.path));
	if (r == SFTP_FAILURE && visit_lstat(&visit, buf_span(&visit.path), &attr) == 0 &&
		S_ISDIR(attr.mode)) {
		r = -EISDIR;
	}
	return visit_result(&visit, r, "remove", buf_span(&visit.path), why);
}

static int rename_once(struct visit *visit)
{
	struct span from = buf_span(&visit->path), to = buf_span(&visit->second);
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	if (sftp_features(visit->sftp)->posix_rename) {
		sftp_start(visit->sftp, &call, SFTP_EXTENDED, "sss",
			SPAN("posix-rename@openssh.com"), from, to);
	} else {
		sftp_start(visit->sftp, &call, SFTP_RENAME, "ss", from, to);
	}
	return sftp_wait(&call);
}

/* Version 3's own RENAME does not replace: first away with what is there, as rename(2) may. */
static int rename_twice(struct visit *visit, bool from_directory)
{
	int r = visit_status(
		visit, from_directory ? SFTP_RMDIR : SFTP_REMOVE, buf_span(&visit->second));
	return r ? r : rename_once(visit);
}

/* What the system would have said. */
static int rename_trouble(struct visit *visit, int outcome)
{
	struct sftp_attr from, to;
	if (visit_lstat(visit, buf_span(&visit->path), &from) ||
		visit_lstat(visit, buf_span(&visit->second), &to)) {
		return outcome;
	}
	if (S_ISDIR(from.mode) != S_ISDIR(to.mode)) {
		return S_ISDIR(from.mode) ? -ENOTDIR : -EISDIR;
	}
	if (!sftp_features(visit->sftp)->posix_rename) {
		outcome = rename_twice(visit, S_ISDIR(from.mode));
	}
	return outcome == SFTP_FAILURE && S_ISDIR(to.mode) ? -ENOTEMPTY : outcome;
}

static int side_sftp_rename(struct side *side, struct span from, struct span to, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin_two(side, from, to, &visit, why);
	if (r < 0) {
		return r;
	}
	r = rename_once(&visit);
	if (r == SFTP_FAILURE || r == SFTP_NO_SUCH_FILE) {
		r = rename_trouble(&visit, r);
	}
	return visit_result(&visit, r, "rename to", buf_span(&visit.second), why);
}

/* Version 3's own RENAME; a server that knows hard links carries it out by link and unlink. */
static int side_sftp_rename_new(
	struct side *side, struct span from, struct span to, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin_two(side, from, to, &visit, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	if (!sftp_features(visit.sftp)->hardlink) {
		r = -EOPNOTSUPP;
	} else {
		sftp_start(visit.sftp, &call, SFTP_RENAME, "ss", buf_span(&visit.path),
			buf_span(&visit.second));
		r = exists_already(&visit, sftp_wait(&call), buf_span(&visit.second));
	}
	return visit_result(&visit, r, "rename to", buf_span(&visit.second), why);
}

static int side_sftp_link(struct side *side, struct span from, struct span to, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin_two(side, from, to, &visit, why);
	if (r < 0) {
		return r;
	}
	if (!sftp_features(visit.sftp)->hardlink) {
		return visit_result(&visit, -EOPNOTSUPP, "link to", buf_span(&visit.second), why);
	}
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit.sftp, &call, SFTP_EXTENDED, "sss", SPAN("hardlink@openssh.com"),
		buf_span(&visit.path), buf_span(&visit.second));
	r = exists_already(&visit, sftp_wait(&call), buf_span(&visit.second));
	return visit_result(&visit, r, "link to", buf_span(&visit.second), why);
}

static int side_sftp_symlink(struct side *side, struct span text, struct span rel, struct why *why)
{
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit.sftp, &call, SFTP_SYMLINK, "ss", text,
		buf_span(&visit.path)); /* OpenSSH's order */
	r = exists_already(&visit, sftp_wait(&call), buf_span(&visit.path));
	return visit_result(&visit, r, "make symlink", buf_span(&visit.path), why);
}

static int side_sftp_readlink(
	struct side *side, struct span rel, char **ret, size_t *ret_len, struct why *why)
{
	struct span text;
	CLEANUP(visit_finish) struct visit visit = VISIT_NONE;
	int r = visit_begin(side, rel, &visit, why);
	if (r < 0) {
		return r;
	}
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	sftp_start(visit.sftp, &call, SFTP_READLINK, "s", buf_span(&visit.path));
	r = sftp_wait_name(&call, &text);
	if (r) {
		return visit_result(&visit, r, "read symlink", buf_span(&visit.path), why);
	}
	*ret = strndup(text.data, text.len);
	*ret_len = text.len;
	return *ret ? 0 : -ENOMEM;
}

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
