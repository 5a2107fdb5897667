/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "flow/map.h"

static void finds_what_was_put(void **state)
{
	struct map map = MAP_EMPTY;
	struct span key;
	int a, b;
	(void)state;
	assert_null(map_get(&map, SPAN("x")));
	assert_int_equal(map_put(&map, SPAN("x"), &a, &key), 0);
	assert_span(key, "x");
	assert_int_equal(map_put(&map, SPAN(""), &b, NULL), 0);
	assert_int_equal(map_put(&map, SPAN("x"), &b, NULL), -EEXIST);
	assert_ptr_equal(map_get(&map, SPAN("x")), &a);
	assert_ptr_equal(map_get(&map, SPAN("")), &b);
	assert_null(map_get(&map, SPAN("x\0")));
	assert_ptr_equal(map_remove(&map, key), &a);
	assert_null(map_remove(&map, SPAN("x")));
	map_finish(&map);
}

/* Against an array: many keys, put and removed at random. */
static void agrees_with_an_array(void **state)
{
	enum { KEYS = 3000 };
	static char values[KEYS];
	static bool there[KEYS];
	struct map map = MAP_EMPTY;
	size_t count = 0;
	(void)state;
	srandom(7);
	for (unsigned step = 0; step < 200000; step++) {
		unsigned k = (unsigned)random() % (step < 100000 ? KEYS : KEYS / 100);
		char name[32];
		struct span key = span_of(name, (size_t)sprintf(name, "/a/%u", k));
		assert_ptr_equal(map_get(&map, key), there[k] ? &values[k] : NULL);
		if (random() % 2) {
			assert_int_equal(
				map_put(&map, key, &values[k], NULL), there[k] ? -EEXIST : 0);
			count += !there[k];
			there[k] = true;
		} else {
			assert_ptr_equal(map_remove(&map, key), there[k] ? &values[k] : NULL);
			count -= there[k];
			there[k] = false;
		}
		assert_int_equal(map.count, count);
	}
	size_t cursor = 0, seen = 0;
	while (map_next(&map, &cursor)) {
		seen++;
	}
	assert_int_equal(seen, count);
	map_finish(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_was_put),
		cmocka_unit_test(agrees_with_an_array),
	};
	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
