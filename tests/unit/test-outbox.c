/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>

#include "core/buf.h"
#include "poster/outbox.h"

/* A broker that takes `room` messages and confirms when it is told to. */
struct broker_stub {
	struct buf took;
	unsigned room, count;
	broker_confirmed_fn fns[64];
	void *args[64];
};

static int publish(void *arg, const struct change *change, broker_confirmed_fn fn, void *fn_arg)
{
	struct broker_stub *broker = arg;
	if (!broker->room) {
		return BROKER_FULL;
	}
	broker->room--;
	broker->fns[broker->count] = fn;
	broker->args[broker->count++] = fn_arg;
	buf_printf(&broker->took, "%s %.*s\n", change_op_name(change->op), SPAN_ARG(change->path));
	return 0;
}

static void confirm(struct broker_stub *broker, unsigned index)
{
	broker->fns[index](broker->args[index]);
}

static void add(struct outbox *outbox, enum change_op op, unsigned facts, const char *path)
{
	struct change *change = change_create();
	change->op = op;
	change->facts = facts;
	assert_int_equal(change_set(&change->path, span_str(path)), 0);
	if (op == CHANGE_RENAME) {
		assert_int_equal(change_add_pair(change, SPAN("/from"), span_str(path)), 0);
	}
	assert_int_equal(outbox_add(outbox, change), 0);
}

static void repeats_in_a_batch_are_left_out(void **state)
{
	struct broker_stub broker = {.room = 64};
	struct outbox *outbox;
	(void)state;
	assert_int_equal(outbox_create(publish, &broker, &outbox), 0);
	add(outbox, CHANGE_WRITE, CHANGE_FORCE, "/a");
	add(outbox, CHANGE_WRITE, CHANGE_FORCE, "/b");
	add(outbox, CHANGE_WRITE, CHANGE_FORCE, "/a");
	add(outbox, CHANGE_REMOVE, 0, "/a");
	add(outbox, CHANGE_WRITE, CHANGE_FORCE, "/a");
	add(outbox, CHANGE_RENAME, 0, "/c");
	add(outbox, CHANGE_WRITE, CHANGE_FORCE, "/a");
	add(outbox, CHANGE_LOOK, CHANGE_DEEP, "/d");
	add(outbox, CHANGE_LOOK, 0, "/d"); /* says less */
	assert_int_equal(outbox_send(outbox), 0);
	add(outbox, CHANGE_LOOK, CHANGE_DEEP, "/d"); /* of another batch */
	outbox_seal(outbox);
	add(outbox, CHANGE_LOOK, CHANGE_DEEP, "/d"); /* what was before has been counted */
	assert_int_equal(outbox_send(outbox), 0);
	assert_string_equal(broker.took.data,
		"write /b\nwrite /a\nremove /a\nwrite /a\nrename /c\nwrite /a\nlook /d\nlook /d\n"
		"look /d\nlook /d\n");
	assert_int_equal(outbox_counts(outbox).repeats, 1);
	assert_int_equal(outbox_counts(outbox).published, 10);
	buf_finish(&broker.took);
	outbox_destroy(outbox);
}

static void done_when_all_before_is_confirmed(void **state)
{
	struct broker_stub broker = {.room = 2};
	struct outbox *outbox;
	(void)state;
	assert_int_equal(outbox_create(publish, &broker, &outbox), 0);
	assert_true(outbox_done(outbox, outbox_mark(outbox)));
	add(outbox, CHANGE_WRITE, 0, "/a");
	add(outbox, CHANGE_WRITE, 0, "/b");
	uint64_t mark = outbox_mark(outbox);
	add(outbox, CHANGE_WRITE, 0, "/c");
	assert_int_equal(outbox_send(outbox), BROKER_FULL);
	assert_int_equal(broker.count, 2);
	confirm(&broker, 1);
	assert_false(outbox_done(outbox, mark));
	confirm(&broker, 0);
	assert_true(outbox_done(outbox, mark));
	assert_false(outbox_done(outbox, outbox_mark(outbox)));
	assert_int_equal(outbox_counts(outbox).waiting, 1);
	broker.room = 1;
	assert_int_equal(outbox_send(outbox), 0);
	confirm(&broker, 2);
	assert_true(outbox_done(outbox, outbox_mark(outbox)));
	assert_int_equal(outbox_counts(outbox).waiting, 0);
	add(outbox, CHANGE_WRITE, 0, "/a");
	add(outbox, CHANGE_WRITE, 0, "/a");
	broker.room = 1;
	assert_int_equal(outbox_send(outbox), 0);
	confirm(&broker, 3);
	assert_true(outbox_done(outbox, outbox_mark(outbox)));
	buf_finish(&broker.took);
	outbox_destroy(outbox);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(repeats_in_a_batch_are_left_out),
		cmocka_unit_test(done_when_all_before_is_confirmed),
	};
	return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
