/* SPDX-License-Identifier: Apache-2.0 */
/*
 *             want + allow          READY=1
 *   OFF/WAITING ────────▶ STARTING ────────▶ READY
 *        ▲                   │  died            │ died
 *        │                   ▼                  ▼
 *        │            PAUSING (pause) or WRONG (exit 100)
 *        └── STOPPING ◀── not wanted, from anywhere
 *
 * process_adjust() is the one place that compares what is wanted with what is.  Between fork and
 * exec only calls that are safe there are made: everything is prepared before.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "core/cleanup.h"
#include "core/log.h"
#include "flow/place.h"
#include "flow/service.h"
#include "logfile.h"

#define READY_FD       3              /* of the child; $MIRROR_NOTIFY_FD says so */
#define DAEMON_STOP_NS (15 * CLOCK_S) /* they give themselves 10 s */

const char *process_state_name(enum process_state state)
{
	static const char *const names[] = {
		[PROCESS_OFF] = "off",
		[PROCESS_WAITING] = "waiting",
		[PROCESS_STARTING] = "starting",
		[PROCESS_READY] = "ready",
		[PROCESS_STOPPING] = "stopping",
		[PROCESS_PAUSING] = "pausing",
		[PROCESS_WRONG] = "wrong",
	};
	return names[state];
}

uint64_t process_pause_ns(unsigned soon_deaths)
{
	uint64_t pause = 500 * CLOCK_MS;
	for (unsigned i = 1; i < soon_deaths && pause < PROCESS_PAUSE_NS; i++) {
		pause *= 2;
	}
	return pause < PROCESS_PAUSE_NS ? pause : PROCESS_PAUSE_NS;
}

bool process_keeps_dying(const struct process *process)
{
	return process->soon_deaths >= PROCESS_OFTEN && process->state != PROCESS_READY;
}

static void process_adjust(struct process *process);

static void enter(struct process *process, enum process_state state)
{
	if (process->state != state) {
		process->state = state;
		process->since_wall_ns = clock_wall();
		process->changed(process->arg);
	}
}

/* ---- what it says ------------------------------------------------------------------------ */

/* Keeps a line, without the time and the name that our own log lines begin with. */
static void keep_words(struct process *process, const char *line)
{
	const char *name = strstr(line, process->name);
	if (line[0] == '2' && name && name - line == 25 && name[strlen(process->name)] == ' ') {
		line = name + strlen(process->name) + 1;
	}
	if (line[0]) {
		(void)snprintf(process->last_words, sizeof(process->last_words), "%s", line);
	}
}

static void take_words(struct process *process, struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++) {
		if (bytes.data[i] == '\n' || process->line.len >= sizeof(process->last_words)) {
			keep_words(process, process->line.data ? process->line.data : "");
			buf_clear(&process->line);
		} else {
			buf_add(&process->line,
				bytes.data[i] ? span_of(&bytes.data[i], 1) : SPAN("?"));
		}
	}
}

static void close_watched(struct process *process, int *fd)
{
	if (*fd >= 0) {
		loop_remove_fd(process->loop, *fd);
		fd_close(fd);
	}
}

static void on_words(void *arg, uint32_t events)
{
	struct process *process = arg;
	char bytes[8192];
	ssize_t len = read(process->words_fd, bytes, sizeof(bytes));
	if (len > 0) {
		ssize_t written = write(process->log_fd, bytes, (size_t)len);
		(void)written; /* a full disk must not stop the daemon */
		logfile_rotate(process->log, process->log_fd);
		take_words(process, span_of(bytes, (size_t)len));
	} else if (len == 0 || (errno != EAGAIN && errno != EINTR)) {
		close_watched(process, &process->words_fd);
	}
}

void process_set_ready(struct process *process)
{
	if (process->state == PROCESS_STARTING) {
		log_info("%s is ready pid=%d", process->name, (int)process->pid);
		enter(process, PROCESS_READY);
		if (process->reload) {
			process_reload(process);
		}
	}
}

void process_reload(struct process *process)
{
	process->reload = process->state == PROCESS_STARTING;
	if (process->state == PROCESS_READY) {
		(void)kill(process->pid, SIGHUP);
	}
}

static void on_ready(void *arg, uint32_t events)
{
	struct process *process = arg;
	char bytes[256];
	ssize_t len = read(process->ready_fd, bytes, sizeof(bytes) - 1);
	if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	bytes[len > 0 ? len : 0] = '\0';
	if (strstr(bytes, "READY=1")) {
		process_set_ready(process);
	}
	if (len <= 0) {
		close_watched(process, &process->ready_fd);
	}
}

/* ---- starting ---------------------------------------------------------------------------- */

static void tell(const char *text)
{
	ssize_t written = write(STDERR_FILENO, text, strlen(text));
	(void)written; /* nobody is left to tell */
}

/* In the child.  Returns only by exec or _exit. */
static void become(struct process *process, int ready, int words, pid_t parent)
{
	sigset_t none;
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent) {
		_exit(SERVICE_EXIT_AGAIN);
	}
	if (dup2(words, STDOUT_FILENO) < 0 || dup2(words, STDERR_FILENO) < 0 ||
		(ready == READY_FD ? fcntl(ready, F_SETFD, 0) : dup2(ready, READY_FD)) < 0) {
		_exit(SERVICE_EXIT_AGAIN);
	}
	execve(process->argv[0], process->argv, process->envp ? process->envp : environ);
	const char *reason = strerrordesc_np(errno);
	tell(process->argv[0]);
	tell(": cannot be run: ");
	tell(reason);
	tell("\n");
	_exit(SERVICE_EXIT_WRONG);
}

static int watch(struct process *process, int fd, int *kept, loop_fd_fn fn)
{
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	*kept = fd;
	return loop_add_fd(process->loop, fd, EPOLLIN, fn, process);
}

static int process_spawn(struct process *process)
{
	int ready[2] = {-1, -1}, words[2] = {-1, -1};
	pid_t parent = getpid();
	if (pipe2(ready, O_CLOEXEC) < 0) {
		return -errno;
	}
	if (pipe2(words, O_CLOEXEC) < 0) {
		int r = -errno;
		close(ready[0]);
		close(ready[1]);
		return r;
	}
	pid_t pid = fork();
	if (pid == 0) {
		become(process, ready[1], words[1], parent);
	}
	int r = pid < 0 ? -errno : 0;
	close(ready[1]);
	close(words[1]);
	if (r < 0 || (r = watch(process, ready[0], &process->ready_fd, on_ready)) < 0 ||
		(r = watch(process, words[0], &process->words_fd, on_words)) < 0) {
		log_error("watch %s: %s", process->name, strerror(-r));
	}
	if (pid < 0) {
		close(ready[0]);
		close(words[0]);
		return r;
	}
	process->pid = pid;
	process->started_ns = clock_now();
	log_info("%s started pid=%d", process->name, (int)pid);
	return 0;
}

static void process_start(struct process *process)
{
	int r = process->log_fd >= 0 ? 0 : logfile_open(process->log, &process->log_fd, NULL);
	if (r == 0) {
		r = process_spawn(process);
	}
	if (r < 0) {
		(void)snprintf(process->last_words, sizeof(process->last_words),
			"cannot be started: %s", strerror(-r));
		process->soon_deaths++;
		enter(process, PROCESS_PAUSING);
		(void)loop_timer_set(
			&process->timer, clock_now() + process_pause_ns(process->soon_deaths));
		return;
	}
	enter(process, PROCESS_STARTING);
}

/* ---- ending ------------------------------------------------------------------------------ */

static void process_stop(struct process *process)
{
	log_info("%s is asked to stop pid=%d", process->name, (int)process->pid);
	(void)kill(process->pid, SIGTERM);
	enter(process, PROCESS_STOPPING);
	(void)loop_timer_set(&process->timer, clock_now() + process->stop_ns);
}

static void describe_exit(struct process *process, int status)
{
	if (WIFEXITED(status)) {
		(void)snprintf(process->last_exit, sizeof(process->last_exit), "exit %d",
			WEXITSTATUS(status));
	} else {
		(void)snprintf(process->last_exit, sizeof(process->last_exit), "signal %d (%s)",
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	}
}

static void process_died(struct process *process, int status)
{
	bool asked = process->state == PROCESS_STOPPING;
	on_words(process, EPOLLIN); /* what it said last is still in the pipe */
	close_watched(process, &process->words_fd);
	close_watched(process, &process->ready_fd);
	loop_timer_stop(&process->timer);
	describe_exit(process, status);
	log_line(asked ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "%s ended: %s pid=%d", process->name,
		process->last_exit, (int)process->pid);
	process->pid = 0;
	if (asked || !process->wanted) {
		enter(process, PROCESS_OFF);
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == SERVICE_EXIT_WRONG) {
		enter(process, PROCESS_WRONG);
	} else {
		bool soon = clock_now() - process->started_ns < PROCESS_SOON_NS;
		process->soon_deaths = soon ? process->soon_deaths + 1 : 1;
		process->restarts++;
		enter(process, PROCESS_PAUSING);
		(void)loop_timer_set(
			&process->timer, clock_now() + process_pause_ns(process->soon_deaths));
	}
	process_adjust(process);
}

void process_reap(struct process *process)
{
	int status;
	if (process->pid > 0 && waitpid(process->pid, &status, WNOHANG) == process->pid) {
		process_died(process, status);
	}
}

static void on_timer(void *arg)
{
	struct process *process = arg;
	if (process->state == PROCESS_STOPPING) {
		log_warning(
			"%s does not stop; it is killed pid=%d", process->name, (int)process->pid);
		(void)kill(process->pid, SIGKILL);
	} else if (process->state == PROCESS_PAUSING) {
		enter(process, PROCESS_WAITING);
		process_adjust(process);
	}
}

/* ---- what is wanted, and what is --------------------------------------------------------- */

static void process_adjust(struct process *process)
{
	bool lives = process->pid > 0;
	if (!process->wanted && lives && process->state != PROCESS_STOPPING) {
		process_stop(process);
	} else if (!process->wanted && !lives) {
		loop_timer_stop(&process->timer);
		enter(process, PROCESS_OFF);
	} else if (process->wanted && process->state == PROCESS_OFF) {
		enter(process, PROCESS_WAITING);
	}
	if (process->state == PROCESS_WAITING && process->allowed) {
		process_start(process);
	}
}

void process_want(struct process *process, bool wanted)
{
	if (wanted && !process->pid) {
		process->soon_deaths = 0;
		process->last_words[0] = '\0';
		loop_timer_stop(&process->timer);
		process->state = PROCESS_OFF;
	}
	process->wanted = wanted;
	process->known = process->known || wanted;
	process_adjust(process);
}

void process_allow(struct process *process, bool allowed)
{
	process->allowed = allowed;
	process_adjust(process);
}

json_t *process_json(const struct process *process)
{
	return json_pack("{s:s, s:s, s:i, s:s, s:b, s:b, s:i, s:I, s:I, s:s, s:o, s:b, s:o}",
		"name", process->name, "stage", process->stage, "instance", (int)process->instance,
		"state", process_state_name(process->state), "wanted", process->wanted, "known",
		process->known, "pid", (int)process->pid, "restarts", (json_int_t)process->restarts,
		"since_ns", (json_int_t)process->since_wall_ns, "last_exit", process->last_exit,
		"last_words", control_text(process->last_words), "keeps_dying",
		process_keeps_dying(process), "log", control_text(process->log));
}

int process_init(struct process *process, struct loop *loop, const char *stage, int instance,
	const char *log_directory, void (*changed)(void *arg), void *arg)
{
	*process = (struct process){.stage = stage,
		.loop = loop,
		.changed = changed,
		.arg = arg,
		.instance = instance < 0 ? 0 : (unsigned)instance,
		.log_fd = -1,
		.words_fd = -1,
		.ready_fd = -1,
		.since_wall_ns = clock_wall()};
	if (instance < 0) {
		(void)snprintf(process->name, sizeof(process->name), "%s", stage);
	} else {
		(void)snprintf(process->name, sizeof(process->name), "%s-%d", stage, instance);
	}
	loop_timer_init(&process->timer, loop, on_timer, process);
	return asprintf(&process->log, "%s/%s.log", log_directory, process->name) < 0 ? -ENOMEM : 0;
}

int process_set_daemon(struct process *process, const char *config_file)
{
	char program[64], number[16];
	bool numbered = strchr(process->name, '-') != NULL;
	char **argv = process->own_argv;
	(void)snprintf(program, sizeof(program), "mirror-%s", process->stage);
	(void)snprintf(number, sizeof(number), "%u", process->instance);
	argv[0] = place_program(program);
	argv[1] = strdup("-c");
	argv[2] = strdup(config_file);
	argv[3] = numbered ? strdup("-i") : NULL;
	argv[4] = numbered ? strdup(number) : NULL;
	process_set_program(process, argv, NULL, DAEMON_STOP_NS);
	return argv[0] && argv[1] && argv[2] && (!numbered || (argv[3] && argv[4])) ? 0 : -ENOMEM;
}

void process_set_program(struct process *process, char **argv, char **envp, uint64_t stop_ns)
{
	process->argv = argv;
	process->envp = envp;
	process->stop_ns = stop_ns;
}

void process_finish(struct process *process)
{
	if (process->pid > 0) {
		(void)kill(process->pid, SIGKILL);
		(void)waitpid(process->pid, NULL, 0);
	}
	if (!process->loop) {
		return; /* never initialised */
	}
	close_watched(process, &process->words_fd);
	close_watched(process, &process->ready_fd);
	fd_close(&process->log_fd);
	loop_timer_stop(&process->timer);
	buf_finish(&process->line);
	for (size_t i = 0; i < sizeof(process->own_argv) / sizeof(process->own_argv[0]); i++) {
		free(process->own_argv[i]);
	}
	free(process->log);
}
