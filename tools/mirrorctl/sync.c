/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl sync: a bulk pass.  What is published is one deep change for each path; the walk
 * itself is done by the copiers.  So Ctrl-C here ends the looking on, not the work.
 *
 * The pass is over when the ledger has no bulk obligation open, at two looks one second apart,
 * after it has counted at least as many new changes as were published here.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "flow/place.h"
#include "gather.h"
#include "publish.h"
#include "term.h"
#include "units.h"
#include "verb.h"
#include "when.h"

#define LOGIN_NS       (10 * CLOCK_S)
#define FRESH_NS       (20 * CLOCK_S) /* of beats: four */
#define EXIT_INTERRUPT 130

struct sync {
	const struct command *command;
	const struct config *config;
	struct buf *paths; /* absolute source paths */
	size_t path_count;
	unsigned facts;
	int64_t newer_ns, older_ns;
	uint64_t begun_ns;
	struct ledger_summary before;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
	interrupted = 1;
}

/* ---- which paths ------------------------------------------------------------------------- */

static bool in_tree(const struct config *config, const struct buf *path)
{
	struct span rel;
	return !path->failed && path->len && config_tree(config, buf_span(path), &rel);
}

/* The text made absolute, without touching the disk. */
static void path_absolute(const char *typed, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf joined = BUF_EMPTY;
	CLEANUP(free_p) char *directory = typed[0] == '/' ? NULL : getcwd(NULL, 0);
	path_join(&joined, span_str(directory), span_str(typed));
	buf_clear(ret);
	ret->failed |= joined.failed || path_normalise(ret, buf_span(&joined)) < 0;
}

static void path_real(struct span path, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf text = BUF_EMPTY;
	buf_add(&text, path);
	CLEANUP(free_p) char *real = text.failed ? NULL : realpath(text.data, NULL);
	buf_clear(ret);
	buf_add_str(ret, real);
}

/*
 * The path as the trees know it: with its parent's symlinks resolved (it may be a symlink itself);
 * else all resolved; else as typed, which is all there is where the tree is on another host.
 */
static int path_canonical(const struct config *config, const char *typed, struct buf *ret)
{
	CLEANUP(buf_finish) struct buf plain = BUF_EMPTY;
	path_absolute(typed, &plain);
	struct span slash = path_parent(buf_span(&plain));
	path_real(slash.len ? slash : SPAN("/"), ret);
	if (ret->len) {
		path_join(ret, SPAN_NONE, path_name(buf_span(&plain)));
	}
	if (in_tree(config, ret)) {
		return 0;
	}
	path_real(buf_span(&plain), ret);
	if (in_tree(config, ret)) {
		return 0;
	}
	buf_clear(ret);
	buf_add(ret, buf_span(&plain));
	return in_tree(config, ret) ? 0 : -ENOENT;
}

static int take_paths(struct sync *sync)
{
	const struct command *command = sync->command;
	size_t count = command->argument_count ? command->argument_count : sync->config->tree_count;
	sync->paths = calloc(count + 1, sizeof(*sync->paths));
	if (!sync->paths) {
		return say(EXIT_FAILED, "out of memory");
	}
	sync->path_count = count;
	for (size_t i = 0; i < count; i++) {
		struct buf *path = &sync->paths[i];
		if (command->argument_count == 0) {
			buf_add_str(path, sync->config->trees[i].source.path);
		} else if (path_canonical(sync->config, command->arguments[i], path) < 0) {
			return say(EXIT_USAGE, "%s lies in no source tree of mirror %s",
				log_quote(span_str(command->arguments[i])), sync->config->mirror);
		}
	}
	return 0;
}

static int take_time(const struct command *command, const char *option, int64_t *ret_ns)
{
	const char *text = command_value(command, option);
	if (!text || when_parse(text, clock_wall(), ret_ns) == 0) {
		return 0;
	}
	return say(EXIT_USAGE,
		"--%s '%s' is not a time; expected a duration (2h: so long ago) or a "
		"date (2026-03-01, 2026-03-01T12:00)",
		option, text);
}

static int take_options(struct sync *sync)
{
	const struct command *command = sync->command;
	bool limited = command_has(command, "newer-than") || command_has(command, "older-than");
	if (command_has(command, "wait") && command_has(command, "no-wait")) {
		return say(EXIT_USAGE, "--wait and --no-wait contradict each other");
	}
	if (command_has(command, "dry-run") && limited) {
		return say(EXIT_USAGE,
			"--dry-run compares everything: it takes no --newer-than and no "
			"--older-than");
	}
	sync->facts = CHANGE_WALK | CHANGE_SOON;
	if (command_has(command, "delete")) {
		if (limited) {
			return say(EXIT_USAGE,
				"--delete with a limit of age would remove what it did not look "
				"at; give one of them");
		}
		sync->facts |= CHANGE_DELETE;
	}
	int failed = take_time(command, "newer-than", &sync->newer_ns);
	return failed ? failed : take_time(command, "older-than", &sync->older_ns);
}

/* ---- dry run ----------------------------------------------------------------------------- */

/* mirror-audit does the comparing; what differs is the result, not a failure. */
static int dry_run(const struct sync *sync)
{
	extern char **environ;
	CLEANUP(free_p) char *program = place_program("mirror-audit");
	char **argv = calloc(sync->path_count + 5, sizeof(*argv));
	int status = 0;
	pid_t pid;
	if (!argv || !program) {
		free(argv);
		return say(EXIT_FAILED, "out of memory");
	}
	argv[0] = program;
	argv[1] = (char *)"-c";
	argv[2] = sync->config->file;
	argv[3] = (char *)"--";
	for (size_t i = 0; i < sync->path_count; i++) {
		argv[4 + i] = sync->paths[i].data;
	}
	int r = posix_spawn(&pid, program, NULL, NULL, argv, environ);
	free(argv);
	if (r != 0) {
		return say(EXIT_FAILED, "run %s: %s", program, strerror(r));
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	bool compared = WIFEXITED(status) && WEXITSTATUS(status) <= 1;
	return compared ? EXIT_DONE : EXIT_FAILED;
}

/* ---- the pass ---------------------------------------------------------------------------- */

static int publish_all(const struct sync *sync, struct why *why)
{
	struct broker_session *session = NULL;
	int r = gather_session(sync->config, clock_now() + LOGIN_NS, &session, why);
	for (size_t i = 0; r == 0 && i < sync->path_count; i++) {
		struct change *change = publish_look(buf_span(&sync->paths[i]), sync->facts);
		if (!change) {
			r = why_error(why, -ENOMEM, "out of memory");
			break;
		}
		change->newer_ns = sync->newer_ns;
		change->older_ns = sync->older_ns;
		r = publish_change(sync->config, session, change, why);
		change_destroy(change);
	}
	broker_session_close(session);
	return r;
}

static void sync_progress(const struct sync *sync, const struct ledger_summary *now)
{
	double seconds = (double)(clock_now() - sync->begun_ns) / (double)CLOCK_S;
	double orders =
		(double)(now->orders - sync->before.orders) / (seconds > 0.1 ? seconds : 0.1);
	uint64_t bytes = now->work.bytes - sync->before.work.bytes;
	uint64_t eta =
		orders > 0 ? (uint64_t)((double)now->open_bulk / orders * (double)CLOCK_S) : 0;
	term_progress("sync (%s): %s to go; %s files, %s, %s/s%s%s",
		units_duration(clock_now() - sync->begun_ns), units_count(now->open_bulk),
		units_count(now->work.files - sync->before.work.files), units_bytes(bytes),
		units_bytes((uint64_t)((double)bytes / (seconds > 0.1 ? seconds : 0.1))),
		eta ? "; at least " : "", eta ? units_duration(eta) : "");
}

static int say_result(const struct sync *sync, const struct ledger_summary *now)
{
	term_progress_end();
	uint64_t files = now->work.files - sync->before.work.files;
	uint64_t directories = now->work.directories - sync->before.work.directories;
	printf("%s %s, %s %s, %s removed, %s equal already; %s in %s\n", units_count(files),
		files == 1 ? "file" : "files", units_count(directories),
		directories == 1 ? "directory" : "directories",
		units_count(now->work.removals - sync->before.work.removals),
		units_count(now->work.unchanged - sync->before.work.unchanged),
		units_bytes(now->work.bytes - sync->before.work.bytes),
		units_duration(clock_now() - sync->begun_ns));
	if (now->failed > sync->before.failed) {
		return say(EXIT_FAILED, "%s orders have failed: look at mirrorctl failed",
			units_count(now->failed - sync->before.failed));
	}
	return EXIT_DONE;
}

static int first_problem(void *arg, const struct note *beat)
{
	struct buf *words = arg;
	if (!beat->problem.len || beat->stopping || clock_wall() > beat->time_ns + FRESH_NS) {
		return 0;
	}
	char text[512];
	buf_printf(words, "%.*s: %s", SPAN_ARG(beat->stage),
		log_words(beat->problem, text, sizeof(text)));
	return 1;
}

/* A person who waits shall see why: what keeps a daemon from working is said once. */
static void say_problem(struct ledger *ledger, struct buf *said)
{
	CLEANUP(buf_finish) struct buf words = BUF_EMPTY;
	(void)ledger_each_daemon(ledger, first_problem, &words, NULL);
	if (words.len && !span_equal(buf_span(&words), buf_span(said))) {
		term_progress_end();
		(void)say(0, "%s; waiting until that is mended", words.data);
		buf_clear(said);
		buf_add(said, buf_span(&words));
	}
}

static int look_on(const struct sync *sync, struct ledger *ledger)
{
	CLEANUP(buf_finish) struct buf said = BUF_EMPTY;
	struct ledger_summary now;
	struct why why = {0};
	unsigned quiet = 0;
	(void)sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt}, NULL);
	while (!interrupted) {
		if (ledger_summary(ledger, &now, &why) < 0) {
			term_progress_end();
			return say(EXIT_FAILED, "ledger: %s; the work goes on", why.text);
		}
		bool counted = now.changes >= sync->before.changes + sync->path_count;
		quiet = counted && now.open_bulk == 0 ? quiet + 1 : 0;
		if (quiet == 2) {
			return say_result(sync, &now);
		}
		say_problem(ledger, &said);
		sync_progress(sync, &now);
		(void)sleep(1);
	}
	term_progress_end();
	return say(EXIT_INTERRUPT, "the work goes on; mirrorctl status shows how far it is");
}

static int bulk_pass(struct sync *sync)
{
	struct ledger *ledger = NULL;
	struct why why = {0};
	int known = gather_ledger(sync->config, &ledger, &why);
	if (known == 0) {
		known = ledger_summary(ledger, &sync->before, &why);
	}
	sync->begun_ns = clock_now();
	int status = EXIT_DONE;
	if (publish_all(sync, &why) < 0) {
		status = say(EXIT_FAILED, "%s", why.text);
	} else if (command_has(sync->command, "no-wait")) {
		status = EXIT_DONE;
	} else if (known < 0) {
		status = say(EXIT_FAILED,
			"the pass has begun, but its progress cannot be shown here: %s",
			known == -ENOENT ? "the tally runs on another host" : why.text);
	} else {
		status = look_on(sync, ledger);
	}
	ledger_close(ledger);
	return status;
}

static int sync_run(struct command *command)
{
	struct sync sync = {.command = command, .config = command->config};
	int status = take_options(&sync);
	if (!status) {
		status = take_paths(&sync);
	}
	if (!status) {
		status = command_has(command, "dry-run") ? dry_run(&sync) : bulk_pass(&sync);
	}
	for (size_t i = 0; i < sync.path_count; i++) {
		buf_finish(&sync.paths[i]);
	}
	free(sync.paths);
	return status;
}

static const struct option_row sync_options[] = {
	{"delete", 0, NULL, false, "remove what only the target has"},
	{"dry-run", 'n', NULL, false, "tell what differs, change nothing"},
	{"newer-than", 0, "T", false,
		"only files changed after T: 2h (so long ago), 2026-03-01T12:00"},
	{"older-than", 0, "T", false, "only files not changed after T"},
	{"wait", 0, NULL, false, "wait until it is done, with progress (the default)"},
	{"no-wait", 0, NULL, false, "return when the pass has begun"},
	{0},
};

const struct verb verb_sync = {
	.name = "sync",
	.arguments = "[PATH…]",
	.summary = "make the target equal below the paths, or all of it, behind live work",
	.help = "For the first copy and for catching up.  The copiers share the work; Ctrl-C ends "
		"the\n"
		"looking on, not the work.",
	.options = sync_options,
	.words = WORDS_FILES,
	.run = sync_run,
};
