/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The poster between a real journal and a real broker: a child process that is
 * killed and started again, records appended by this one, and the tally's queue
 * as the witness.
 */
#include "broker-rig.h"

#include <ftw.h>
#include <ftw.h>
#include <sys/stat.h>

#include "core/cleanup.h"
#include "core/journal.h"
#include "core/path.h"
#include "flow/map.h"
#include "flow/message.h"
#include "flow/place.h"
#include "flow/topology.h"
#include "poster/counts.h"
#include "poster/post.h"

#define RECORDS 5000

static char places[80], tree_path[80];
static struct tree the_tree;
static char *no_exclude[] = {NULL};
static char *journal_places[] = {places, NULL};

/* ---- the poster, as a process of its own ----------------------------------------------------- */

static void no_beat(void *arg)
{
	(void)arg;
}

static void no_problem(void *arg, const char *words)
{
	(void)arg;
	if (words) {
		(void)fprintf(stderr, "problem: %s\n", words);
	}
}

static void give_up(void *arg, const char *words)
{
	(void)arg;
	(void)fprintf(stderr, "failed: %s\n", words);
	_exit(111);
}

struct running {
	struct loop *loop;
	struct post *post;
};

static void stopped(void *arg)
{
	struct running *running = arg;
	loop_stop(running->loop);
}

static void terminated(void *arg, int signal_number)
{
	struct running *running = arg;
	(void)signal_number;
	post_drain(running->post, stopped, running);
}

static void run_poster(void)
{
	struct why why = {""};
	struct running running = {0};
	struct broker_options broker_options = {.nodes.count = 1, .name = "poster"};
	struct post_options options = {
		.config = &rig_config, .problem = no_problem, .failed = give_up, .beat = no_beat};
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (managed_url(&rig_config, &broker_options.nodes.urls[0], &why) < 0 ||
		loop_create(&running.loop) < 0 ||
		loop_add_signal(running.loop, SIGTERM, terminated, &running) < 0 ||
		broker_create(running.loop, &broker_options, &options.broker) < 0) {
		give_up(NULL, why.text);
	}
	options.loop = running.loop;
	if (post_create(&options, &running.post, &why) < 0 || loop_run(running.loop) < 0) {
		give_up(NULL, why.text);
	}
	broker_destroy(options.broker);
	post_destroy(running.post);
	loop_destroy(running.loop);
	_exit(0);
}

static pid_t start_poster(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		run_poster();
	}
	return pid;
}

static int end_poster(pid_t pid, int signal_number)
{
	int status = -1;
	kill(pid, signal_number);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- the writer ------------------------------------------------------------------------------ */

static void attach(struct journal_writer *writer)
{
	CLEANUP(free_p) char *directory = place_journal(&rig_config, 0);
	uint64_t deadline = clock_now() + 20 * CLOCK_S;
	*writer = (struct journal_writer){0};
	while (journal_attach(writer, directory) < 0) {
		assert_true(clock_now() < deadline);
		usleep(5000);
	}
}

/* A ring of this size, fresh. */
static void make_journal(uint64_t size_bytes)
{
	CLEANUP(free_p) char *directory = place_journal(&rig_config, 0);
	CLEANUP(free_p) char *state = place_state("test", NULL);
	char command[512];
	struct journal *journal;
	struct why why = {""};
	(void)snprintf(command, sizeof(command), "rm -rf '%s' '%s'/poster-*", directory, state);
	assert_int_equal(system(command), 0);
	rig_config.journal_size_bytes = size_bytes;
	assert_int_equal(journal_create(directory, size_bytes, &journal, &why), 0);
	journal_destroy(journal);
}

static struct record name_record(
	enum record_kind kind, struct buf *path, const char *test, unsigned number)
{
	buf_clear(path);
	buf_printf(path, "%s/%s-%u", tree_path, test, number);
	return (struct record){.kind = kind,
		.pid = (uint32_t)getpid(),
		.fd = -1,
		.time_ns = clock_wall(),
		.path = buf_span(path)};
}

static unsigned append_many(const char *test, unsigned count)
{
	struct journal_writer writer;
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	unsigned full = 0;
	attach(&writer);
	for (unsigned i = 0; i < count; i++) {
		struct record record = name_record(RECORD_MKDIR, &path, test, i);
		int r = journal_append(&writer, &record);
		assert_true(r == 0 || r == JOURNAL_FULL);
		full += r == JOURNAL_FULL;
	}
	return full;
}

/* With the inode that path has now. */
static void append_of(const char *path, struct record record)
{
	struct journal_writer writer;
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	record.flags |= RECORD_HAS_INODE;
	record.dev = st.st_dev;
	record.ino = st.st_ino;
	attach(&writer);
	assert_int_equal(journal_append(&writer, &record), 0);
}

static void append_open_at(const char *path, pid_t pid, int fd, uint64_t time_ns)
{
	append_of(path, (struct record){.kind = RECORD_OPEN,
				.flags = RECORD_CREATED,
				.pid = (uint32_t)pid,
				.fd = fd,
				.time_ns = time_ns,
				.path = span_str(path)});
}

static void append_open(const char *path, pid_t pid)
{
	append_open_at(path, pid, 3, clock_wall());
}

static void append_close(const char *path, pid_t pid, int fd)
{
	append_of(path, (struct record){.kind = RECORD_CLOSE,
				.flags = RECORD_DIRTY,
				.pid = (uint32_t)pid,
				.fd = fd,
				.time_ns = clock_wall()});
}

static void make_file(char *ret, size_t size, const char *name)
{
	(void)snprintf(ret, size, "%s/%s", tree_path, name);
	int fd = open(ret, O_WRONLY | O_CREAT, 0644);
	assert_true(fd >= 0);
	close(fd);
}

static pid_t start_sleeper(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			pause();
		}
	}
	return pid;
}

/* ---- the witness ----------------------------------------------------------------------------- */

struct witness {
	struct loop *loop;
	struct broker *broker;
	struct broker_consumer *consumer;
	struct map paths;   /* of changes -> non-NULL */
	struct map renamed; /* the same for the new names of renames */
	unsigned messages;
	unsigned rescans;     /* LOOK, DEEP of the tree */
	struct ident marker;  /* the last one */
	size_t before_marker; /* paths known then */
	unsigned changes, changes_before_marker;
};

static void witness_change(struct witness *w, struct span body)
{
	struct change *change;
	assert_int_equal(message_decode_change(body, &change, NULL), 0);
	if (change->op == CHANGE_LOOK && (change->facts & CHANGE_DEEP)) {
		w->rescans++;
	}
	int r = map_put(&w->paths, change->path, w, NULL);
	assert_true(r == 0 || r == -EEXIST);
	if (change->op == CHANGE_RENAME) {
		r = map_put(&w->renamed, change->path, w, NULL);
		assert_true(r == 0 || r == -EEXIST);
	}
	change_destroy(change);
}

static void witness_note(struct witness *w, struct span body)
{
	struct note note;
	assert_int_equal(message_decode_note(body, &note, NULL), 0);
	if (note.kind == NOTE_MARKER) {
		w->marker = note.flush;
		w->before_marker = w->paths.count;
		w->changes_before_marker = w->changes;
	}
	note_finish(&note);
}

static void witnessed(void *arg, struct broker_delivery delivery, struct span body)
{
	struct witness *w = arg;
	enum message_kind kind;
	assert_int_equal(message_kind(body, &kind, NULL), 0);
	w->messages++;
	if (kind == MESSAGE_CHANGE) {
		w->changes++;
		witness_change(w, body);
	} else if (kind == MESSAGE_NOTE) {
		witness_note(w, body);
	}
	broker_ack(w->broker, delivery);
}

static void witness_open(struct witness *w)
{
	struct broker_options options = {.nodes.count = 1, .name = "witness"};
	*w = (struct witness){0};
	assert_int_equal(managed_url(&rig_config, &options.nodes.urls[0], NULL), 0);
	assert_int_equal(loop_create(&w->loop), 0);
	assert_int_equal(broker_create(w->loop, &options, &w->broker), 0);
	assert_int_equal(broker_consume(w->broker, "q_test_tally", NULL, 0, 1000, witnessed, NULL,
				 w, &w->consumer),
		0);
}

static void witness_close(struct witness *w)
{
	broker_destroy(w->broker);
	loop_destroy(w->loop);
	map_finish(&w->paths);
	map_finish(&w->renamed);
}

#define WAIT_UNTIL(w, condition)                                                                   \
	do {                                                                                       \
		uint64_t deadline_ = clock_now() + 60 * CLOCK_S;                                   \
		while (!(condition)) {                                                             \
			assert_true(clock_now() < deadline_);                                      \
			assert_int_equal(loop_turn((w)->loop, clock_now() + 50 * CLOCK_MS), 0);    \
		}                                                                                  \
	} while (0)

static bool has_path(struct witness *w, const char *path)
{
	return map_get(&w->paths, span_str(path));
}

static unsigned count_of(struct witness *w, const char *test, unsigned count)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	unsigned found = 0;
	for (unsigned i = 0; i < count; i++) {
		(void)name_record(RECORD_MKDIR, &path, test, i);
		found += has_path(w, path.data);
	}
	return found;
}

static struct journal_facts facts_now(void)
{
	CLEANUP(free_p) char *directory = place_journal(&rig_config, 0);
	struct journal *journal;
	struct journal_facts facts;
	assert_int_equal(journal_peek(directory, &journal, NULL), 0);
	journal_facts(journal, &facts);
	journal_destroy(journal);
	return facts;
}

static bool all_released(void)
{
	struct journal_facts facts = facts_now();
	return facts.head == facts.released;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void nothing_is_lost_while_the_broker_is_away(void **state)
{
	struct witness w;
	(void)state;
	make_journal(8 << 20);
	rig_end(SIGTERM);
	pid_t poster = start_poster();
	assert_int_equal(append_many("away", RECORDS), 0);
	usleep(500000);
	assert_false(all_released());
	assert_int_equal(rig_start(), 0);
	witness_open(&w);
	WAIT_UNTIL(&w, count_of(&w, "away", RECORDS) == RECORDS);
	WAIT_UNTIL(&w, all_released());
	witness_close(&w);
	assert_int_equal(end_poster(poster, SIGTERM), 0);
}

/* How many records count as having become changes, and how many in all. */
static void assert_counted(uint64_t told, uint64_t read)
{
	CLEANUP(free_p) char *directory = place_journal(&rig_config, 0);
	struct journal *journal;
	struct counts counts;
	assert_int_equal(journal_peek(directory, &journal, NULL), 0);
	counts_open(&counts, journal);
	assert_int_equal(counts.values[COUNT_TOLD], told);
	assert_int_equal(counts_read(&counts), read);
	journal_destroy(journal);
}

static void killed_again_and_again(void **state)
{
	struct witness w;
	(void)state;
	make_journal(8 << 20);
	assert_int_equal(append_many("killed", RECORDS), 0);
	for (unsigned i = 0; i < 8; i++) {
		pid_t poster = start_poster();
		usleep(40000 + 25000 * i);
		assert_int_equal(end_poster(poster, SIGKILL), -1);
	}
	pid_t poster = start_poster();
	witness_open(&w);
	WAIT_UNTIL(&w, count_of(&w, "killed", RECORDS) == RECORDS);
	WAIT_UNTIL(&w, all_released());
	assert_counted(RECORDS, RECORDS); /* each once */
	witness_close(&w);
	assert_int_equal(end_poster(poster, SIGTERM), 0);
}

static void only_one_serves_a_journal(void **state)
{
	struct journal_writer writer;
	struct post_options options = {
		.config = &rig_config, .problem = no_problem, .failed = give_up, .beat = no_beat};
	struct post *post;
	struct why why = {""};
	(void)state;
	make_journal(1 << 20);
	pid_t poster = start_poster();
	attach(&writer);
	uint64_t deadline = clock_now() + 20 * CLOCK_S;
	while (facts_now().reader_pid != (uint32_t)poster) {
		assert_true(clock_now() < deadline);
		usleep(5000);
	}
	assert_int_equal(loop_create(&options.loop), 0);
	assert_int_equal(post_create(&options, &post, &why), -EAGAIN);
	assert_non_null(strstr(why.text, "another poster serves"));
	loop_destroy(options.loop);
	assert_int_equal(end_poster(poster, SIGTERM), 0);
}

/* Until the poster listens a flush is heard by nobody; then it is asked again.
 */
static void flush_until_answered(struct witness *w, struct ident id)
{
	struct note flush = {.kind = NOTE_FLUSH, .flush = id};
	CLEANUP(buf_finish) struct buf body = BUF_EMPTY;
	uint64_t deadline = clock_now() + 60 * CLOCK_S;
	message_encode_note(&flush, &body);
	while (!ident_equal(w->marker, id)) {
		uint64_t again = clock_now() + CLOCK_S;
		assert_true(clock_now() < deadline);
		assert_int_equal(broker_publish(w->broker, "x_test_control", SPAN("note"),
					 buf_span(&body), NULL, NULL),
			0);
		while (clock_now() < again && !ident_equal(w->marker, id)) {
			assert_int_equal(loop_turn(w->loop, clock_now() + 50 * CLOCK_MS), 0);
		}
	}
}

static void a_flush_is_answered_behind_everything(void **state)
{
	struct witness w;
	char path[128];
	(void)state;
	make_journal(8 << 20);
	make_file(path, sizeof(path), "open");
	witness_open(&w);
	append_open(path, getpid());
	assert_int_equal(append_many("flush", RECORDS), 0);
	pid_t poster = start_poster();
	flush_until_answered(&w, (struct ident){7, 8});
	assert_int_equal(w.before_marker, w.paths.count);
	assert_int_equal(count_of(&w, "flush", RECORDS), RECORDS);
	assert_true(has_path(&w, path));
	witness_close(&w);
	assert_int_equal(end_poster(poster, SIGTERM), 0);
}

static void a_killed_job_is_noticed(void **state)
{
	struct witness w;
	char path[128];
	(void)state;
	make_journal(1 << 20);
	make_file(path, sizeof(path), "killed-job");
	pid_t poster = start_poster();
	pid_t job = start_sleeper();
	witness_open(&w);
	append_open(path, job);
	WAIT_UNTIL(&w, all_released());
	assert_false(has_path(&w, path));
	end_poster(job, SIGKILL);
	WAIT_UNTIL(&w, has_path(&w, path));
	witness_close(&w);
	assert_int_equal(end_poster(poster, SIGTERM), 0);
}

/* It began after it opened the file, says the clock: then another process has its number.  It has
 * not, and the end of its writing is told. */
static void a_clock_that_was_set_forward_ends_nobody(void **state)
{
	struct witness w;
	char path[128];
	(void)state;
	make_journal(1 << 20);
	make_file(path, sizeof(path), "young");
	int fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	pid_t job = start_sleeper();
	close(fd);
	witness_open(&w);
	pid_t poster = start_poster();
	append_open_at(path, job, fd, clock_wall() - 3600 * CLOCK_S);
	WAIT_UNTIL(&w, has_path(&w, path));
	WAIT_UNTIL(&w, all_released());
	w.changes = 0;
	append_close(path, job, fd);
	WAIT_UNTIL(&w, w.changes > 0);
	end_poster(job, SIGKILL);
	witness_close(&w);
	assert_int_equal(end_poster(poster, SIGTERM), 0);
}

/* Told as open and once more as left behind, the second would come behind the marker. */
static void who_died_before_a_flush_is_told_of_once(void **state)
{
	enum { JOBS = 30 };
	struct witness w;
	char paths[JOBS][128];
	pid_t jobs[JOBS];
	(void)state;
	make_journal(1 << 20);
	witness_open(&w);
	pid_t poster = start_poster();
	flush_until_answered(&w, (struct ident){9, 1});
	for (unsigned i = 0; i < JOBS; i++) {
		char name[32];
		(void)snprintf(name, sizeof(name), "left-%u", i);
		make_file(paths[i], sizeof(paths[i]), name);
		jobs[i] = start_sleeper();
		append_open(paths[i], jobs[i]);
	}
	WAIT_UNTIL(&w, all_released());
	kill(poster, SIGSTOP);
	for (unsigned i = 0; i < JOBS; i++) {
		end_poster(jobs[i], SIGKILL);
	}
	kill(poster, SIGCONT);
	w.changes = 0;
	flush_until_answered(&w, (struct ident){9, 2});
	assert_int_equal(w.changes_before_marker, JOBS);
	uint64_t deadline = clock_now() + 1500 * CLOCK_MS; /* a sweep is over by then */
	WAIT_UNTIL(&w, clock_now() > deadline);
	assert_int_equal(w.changes, JOBS);
	witness_close(&w);
	assert_int_equal(end_poster(poster, SIGTERM), 0);
}

/* The record is released, the poster is killed, and the job dies with nobody
 * watching. */
static void open_files_outlive_the_poster(void **state)
{
	struct witness w;
	char path[128];
	(void)state;
	make_journal(1 << 20);
	make_file(path, sizeof(path), "orphan");
	pid_t poster = start_poster();
	pid_t job = start_sleeper();
	witness_open(&w);
	append_open(path, job);
	WAIT_UNTIL(&w, all_released());
	end_poster(poster, SIGKILL);
	end_poster(job, SIGKILL);
	poster = start_poster();
	WAIT_UNTIL(&w, has_path(&w, path));
	witness_close(&w);
	assert_int_equal(end_poster(poster, SIGTERM), 0);
}

static void an_overflow_becomes_a_rescan(void **state)
{
	struct witness w;
	(void)state;
	make_journal(64 << 10);
	assert_true(append_many("over", RECORDS) > 0);
	assert_int_not_equal(facts_now().dropped_since_ns, 0);
	witness_open(&w);
	w.rescans = 0;
	pid_t poster = start_poster();
	WAIT_UNTIL(&w, w.rescans > 0);
	assert_int_equal(facts_now().dropped_since_ns, 0);
	WAIT_UNTIL(&w, all_released());
	witness_close(&w);
	assert_int_equal(end_poster(poster, SIGTERM), 0);
}

/* ---- with the shim ---------------------------------------------------------------------- */

static struct witness *walking;
static unsigned untold;

/* What is no file needs no word of its own below a directory that was renamed. */
static bool went_along(const char *path, int type)
{
	struct span above = path_parent(span_str(path));
	while (type != FTW_F && above.len && !map_get(&walking->renamed, above)) {
		above = path_parent(above);
	}
	return type != FTW_F && above.len;
}

static int is_told(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	if (at->level > 0 && !has_path(walking, path) && !went_along(path, type)) {
		print_error("nothing was told of %s\n", path);
		untold++;
	}
	return 0;
}

/* Runs it in the tree, under the shim that lies next to the tests. */
static void run_job(const char *script)
{
	char self[512], preload[600];
	CLEANUP(free_p) char *directory = place_journal(&rig_config, 0);
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	assert_true(len > 0);
	self[len] = '\0';
	for (unsigned i = 0; i < 3; i++) {
		*strrchr(self, '/') = '\0';
	}
	(void)snprintf(preload, sizeof(preload), "%s/lib/libmirrorshim.so", self);
	pid_t pid = fork();
	if (pid == 0) {
		setenv("LD_PRELOAD", preload, 1);
		setenv("MIRROR_JOURNAL", directory, 1);
		_exit(chdir(rig_directory) < 0 ? 127 : execl("/bin/sh", "sh", "-c", script, NULL));
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void everything_a_job_does_is_told(void **state)
{
	static const char script[] =
		"set -e; mkdir tree/job; ln -s tree/job way; mkdir way/dir way/dir/sub; cd "
		"way/dir\n"
		"for i in 1 2 3 4 5 6 7 8 9; do echo $i > f$i; done; cp f1 ../copy; ln f2 ../hard\n"
		"mv f3 ../moved; mv sub ../renamed; echo late > ../renamed/file; rm f4; touch f5\n"
		"{ echo a; sleep 0.1; echo b; } > redirected; echo more >> f6; chmod 600 f7\n"
		"ln -s '../no where' soft; mkfifo ../pipe; cd ..; mkdir \"$(printf 'od\\nd "
		"\\377')\"\n"
		"(exec 5> killed; echo x >&5; kill -9 $(exec sh -c 'echo $PPID')) || true\n"
		"tar cf - dir | (mkdir again; cd again; tar xf -); mv dir last; truncate -s 5 "
		"last/f8\n"
		"dd if=/dev/zero of=last/f9 bs=1 count=1 seek=9 conv=notrunc 2>/dev/null\n";
	static const char *const gone[] = {"dir/f3", "dir/f4", "dir/sub", "dir"};
	struct witness w;
	char path[128];
	(void)state;
	make_journal(1 << 20);
	pid_t poster = start_poster();
	witness_open(&w);
	run_job(script);
	flush_until_answered(&w, (struct ident){9, 9});
	walking = &w;
	(void)snprintf(path, sizeof(path), "%s/job", tree_path);
	assert_int_equal(nftw(path, is_told, 16, FTW_PHYS), 0);
	assert_int_equal(untold, 0);
	for (unsigned i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/job/%s", tree_path, gone[i]);
		assert_true(has_path(&w, path));
	}
	witness_close(&w);
	assert_int_equal(end_poster(poster, SIGTERM), 0);
}

/* ---- the group ------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	struct broker_session *session;
	struct broker_url url;
	struct why why = {""};
	if (rig_setup(state) < 0) {
		return -1;
	}
	(void)snprintf(places, sizeof(places), "%s/places", rig_directory);
	(void)snprintf(tree_path, sizeof(tree_path), "%s/tree", rig_directory);
	if (mkdir(places, 0700) < 0 || mkdir(tree_path, 0755) < 0) {
		return -1;
	}
	the_tree = (struct tree){.source = {.path = tree_path}, .exclude = no_exclude};
	rig_config.trees = &the_tree;
	rig_config.tree_count = 1;
	rig_config.journal = journal_places;
	rig_config.delay_ns = CLOCK_S;
	rig_config.max_delay_ns = 300 * CLOCK_S;
	int r = managed_url(&rig_config, &url, &why);
	r = r < 0 ? r : broker_session_open(&url, clock_now() + 20 * CLOCK_S, &session, &why);
	r = r < 0 ? r : topology_declare(&rig_config, session, &why);
	if (r < 0) {
		print_error("%s\n", why.text);
		return -1;
	}
	broker_session_close(session);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_while_the_broker_is_away),
		cmocka_unit_test(killed_again_and_again),
		cmocka_unit_test(only_one_serves_a_journal),
		cmocka_unit_test(a_flush_is_answered_behind_everything),
		cmocka_unit_test(a_killed_job_is_noticed),
		cmocka_unit_test(a_clock_that_was_set_forward_ends_nobody),
		cmocka_unit_test(who_died_before_a_flush_is_told_of_once),
		cmocka_unit_test(open_files_outlive_the_poster),
		cmocka_unit_test(an_overflow_becomes_a_rescan),
		cmocka_unit_test(everything_a_job_does_is_told),
	};
	return cmocka_run_group_tests_name("poster", tests, set_up, rig_teardown);
}
