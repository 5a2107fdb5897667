/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories come from the XDG variables where these are absolute (the specification tells to
 * ignore others), else from $HOME, else from the user database: a job may have an empty
 * environment.  Programs and the shim are found beside the running program, so an uninstalled
 * build and an installed one look alike: bin/ and lib/ are neighbours.
 */
#include "flow/place.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/journal.h"
#include "core/cleanup.h"
#include "core/path.h"

#define SHIM "libmirrorshim.so"

char *place_home(void)
{
	const char *home = getenv("HOME");
	if (!home || home[0] != '/') {
		const struct passwd *user = getpwuid(getuid());
		home = user && user->pw_dir[0] == '/' ? user->pw_dir : "/";
	}
	return strdup(home);
}

/* $variable, or ~/fallback; with /treemirror. */
static char *xdg(const char *variable, const char *fallback)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	const char *value = getenv(variable);
	if (value && value[0] == '/') {
		buf_add_str(&path, value);
	} else {
		CLEANUP(free_p) char *home = place_home();
		path.failed |= !home;
		path_join(&path, span_str(home), span_str(fallback));
	}
	path_join(&path, SPAN_NONE, SPAN("/treemirror"));
	return path.failed ? NULL : buf_steal(&path);
}

char *place_config_directory(void)
{
	return xdg("XDG_CONFIG_HOME", ".config");
}

char *place_state(const char *mirror, const char *name)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	CLEANUP(free_p) char *top = xdg("XDG_STATE_HOME", ".local/state");
	path.failed |= !top;
	buf_add_str(&path, top);
	buf_printf(&path, "/%s", mirror);
	if (name) {
		buf_printf(&path, "/%s", name);
	}
	return path.failed ? NULL : buf_steal(&path);
}

int place_make(const char *directory, struct why *why)
{
	CLEANUP(free_p) char *path = strdup(directory);
	struct stat st;
	if (!path) {
		return -ENOMEM;
	}
	for (char *at = path + 1; *at; at++) {
		if (*at == '/') {
			*at = '\0';
			(void)mkdir(path, 0700); /* what fails here fails below, with its reason */
			*at = '/';
		}
	}
	if (mkdir(path, 0700) < 0 && errno != EEXIST) {
		int error = errno;
		return why_error(why, -error, "cannot make %s: %s", path, strerror(error));
	}
	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
		return why_error(why, -ENOTDIR, "cannot make %s: something else is there", path);
	}
	return 0;
}

/* place, with %h replaced where expanding. */
static void add_journal(struct buf *path, const struct config *config, size_t index, bool expand)
{
	const char *place = config->journal[index];
	const char *mark = expand ? strstr(place, "%h") : NULL;
	while (mark) {
		buf_add(path, span_of(place, (size_t)(mark - place)));
		buf_add_str(path, place_host());
		place = mark + 2;
		mark = strstr(place, "%h");
	}
	buf_add_str(path, place);
	buf_printf(path, "/treemirror-%u/%s", (unsigned)getuid(), config->mirror);
}

char *place_journal(const struct config *config, size_t index)
{
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	add_journal(&path, config, index, true);
	return path.failed ? NULL : buf_steal(&path);
}

char *place_journal_list(const struct config *config)
{
	CLEANUP(buf_finish) struct buf list = BUF_EMPTY;
	if (config->journal_size_bytes != JOURNAL_SIZE_DEFAULT) {
		buf_printf(&list, "%llu:", (unsigned long long)config->journal_size_bytes);
	}
	for (size_t i = 0; config->journal[i]; i++) {
		if (i) {
			buf_add_char(&list, ':');
		}
		add_journal(&list, config, i, false);
	}
	return list.failed ? NULL : buf_steal(&list);
}

/* The directory of the running program, with name behind it. */
static char *beside(const char *name)
{
	CLEANUP(buf_finish) struct buf joined = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf path = BUF_EMPTY;
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self));
	if (len <= 0 || (size_t)len == sizeof(self)) {
		return NULL;
	}
	buf_add(&joined, path_parent(span_of(self, (size_t)len)));
	buf_printf(&joined, "/%s", name);
	if (joined.failed || path_normalise(&path, buf_span(&joined)) < 0) {
		return NULL;
	}
	return buf_steal(&path);
}

char *place_program(const char *name)
{
	return beside(name);
}

char *place_library(void)
{
	char *path = beside("../lib/" SHIM);
	if (path && access(path, F_OK) < 0) {
		char *installed = beside("../" MIRROR_LIBDIR "/" SHIM);
		if (installed && access(installed, F_OK) == 0) {
			free(path);
			return installed;
		}
		free(installed);
	}
	return path;
}

const char *place_host(void)
{
	static char host[256];
	if (!host[0] && gethostname(host, sizeof(host) - 1) < 0) {
		(void)snprintf(host, sizeof(host), "localhost");
	}
	return host;
}
