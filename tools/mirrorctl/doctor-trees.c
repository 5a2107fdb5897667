/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sides speak only inside of tasks (lib/side/side.h), so each side is looked at by a task of a
 * loop of its own.
 */
#include "doctor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "flow/task.h"
#include "side/side.h"

#define LOOK_NS     (20 * CLOCK_S)
#define STACK_BYTES (256 * 1024)

struct visit {
	struct doctor *doctor;
	struct loop *loop;
	const struct location *location;
	bool target, done;
};

/* Whether the target is the one it should be: marked, or empty and so about to be. */
static void visit_marker(struct visit *visit, struct side *side)
{
	struct side_attr attr;
	struct side_list list = {0};
	struct why why = {0};
	const char *name = visit->location->text;
	int r = side_lstat(side, SPAN(".mirror"), &attr, &why);
	if (r == 0) {
		doctor_good("target", "%s is marked as a mirror", name);
		return;
	}
	if (r != -ENOENT) {
		doctor_bad(visit->doctor, "target", "%s: %s", name, why.text);
		return;
	}
	r = side_list(side, SPAN_NONE, &list, &why);
	if (r == 0 && list.count == 0) {
		doctor_good("target", "%s is empty; the first copy marks it", name);
	} else if (r == 0) {
		doctor_bad(visit->doctor, "target",
			"%s is not empty and has no .mirror: is it the right "
			"directory, and mounted?  If so: make an empty file .mirror there",
			name);
	} else {
		doctor_bad(visit->doctor, "target", "%s: %s", name, why.text);
	}
	side_list_finish(&list);
}

static void visit_side(void *arg)
{
	struct visit *visit = arg;
	const char *what = visit->target ? "target" : "source";
	struct side_options options = {.config = visit->doctor->config};
	struct side *side = NULL;
	struct why why = {0};
	int r = side_create(visit->loop, visit->location, &options, &side, &why);
	if (r == 0) {
		r = side_connect(side, &why);
	}
	if (r < 0) {
		doctor_bad(visit->doctor, what, "%s: %s", visit->location->text,
			why.text[0] ? why.text : strerror(-r));
	} else {
		doctor_good(what, "%s can be reached", visit->location->text);
		if (visit->target) {
			visit_marker(visit, side);
		}
	}
	side_destroy(side);
	visit->done = true;
}

static void check_side(struct doctor *doctor, const struct location *location, bool target)
{
	struct visit visit = {.doctor = doctor, .location = location, .target = target};
	struct task_pool *pool = NULL;
	uint64_t deadline = clock_now() + LOOK_NS;
	if (loop_create(&visit.loop) < 0 ||
		task_pool_create(visit.loop, 1, STACK_BYTES, &pool) < 0 ||
		task_start(pool, visit_side, &visit) != 0) {
		doctor_bad(doctor, "side", "out of memory");
		return;
	}
	while (!visit.done && clock_now() < deadline) {
		(void)loop_turn(visit.loop, deadline);
	}
	if (!visit.done) { /* the task is left as it is: this process ends soon */
		doctor_bad(doctor, target ? "target" : "source", "%s does not answer within 20 s",
			location->text);
		return;
	}
	while (task_pool_running(pool) > 0 && clock_now() < deadline) {
		(void)loop_turn(visit.loop, deadline);
	}
	task_pool_destroy(pool);
	loop_destroy(visit.loop);
}

void doctor_check_trees(struct doctor *doctor)
{
	for (size_t i = 0; i < doctor->config->tree_count; i++) {
		check_side(doctor, &doctor->config->trees[i].source, false);
		check_side(doctor, &doctor->config->trees[i].target, true);
	}
}
