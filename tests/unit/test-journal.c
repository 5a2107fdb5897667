/* SPDX-License-Identifier: Apache-2.0 */
/* The ring: what is appended comes out, whatever dies meanwhile. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/journal-private.h"
#include "core/why.h"

#define SIZE (UINT64_C(64) << 10)

static char directory[64];
static struct why why;

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(directory, sizeof(directory), "/tmp/test-journal-XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"ring", "lock", "ring.new"};
	char path[128];
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	return rmdir(directory);
}

static struct journal *create(void)
{
	struct journal *journal = NULL;
	int r = journal_create(directory, SIZE, &journal, &why);
	if (r < 0) {
		fail_msg("journal_create: %d %s", r, why.text);
	}
	return journal;
}

static void attach(struct journal_writer *writer)
{
	memset(writer, 0, sizeof(*writer));
	assert_int_equal(journal_attach(writer, directory), 0);
}

static struct record sample(const char *path)
{
	return (struct record){.kind = RECORD_RENAME,
		.flags = RECORD_HAS_INODE,
		.time_ns = 17,
		.pid = (uint32_t)getpid(),
		.fd = -1,
		.dev = 5,
		.ino = 77,
		.size_bytes = 1234,
		.mtime_ns = -3,
		.mode = 0644,
		.nlink = 2,
		.dir = SPAN("/work dir"),
		.path = span_str(path),
		.dir2 = SPAN("/other"),
		.path2 = SPAN("new\nname"),
		.program = SPAN("prog"),
		.job = SPAN("4711")};
}

static void round_trip(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct record got, put = sample("name");
	(void)state;
	attach(&writer);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	assert_int_equal(journal_append(&writer, &put), 0);
	put.kind = RECORD_UNLINK;
	assert_int_equal(journal_append(&writer, &put), 0);

	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_int_equal(got.kind, RECORD_RENAME);
	assert_int_equal(got.flags, RECORD_HAS_INODE);
	assert_int_equal(got.pid, getpid());
	assert_int_equal(got.fd, -1);
	assert_int_equal(got.dev, 5);
	assert_int_equal(got.ino, 77);
	assert_int_equal(got.size_bytes, 1234);
	assert_int_equal(got.mtime_ns, -3);
	assert_int_equal(got.mode, 0644);
	assert_int_equal(got.nlink, 2);
	assert_span(got.dir, "/work dir");
	assert_span(got.path, "name");
	assert_span(got.dir2, "/other");
	assert_span(got.path2, "new\nname");
	assert_span(got.program, "prog");
	assert_span(got.job, "4711");
	assert_int_equal(got.position, 0);
	uint64_t end = got.end;
	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_int_equal(got.kind, RECORD_UNLINK);
	assert_int_equal(got.position, end);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	assert_int_equal(journal_cursor(journal), journal_head(journal));
	assert_int_equal(journal_rename_count(&writer), 1);
	journal_destroy(journal);
}

static void cursor_survives_the_reader(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct record got, put = sample("first");
	(void)state;
	attach(&writer);
	assert_int_equal(journal_append(&writer, &put), 0);
	put.path = SPAN("second");
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	journal_release(journal, got.end);
	assert_int_equal(journal_next(journal, &got, &why), 0); /* read, not released */
	journal_destroy(journal);

	journal = create();
	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_span(got.path, "second");
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	journal_destroy(journal);
}

static void full_ring_drops_and_counts(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct journal_facts facts;
	struct record got, put = sample("x");
	uint64_t appended = 0, read = 0;
	(void)state;
	attach(&writer);
	put.time_ns = 99;
	while (journal_append(&writer, &put) == 0) {
		appended++;
	}
	put.time_ns = 100;
	assert_int_equal(journal_append(&writer, &put), JOURNAL_FULL);
	journal_facts(journal, &facts);
	assert_int_equal(facts.dropped, 2);
	assert_int_equal(facts.dropped_since_ns, 99);
	assert_int_equal(facts.reader_pid, getpid());
	assert_true(facts.head - facts.released > SIZE - 256);
	journal_acknowledge_drops(journal);
	while (journal_next(journal, &got, &why) == 0) {
		read++;
	}
	assert_int_equal(read, appended);
	assert_int_equal(journal_append(&writer, &put), JOURNAL_FULL); /* read is not released */
	journal_facts(journal, &facts);
	assert_int_equal(facts.dropped_since_ns, 100);
	journal_release(journal, journal_cursor(journal));
	assert_int_equal(journal_append(&writer, &put), 0);
	journal_destroy(journal);
}

/* What the reader keeps holds where it begins to read, whether or not it came to releasing. */
static void kept_with_the_position(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct record got, put = sample("keep");
	uint64_t values[JOURNAL_KEPT] = {0};
	(void)state;
	attach(&writer);
	for (uint64_t i = 1; i <= 3; i++) {
		assert_int_equal(journal_append(&writer, &put), 0);
		assert_int_equal(journal_next(journal, &got, &why), 0);
		values[0] = i;
		values[JOURNAL_KEPT - 1] = 10 * i;
		journal_keep(journal, got.end, values);
		journal_release(journal, got.end);
	}
	values[0] = 4;
	journal_keep(journal, got.end, values); /* of the same position: the later one */
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	values[0] = 5;
	journal_keep(journal, got.end, values); /* killed before it was released */
	journal_destroy(journal);
	journal = create();
	journal_kept(journal, values);
	assert_int_equal(values[0], 4);
	assert_int_equal(values[JOURNAL_KEPT - 1], 30);
	journal_destroy(journal);
}

/* To the last unit: behind the newest record lies the oldest, not yet released. */
static void exactly_full(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct record got, put = sample("exact");
	(void)state;
	attach(&writer);
	put.dir2 = put.path2 = put.job = SPAN("");
	while (journal_append(&writer, &put) == 0) {
	}
	assert_int_equal(journal_head(journal), SIZE);
	while (journal_next(journal, &got, &why) == 0) {
	}
	assert_int_equal(journal_cursor(journal), SIZE);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	journal_release(journal, SIZE / 2);
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_int_equal(got.position, SIZE);
	journal_destroy(journal);
}

/* Records of all lengths, many laps: each comes out as it went in, in order. */
static void wraps(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct record got, put = sample("");
	char path[4000];
	(void)state;
	attach(&writer);
	memset(path, 'p', sizeof(path));
	for (uint64_t i = 0; i < 20000; i++) {
		put.path = span_of(path, i * 7919 % sizeof(path));
		put.ino = i;
		assert_int_equal(journal_append(&writer, &put), 0);
		assert_int_equal(journal_next(journal, &got, &why), 0);
		assert_int_equal(got.ino, i);
		assert_int_equal(got.path.len, put.path.len);
		assert_memory_equal(got.path.data, path, got.path.len);
		if (i % 5 == 0) {
			journal_release(journal, got.end);
		}
	}
	assert_true(journal_head(journal) > 100 * SIZE);
	journal_destroy(journal);
}

static void too_long_is_a_drop(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct journal_facts facts;
	static char path[40000];
	struct record put = sample("");
	(void)state;
	attach(&writer);
	memset(path, 'p', sizeof(path));
	put.path = span_of(path, sizeof(path));
	assert_int_equal(journal_append(&writer, &put), -EINVAL);
	journal_facts(journal, &facts);
	assert_int_equal(facts.dropped, 1);
	assert_int_equal(facts.dropped_since_ns, 17);
	journal_destroy(journal);
}

/* Runs body in a child that kills itself behind it; returns the child's pid. */
static pid_t killed(void (*body)(void))
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		body();
		(void)raise(SIGKILL);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	return pid;
}

/* Claims a record of five units as journal_append() does, and no more. */
static void claim_only(void)
{
	struct journal_writer writer = {0};
	(void)journal_attach(&writer, directory);
	struct journal_ring *ring = writer.ring;
	uint64_t *word = (uint64_t *)ring_at(ring, ring->size_bytes, ring->head);
	*word = ring_word(
		ring_lap(ring->size_bytes, ring->head), (uint64_t)getpid(), 5, RING_CLAIMED);
}

static void torn_records_are_passed_over(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct journal_facts facts;
	struct record got, put = sample("before");
	(void)state;
	attach(&writer);
	assert_int_equal(journal_append(&writer, &put), 0);
	killed(claim_only);
	put.path = SPAN("behind");
	assert_int_equal(journal_append(&writer, &put), 0); /* helps the head on */
	assert_int_equal(journal_next(journal, &got, &why), 0);
	uint64_t end = got.end;
	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_span(got.path, "behind");
	assert_int_equal(got.position, end + 5 * RING_UNIT);
	journal_facts(journal, &facts);
	assert_int_equal(facts.torn, 1);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	journal_release(journal, journal_cursor(journal));
	journal_destroy(journal);
}

static void a_living_writer_is_waited_for(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct record got, put = sample("behind");
	(void)state;
	attach(&writer);
	claim_only();
	put.time_ns = clock_wall();
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	journal_destroy(journal);
}

/* A handler jumped out of the append, or another thread called exec: it lives, and never will. */
static void one_that_never_completes_is_given_up(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct journal_facts facts;
	struct record got, put = sample("behind");
	(void)state;
	attach(&writer);
	claim_only();
	put.time_ns = clock_wall();
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	journal->stuck.since_ns -= 59 * CLOCK_S;
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	journal->stuck.since_ns -= 2 * CLOCK_S;
	assert_int_equal(journal_next(journal, &got, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "does not complete"));
	assert_int_equal(journal_renew(journal, &why), 0);
	journal_facts(journal, &facts);
	assert_int_equal(facts.dropped, 1);
	assert_int_equal(journal_append(&writer, &put), -ESTALE);
	journal_destroy(journal);
}

/* The claim says our own pid, but a record behind it says that it was made before we began. */
static void a_pid_used_again_is_dead(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct record got, put = sample("behind");
	(void)state;
	attach(&writer);
	claim_only();
	put.time_ns = clock_wall() - 365 * 86400 * CLOCK_S;
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_span(got.path, "behind");
	journal_destroy(journal);
}

static void leave_draft(uint64_t time_ns)
{
	struct journal_writer writer = {0};
	(void)journal_attach(&writer, directory);
	struct journal_draft *draft = journal_draft_take(&writer, (uint32_t)getpid());
	draft->kind = RECORD_UNLINK;
	draft->flags = 0;
	draft->time_ns = time_ns;
	draft->program_len = draft->job_len = 0;
	draft->dir2_len = draft->path2_len = 0;
	draft->dir_len = 4;
	draft->path_len = 1;
	memcpy(draft->bytes, "/dirx", 5);
	journal_draft_arm(draft);
}

static void leave_draft_of_now(void)
{
	leave_draft(clock_wall());
}

static void drafts_of_the_dead_are_records(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct record got, put = sample("later");
	(void)state;
	attach(&writer);
	struct journal_draft *mine = journal_draft_take(&writer, (uint32_t)getpid());
	mine->kind = RECORD_UNLINK;
	mine->time_ns = clock_wall();
	journal_draft_arm(mine);
	pid_t pid = killed(leave_draft_of_now);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_int_equal(got.kind, RECORD_UNLINK);
	assert_int_equal(got.pid, pid);
	assert_int_equal(got.fd, -1);
	assert_span(got.dir, "/dir");
	assert_span(got.path, "x");
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY); /* mine lives */
	journal_destroy(journal);

	journal = create(); /* not released: once more */
	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_int_equal(got.pid, pid);
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	journal_release(journal, got.end);
	journal_destroy(journal);

	journal = create();
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	journal_draft_drop(mine);
	journal_destroy(journal);
}

/* The pid is our own, but we began after the draft was armed. */
static void a_draft_of_a_pid_used_again_is_a_record(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct record got;
	(void)state;
	leave_draft(clock_wall());
	attach(&writer);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY); /* we live */
	leave_draft(clock_wall() - 365 * 86400 * CLOCK_S);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_int_equal(got.kind, RECORD_UNLINK);
	assert_span(got.path, "x");
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	journal_destroy(journal);
}

/* So the clock says, which was set forward; it lives, does what it has announced, and is killed. */
static void a_draft_of_who_seemed_another_is_one_more_record_when_he_dies(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct record got, put = sample("later");
	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		leave_draft(clock_wall() - 365 * 86400 * CLOCK_S);
		for (;;) {
			pause();
		}
	}
	attach(&writer);
	while (journal_next(journal, &got, &why) == JOURNAL_EMPTY) {
		usleep(1000);
	}
	assert_int_equal(got.pid, pid);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	journal_release(journal, got.end);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_int_equal(got.pid, pid);
	assert_int_equal(got.kind, RECORD_UNLINK);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	journal_destroy(journal);
}

static void drafts_run_out(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	(void)state;
	attach(&writer);
	for (uint64_t i = 0; i < writer.ring->drafts; i++) {
		assert_non_null(journal_draft_take(&writer, 42));
	}
	assert_null(journal_draft_take(&writer, 42));
	journal_destroy(journal);
}

static void one_reader_only(void **state)
{
	struct journal *journal = create(), *second = NULL;
	(void)state;
	assert_int_equal(journal_create(directory, SIZE, &second, &why), -EBUSY);
	journal_destroy(journal);
}

/* A writer's ring stays: the reader takes it over with what is in it, others leave it. */
static void a_writer_makes_the_first_ring(void **state)
{
	struct journal_writer writer;
	struct record record = sample("/early"), got;
	uint64_t now_ns = UINT64_C(1000000000000);
	(void)state;
	assert_int_equal(journal_first(directory, SIZE + 1), -EINVAL);
	assert_int_equal(journal_first(directory, SIZE), 0);
	attach(&writer);
	assert_int_equal(journal_append(&writer, &record), 0);
	assert_int_equal(journal_first(directory, SIZE * 2), 0);
	assert_true(journal_calls_reader(&writer, directory, now_ns));
	assert_false(journal_calls_reader(&writer, directory, now_ns + 1));
	struct journal *journal = create();
	assert_int_equal(writer.ring->size_bytes, SIZE);
	assert_false(journal_calls_reader(&writer, directory, now_ns * 2));
	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	journal_destroy(journal);
	assert_true(journal_calls_reader(&writer, directory, now_ns * 3));
	writer.ring->reader_pid = (uint64_t)getpid(); /* somebody else's by now */
	assert_true(journal_calls_reader(&writer, directory, now_ns * 4));
}

/* By its lock, which is gone with it however it ends. */
static void a_reader_that_lives_is_seen(void **state)
{
	struct journal_writer writer = {0};
	int ready[2], status;
	char byte;
	(void)state;
	assert_int_equal(pipe(ready), 0);
	pid_t reader = fork();
	assert_true(reader >= 0);
	if (reader == 0) {
		struct journal *journal = create();
		(void)!write(ready[1], "", 1);
		pause();
		journal_destroy(journal);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	attach(&writer);
	assert_true(writer.reader_seen);
	writer.ring->pid_namespace++; /* not even asked */
	assert_int_equal(journal_attach(&writer, directory), 0);
	assert_false(journal_calls_reader(&writer, directory, CLOCK_S));
	writer.ring->reader_pid++; /* another number in its own namespace: it is asked */
	assert_int_equal(journal_attach(&writer, directory), -EXDEV);
	assert_int_equal(kill(reader, SIGKILL), 0);
	assert_int_equal(waitpid(reader, &status, 0), reader);
	writer.ring->pid_namespace--;
	attach(&writer);
	assert_false(writer.reader_seen);
	close(ready[0]);
	close(ready[1]);
}

static void what_killed_makers_left_is_swept(void **state)
{
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	char path[128];
	(void)state;
	journal_destroy(create());
	(void)snprintf(path, sizeof(path), "%s/ring.first-0123456789abcdef", directory);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	journal_destroy(create());
	assert_int_equal(access(path, F_OK), 0); /* may be at work */
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	journal_destroy(create());
	assert_int_equal(access(path, F_OK), -1);
}

static void peeking_takes_nothing(void **state)
{
	struct journal *journal = create(), *peek = NULL;
	struct journal_writer writer;
	struct journal_facts facts;
	struct record got, put = sample("seen");
	(void)state;
	attach(&writer);
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_peek(directory, &peek, &why), 0);
	assert_int_equal(journal_next(peek, &got, &why), 0);
	assert_span(got.path, "seen");
	journal_facts(peek, &facts);
	assert_int_equal(facts.reader_pid, getpid());

	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	journal_release(journal, got.end);
	put.path = SPAN("third");
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(peek, &got, &why), 0); /* overtaken: goes on behind */
	assert_span(got.path, "third");
	journal_destroy(journal);
	journal_facts(peek, &facts);
	assert_int_equal(facts.reader_pid, 0);
	journal_destroy(peek);
}

static void strangers_are_refused(void **state)
{
	struct journal *journal = create(), *second = NULL;
	struct journal_writer writer = {0};
	char ring[128];
	(void)state;
	journal_destroy(journal);
	(void)snprintf(ring, sizeof(ring), "%s/ring", directory);
	assert_int_equal(chmod(directory, 0777), 0);
	assert_int_equal(journal_attach(&writer, directory), -EPERM);
	assert_int_equal(journal_create(directory, SIZE, &second, &why), -EPERM);
	assert_non_null(strstr(why.text, "others"));
	assert_int_equal(chmod(directory, 0700), 0);
	assert_int_equal(chmod(ring, 0620), 0);
	assert_int_equal(journal_attach(&writer, directory), -EPERM);
	assert_int_equal(chmod(ring, 0600), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(ring, 12345, 0), 0);
		assert_int_equal(journal_attach(&writer, directory), -EPERM);
		assert_int_equal(chown(ring, 0, 0), 0);
		assert_int_equal(chown(directory, 12345, 0), 0);
		assert_int_equal(journal_attach(&writer, directory), -EPERM);
		assert_int_equal(journal_create(directory, SIZE, &second, &why), -EPERM);
		assert_int_equal(chown(directory, 0, 0), 0);
	}
	assert_null(writer.ring);
	assert_int_equal(journal_attach(&writer, directory), 0);
}

static void no_link_is_followed(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer = {0};
	char link[80];
	(void)state;
	(void)snprintf(link, sizeof(link), "%s-link", directory);
	assert_int_equal(symlink(directory, link), 0);
	assert_int_equal(journal_attach(&writer, link), -ENOTDIR);
	unlink(link);
	assert_int_equal(journal_attach(&writer, "/nonexistent/dir"), -ENOENT);
	journal_destroy(journal);
}

static void refused(int error, const char *words)
{
	struct journal *journal = NULL;
	why.text[0] = '\0';
	assert_int_equal(journal_create(directory, SIZE, &journal, &why), error);
	if (!strstr(why.text, words)) {
		fail_msg("no '%s' in '%s'", words, why.text);
	}
	assert_int_equal(journal_check_place(directory, &why), error);
	assert_non_null(strstr(why.text, words));
	assert_true(journal_first(directory, SIZE) < 0);
}

/* Who may write where the directory lies puts another one in its place. */
static void nor_what_it_lies_in(void **state)
{
	char top[32], link[40];
	(void)state;
	(void)snprintf(top, sizeof(top), "/tmp/test-journal-XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_int_equal(rmdir(directory), 0);
	(void)snprintf(directory, sizeof(directory), "%s/demo", top);
	assert_int_equal(journal_check_place(directory, &why), 0); /* not there yet */
	assert_int_equal(mkdir(directory, 0700), 0);
	assert_int_equal(journal_check_place(directory, &why), 0);
	assert_int_equal(chmod(top, 0770), 0);
	refused(-EPERM, "may be written by others");
	assert_int_equal(chmod(top, 01777), 0); /* as /tmp */
	assert_int_equal(journal_check_place(directory, &why), 0);
	assert_int_equal(chmod(top, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(top, 12345, 0), 0);
		refused(-EPERM, "belongs to another user");
		assert_int_equal(chown(top, 0, 0), 0);
	}
	assert_int_equal(rmdir(directory), 0);
	(void)snprintf(link, sizeof(link), "%s-link", top);
	assert_int_equal(symlink(top, link), 0);
	(void)snprintf(directory, sizeof(directory), "%s/demo", link);
	refused(-ENOTDIR, "is a symlink");
	assert_int_equal(rmdir(directory), 0);
	unlink(link);
	(void)snprintf(directory, sizeof(directory), "%s", top);
}

/* A second name of somebody else's file, or of one of ours that is no ring. */
static void nor_other_files(void **state)
{
	struct journal *journal = NULL;
	struct journal_writer writer = {0};
	char ring[128], lock[128], other[128];
	(void)state;
	(void)snprintf(ring, sizeof(ring), "%s/ring", directory);
	(void)snprintf(lock, sizeof(lock), "%s/lock", directory);
	(void)snprintf(other, sizeof(other), "%s-other", directory);
	close(open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(symlink(other, ring), 0);
	assert_int_equal(journal_create(directory, SIZE, &journal, &why), -ELOOP);
	assert_int_equal(journal_attach(&writer, directory), -ELOOP);
	unlink(ring);
	unlink(lock);
	assert_int_equal(symlink(other, lock), 0);
	assert_int_equal(journal_create(directory, SIZE, &journal, &why), -ELOOP);
	unlink(lock);
	if (geteuid() == 0) {
		assert_int_equal(chown(other, 12345, 0), 0);
		assert_int_equal(link(other, ring), 0);
		assert_int_equal(journal_create(directory, SIZE, &journal, &why), -EPERM);
		assert_non_null(strstr(why.text, "belongs to user 12345"));
		assert_int_equal(journal_attach(&writer, directory), -EPERM);
		assert_int_equal(chown(other, 0, 0), 0);
		unlink(ring);
	}
	struct stat st;
	assert_int_equal(link(other, ring), 0);
	journal_destroy(create()); /* damaged: another ring in its place */
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(st.st_nlink, 1);
	unlink(other);
}

/* In another namespace our pid would be somebody else's. */
static void other_namespaces_are_told(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer, second = {0};
	struct journal_facts facts;
	(void)state;
	attach(&writer);
	writer.ring->pid_namespace++;
	assert_int_equal(journal_attach(&second, directory), -EXDEV);
	assert_null(second.ring);
	journal_facts(journal, &facts);
	assert_int_equal(facts.dropped, 1);
	assert_true(facts.dropped_since_ns > CLOCK_S);
	journal_destroy(journal);
}

static void devices(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	uint64_t list[] = {7, 9};
	(void)state;
	attach(&writer);
	assert_true(journal_wants_device(&writer, 8));
	journal_set_devices(journal, list, 2);
	assert_true(journal_wants_device(&writer, 9));
	assert_false(journal_wants_device(&writer, 8));
	journal_set_devices(journal, list, 0);
	assert_true(journal_wants_device(&writer, 8));
	journal_destroy(journal);
}

static void damage_is_told_and_renewed(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct journal_facts facts;
	struct record got, put = sample("x");
	(void)state;
	attach(&writer);
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	*(uint64_t *)ring_at(writer.ring, writer.size_bytes, got.end) =
		UINT64_C(0xdeadbeefdeadbeef);
	assert_int_equal(journal_next(journal, &got, &why), -EBADMSG);
	assert_non_null(strstr(why.text, "position"));
	assert_int_equal(journal_renew(journal, &why), 0);
	journal_facts(journal, &facts);
	assert_int_equal(facts.dropped, 1);
	assert_int_equal(facts.dropped_since_ns, 17);
	assert_int_equal(journal_append(&writer, &put), -ESTALE);
	attach(&writer);
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	journal_destroy(journal);
}

static void make_shorter(off_t bytes)
{
	char path[4096];
	(void)snprintf(path, sizeof(path), "%s/" RING_FILE, directory);
	assert_int_equal(truncate(path, bytes), 0);
}

static void a_ring_made_shorter_is_renewed(void **state)
{
	static const off_t sizes[] = {0, 10, RING_HEADER, 80000};
	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct journal *journal = create(), *peek = NULL;
		struct journal_writer writer = {0};
		struct journal_facts facts;
		struct record got, put = sample("x");
		assert_int_equal(journal_attach_guarded(&writer, directory, journal_guard), 0);
		assert_int_equal(journal_append(&writer, &put), 0);
		assert_int_equal(journal_next(journal, &got, &why), 0);
		assert_int_equal(journal_append(&writer, &put), 0);
		assert_int_equal(journal_check_file(journal, &why), 0);
		assert_int_equal(journal_peek(directory, &peek, &why), 0);
		make_shorter(sizes[i]);
		assert_int_equal(journal_check_file(journal, &why), -EBADMSG);
		bool tells = sizes[i] == 0 || sizes[i] == RING_HEADER;
		int r = journal_next(peek, &got, &why);
		assert_true(r == -EBADMSG || !tells);
		journal_destroy(peek);
		r = journal_next(journal, &got, &why);
		assert_true(r == -EBADMSG || !tells);
		assert_true(journal_head(journal) == UINT64_MAX || !tells);
		journal_release(journal, got.end);
		assert_int_equal(journal_renew(journal, &why), 0);
		assert_int_equal(journal_append(&writer, &put), -ESTALE);
		assert_int_equal(journal_count_loss(&writer, 1), -ESTALE);
		journal_facts(journal, &facts);
		assert_true(facts.dropped >= 1 && facts.dropped_since_ns == 17);
		assert_int_equal(journal_head(journal), 0);
		attach(&writer);
		assert_int_equal(journal_append(&writer, &put), 0);
		assert_int_equal(journal_next(journal, &got, &why), 0);
		assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
		journal_release(journal, got.end);
		journal_destroy(journal);
	}
}

static void one_bad_record_is_lost_alone(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct journal_facts facts;
	struct record got, put = sample("bad");
	(void)state;
	attach(&writer);
	assert_int_equal(journal_append(&writer, &put), 0);
	((struct ring_record *)ring_at(writer.ring, writer.size_bytes, 0))->ino++;
	put.path = SPAN("good");
	assert_int_equal(journal_append(&writer, &put), 0);
	assert_int_equal(journal_next(journal, &got, &why), 0);
	assert_span(got.path, "good");
	journal_facts(journal, &facts);
	assert_int_equal(facts.dropped, 1);
	journal_destroy(journal);
}

/* A release that was cut off is completed by the next reader. */
static void interrupted_release(void **state)
{
	struct journal *journal = create();
	struct journal_writer writer;
	struct record got, put = sample("x");
	(void)state;
	attach(&writer);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(journal_append(&writer, &put), 0);
		assert_int_equal(journal_next(journal, &got, &why), 0);
	}
	uint64_t end = got.end;
	journal_destroy(journal);
	writer.ring->releasing = end;
	*(uint64_t *)ring_at(writer.ring, writer.size_bytes, 0) = ring_word(1, 0, 0, RING_FREE);
	journal = create();
	assert_int_equal(journal_cursor(journal), end);
	assert_int_equal(journal_next(journal, &got, &why), JOURNAL_EMPTY);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(journal_append(&writer, &put), 0);
		assert_int_equal(journal_next(journal, &got, &why), 0);
		journal_release(journal, got.end);
	}
	journal_destroy(journal);
}

static void bad_sizes(void **state)
{
	struct journal *journal = NULL;
	(void)state;
	assert_int_equal(journal_create(directory, 100000, &journal, &why), -EINVAL);
	assert_int_equal(journal_create(directory, 4096, &journal, &why), -EINVAL);
	assert_int_equal(journal_create("relative", SIZE, &journal, &why), -EINVAL);
	assert_int_equal(journal_peek("/nonexistent", &journal, &why), -ENOENT);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(round_trip),
		CASE(cursor_survives_the_reader),
		CASE(full_ring_drops_and_counts),
		CASE(kept_with_the_position),
		CASE(exactly_full),
		CASE(wraps),
		CASE(too_long_is_a_drop),
		CASE(torn_records_are_passed_over),
		CASE(a_living_writer_is_waited_for),
		CASE(one_that_never_completes_is_given_up),
		CASE(a_pid_used_again_is_dead),
		CASE(drafts_of_the_dead_are_records),
		CASE(a_draft_of_a_pid_used_again_is_a_record),
		CASE(a_draft_of_who_seemed_another_is_one_more_record_when_he_dies),
		CASE(drafts_run_out),
		CASE(one_reader_only),
		CASE(a_writer_makes_the_first_ring),
		CASE(a_reader_that_lives_is_seen),
		CASE(what_killed_makers_left_is_swept),
		CASE(peeking_takes_nothing),
		CASE(strangers_are_refused),
		CASE(no_link_is_followed),
		CASE(nor_what_it_lies_in),
		CASE(nor_other_files),
		CASE(other_namespaces_are_told),
		CASE(devices),
		CASE(damage_is_told_and_renewed),
		CASE(a_ring_made_shorter_is_renewed),
		CASE(one_bad_record_is_lost_alone),
		CASE(interrupted_release),
		CASE(bad_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
