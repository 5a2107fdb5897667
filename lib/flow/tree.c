/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which names belong to a tree.
 *
 * Patterns are matched against rel and against each of its ancestors, so whatever excludes a
 * directory excludes all below it.  Names are bytes, but ? takes a whole UTF-8 character where
 * there is one; the locale plays no part, so all daemons and tools agree.
 */
#include <stdlib.h>

#include "core/clock.h"
#include "core/path.h"
#include "core/utf8.h"
#include "flow/config.h"

#define TIME_DIGITS  11
#define ABANDONED_NS ((int64_t)(3600 * CLOCK_S)) /* without an owner by then */

const struct tree *config_tree(const struct config *config, struct span path, struct span *ret_rel)
{
	const struct tree *deepest = NULL;
	struct span rel;
	for (size_t i = 0; i < config->tree_count; i++) {
		const struct tree *tree = &config->trees[i];
		if (path_below(path, span_str(tree->source.path), &rel) &&
			(!deepest || rel.len < ret_rel->len)) {
			deepest = tree;
			*ret_rel = rel;
		}
	}
	return deepest;
}

static bool is_temporary(struct span name)
{
	struct span digits = span_skip(name, 8);
	if (!span_starts(name, SPAN(".mirror-")) || digits.len != 16) {
		return false;
	}
	for (size_t i = 0; i < digits.len; i++) {
		if (!digits.data[i] || !strchr("0123456789abcdef", digits.data[i])) {
			return false;
		}
	}
	return true;
}

bool tree_is_temporary(struct span name, int64_t *ret_made_ns)
{
	char digits[TIME_DIGITS + 1] = "";
	if (!is_temporary(name)) {
		return false;
	}
	memcpy(digits, name.data + 8, TIME_DIGITS);
	*ret_made_ns = (int64_t)(strtoull(digits, NULL, 16) * CLOCK_MS);
	return true;
}

/* Its time may be that of another host's clock; its mtime may be the source's already, which can
 * be one of the future. */
bool tree_temporary_is_left(struct span name, int64_t mtime_ns, int64_t now_ns)
{
	int64_t made_ns, age_ns = now_ns - mtime_ns;
	return tree_is_temporary(name, &made_ns) && now_ns - made_ns > ABANDONED_NS &&
	       (age_ns > ABANDONED_NS || age_ns < -ABANDONED_NS);
}

bool tree_is_our_name(struct span rel)
{
	struct span rest = rel, name;
	for (bool first = true; path_next(&rest, &name); first = false) {
		if (is_temporary(name) ||
			(first && (span_equal(name, SPAN(".mirror")) ||
					  span_equal(name, SPAN(".mirror-gone")) ||
					  span_equal(name, SPAN(".mirror-links"))))) {
			return true;
		}
	}
	return false;
}

/*
 * Whether c is in the set that pattern opens with ("[a-z]", "[!ab]"); *ret_rest is what follows.
 * A set without its end is the character '[' itself.
 */
static bool in_set(struct span pattern, char c, struct span *ret_rest)
{
	size_t i = 1;
	bool negated = i < pattern.len && (pattern.data[i] == '!' || pattern.data[i] == '^');
	bool found = false;
	i += negated;
	for (size_t first = i; i < pattern.len && (pattern.data[i] != ']' || i == first); i++) {
		unsigned char low = (unsigned char)pattern.data[i], high = low;
		if (i + 2 < pattern.len && pattern.data[i + 1] == '-' &&
			pattern.data[i + 2] != ']') {
			high = (unsigned char)pattern.data[i += 2];
		}
		found |= low <= (unsigned char)c && (unsigned char)c <= high;
	}
	*ret_rest = span_skip(pattern, i < pattern.len ? i + 1 : 1);
	return i < pattern.len ? found != negated : c == '[';
}

static bool matches(struct span pattern, struct span text);

/* pattern follows the stars; `across`: they may stand for slashes too. */
static bool matches_stars(struct span pattern, struct span text, bool across)
{
	bool whole = across && span_starts(pattern, SPAN("/")); /* a, b and c in a/[**]/d */
	for (size_t i = 0; i <= text.len; i++) {
		if (i && text.data[i - 1] == '/' && !across) {
			return false;
		}
		bool boundary = i == 0 || text.data[i - 1] == '/';
		if ((!whole || boundary) &&
			matches(span_skip(pattern, whole), span_skip(text, i))) {
			return true;
		}
	}
	return false;
}

static bool matches(struct span pattern, struct span text)
{
	while (pattern.len) {
		char c = pattern.data[0];
		size_t used = 1;
		struct span rest = span_skip(pattern, 1);
		if (c == '*') {
			bool across = span_starts(pattern, SPAN("**"));
			return matches_stars(span_skip(pattern, across ? 2 : 1), text, across);
		}
		if (!text.len || (text.data[0] == '/' && c != '/')) {
			return false;
		}
		if (c == '?') {
			size_t len = utf8_length(text);
			used = len ? len : 1;
		} else if (c == '[') {
			if (!in_set(pattern, text.data[0], &rest)) {
				return false;
			}
		} else {
			bool quoted = c == '\\' && rest.len;
			if ((quoted ? rest.data[0] : c) != text.data[0]) {
				return false;
			}
			rest = span_skip(rest, quoted);
		}
		pattern = rest;
		text = span_skip(text, used);
	}
	return text.len == 0;
}

/* rel is the path itself or one of its ancestors. */
static bool excluded_by(struct span pattern, struct span rel, bool is_ancestor)
{
	bool below_only = pattern.len && pattern.data[pattern.len - 1] == '/';
	if (below_only) {
		pattern.len--;
		if (!is_ancestor) {
			return false;
		}
	}
	if (pattern.len && memchr(pattern.data, '/', pattern.len)) {
		return matches(span_skip(pattern, pattern.data[0] == '/'), rel);
	}
	return matches(pattern, path_name(rel));
}

bool tree_excludes(const struct tree *tree, struct span rel)
{
	if (tree_is_our_name(rel)) {
		return true;
	}
	for (char **pattern = tree->exclude; pattern && *pattern; pattern++) {
		for (struct span at = rel; at.len; at = path_parent(at)) {
			if (excluded_by(span_str(*pattern), at, at.len < rel.len)) {
				return true;
			}
		}
	}
	return false;
}
