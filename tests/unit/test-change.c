/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "flow/change.h"
#include "some.h"

static struct change *change_of(unsigned facts, enum change_op op)
{
	struct change *change = change_create();
	assert_non_null(change);
	change->facts = facts;
	change->op = op;
	assert_int_equal(change_set(&change->path, SPAN("/a")), 0);
	return change;
}

static bool has_pair(const struct change *change, const struct change_pair *pair)
{
	for (unsigned i = 0; i < change->pair_count; i++) {
		if (change->pairs[i].is_link == pair->is_link &&
			span_equal(change->pairs[i].from, pair->from) &&
			span_equal(change->pairs[i].to, pair->to)) {
			return true;
		}
	}
	return false;
}

static void ident_as_text(void **state)
{
	char text[IDENT_TEXT];
	struct ident id = {UINT64_C(0xc0ffee00c0ffee), 17}, back;
	(void)state;
	assert_string_equal(ident_text(id, text), "00c0ffee00c0ffee.17");
	assert_int_equal(ident_parse(span_str(text), &back), 0);
	assert_true(ident_equal(id, back));
	id = (struct ident){UINT64_MAX, UINT64_MAX};
	assert_int_equal(ident_parse(span_str(ident_text(id, text)), &back), 0);
	assert_true(ident_equal(id, back));
}

static void ident_of_wrong_text(void **state)
{
	static const char *const wrong[] = {"", ".", "00c0ffee00c0ffee", "00c0ffee00c0ffee.",
		"0c0ffee00c0ffee.17", "00C0FFEE00C0FFEE.17", "00c0ffee00c0ffee.1a",
		"00c0ffee00c0ffee.-1", "00c0ffee00c0ffee.18446744073709551616",
		"00c0ffee00c0ffee.17 ", " 0c0ffee00c0ffee.17"};
	struct ident id;
	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_true(ident_parse(span_str(wrong[i]), &id) < 0);
	}
	assert_true(ident_parse(SPAN("00c0ffee00c0ffee.1\0"), &id) < 0);
}

static void sources_differ(void **state)
{
	(void)state;
	assert_int_not_equal(ident_source(), 0);
	assert_int_not_equal(ident_source(), ident_source());
}

static void leaves_need_both(void **state)
{
	unsigned leaves = CHANGE_SOON | CHANGE_BULK | CHANGE_SETTLED;
	struct change *live = change_of(CHANGE_FORCE, CHANGE_WRITE);
	struct change *walk = change_of(leaves | CHANGE_DEEP, CHANGE_LOOK);
	struct change *other = change_of(leaves | CHANGE_DELETE, CHANGE_LOOK);
	(void)state;
	assert_int_equal(change_merge(other, walk), 0);
	assert_int_equal(other->facts, leaves | CHANGE_DEEP | CHANGE_DELETE);
	assert_int_equal(change_merge(walk, live), 0);
	assert_int_equal(walk->facts, CHANGE_FORCE | CHANGE_DEEP);
	change_destroy(live);
	change_destroy(walk);
	change_destroy(other);
}

static void limits_widen(void **state)
{
	struct change *a = change_of(0, CHANGE_LOOK), *b = change_of(0, CHANGE_LOOK);
	(void)state;
	a->newer_ns = 10, b->newer_ns = 20;
	a->older_ns = 100, b->older_ns = 200;
	assert_false(change_covers(a, b));
	assert_int_equal(change_merge(a, b), 0);
	assert_int_equal(a->newer_ns, 10);
	assert_int_equal(a->older_ns, 200);
	assert_true(change_covers(a, b));
	b->newer_ns = 0;
	assert_false(change_covers(a, b));
	assert_int_equal(change_merge(a, b), 0);
	assert_int_equal(a->newer_ns, 0);
	assert_int_equal(a->older_ns, 200);
	b->moved_ns = 7;
	assert_false(change_covers(a, b));
	assert_int_equal(change_merge(a, b), 0);
	assert_int_equal(a->moved_ns, 7);
	assert_true(change_covers(a, b));
	b->suspect_ns = 9;
	assert_false(change_covers(a, b));
	assert_int_equal(change_merge(a, b), 0);
	assert_int_equal(a->suspect_ns, 9);
	b->suspect_ns = 0; /* nothing is, where records were not lost */
	assert_true(change_covers(a, b));
	a->suspect_ns = 10;
	b->suspect_ns = 8;
	assert_false(change_covers(a, b));
	assert_int_equal(change_merge(a, b), 0);
	assert_int_equal(a->suspect_ns, 8);
	change_destroy(a);
	change_destroy(b);
}

static void a_look_keeps_what_the_writer_told(void **state)
{
	struct change *write = change_of(CHANGE_FORCE, CHANGE_WRITE);
	struct change *look = change_of(0, CHANGE_LOOK), *removal = change_of(0, CHANGE_REMOVE);
	(void)state;
	write->id = (struct ident){1, 1};
	look->id = (struct ident){1, 2};
	write->seen = (struct change_seen){.has_stat = true, .mtime_ns = 5};
	change_set(&write->job, SPAN("job-7"));
	assert_false(change_covers(look, write));
	assert_int_equal(change_merge(look, write), 0);
	assert_int_equal(look->op, CHANGE_WRITE);
	assert_int_equal(look->seen.mtime_ns, 5);
	assert_span(look->job, "job-7");
	assert_int_equal(look->id.number, 2);
	assert_int_equal(change_merge(removal, look), 0);
	assert_int_equal(removal->op, CHANGE_REMOVE);
	assert_false(removal->seen.has_stat);
	change_destroy(write);
	change_destroy(look);
	change_destroy(removal);
}

static void too_many_pairs_become_everything(void **state)
{
	struct change *change = change_of(0, CHANGE_RENAME), *later = change_of(0, CHANGE_WRITE);
	char from[16];
	(void)state;
	for (int i = 0; i < CHANGE_PAIRS_MAX; i++) {
		(void)snprintf(from, sizeof(from), "/f%d", i);
		assert_int_equal(change_add_pair(change, span_str(from), SPAN("/a")), 0);
	}
	assert_int_equal(change_add_pair(change, SPAN("/f0"), SPAN("/a")), 0);
	assert_int_equal(change->facts, 0);
	assert_false(change_covers(later, change));
	assert_int_equal(change_add_pair(change, SPAN("/f8"), SPAN("/a")), 0);
	assert_int_equal(change->pair_count, CHANGE_PAIRS_MAX);
	assert_int_equal(change->facts, CHANGE_DEEP | CHANGE_DELETE | CHANGE_FORCE);
	later->facts = change->facts;
	assert_false(change_covers(later, change));
	assert_int_equal(change_merge(later, change), 0);
	assert_true(change_covers(later, change));
	assert_int_equal(change_add_pair(change, SPAN("/f9"), SPAN("/a")), 0);
	assert_true(change_covers(later, change));
	change_destroy(change);
	change_destroy(later);
}

static void groups_add_up(void **state)
{
	struct change *later = change_of(0, CHANGE_REMOVE), *earlier = change_of(0, CHANGE_WRITE);
	(void)state;
	change_add_group(earlier, (struct change_group){1, 2});
	assert_false(change_covers(later, earlier));
	assert_int_equal(change_merge(later, earlier), 0);
	assert_int_equal(change_merge(later, earlier), 0);
	assert_int_equal(later->group_count, 1);
	assert_true(change_covers(later, earlier));
	struct change *copy = change_copy(later);
	assert_true(change_covers(copy, later));
	for (uint64_t ino = 3; ino < 11; ino++) { /* the oldest makes room */
		change_add_group(later, (struct change_group){1, ino});
	}
	assert_int_equal(later->group_count, CHANGE_GROUPS_MAX);
	assert_int_equal(later->groups[0].ino, 3);
	assert_int_equal(later->groups[CHANGE_GROUPS_MAX - 1].ino, 10);
	change_destroy(earlier);
	change_destroy(later);
	change_destroy(copy);
}

static void covers_needs_the_same_path(void **state)
{
	struct change *a = change_of(0, CHANGE_WRITE), *b = change_of(0, CHANGE_WRITE);
	(void)state;
	assert_true(change_covers(a, b));
	change_set(&b->path, SPAN("/a/b"));
	assert_false(change_covers(a, b));
	change_set(&b->path, SPAN("/a"));
	a->facts = CHANGE_SOON;
	assert_false(change_covers(a, b));
	assert_true(change_covers(b, a));
	change_destroy(a);
	change_destroy(b);
}

/* Whatever two changes say: the merged one covers both, and merging again adds nothing. */
static void merging_loses_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 2000; i++) {
		some_state = (uint64_t)i;
		struct change *a = some_change(), *b = some_change();
		change_set(&b->path, a->path);
		struct ident id = b->id;
		assert_int_equal(change_merge(b, a), 0);
		assert_true(ident_equal(b->id, id));
		assert_true(b->attempt >= a->attempt);
		assert_true(change_covers(b, a));
		struct change *again = change_copy(b);
		assert_int_equal(change_merge(again, a), 0);
		assert_true(change_covers(b, again));
		assert_true(change_covers(again, b));
		assert_int_equal(again->facts, b->facts);
		assert_int_equal(again->pair_count, b->pair_count);
		for (unsigned p = 0; p < a->pair_count; p++) {
			assert_true(has_pair(b, &a->pairs[p]));
		}
		change_destroy(a);
		change_destroy(b);
		change_destroy(again);
	}
}

/* Nobody may be told "covered" when merging would still have changed what is asked for. */
static void covered_means_nothing_new(void **state)
{
	unsigned covered = 0;
	(void)state;
	for (int i = 0; i < 20000; i++) {
		some_state = (uint64_t)i;
		struct change *a = some_change(), *b = some_change();
		change_set(&b->path, a->path);
		if (change_covers(b, a)) {
			struct change *merged = change_copy(b);
			covered++;
			assert_int_equal(change_merge(merged, a), 0);
			assert_int_equal(merged->facts, b->facts);
			assert_int_equal(merged->op, b->op);
			assert_int_equal(merged->newer_ns, b->newer_ns);
			assert_int_equal(merged->older_ns, b->older_ns);
			change_destroy(merged);
		}
		change_destroy(a);
		change_destroy(b);
	}
	assert_true(covered > 20);
}

static void a_copy_owns_its_bytes(void **state)
{
	struct change *change = some_change(), *copy = change_copy(change);
	(void)state;
	assert_non_null(copy);
	assert_true(copy->path.data != change->path.data);
	assert_true(span_equal(copy->path, change->path));
	assert_true(ident_equal(copy->id, change->id));
	change_destroy(change);
	assert_true(copy->path.len > 0 && copy->path.data[0] == '/');
	change_destroy(copy);
	change_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ident_as_text),
		cmocka_unit_test(ident_of_wrong_text),
		cmocka_unit_test(sources_differ),
		cmocka_unit_test(leaves_need_both),
		cmocka_unit_test(limits_widen),
		cmocka_unit_test(a_look_keeps_what_the_writer_told),
		cmocka_unit_test(too_many_pairs_become_everything),
		cmocka_unit_test(groups_add_up),
		cmocka_unit_test(covers_needs_the_same_path),
		cmocka_unit_test(merging_loses_nothing),
		cmocka_unit_test(covered_means_nothing_new),
		cmocka_unit_test(a_copy_owns_its_bytes),
	};
	return cmocka_run_group_tests_name("change", tests, NULL, NULL);
}
