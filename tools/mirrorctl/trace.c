/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One process, the parent of the command:
 *
 *   socket ──▶ listeners ──▶ call: paths out of the program's memory ──▶ goes on
 *                                    │ when it is over (the thread's next call, or a tick)
 *                                    ▼
 *                                 journal
 *
 * A file that is opened for writing is an intent of ours, under a number that counts up, until the
 * process that opened it has it open no more.  A child that inherited it and writes on is the
 * business of the poster's look at the end.  When the command has ended while others that it left
 * behind are still followed, a child of ours goes on with them.
 */
#include "trace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/job.h"
#include "core/journal.h"
#include "flow/change.h"
#include "flow/place.h"

#define LISTENERS_MAX 512
#define TICK_MS       20
#define CLOSES_NS     (100 * CLOCK_MS)
#define PAGE          4096

static const struct row {
	int number;
	enum record_kind kind;
	int dirfd, path, dirfd2, path2;
} rows[] = {
#define TRACED(call, ...) {SYS_##call, __VA_ARGS__},
#include "core/traced.def"
};

/* A call that was let go on. */
struct call {
	struct call *next;
	const struct row *row;
	uint32_t thread;
	uint64_t since_ns;
	char program[16];
	struct buf path, path2;
};

struct opened {
	struct opened *next;
	uint32_t pid;
	int32_t number;
	uint64_t dev, ino;
	char program[16];
	struct buf path;
};

struct trace {
	const struct config *config;
	struct journal_writer writer;
	int socket, signals;
	int listeners[LISTENERS_MAX];
	size_t listener_count;
	struct call *calls;
	struct opened *files;
	int32_t number;
	uint64_t closes_ns;
	pid_t child;
	char job[JOB_BYTES];
};

/* ---- the journal ------------------------------------------------------------------------- */

static bool attach(struct trace *trace)
{
	for (size_t i = 0; !trace->writer.ring && trace->config->journal[i]; i++) {
		CLEANUP(free_p) char *directory = place_journal(trace->config, i);
		if (!directory ||
			journal_attach_guarded(&trace->writer, directory, journal_guard) < 0) {
			trace->writer.ring = NULL;
		}
	}
	return trace->writer.ring;
}

/* The kernel's name of a program, while it is there. */
static void read_program(uint32_t pid, char program[16])
{
	char file[32];
	(void)snprintf(file, sizeof(file), "/proc/%u/comm", pid);
	CLEANUP(fd_close) int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? 0 : read(fd, program, 16);
	program[len > 0 ? len - 1 : 0] = '\0';
}

static void append(struct trace *trace, struct record *record, const char *program)
{
	record->program = span_str(program);
	record->job = span_str(trace->job);
	record->time_ns = clock_wall();
	record->writer = record->pid == (uint32_t)getpid() ? 0 : (uint32_t)getpid();
	for (int tries = 0; tries < 2 && attach(trace); tries++) {
		if (journal_append(&trace->writer, record) != -ESTALE) {
			return;
		}
		trace->writer.ring = NULL;
	}
}

static bool fill_stat(struct record *record, struct span path)
{
	struct stat st;
	char name[PATH_MAX];
	if (path.len >= sizeof(name)) {
		return false;
	}
	memcpy(name, path.data, path.len);
	name[path.len] = '\0';
	if (stat(name, &st) < 0 || !S_ISREG(st.st_mode)) {
		return false;
	}
	record->flags |= RECORD_HAS_INODE | RECORD_HAS_STAT;
	record->dev = st.st_dev;
	record->ino = st.st_ino;
	record->size_bytes = (uint64_t)st.st_size;
	record->mtime_ns = st.st_mtim.tv_sec * (int64_t)CLOCK_S + st.st_mtim.tv_nsec;
	record->mode = st.st_mode;
	record->nlink = (uint32_t)st.st_nlink;
	return true;
}

/* ---- what a call is about ---------------------------------------------------------------- */

/* A NUL-terminated string of another process; page by page, for the next may not be there. */
static void read_text(uint32_t pid, uint64_t at, struct buf *ret)
{
	while (at && ret->len < PATH_MAX) {
		char part[PAGE];
		size_t len = PAGE - at % PAGE;
		void *there = (void *)(uintptr_t)at; // NOLINT(performance-no-int-to-ptr)
		struct iovec to = {part, len}, from = {there, len};
		if (process_vm_readv((pid_t)pid, &to, 1, &from, 1, 0) != (ssize_t)len) {
			buf_clear(ret);
			return;
		}
		size_t used = strnlen(part, len);
		buf_add(ret, span_of(part, used));
		if (used < len) {
			return;
		}
		at += len;
	}
}

static void read_directory(uint32_t pid, bool cwd, int fd, struct buf *ret)
{
	char file[48], text[PATH_MAX];
	if (cwd) {
		(void)snprintf(file, sizeof(file), "/proc/%u/cwd", pid);
	} else {
		(void)snprintf(file, sizeof(file), "/proc/%u/fd/%d", pid, fd);
	}
	ssize_t len = readlink(file, text, sizeof(text));
	if (len > 0 && text[0] == '/') {
		buf_add(ret, span_of(text, (size_t)len));
	}
}

static void read_path(const struct seccomp_notif *it, int dirfd, int path, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	const __u64 *arguments = it->data.args;
	if (path >= 0) {
		read_text(it->pid, arguments[path], &text);
		if (text.len && text.data[0] == '/') {
			buf_add(ret, buf_span(&text));
			return;
		}
		if (!text.len && arguments[path] && dirfd < 0) {
			return;
		}
	}
	int fd = dirfd < 0 ? AT_FDCWD : (int)arguments[dirfd];
	read_directory(it->pid, fd == AT_FDCWD, fd, ret);
	if (ret->len && text.len) {
		buf_add_char(ret, '/');
		buf_add(ret, buf_span(&text));
	}
}

static const struct row *row_of(int number)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].number == number) {
			return &rows[i];
		}
	}
	return NULL;
}

static struct call *call_of(const struct seccomp_notif *it)
{
	const struct row *row = row_of(it->data.nr);
	struct call *call = row ? calloc(1, sizeof(*call)) : NULL;
	if (!call) {
		return NULL;
	}
	call->row = row;
	call->thread = it->pid;
	call->since_ns = clock_now();
	read_program(it->pid, call->program);
	read_path(it, row->dirfd, row->path, &call->path);
	if (row->path2 != NO_PATH) {
		read_path(it, row->dirfd2, row->path2, &call->path2);
	}
	return call;
}

static void drop_call(struct call *call)
{
	buf_finish(&call->path);
	buf_finish(&call->path2);
	free(call);
}

/* ---- when it is over --------------------------------------------------------------------- */

static void note_opened(struct trace *trace, const struct call *call)
{
	struct record record = {.kind = RECORD_OPEN,
		.flags = RECORD_CREATED,
		.pid = (uint32_t)getpid(),
		.path = buf_span(&call->path)};
	struct opened *file = calloc(1, sizeof(*file));
	if (!file || !fill_stat(&record, record.path)) {
		free(file);
		return;
	}
	record.fd = file->number = trace->number++ & INT_MAX;
	file->pid = call->thread;
	file->dev = record.dev;
	file->ino = record.ino;
	buf_add(&file->path, record.path);
	file->next = trace->files;
	trace->files = file;
	memcpy(file->program, call->program, sizeof(file->program));
	append(trace, &record, call->program);
}

static void note_call(struct trace *trace, const struct call *call)
{
	struct record record = {.kind = call->row->kind,
		.fd = -1,
		.pid = call->thread,
		.path = buf_span(&call->path),
		.path2 = buf_span(&call->path2)};
	if (!record.path.len || (call->row->path2 != NO_PATH && !record.path2.len)) {
		return;
	}
	if (call->row->kind == RECORD_OPEN) {
		note_opened(trace, call);
	} else {
		append(trace, &record, call->program);
	}
}

/* Whether the thread may still be in that call: /proc tells the number of one that sleeps. */
static bool is_inside(const struct call *call)
{
	char file[64], text[32] = "";
	if (clock_now() < call->since_ns + TICK_MS * CLOCK_MS / 2) {
		return true;
	}
	(void)snprintf(file, sizeof(file), "/proc/%u/task/%u/syscall", call->thread, call->thread);
	CLEANUP(fd_close) int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	return len > 0 && text[0] >= '0' && text[0] <= '9' && atoi(text) == call->row->number;
}

/*
 * Those of one thread (which has begun another call), or, 0, of all that are over; where nobody is
 * left to listen to, that is all of them.
 */
static void settle(struct trace *trace, uint32_t thread)
{
	struct call **at = &trace->calls;
	while (*at) {
		struct call *call = *at;
		if (thread ? call->thread != thread : trace->listener_count && is_inside(call)) {
			at = &call->next;
			continue;
		}
		*at = call->next;
		note_call(trace, call);
		drop_call(call);
	}
}

/* ---- closing ----------------------------------------------------------------------------- */

static bool has_open(const struct opened *file)
{
	char name[48];
	struct stat st;
	bool found = false;
	(void)snprintf(name, sizeof(name), "/proc/%u/fd", file->pid);
	DIR *list = opendir(name);
	for (const struct dirent *it; list && !found && (it = readdir(list));) {
		found = it->d_name[0] != '.' && fstatat(dirfd(list), it->d_name, &st, 0) == 0 &&
			st.st_dev == file->dev && st.st_ino == file->ino;
	}
	if (list) {
		(void)closedir(list);
	}
	return found;
}

static void note_closed(struct trace *trace, struct opened *file)
{
	struct record record = {.kind = RECORD_CLOSE,
		.pid = (uint32_t)getpid(),
		.fd = file->number,
		.path = buf_span(&file->path)};
	(void)fill_stat(&record, record.path);
	record.flags = RECORD_DIRTY | RECORD_HAS_INODE;
	record.dev = file->dev;
	record.ino = file->ino;
	append(trace, &record, file->program);
	buf_finish(&file->path);
	free(file);
}

static void close_files(struct trace *trace, bool all)
{
	struct opened **at = &trace->files;
	while (*at) {
		struct opened *file = *at;
		if (!all && has_open(file)) {
			at = &file->next;
			continue;
		}
		*at = file->next;
		note_closed(trace, file);
	}
}

/* ---- listening --------------------------------------------------------------------------- */

static void let_go_on(int listener, const struct seccomp_notif *it)
{
	struct seccomp_notif_resp answer = {
		.id = it->id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

static void hear(struct trace *trace, int listener)
{
	struct seccomp_notif it = {0};
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &it) < 0) {
		return;
	}
	settle(trace, it.pid);
	struct call *call = call_of(&it);
	/* Still the one who asked, and not another process under its number? */
	if (call && ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &it.id) == 0) {
		call->next = trace->calls;
		trace->calls = call;
	} else if (call) {
		drop_call(call);
	}
	let_go_on(listener, &it);
}

static bool is_ours(int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.uid == getuid();
}

static void take_listener(struct trace *trace)
{
	CLEANUP(fd_close) int fd = accept4(trace->socket, NULL, NULL, SOCK_CLOEXEC);
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	if (fd < 0 || !is_ours(fd) || recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != 1 ||
		!CMSG_FIRSTHDR(&message) || CMSG_FIRSTHDR(&message)->cmsg_type != SCM_RIGHTS) {
		return;
	}
	int listener;
	memcpy(&listener, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(listener));
	if (trace->listener_count == LISTENERS_MAX) {
		close(listener);
		return;
	}
	trace->listeners[trace->listener_count++] = listener;
	(void)!write(fd, &byte, 1);
}

/* All that ran under the filter has ended. */
static void drop_listener(struct trace *trace, size_t index)
{
	close(trace->listeners[index]);
	trace->listeners[index] = trace->listeners[--trace->listener_count];
}

/* Waits for the listeners, and for two descriptors of the caller's, unless that is NULL. */
static void hear_listeners(struct trace *trace, int timeout_ms, struct pollfd *own)
{
	static struct pollfd polled[LISTENERS_MAX + 2];
	size_t count = trace->listener_count;
	for (size_t i = 0; i < count; i++) {
		polled[i] = (struct pollfd){trace->listeners[i], POLLIN, 0};
	}
	if (own) {
		memcpy(&polled[count], own, 2 * sizeof(*own));
	}
	if (poll(polled, count + (own ? 2 : 0), timeout_ms) == 0) {
		settle(trace, 0);
	}
	if (own) {
		memcpy(own, &polled[count], 2 * sizeof(*own));
	}
	for (size_t i = count; i-- > 0;) {
		if (polled[i].revents & POLLIN) {
			hear(trace, trace->listeners[i]);
		} else if (polled[i].revents) {
			drop_listener(trace, i);
		}
	}
}

/* ---- the command ------------------------------------------------------------------------- */

/* Ends as the command did; what it left behind is followed by a child of ours. */
static void end_as(struct trace *trace, int status)
{
	(void)usleep(TICK_MS * 1000); /* what it did last is over by then, and its filter is gone */
	hear_listeners(trace, 0, NULL);
	settle(trace, 0);
	close_files(trace, false);
	if (trace->listener_count && fork() == 0) {
		trace->child = 0;
		(void)setsid();
		for (int fd = 0; fd < 3; fd++) {
			close(fd);
			(void)!open("/dev/null", O_RDWR);
		}
		return;
	}
	_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

static void child_changed(struct trace *trace)
{
	int status;
	pid_t pid = waitpid(trace->child, &status, WNOHANG | WUNTRACED);
	if (pid <= 0) {
		return;
	}
	if (WIFSTOPPED(status)) {
		(void)raise(SIGSTOP);
		(void)kill(trace->child, SIGCONT);
		return;
	}
	end_as(trace, status);
}

static void hear_signal(struct trace *trace)
{
	struct signalfd_siginfo it;
	if (read(trace->signals, &it, sizeof(it)) != sizeof(it)) {
		return;
	}
	if (it.ssi_signo == SIGCHLD) {
		child_changed(trace);
	} else if (trace->child &&
		   it.ssi_code == SI_USER) { /* the terminal's reach it by themselves */
		(void)kill(trace->child, (int)it.ssi_signo);
	}
}

static void turn(struct trace *trace)
{
	struct pollfd own[2] = {{trace->socket, POLLIN, 0}, {trace->signals, POLLIN, 0}};
	hear_listeners(trace, trace->calls || trace->files ? TICK_MS : -1, own);
	if (own[0].revents) {
		take_listener(trace);
	}
	if (clock_now() >= trace->closes_ns) {
		trace->closes_ns = clock_now() + CLOSES_NS;
		settle(trace, 0);
		close_files(trace, false);
	}
	if (own[1].revents) {
		hear_signal(trace);
	}
}

static int listen_at(struct trace *trace, char *name, size_t size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int len = snprintf(name, size, "treemirror-trace-%d-%llx", (int)getpid(),
		(unsigned long long)ident_source());
	memcpy(address.sun_path + 1, name, (size_t)len);
	trace->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
	return trace->socket < 0 || bind(trace->socket, (struct sockaddr *)&address, bytes) < 0 ||
			       listen(trace->socket, 64) < 0
		       ? -errno
		       : 0;
}

static void start(char **arguments, const sigset_t *before)
{
	(void)sigprocmask(SIG_SETMASK, before, NULL);
	execvp(arguments[0], arguments);
	(void)fprintf(stderr, "mirrorctl: run '%s': %s\n", arguments[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void name_job(struct trace *trace)
{
	struct job_variables seen = {0};
	for (char **entry = environ; *entry; entry++) {
		job_note(&seen, *entry);
	}
	(void)job_name(&seen, trace->job);
}

int trace_run(const struct config *config, char **arguments, struct why *why)
{
	static struct trace trace;
	static const int signals[] = {
		SIGCHLD, SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH};
	char name[64];
	sigset_t set, before;
	trace = (struct trace){.config = config};
	int r = listen_at(&trace, name, sizeof(name));
	CLEANUP(free_p) char *helper = place_program("mirror-trace");
	if (r < 0 || !helper || setenv("MIRROR_TRACE", name, 1) < 0) {
		return why_error(why, r < 0 ? r : -ENOMEM, "listen for programs to be traced");
	}
	if (access(helper, X_OK) < 0) {
		return why_error(why, -errno, "%s: %s", helper, strerror(errno));
	}
	name_job(&trace);
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		sigaddset(&set, signals[i]);
	}
	(void)sigprocmask(SIG_BLOCK, &set, &before);
	trace.signals = signalfd(-1, &set, SFD_CLOEXEC);
	trace.child = fork();
	if (trace.child == 0) {
		start(arguments, &before);
	}
	if (trace.signals < 0 || trace.child < 0) {
		return why_error(why, -errno, "begin: %s", strerror(errno));
	}
	while (trace.child || trace.listener_count) {
		turn(&trace);
	}
	settle(&trace, 0);
	close_files(&trace, true);
	_exit(0);
}

/* ---- whether ------------------------------------------------------------------------------ */

/* In a child, for a filter is for life. */
static int probe(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {1, &allow};
	struct seccomp_notif_sizes sizes;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0) {
		return errno;
	}
	long fd = syscall(
		SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	return fd < 0 ? errno : sizes.seccomp_notif > sizeof(struct seccomp_notif) ? E2BIG : 0;
}

int trace_probe(struct why *why)
{
	int status = 0;
	pid_t child = fork();
	if (child == 0) {
		_exit(probe());
	}
	if (child < 0 || waitpid(child, &status, 0) < 0) {
		return why_error(why, -errno, "fork: %s", strerror(errno));
	}
	int error = WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
	return error == 0
		       ? 0
		       : why_error(why, -error,
				 "this machine's kernel does not let programs be traced by seccomp "
				 "(%s); without --trace, what unseen programs change is looked for "
				 "when they end",
				 strerror(error));
}
