/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   program ──clone──▶ first ──clone──▶ second: a session of its own, exec mirror-poster
 *                        └─ ends at once, and is waited for here
 *
 * aside.c tells how the program does not notice.  The second one's parent is gone, so it is init's.
 *
 * Not done where the program would get to see it after all (it adopts orphans), where it may be
 * killed for it (seccomp), and where it is not as the user started it (set-user-id).
 */
#include "summon.h"

#include <asm/fcntl.h>
#include <asm/signal.h>
#include <asm/stat.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <stddef.h>
#include <stdint.h>

#include "core/raw.h"
#include "core/span.h"
#include "aside.h"
#include "first-page.h"
#include "resolve.h"

#define PATH_BYTES 1024u
#define SIGNAL_MAX 64
#define TYPE_MASK  0170000u
#define TYPE_LINK  0120000u
#define EXECUTABLE 1
#define EXISTS     0

/* What the poster gets to see: where its files are, no library paths of the job's modules. */
static const char kept_names[][20] = {
	"HOME=", "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "USER=", "LOGNAME=", "LANG=", "PATH="};
#define KEPT_HOME  0
#define KEPT_STATE 1
#define KEPT       (sizeof(kept_names) / sizeof(kept_names[0]))
/* As the kernel laid them out, where no setenv() reaches; who writes over them is found out. */
static FIRST_PAGE char *kept[KEPT];

/* Too large for the stack of a guest. */
struct scene {
	char program[PATH_BYTES];
	char path[PATH_BYTES];
	const char *mirror;
	char *argv[4];
	char *envp[KEPT + 1];
	_Alignas(16) char first_stack[ASIDE_STACK_BYTES];
	_Alignas(16) char second_stack[ASIDE_STACK_BYTES];
};

/* ---- text -------------------------------------------------------------------------------- */

static const char *behind(const char *text, const char *prefix)
{
	while (*prefix && *text == *prefix) {
		text++;
		prefix++;
	}
	return *prefix ? NULL : text;
}

/* Writes text at *used; a path that does not fit becomes the empty one, which nobody has. */
static void add(char *path, size_t *used, const char *text)
{
	while (*text && *used < PATH_BYTES - 1) {
		path[(*used)++] = *text++;
	}
	if (*text) {
		*used = 0;
	}
	path[*used] = '\0';
}

static const char *last_part(const char *path)
{
	const char *part = path;
	for (; *path; path++) {
		if (path[0] == '/' && path[1]) {
			part = path + 1;
		}
	}
	return part;
}

void summon_note(char *entry)
{
	for (size_t i = 0; i < KEPT; i++) {
		if (behind(entry, kept_names[i])) {
			kept[i] = entry;
		}
	}
}

/* The value of one of kept_names, or NULL. */
static const char *kept_value(size_t i)
{
	return kept[i] ? behind(kept[i], kept_names[i]) : NULL;
}

static const char *kept_directory(size_t i)
{
	const char *value = kept_value(i);
	return value && value[0] == '/' ? value : NULL;
}

/* ---- whether ----------------------------------------------------------------------------- */

/* The file of that name in the mirror's state directory, as lib/flow/place.c has it. */
static bool state_path(struct scene *scene, const char *name)
{
	const char *state = kept_directory(KEPT_STATE), *home = kept_directory(KEPT_HOME);
	size_t used = 0;
	if (!state && !home) {
		return false;
	}
	add(scene->path, &used, state ? state : home);
	add(scene->path, &used, state ? "/treemirror/" : "/.local/state/treemirror/");
	add(scene->path, &used, scene->mirror);
	add(scene->path, &used, "/");
	add(scene->path, &used, name);
	return true;
}

static bool has(const char *path, int how)
{
	return raw_call(SYS_faccessat, AT_FDCWD, path, how) == 0;
}

/* `mirrorctl start` of the same user was here, and no `mirrorctl stop` since. */
static bool is_wanted(struct scene *scene)
{
	struct stat st = {0};
	if (!state_path(scene, "config") ||
		raw_call(SYS_newfstatat, AT_FDCWD, scene->path, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
		(st.st_mode & TYPE_MASK) != TYPE_LINK ||
		st.st_uid != (uint32_t)raw_call(SYS_geteuid)) {
		return false;
	}
	return state_path(scene, "stopped") && !has(scene->path, EXISTS);
}

/* bin/ is beside the library's directory, or beside the one above (lib/x86_64-linux-gnu). */
static bool find_program(struct scene *scene)
{
	static const char *const below[] = {"../bin/mirror-poster", "../../bin/mirror-poster"};
	const char *own = resolve_own_path();
	for (size_t i = 0; own && i < sizeof(below) / sizeof(below[0]); i++) {
		size_t used = 0;
		add(scene->program, &used, own);
		while (used > 0 && scene->program[used - 1] != '/') {
			used--;
		}
		add(scene->program, &used, below[i]);
		if (has(scene->program, EXECUTABLE)) {
			return true;
		}
	}
	return false;
}

static bool is_usual(void)
{
	int adopts = 0;
	return aside_is_safe() && raw_call(SYS_prctl, PR_GET_CHILD_SUBREAPER, &adopts) == 0 &&
	       !adopts && raw_call(SYS_getpid) != 1 &&
	       raw_call(SYS_getuid) == raw_call(SYS_geteuid) &&
	       raw_call(SYS_getgid) == raw_call(SYS_getegid);
}

static struct scene *scene_open(const char *directory)
{
	long map = raw_call(SYS_mmap, 0, sizeof(struct scene), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (raw_failed(map)) {
		return NULL;
	}
	struct scene *scene = (struct scene *)map; // NOLINT(performance-no-int-to-ptr)
	scene->mirror = last_part(directory);
	if (!is_usual() || !is_wanted(scene) || !find_program(scene)) {
		raw_call(SYS_munmap, scene, sizeof(*scene));
		return NULL;
	}
	return scene;
}

bool summon_is_possible(const char *directory)
{
	struct scene *scene = scene_open(directory);
	if (scene) {
		raw_call(SYS_munmap, scene, sizeof(*scene));
	}
	return scene != NULL;
}

/* ---- how --------------------------------------------------------------------------------- */

static void default_signals(void)
{
	uint64_t action[4] = {0}; /* the kernel's struct sigaction: SIG_DFL, nothing else */
	for (int number = 1; number <= SIGNAL_MAX; number++) {
		raw_call(SYS_rt_sigaction, number, action, NULL, sizeof(uint64_t));
	}
}

/* /dev/null three times, and nothing else.  Before Linux 5.9 the poster closes the others. */
static bool default_descriptors(void)
{
	long nothing = raw_call(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR);
	for (int fd = 0; fd < 3 && !raw_failed(nothing); fd++) {
		if (fd != nothing && raw_failed(raw_call(SYS_dup3, nothing, fd, 0))) {
			return false;
		}
	}
	raw_call(SYS_close_range, 3, ~0u, 0);
	return !raw_failed(nothing);
}

/* Signals stay blocked, the poster opens them: until exec, a fatal one might be the program's. */
static void second(void *argument)
{
	struct scene *scene = (struct scene *)argument;
	raw_call(SYS_setsid);
	default_signals();
	raw_call(SYS_chdir, "/");
	if (default_descriptors()) {
		raw_call(SYS_execve, scene->program, scene->argv, scene->envp);
	}
}

static void first(void *argument)
{
	struct scene *scene = (struct scene *)argument;
	aside_start(second, scene, scene->second_stack);
}

static void set_arguments(struct scene *scene)
{
	static char option[] = "--summoned";
	size_t count = 0;
	scene->argv[0] = scene->program;
	scene->argv[1] = option;
	scene->argv[2] = (char *)(uintptr_t)scene->mirror;
	for (size_t i = 0; i < KEPT; i++) {
		if (kept_value(i)) {
			scene->envp[count++] = kept[i];
		}
	}
}

void summon(const char *directory)
{
	struct scene *scene = scene_open(directory);
	if (scene) {
		set_arguments(scene);
		aside_run(first, scene, scene->first_stack);
		raw_call(SYS_munmap, scene, sizeof(*scene));
	}
}
