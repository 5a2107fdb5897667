/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring with records in it, damaged anywhere: reading ends, with records whose names lie inside
 * the ring, or with -EBADMSG; a new ring can always be put in its place.
 *
 * The input is a list of patches: where (4 bytes), how many bytes (1), the bytes.  Places beyond
 * the file wrap around, so that header, drafts and data are all reached.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/journal-ring.h"
#include "core/why.h"

static char directory[64], ring_path[96];
static char *pristine;
static size_t pristine_len;

static void append_some(struct journal_writer *writer)
{
	for (unsigned i = 0; i < 300; i++) {
		struct record record = {.kind = RECORD_OPEN + i % (RECORD_KIND_COUNT - 1),
			.time_ns = i,
			.pid = 1 + i,
			.fd = (int)i,
			.dir = SPAN("/a/directory"),
			.path = span_of("some-name-or-other", 1 + i % 18),
			.path2 = span_of("/another/name", i % 13),
			.program = SPAN("tar")};
		fuzz_require(journal_append(writer, &record) == 0);
	}
}

static void read_pristine(void)
{
	struct stat st;
	int fd = open(ring_path, O_RDONLY | O_CLOEXEC);
	fuzz_require(fd >= 0 && fstat(fd, &st) == 0);
	pristine_len = (size_t)st.st_size;
	pristine = malloc(pristine_len);
	fuzz_require(pristine && read(fd, pristine, pristine_len) == st.st_size);
	close(fd);
}

static void clean_up(void)
{
	static const char *const names[] = {"ring", "ring.new", "lock"};
	char path[96];
	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	rmdir(directory);
	free(pristine);
}

/* One ring that has been read half and wrapped once, with drafts in it. */
static void prepare(void)
{
	struct journal *journal = NULL;
	struct journal_writer writer = {0};
	struct record record;
	bool shm = access("/dev/shm", W_OK) == 0;
	(void)snprintf(
		directory, sizeof(directory), "%s/fuzz-journal-XXXXXX", shm ? "/dev/shm" : "/tmp");
	fuzz_require(mkdtemp(directory));
	atexit(clean_up);
	(void)snprintf(ring_path, sizeof(ring_path), "%s/ring", directory);
	fuzz_require(journal_create(directory, RING_SIZE_MIN, &journal, NULL) == 0);
	fuzz_require(journal_attach(&writer, directory) == 0);
	for (int round = 0; round < 3; round++) {
		append_some(&writer);
		for (int i = 0; round < 2 && i < 290; i++) {
			fuzz_require(journal_next(journal, &record, NULL) == 0);
		}
		journal_release(journal, journal_cursor(journal));
	}
	struct journal_draft *draft = journal_draft_take(&writer, 4194303);
	draft->kind = RECORD_UNLINK;
	draft->path_len = 5;
	memcpy(draft->bytes, "/gone", 5);
	journal_draft_arm(draft);
	journal_destroy(journal);
	read_pristine();
}

static void damage(char *bytes, const uint8_t *data, size_t size)
{
	while (size > 5) {
		uint32_t at;
		size_t count = data[4];
		memcpy(&at, data, sizeof(at));
		data += 5;
		size -= 5;
		count = count < size ? count : size;
		for (size_t i = 0; i < count; i++) {
			bytes[(at + i) % pristine_len] = (char)data[i];
		}
		data += count;
		size -= count;
	}
}

static void write_ring(const char *bytes)
{
	int fd = open(ring_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	fuzz_require(fd >= 0 && write(fd, bytes, pristine_len) == (ssize_t)pristine_len);
	close(fd);
}

static volatile char sink;

static void touch_span(struct span s)
{
	if (s.len > 0) {
		sink = (char)(s.data[0] ^ s.data[s.len - 1]);
	}
}

static void read_all(struct journal *journal)
{
	struct record record;
	struct why why;
	int r;
	for (unsigned n = 0; (r = journal_next(journal, &record, &why)) == 0; n++) {
		fuzz_require(n <= RING_SIZE_MIN / RING_UNIT + 4);
		fuzz_require(record.kind > RECORD_NONE && record.kind < RECORD_KIND_COUNT);
		touch_span(record.dir);
		touch_span(record.path);
		touch_span(record.dir2);
		touch_span(record.path2);
		touch_span(record.program);
		touch_span(record.job);
		if (n % 7 == 0) {
			journal_release(journal, record.end);
		}
	}
	fuzz_require(r == JOURNAL_EMPTY || r == -EBADMSG);
	if (r == -EBADMSG) {
		fuzz_require(journal_renew(journal, &why) == 0);
		fuzz_require(journal_next(journal, &record, &why) == JOURNAL_EMPTY);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal *journal = NULL, *peek = NULL;
	struct journal_writer writer = {0};
	struct journal_facts facts;
	struct record record;
	if (!pristine) {
		prepare();
	}
	char *bytes = malloc(pristine_len);
	fuzz_require(bytes);
	memcpy(bytes, pristine, pristine_len);
	damage(bytes, data, size);
	write_ring(bytes);
	free(bytes);
	if (journal_peek(directory, &peek, NULL) == 0) {
		for (unsigned n = 0; n < 2000 && journal_next(peek, &record, NULL) == 0; n++) {
		}
		journal_destroy(peek);
	}
	int r = journal_create(directory, RING_SIZE_MIN, &journal, NULL);
	if (r == -EPROTONOSUPPORT) { /* a newer version's is left alone */
		return 0;
	}
	fuzz_require(r == 0);
	read_all(journal);
	journal_facts(journal, &facts);
	fuzz_require(facts.head >= facts.released);
	journal_destroy(journal);
	if (journal_attach(&writer, directory) == 0) {
		record = (struct record){.kind = RECORD_UNLINK, .pid = 1, .path = SPAN("/x")};
		(void)journal_append(&writer, &record); /* whatever it says, it comes back */
		munmap(writer.ring, writer.map_bytes);
	}
	return 0;
}
