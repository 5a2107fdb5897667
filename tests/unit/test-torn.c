/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Torn copies cannot appear.  One process replaces a file of the source by version after version
 * and appends to another one, without a rest; one opens both at the target again and again.  It
 * must see whole versions, told by a checksum, and prefixes of what was appended.
 *
 *   version file   { version, length, XXH3 of the rest } and the rest
 *   log            the bytes of one endless sequence
 */
#include "mirror-world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

#include "core/clock.h"

#define OLD         1500000000
#define BODY_MAX    (1 << 20)
#define LOG_STEP    777
#define SEEN_ENOUGH 12
#define GUARD_NS    (120 * CLOCK_S)

struct version {
	uint64_t number, length, hash;
	unsigned char body[BODY_MAX];
};
static struct version version;

/* What the reader tells. */
struct seen {
	unsigned long versions, logs, reads;
	char torn[200];
};
static struct seen *seen;

static unsigned char log_byte(uint64_t at)
{
	return (unsigned char)((at * 2654435761U) >> 13);
}

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_nsec = ms * 1000000};
	nanosleep(&pause, NULL);
}

/* ---- the writer ----------------------------------------------------------------------------- */

static void replace(uint64_t number)
{
	const size_t head = offsetof(struct version, body);
	version.number = number;
	version.length = 100000 + number * 7919 % (BODY_MAX - 100000);
	memset(version.body, (int)number & 0xff, version.length);
	memcpy(version.body, &number, sizeof(number));
	version.hash = XXH3_64bits(version.body, version.length);
	int fd = open(at("x", ""), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	size_t len = head + version.length;
	const struct timespec times[2] = {{OLD + (time_t)number, 0}, {OLD + (time_t)number, 0}};
	if (fd < 0 || write(fd, &version, len) != (ssize_t)len || futimens(fd, times) < 0 ||
		close(fd) < 0 || rename(at("x", ""), at("s", "f")) < 0) {
		_exit(1);
	}
}

static void append(uint64_t number)
{
	unsigned char text[LOG_STEP];
	const struct timespec times[2] = {{OLD + (time_t)number, 0}, {OLD + (time_t)number, 0}};
	int fd = open(at("s", "log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	for (size_t i = 0; i < sizeof(text); i++) {
		text[i] = log_byte(number * LOG_STEP + i);
	}
	if (fd < 0 || write(fd, text, sizeof(text)) != (ssize_t)sizeof(text) ||
		futimens(fd, times) < 0 || close(fd) < 0) {
		_exit(1);
	}
}

static pid_t start_writer(void)
{
	pid_t pid = fork();
	if (pid != 0) {
		return pid;
	}
	for (uint64_t number = 1;; number++) {
		replace(number);
		append(number);
		pause_ms((long)(number * 7 % 13));
	}
}

/* ---- the reader ----------------------------------------------------------------------------- */

static size_t read_whole(const char *path, void *buffer, size_t room)
{
	size_t len = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	for (ssize_t n = 1; fd >= 0 && n > 0; len += n > 0 ? (size_t)n : 0) {
		n = read(fd, (char *)buffer + len, room - len);
	}
	if (fd >= 0) {
		close(fd);
	}
	return fd < 0 ? SIZE_MAX : len;
}

static void look_at_version(void)
{
	static uint64_t last;
	size_t len = read_whole(at("t", "f"), &version, sizeof(version));
	if (len == SIZE_MAX) {
		return;
	}
	if (len != offsetof(struct version, body) + version.length ||
		XXH3_64bits(version.body, version.length) != version.hash) {
		(void)snprintf(seen->torn, sizeof(seen->torn), "%zu bytes of version %lu", len,
			(unsigned long)version.number);
	}
	seen->versions += version.number != last;
	last = version.number;
}

static void look_at_log(void)
{
	static unsigned char text[1 << 24];
	static size_t last;
	size_t len = read_whole(at("t", "log"), text, sizeof(text));
	for (size_t i = 0; len != SIZE_MAX && i < len; i++) {
		if (text[i] != log_byte(LOG_STEP + i)) {
			(void)snprintf(seen->torn, sizeof(seen->torn), "log at %zu of %zu", i, len);
			return;
		}
	}
	seen->logs += len != SIZE_MAX && len != last;
	last = len;
}

static pid_t start_reader(void)
{
	pid_t pid = fork();
	while (pid == 0) {
		look_at_version();
		look_at_log();
		seen->reads++;
	}
	return pid;
}

/* ---- together ------------------------------------------------------------------------------- */

static void stop(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void readers_see_whole_versions(void **state)
{
	(void)state;
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(seen, MAP_FAILED);
	mirror_all();
	pid_t writer = start_writer(), reader = start_reader();
	uint64_t deadline = clock_now() + GUARD_NS;
	while ((seen->versions < SEEN_ENOUGH || seen->logs < SEEN_ENOUGH) && !seen->torn[0]) {
		assert_true(clock_now() < deadline);
		hint(CHANGE_WRITE, "f", CHANGE_FORCE)->attempt = 2; /* it has been tried before */
		hint(CHANGE_WRITE, "log", CHANGE_FORCE)->attempt = 2;
		for (size_t count = w.count; count; count--) {
			assert_int_equal(carry_out(0), 0);
		}
		while (w.count) { /* what is asked for comes with the next hint anyway */
			change_destroy(w.queue[--w.count]);
		}
	}
	stop(writer);
	stop(reader);
	if (seen->torn[0]) {
		fail_msg("torn: %s", seen->torn);
	}
	print_message("# %lu versions and %lu lengths of a log in %lu reads\n", seen->versions,
		seen->logs, seen->reads);
	munmap(seen, sizeof(*seen));
	mirror_all();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(readers_see_whole_versions),
	};
	if (!world_begin(argc > 1 ? argv[1] : "local")) {
		return 1;
	}
	return cmocka_run_group_tests_name("torn", tests, NULL, NULL);
}
