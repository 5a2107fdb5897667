/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dynamic loader splits LD_PRELOAD at colons and spaces and knows no quoting, so a library
 * below such a path cannot be preloaded at all; better said than found out.  What is preloaded
 * already stays in front: a sanitizer's library must come first.
 */
#include "shell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/path.h"
#include "flow/place.h"

#define SHIM_NAME "libmirrorshim.so"
#define LOADER_32 "/lib/ld-linux.so.2"

/* The entries of a preload list, but not the shim. */
static void others(const char *before, struct buf *ret)
{
	const char *at = before ? before : "";
	for (at += strspn(at, ": "); *at; at += strspn(at, ": ")) {
		struct span entry = span_of(at, strcspn(at, ": "));
		if (!span_equal(path_name(entry), SPAN(SHIM_NAME))) {
			if (ret->len) {
				buf_add_char(ret, ':');
			}
			buf_add(ret, entry);
		}
		at += entry.len;
	}
}

int shell_preload(const char *before, const char *library, struct buf *ret, struct why *why)
{
	if (strpbrk(library, ": ")) {
		return why_error(why, -EINVAL,
			"the shim stands at '%s', and LD_PRELOAD cannot name a path "
			"with a space or a colon; install treemirror elsewhere",
			library);
	}
	others(before, ret);
	if (ret->len) {
		buf_add_char(ret, ':');
	}
	buf_add_str(ret, library);
	return ret->failed ? -ENOMEM : 0;
}

void shell_leave_shim(void)
{
	CLEANUP(buf_finish) struct buf preload = BUF_EMPTY;
	others(getenv("LD_PRELOAD"), &preload);
	if (preload.len && !preload.failed) {
		(void)setenv("LD_PRELOAD", preload.data, 1);
	} else {
		(void)unsetenv("LD_PRELOAD");
	}
}

/*
 * Where programs of 32 bits run, the loader is to choose between the shim and an empty library:
 * it takes each kind's own directory for $LIB, and musl's takes the word as it stands.
 */
static char *by_loader(const char *library)
{
	static const char word[] = "/treemirror/$LIB/" SHIM_NAME,
			  other[] = "/treemirror/32/" SHIM_NAME;
	CLEANUP(buf_finish) struct buf chosen = BUF_EMPTY, empty = BUF_EMPTY;
	struct span directory = path_parent(span_str(library));
	buf_add(&chosen, directory);
	buf_add_str(&chosen, word);
	buf_add(&empty, directory);
	buf_add_str(&empty, other);
	bool is_there = !chosen.failed && !empty.failed && access(LOADER_32, X_OK) == 0 &&
			access(chosen.data, R_OK) == 0 && access(empty.data, R_OK) == 0;
	return is_there ? buf_steal(&chosen) : strdup(library);
}

int shell_values(
	const struct config *config, char **ret_preload, char **ret_journal, struct why *why)
{
	CLEANUP(buf_finish) struct buf preload = BUF_EMPTY;
	CLEANUP(free_p) char *library = place_library();
	CLEANUP(free_p) char *journal = place_journal_list(config);
	if (!library || !journal) {
		return why_error(why, -ENOMEM, "out of memory");
	}
	if (access(library, R_OK) < 0) {
		return why_error(
			why, -errno, "the shim is missing: %s: %s", library, strerror(errno));
	}
	CLEANUP(free_p) char *chosen = by_loader(library);
	int r = chosen ? shell_preload(getenv("LD_PRELOAD"), chosen, &preload, why) : -ENOMEM;
	if (r < 0) {
		return r;
	}
	*ret_preload = buf_steal(&preload);
	*ret_journal = STEAL(journal);
	return *ret_preload ? 0 : -ENOMEM;
}

void shell_quote(struct buf *ret, struct span text)
{
	buf_add_char(ret, '\'');
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] == '\'') {
			buf_add_str(ret, "'\\''");
		} else {
			buf_add_char(ret, text.data[i]);
		}
	}
	buf_add_char(ret, '\'');
}
