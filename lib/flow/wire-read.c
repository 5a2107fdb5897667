/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading builds jansson's tree, which checks the syntax, the UTF-8 and the depth; then each row
 * takes its member.  What is wrong is told with the place, what was expected and what was found;
 * what was found comes from strangers and is made printable.
 */
#include "flow/wire.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/path.h"
#include "flow/base64.h"
#include "flow/change.h"
#include "flow/message.h"

static const char *kind_of(const json_t *json)
{
	static const char *const names[] = {[JSON_OBJECT] = "an object",
		[JSON_ARRAY] = "a list",
		[JSON_STRING] = "a string",
		[JSON_INTEGER] = "a number",
		[JSON_REAL] = "a number with a fraction",
		[JSON_TRUE] = "true",
		[JSON_FALSE] = "false",
		[JSON_NULL] = "null"};
	return json ? names[json_typeof(json)] : "nothing";
}

static int expected(const struct wire *in, const char *key, const char *what, const json_t *found,
	struct why *why)
{
	return why_error(why, -EBADMSG, "%s%s%s: expected %s, found %s", in->at, *in->at ? "." : "",
		key, what, kind_of(found));
}

static struct span string_of(const json_t *json)
{
	return span_of(json_string_value(json), json_string_length(json));
}

/* The right kind of value, and yet wrong. */
static int refused(const struct wire *in, const char *key, const char *what, const json_t *found,
	struct why *why)
{
	char text[128];
	struct span raw = json_is_string(found) ? string_of(found) : span_str(kind_of(found));
	return why_error(why, -EBADMSG, "%s%s%s: expected %s, found '%s'", in->at,
		*in->at ? "." : "", key, what, log_escape(raw, text, sizeof(text)));
}

int wire_parse(struct span body, struct wire *ret, struct why *why)
{
	json_error_t error;
	json_t *json =
		json_loadb(body.data ? body.data : "", body.len, JSON_REJECT_DUPLICATES, &error);
	if (!json) {
		return why_error(
			why, -EBADMSG, "not JSON: %s (byte %d)", error.text, error.position);
	}
	*ret = (struct wire){json, ""};
	if (!json_is_object(json)) {
		int r = why_error(why, -EBADMSG, "expected an object, found %s", kind_of(json));
		wire_finish(ret);
		return r;
	}
	return 0;
}

void wire_finish(struct wire *wire)
{
	json_decref(wire->json);
	wire->json = NULL;
}

int wire_enter(
	const struct wire *in, const char *key, const char *at, struct wire *ret, struct why *why)
{
	json_t *json = json_object_get(in->json, key);
	if (!json) {
		return WIRE_ABSENT;
	}
	if (!json_is_object(json)) {
		return expected(in, key, "an object", json, why);
	}
	*ret = (struct wire){json, at};
	return 0;
}

int wire_string(const struct wire *in, const char *key, struct span *ret, struct why *why)
{
	json_t *json = json_object_get(in->json, key);
	if (!json) {
		return WIRE_ABSENT;
	}
	if (!json_is_string(json)) {
		return expected(in, key, "a string", json, why);
	}
	*ret = string_of(json);
	return 0;
}

/*
 * The bytes of a value; *ret points into json or, where they had to be decoded, into scratch.
 * Returns 0, -ENOMEM, -EBADMSG.
 */
static int bytes_of(const struct wire *in, const char *key, const json_t *json, struct buf *scratch,
	struct span *ret, struct why *why)
{
	const json_t *base64 = json_is_object(json) ? json_object_get(json, "base64") : NULL;
	if (json_is_string(json)) {
		*ret = string_of(json);
	} else if (json_is_string(base64)) {
		buf_clear(scratch);
		if (base64_read(string_of(base64), scratch) < 0) {
			return refused(in, key, "base64", base64, why);
		}
		*ret = buf_span(scratch);
	} else {
		return expected(in, key, "a string or {\"base64\": …}", json, why);
	}
	if (scratch->failed) {
		return -ENOMEM;
	}
	if (ret->len > WIRE_BYTES_MAX || (ret->len && memchr(ret->data, '\0', ret->len))) {
		return why_error(why, -EBADMSG, "%s.%s: expected at most %d bytes without NUL",
			in->at, key, WIRE_BYTES_MAX);
	}
	return 0;
}

int wire_pairs(const struct wire *in, const char *key,
	int (*fn)(void *arg, struct span a, struct span b, struct why *why), void *arg,
	struct why *why)
{
	CLEANUP(buf_finish) struct buf scratch_a = BUF_EMPTY;
	CLEANUP(buf_finish) struct buf scratch_b = BUF_EMPTY;
	const json_t *list = json_object_get(in->json, key), *pair;
	size_t i;
	int r = 0;
	if (list && !json_is_array(list)) {
		return expected(in, key, "a list of pairs", list, why);
	}
	json_array_foreach(list, i, pair)
	{
		struct span a = SPAN_NONE, b = SPAN_NONE;
		if (json_array_size(pair) != 2) {
			return expected(in, key, "pairs in the list", pair, why);
		}
		if ((r = bytes_of(in, key, json_array_get(pair, 0), &scratch_a, &a, why)) < 0 ||
			(r = bytes_of(in, key, json_array_get(pair, 1), &scratch_b, &b, why)) < 0 ||
			(r = fn(arg, a, b, why)) < 0) {
			return r;
		}
	}
	return 0;
}

bool wire_is_path(struct span path)
{
	return span_starts(path, SPAN("/")) && path_is_rel(span_skip(path, 1));
}

int wire_number(struct span text, uint64_t *ret)
{
	uint64_t value = 0;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		if (c < '0' || c > '9' || __builtin_mul_overflow(value, UINT64_C(10), &value) ||
			__builtin_add_overflow(value, (uint64_t)(c - '0'), &value)) {
			return -EINVAL;
		}
	}
	*ret = value;
	return text.len ? 0 : -EINVAL;
}

static int read_bytes(const struct wire *in, const struct wire_row *row, const json_t *json,
	struct span *field, struct why *why)
{
	CLEANUP(buf_finish) struct buf scratch = BUF_EMPTY;
	struct span bytes = SPAN_NONE;
	int r = bytes_of(in, row->key, json, &scratch, &bytes, why);
	if (r == 0 && row->type == WIRE_PATH && !wire_is_path(bytes)) {
		r = refused(
			in, row->key, "an absolute path without empty, . and .. parts", json, why);
	}
	return r < 0 ? r : change_set(field, bytes);
}

static int read_number(const struct wire *in, const struct wire_row *row, const json_t *json,
	void *field, struct why *why)
{
	bool is_signed = row->type == WIRE_I64;
	const char *text = json_string_value(json);
	const char *digits = is_signed && text && *text == '-' ? text + 1 : text;
	const char *what = is_signed ? "a whole number as a string" : "digits as a string";
	if (!text) {
		return expected(in, row->key, what, json, why);
	}
	char *end = NULL;
	errno = 0;
	uint64_t value = is_signed ? (uint64_t)strtoll(text, &end, 10) : strtoull(text, &end, 10);
	if (*digits < '0' || *digits > '9' || errno || *end) {
		return refused(in, row->key, what, json, why);
	}
	memcpy(field, &value, sizeof(value));
	return 0;
}

static int read_u32(const struct wire *in, const struct wire_row *row, const json_t *json,
	uint32_t *field, struct why *why)
{
	json_int_t value = json_integer_value(json);
	if (!json_is_integer(json) || value < 0 || value > UINT32_MAX) {
		return expected(in, row->key, "a number from 0 to 4294967295",
			json_is_integer(json) ? NULL : json, why);
	}
	*field = (uint32_t)value;
	return 0;
}

/* Which of the row's names it is.  Returns 0 or -EINVAL. */
static int index_of(const struct wire_row *row, const json_t *json, unsigned *ret)
{
	for (unsigned i = 0; json_is_string(json) && row->name(i); i++) {
		if (span_equal(string_of(json), span_str(row->name(i)))) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int read_set(const struct wire *in, const struct wire_row *row, const json_t *json,
	unsigned *field, struct why *why)
{
	const json_t *item;
	size_t i;
	unsigned set = 0, index;
	if (!json_is_array(json)) {
		return expected(in, row->key, "a list of names", json, why);
	}
	json_array_foreach(json, i, item)
	{
		if (index_of(row, item, &index) < 0) {
			return refused(in, row->key, "a list of known names", item, why);
		}
		set |= 1U << index;
	}
	*field = set;
	return 0;
}

static int read_field(const struct wire *in, const struct wire_row *row, const json_t *json,
	void *field, struct why *why)
{
	switch (row->type) {
	case WIRE_BYTES:
	case WIRE_PATH:
		return read_bytes(in, row, json, field, why);
	case WIRE_IDENT:
		if (!json_is_string(json) || ident_parse(string_of(json), field) < 0) {
			return expected(in, row->key, "an id", json, why);
		}
		return 0;
	case WIRE_U64:
	case WIRE_I64:
		return read_number(in, row, json, field, why);
	case WIRE_U32:
		return read_u32(in, row, json, field, why);
	case WIRE_FLAG:
		*(bool *)field = json_is_true(json);
		return json_is_boolean(json) ? 0
					     : expected(in, row->key, "true or false", json, why);
	case WIRE_NAME:
		return index_of(row, json, field) < 0
			       ? refused(in, row->key, "a known name", json, why)
			       : 0;
	case WIRE_SET:
		return read_set(in, row, json, field, why);
	}
	return -EINVAL;
}

int wire_read(const struct wire *in, const struct wire_row *rows, size_t count, void *object,
	struct why *why)
{
	for (size_t i = 0; i < count; i++) {
		const json_t *json = json_object_get(in->json, rows[i].key);
		int r = 0;
		if (json) {
			r = read_field(in, &rows[i], json, (char *)object + rows[i].offset, why);
		} else if (rows[i].required) {
			r = why_error(why, -EBADMSG, "%s%s%s: missing", in->at, *in->at ? "." : "",
				rows[i].key);
		}
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

int wire_enter_mirror(const struct wire *in, struct wire *ret, struct why *why)
{
	static const struct wire_row version_rows[] = {{"version", WIRE_U32, 0, .required = true}};
	uint32_t version = 0;
	int r = wire_enter(in, "mirror", "mirror", ret, why);
	if (r == 0) {
		r = wire_read(ret, version_rows, 1, &version, why);
	}
	if (r == 0 && version != MESSAGE_VERSION) {
		return why_error(why, version > MESSAGE_VERSION ? -EPROTONOSUPPORT : -EBADMSG,
			"mirror.version: expected %d, found %u", MESSAGE_VERSION, version);
	}
	return r;
}
