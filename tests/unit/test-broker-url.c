/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <string.h>

#include "flow/broker.h"

static void good_urls(void **state)
{
	static const struct {
		const char *text;
		struct broker_url expected;
	} cases[] = {
		{"amqp://h", {false, "h", 5672, "guest", "", "/", ""}},
		{"amqp://h/", {false, "h", 5672, "guest", "", "/", ""}},
		{"amqps://h", {true, "h", 5671, "guest", "", "/", ""}},
		{"amqps://opsM@broker.example/hall2",
			{true, "broker.example", 5671, "opsM", "", "hall2", ""}},
		{"amqp://u:p@h:99/%2F", {false, "h", 99, "u", "p", "/", ""}},
		{"amqp://u%40x:p%3A%2f%25@h/a%20b", {false, "h", 5672, "u@x", "p:/%", "a b", ""}},
		{"amqp://u:p:q@h", {false, "h", 5672, "u", "p:q", "/", ""}},
		{"amqp://u:p@q@h", {false, "h", 5672, "u", "p@q", "/", ""}},
		{"amqp://[::1]:5673/v", {false, "::1", 5673, "guest", "", "v", ""}},
		{"amqp://[fe80::1]", {false, "fe80::1", 5672, "guest", "", "/", ""}},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct broker_url url;
		struct why why = {""};
		const struct broker_url *expected = &cases[i].expected;
		if (broker_url_parse(span_str(cases[i].text), &url, &why) < 0) {
			fail_msg("%s: %s", cases[i].text, why.text);
		}
		assert_int_equal(url.tls, expected->tls);
		assert_string_equal(url.host, expected->host);
		assert_int_equal(url.port, expected->port);
		assert_string_equal(url.user, expected->user);
		assert_string_equal(url.password, expected->password);
		assert_string_equal(url.vhost, expected->vhost);
	}
}

static void bad_urls(void **state)
{
	static const char *const cases[] = {"", "h", "http://h", "amqp:/h", "amqp://", "amqp:///v",
		"amqp://u@", "amqp://h:0", "amqp://h:65536", "amqp://h:", "amqp://h:12x",
		"amqp://@h", "amqp://:p@h", "amqp://u%4@h", "amqp://u%zz@h", "amqp://u%00@h",
		"amqp://h/a/b", "amqp://h/v?x=1", "amqp://[::1", "amqp://[::1]x", "amqp://[]",
		"amqp://u:%@h"};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct broker_url url;
		struct why why = {""};
		if (broker_url_parse(span_str(cases[i]), &url, &why) != -EINVAL || !why.text[0]) {
			fail_msg("'%s' was taken", cases[i]);
		}
	}
}

static void long_parts(void **state)
{
	char text[600] = "amqp://";
	struct broker_url url;
	(void)state;
	memset(text + 7, 'h', 255);
	assert_int_equal(broker_url_parse(span_str(text), &url, NULL), 0);
	text[7 + 255] = 'h';
	assert_int_equal(broker_url_parse(span_str(text), &url, NULL), -EINVAL);
}

/* Words never show a password. */
static void passwords_stay_hidden(void **state)
{
	static const char *const cases[] = {"amqp://u:sesame@h:x", "amqp://u:sesame%@h",
		"amqp://u:sesame@", "amqp://u:sesame@h/a/b"};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct broker_url url;
		struct why why = {""};
		assert_int_equal(broker_url_parse(span_str(cases[i]), &url, &why), -EINVAL);
		assert_null(strstr(why.text, "sesame"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_urls),
		cmocka_unit_test(bad_urls),
		cmocka_unit_test(long_parts),
		cmocka_unit_test(passwords_stay_hidden),
	};
	return cmocka_run_group_tests_name("broker-url", tests, NULL, NULL);
}
