/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known by device, inode and ctime is not read again: verdicts are kept in the journal's
 * memory, where the children of a shell find them.  Else the program is read, into one small
 * buffer:
 *
 *   512 bytes   "#!": the interpreter is looked at instead, as the kernel does, up to five times;
 *               ELF: machine and class, and whether it asks for a dynamic linker (PT_INTERP, as a
 *               rule the second program header)
 *   64 bytes    the header of the table of section names
 *   the names   ".go.buildinfo": the linker of Go puts it into whatever it links, and stripping
 *               leaves it
 */
#include "unseen.h"

#include <asm/fcntl.h>
#include <asm/stat.h>
#include <elf.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <stddef.h>

#include "directory.h"
#include "first-page.h"
#include "key.h"
#include "readable.h"
#include "record.h"
#include "resolve.h"
#include "sandbox.h"

#define HEAD_BYTES   512u
#define SCRIPTS_MAX  5
#define NAMES_MAX    (16u * 1024)
#define PATH_ROOM    4096u
#define MODE_SETUID  04000u
#define MODE_SETGID  02010u /* with the group's x */
#define MODE_RUNS    0111u
#define SHIM_NAME    "libmirrorshim.so"
#define DEFAULT_PATH "/bin:/usr/bin"

#if defined(__x86_64__)
#define OWN_MACHINE EM_X86_64
#else
#define OWN_MACHINE EM_AARCH64
#endif

extern __attribute__((weak, visibility("default"))) char **environ;

static FIRST_PAGE bool preloaded; /* by LD_PRELOAD, so that its absence says something */

static struct {
	bool on;
	char socket[64], program[512];
} trace;

#define NAME_BYTES  16u          /* of the longest name asked for, with its = */
#define VALUE_BYTES (128u << 10) /* more than that the kernel does not take */

/* ---- the environment --------------------------------------------------------------------- */

static const char *value_if(const char *entry, const char *name)
{
	while (*name && *entry == *name) {
		entry++;
		name++;
	}
	return *name == '\0' && *entry == '=' ? entry + 1 : NULL;
}

char *const *unseen_environment(void)
{
	return &environ ? environ : NULL;
}

/* Whether a vector goes on here; one that cannot be read ends, and exec will say EFAULT. */
static bool goes_on(char *const *vector)
{
	return readable(vector) && readable((const char *)(vector + 1) - 1) && *vector &&
	       readable(*vector);
}

/* The program's own environment it reads itself; another one may be anything. */
static const char *value_of(char *const *environment, const char *name)
{
	bool own = environment == unseen_environment();
	for (; environment && (own ? *environment != NULL : goes_on(environment)); environment++) {
		const char *entry = *environment;
		bool maybe = entry[0] == name[0] && (own || readable_soon(entry, NAME_BYTES));
		const char *value = maybe ? value_if(entry, name) : NULL;
		if (value && (own || path_length(value, VALUE_BYTES) != UNREADABLE)) {
			return value;
		}
	}
	return NULL;
}

static bool holds(const char *text, const char *part)
{
	for (; text && *text; text++) {
		size_t i = 0;
		while (part[i] && text[i] == part[i]) {
			i++;
		}
		if (!part[i]) {
			return true;
		}
	}
	return false;
}

/* text behind what is there; what does not fit makes the name one that nobody has. */
static void add_text(char *to, size_t room, const char *text)
{
	size_t len = strlen(to);
	for (; *text && len < room - 1; text++) {
		to[len++] = *text;
	}
	to[*text ? 0 : len] = '\0';
}

/* bin/ is beside the library's directory, or beside the one above (lib/x86_64-linux-gnu). */
static void find_tracer(const char *name)
{
	static const char *const below[] = {"../bin/mirror-trace", "../../bin/mirror-trace"};
	const char *own = resolve_own_path();
	add_text(trace.socket, sizeof(trace.socket), name);
	for (size_t i = 0; own && i < sizeof(below) / sizeof(below[0]); i++) {
		trace.program[0] = '\0';
		add_text(trace.program, sizeof(trace.program), own);
		size_t len = strlen(trace.program);
		while (len > 0 && trace.program[len - 1] != '/') {
			len--;
		}
		trace.program[len] = '\0';
		add_text(trace.program, sizeof(trace.program), below[i]);
		if (own_call(SYS_faccessat, AT_FDCWD, trace.program, 1) == 0) {
			trace.on = trace.socket[0];
			return;
		}
	}
}

void unseen_start(char *const *environment)
{
	const char *tracer = value_of(environment, "MIRROR_TRACE");
	preloaded = holds(value_of(environment, "LD_PRELOAD"), SHIM_NAME);
	if (tracer) {
		find_tracer(tracer);
	}
}

static bool takes_us_along(char *const *environment)
{
	const char *journal = value_of(environment, "MIRROR_JOURNAL");
	return journal && *journal && *journal != SANDBOX_MARK &&
	       (!preloaded || holds(value_of(environment, "LD_PRELOAD"), SHIM_NAME));
}

/* ---- finding and reading it --------------------------------------------------------------- */

/* "element/name" into text, which has HEAD_BYTES; false: no room.  Returns what follows. */
static bool join(const char **path, const char *name, char *text)
{
	size_t used = 0;
	for (; **path && **path != ':'; (*path)++) {
		if (used < HEAD_BYTES - 2) {
			text[used++] = **path;
		}
	}
	*path += **path == ':';
	if (used) {
		text[used++] = '/';
	}
	for (; *name && used < HEAD_BYTES - 1; name++) {
		text[used++] = *name;
	}
	text[used] = '\0';
	return !*name;
}

/* Where a program is: what can be opened, and what it is now. */
struct found {
	int dirfd;
	const char *path;
	struct stat st;
};

static bool is_there(struct found *it, int dirfd, const char *path)
{
	it->dirfd = dirfd;
	it->path = path;
	return own_call(SYS_newfstatat, dirfd, path, &it->st, 0) == 0 &&
	       (it->st.st_mode & MODE_TYPE) == MODE_REGULAR && (it->st.st_mode & MODE_RUNS);
}

/* As execvp() does. */
static bool is_in_path(struct found *it, const char *name, char *text)
{
	const char *path = value_of(unseen_environment(), "PATH");
	path = path ? path : DEFAULT_PATH;
	for (bool more = true; more; more = *path) {
		if (join(&path, name, text) && is_there(it, AT_FDCWD, text)) {
			return true;
		}
	}
	return false;
}

static bool has_slash(const char *path)
{
	while (*path && *path != '/') {
		path++;
	}
	return *path;
}

static bool find(struct found *it, const struct program *program, char *text)
{
	if (program->search && !has_slash(program->path)) {
		return is_in_path(it, program->path, text);
	}
	if (!program->path[0] &&
		(program->flags & AT_EMPTY_PATH)) { /* may be open as a path only */
		size_t len = descriptor_path(program->dirfd, text, HEAD_BYTES - 1);
		text[len] = '\0';
		return is_there(it, AT_FDCWD, text);
	}
	return is_there(it, program->dirfd, program->path);
}

static size_t read_at(int fd, void *to, size_t bytes, uint64_t at)
{
	long got = own_call(SYS_pread64, fd, to, bytes, at);
	return raw_failed(got) ? 0 : (size_t)got;
}

/* ---- what it is -------------------------------------------------------------------------- */

/* The kernel makes such a program "secure", and its linker then loads no library of ours. */
static bool has_privileges(const struct stat *st)
{
	bool user = st->st_mode & MODE_SETUID;
	bool group = (st->st_mode & MODE_SETGID) == MODE_SETGID;
	return (user && st->st_uid != (uint32_t)own_call(SYS_getuid)) ||
	       (group && st->st_gid != (uint32_t)own_call(SYS_getgid));
}

static bool has_capabilities(int fd)
{
	return own_call(SYS_fgetxattr, fd, "security.capability", NULL, 0) > 0 &&
	       own_call(SYS_getuid) != 0;
}

static bool is_elf(const char *head, size_t len)
{
	return len >= sizeof(Elf64_Ehdr) && head[0] == ELFMAG0 && head[1] == ELFMAG1 &&
	       head[2] == ELFMAG2 && head[3] == ELFMAG3;
}

/* Whether there is a PT_INTERP; the first headers are in head already, as a rule. */
static bool has_linker(int fd, const Elf64_Ehdr *elf, char *head, size_t len)
{
	const size_t one = sizeof(Elf64_Phdr);
	uint64_t begin = 0;
	for (unsigned i = 0; i < elf->e_phnum; i++) {
		uint64_t at = elf->e_phoff + (uint64_t)i * one;
		if (at < begin || at - begin + one > len) {
			begin = at;
			len = read_at(fd, head, HEAD_BYTES, at);
		}
		if (len < one || at % 8) {
			return true; /* damaged: it will not run */
		}
		if (((const Elf64_Phdr *)(head + (at - begin)))->p_type == PT_INTERP) {
			return true;
		}
	}
	return false;
}

/* Whether one of the section names is Go's.  Parts overlap by one name's length. */
static bool is_go(int fd, const Elf64_Ehdr *elf, char *buffer)
{
	static const char name[] = ".go.buildinfo";
	uint64_t at = elf->e_shoff + (uint64_t)elf->e_shstrndx * sizeof(Elf64_Shdr), end;
	Elf64_Shdr *section = (Elf64_Shdr *)buffer;
	if (!elf->e_shoff || read_at(fd, section, sizeof(*section), at) != sizeof(*section)) {
		return false;
	}
	at = section->sh_offset;
	end = at + (section->sh_size < NAMES_MAX ? section->sh_size : NAMES_MAX);
	while (at < end) {
		size_t len = read_at(fd, buffer, HEAD_BYTES, at);
		for (size_t i = 0; i + sizeof(name) <= len; i++) {
			size_t k = 0;
			while (k < sizeof(name) && buffer[i + k] == name[k]) {
				k++;
			}
			if (k == sizeof(name)) {
				return true;
			}
		}
		if (len < HEAD_BYTES) {
			return false;
		}
		at += HEAD_BYTES - sizeof(name);
	}
	return false;
}

static unsigned reason_of_elf(int fd, char *head, size_t len)
{
	const Elf64_Ehdr elf = *(const Elf64_Ehdr *)head;
	if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_machine != OWN_MACHINE) {
		return UNSEEN_MACHINE;
	}
	if (!has_linker(fd, &elf, head, len)) {
		return UNSEEN_STATIC;
	}
	return is_go(fd, &elf, head) ? UNSEEN_GO : 0;
}

/* The interpreter's name of a script, in place; NULL: it is none. */
static const char *interpreter(char *head, size_t len)
{
	size_t from = 2, to;
	if (len < 3 || head[0] != '#' || head[1] != '!') {
		return NULL;
	}
	while (from < len && (head[from] == ' ' || head[from] == '\t')) {
		from++;
	}
	for (to = from;
		to < len && head[to] && head[to] != ' ' && head[to] != '\t' && head[to] != '\n';
		to++) {
	}
	if (to == from || to == len) {
		return NULL;
	}
	head[to] = '\0';
	return head + from;
}

/* What it needs reading for.  *ret_next, in head: look at that instead. */
static unsigned read_reason(const struct found *it, char *head, const char **ret_next)
{
	unsigned reason = 0;
	long fd = own_call(SYS_openat, it->dirfd, it->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (raw_failed(fd)) {
		return has_privileges(&it->st) ? UNSEEN_PRIVILEGED : 0;
	}
	size_t len = read_at((int)fd, head, HEAD_BYTES - 1, 0);
	if (is_elf(head, len)) {
		reason = reason_of_elf((int)fd, head, len);
		reason = !reason && (has_privileges(&it->st) || has_capabilities((int)fd))
				 ? UNSEEN_PRIVILEGED
				 : reason;
	} else {
		*ret_next = interpreter(head, len);
	}
	own_call(SYS_close, fd);
	return reason;
}

/* As read_reason(), where it is not known. */
static unsigned reason_of(const struct found *it, char *head, const char **ret_next)
{
	const uint64_t parts[] = {
		it->st.st_dev, it->st.st_ino, (uint64_t)it->st.st_ctime, it->st.st_ctime_nsec};
	uint64_t key = key_of(parts, sizeof(parts) / sizeof(parts[0]));
	unsigned verdict = recorder_verdict(key);
	*ret_next = NULL;
	if (verdict) {
		return verdict - 1;
	}
	unsigned reason = read_reason(it, head, ret_next);
	if (!*ret_next) {
		recorder_keep_verdict(key, reason + 1);
	}
	return reason;
}

unsigned unseen_reason(const struct program *program, char *const *environment)
{
	_Alignas(8) char head[HEAD_BYTES];
	struct found it = {0};
	unsigned reason = 0;
	if (!recorder_configured || path_length(program->path, PATH_ROOM) == UNREADABLE ||
		!find(&it, program, head)) {
		return 0;
	}
	if (!takes_us_along(environment)) {
		return UNSEEN_ENVIRONMENT;
	}
	for (int i = 0; i < SCRIPTS_MAX && !reason; i++) {
		const char *next;
		reason = reason_of(&it, head, &next);
		if (!next || !is_there(&it, AT_FDCWD, next)) {
			break;
		}
	}
	return reason;
}

/* ---- tracing it --------------------------------------------------------------------------- */

/* Those that gain privileges would lose them, those of another machine have other numbers. */
static bool can_be_traced(unsigned reason, const struct program *program)
{
	bool named = program->dirfd == AT_FDCWD || program->path[0] == '/';
	return trace.on && named && program->path[0] && reason != UNSEEN_PRIVILEGED &&
	       reason != UNSEEN_MACHINE;
}

/* Of more than a few arguments it is a mapping, which the parent of a vfork() keeps. */
static char **vector_room(size_t count, char **few)
{
	if (count <= UNSEEN_FEW) {
		return few;
	}
	long map = raw_call(SYS_mmap, 0, (count + 1) * sizeof(char *), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char **vector = raw_failed(map) ? NULL : (char **)map; // NOLINT(performance-no-int-to-ptr)
	if (vector) {
		*vector++ = (char *)(count + 1);
	}
	return vector;
}

char **unseen_traced(unsigned reason, const struct program *program, char *const *argv, char **few)
{
	static char in_path[] = "p", verbatim[] = "v";
	size_t count = 0;
	if (!reason || !goes_on(argv) || !can_be_traced(reason, program)) {
		return NULL;
	}
	while (goes_on(argv + count)) {
		count++;
	}
	if (!readable(argv + count) || argv[count]) {
		return NULL; /* exec shall say EFAULT */
	}
	char **vector = vector_room(count + 5, few);
	if (vector) {
		vector[0] = trace.program;
		vector[1] = trace.socket;
		vector[2] = program->search ? in_path : verbatim;
		vector[3] = (char *)(uintptr_t)program->path;
		for (size_t i = 0; i <= count; i++) {
			vector[4 + i] = argv[i];
		}
	}
	return vector;
}

void unseen_untraced(char **vector, char *const *few)
{
	if (vector && vector != few) {
		raw_call(SYS_munmap, vector - 1, (size_t)vector[-1] * sizeof(char *));
	}
}

/* ---- telling of it ------------------------------------------------------------------------ */

static size_t space(const struct event *event)
{
	return sizeof(event->draft->bytes) - event->used;
}

static size_t put(struct event *event, const char *text)
{
	char *to = event->draft->bytes + event->used;
	size_t len = 0;
	for (; len < PATH_ROOM && len < space(event) && text[len]; len++) {
		to[len] = text[len];
	}
	event->used += (uint32_t)len;
	return len;
}

/* The program's name: as it was given, or what the kernel has for a descriptor. */
static size_t put_path(struct event *event, const struct program *program)
{
	size_t len = 0;
	if (program->dirfd != AT_FDCWD && program->path[0] != '/') {
		len = descriptor_path(program->dirfd, event->draft->bytes + event->used, PATH_ROOM);
		event->used += (uint32_t)len;
		bool more = len && program->path[0] && event->draft->bytes[event->used - 1] != '/';
		len += more ? put(event, "/") : 0;
	}
	return len + put(event, program->path);
}

static size_t put_directory(struct event *event)
{
	long len = own_call(SYS_getcwd, event->draft->bytes + event->used, PATH_ROOM);
	if (len <= 1 || event->draft->bytes[event->used] != '/') {
		return 0;
	}
	event->used += (uint32_t)len - 1;
	return (size_t)len - 1;
}

/* Those that look like paths, each with its NUL, while there is room.  Moves argv on. */
static size_t put_arguments(struct event *event, char *const **argv)
{
	size_t before = event->used;
	for (; goes_on(*argv); (*argv)++) {
		size_t len = path_length(**argv, PATH_ROOM + 1) + 1;
		if (len == 0 || len > PATH_ROOM || !has_slash(**argv)) {
			continue; /* UNREADABLE + 1 is 0 */
		}
		if (len > space(event)) {
			break;
		}
		for (size_t i = 0; i < len; i++) {
			event->draft->bytes[event->used++] = (**argv)[i];
		}
	}
	return event->used - before;
}

/* One record; false: nobody takes it. */
static bool record_one(uint32_t pid, unsigned reason, const struct program *program,
	char *const **argv, unsigned flags)
{
	struct event event;
	event_begin(&event, RECORD_UNSEEN, flags);
	if (!event.draft) {
		return false;
	}
	struct record facts = {.fd = -1,
		.pid = pid,
		.writer = event.pid == pid ? 0 : event.pid,
		.mode = reason,
		.nlink = (uint32_t)own_call(SYS_getsid, pid)};
	event.draft->dir_len = (uint16_t)put_directory(&event);
	event.draft->path_len = (uint16_t)put_path(&event, program);
	event.draft->dir2_len = 0;
	event.draft->path2_len = (uint16_t)put_arguments(&event, argv);
	return event_finish(&event, true, &facts);
}

void unseen_record(uint32_t pid, unsigned reason, const struct program *program, char *const *argv)
{
	static char *const none[] = {NULL};
	argv = goes_on(argv) ? argv + 1 : none;
	unsigned flags = 0;
	while (record_one(pid, reason, program, &argv, flags) && goes_on(argv)) {
		flags = RECORD_CONTINUED;
	}
}
