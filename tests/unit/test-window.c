/* SPDX-License-Identifier: Apache-2.0 */
/* Every rule of winnow/window.h by itself, with a clock that stands where the test puts it. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#include "winnow/window.h"

#define WALL (UINT64_C(1700000000) * CLOCK_S)
#define S    CLOCK_S

struct bench {
	struct window *window;
	uint64_t now; /* the wall clock is WALL + now */
	uint64_t tag;
};

static struct bench setup(uint64_t delay_ns, uint64_t max_delay_ns, size_t in_flight)
{
	struct window_options options = {delay_ns, max_delay_ns, in_flight};
	struct bench b = {.now = 1000 * S};
	assert_int_equal(window_create(&options, &b.window), 0);
	return b;
}

static void teardown(struct bench *b)
{
	window_destroy(b->window);
}

static struct ident id(uint64_t number)
{
	return (struct ident){7, number};
}

static struct change *change(
	const struct bench *b, const char *path, struct ident which, unsigned facts)
{
	struct change *c = change_create();
	assert_non_null(c);
	c->id = which;
	c->facts = facts;
	c->op = CHANGE_WRITE;
	c->time_ns = WALL + b->now;
	assert_int_equal(change_set(&c->path, span_str(path)), 0);
	return c;
}

/* Returns the tag of its delivery. */
static uint64_t feed_change(struct bench *b, struct change *c)
{
	struct broker_delivery d = {.tag = ++b->tag, .channel = 1, .epoch = 1};
	assert_int_equal(window_feed(b->window, c, d, b->now, WALL + b->now), 0);
	return d.tag;
}

static uint64_t feed(struct bench *b, const char *path, uint64_t number)
{
	return feed_change(b, change(b, path, id(number), 0));
}

static struct window_action take(struct bench *b, enum window_action_kind kind)
{
	struct window_action action;
	assert_int_equal(window_next(b->window, b->now, &action), 0);
	assert_int_equal(action.kind, kind);
	window_took(b->window, &action);
	return action;
}

static void take_ack(struct bench *b, uint64_t tag)
{
	assert_int_equal(take(b, WINDOW_ACK).delivery.tag, tag);
}

static void *take_note(struct bench *b, struct ident from, struct ident into)
{
	struct window_action action = take(b, WINDOW_NOTE);
	assert_int_equal(action.merged_count, 1);
	assert_true(ident_equal(action.merged[0], from));
	assert_true(ident_equal(action.merged[1], into));
	return action.ticket;
}

static void *take_order(struct bench *b, const char *path, uint64_t number)
{
	struct window_action action = take(b, WINDOW_ORDER);
	assert_span(action.order->path, path);
	assert_int_equal(action.order->id.number, number);
	return action.ticket;
}

static void assert_idle(struct bench *b)
{
	struct window_action action;
	assert_int_equal(window_next(b->window, b->now, &action), WINDOW_IDLE);
	assert_true(window_deadline(b->window) > b->now);
}

static void assert_empty(struct bench *b)
{
	struct window_counts counts = window_counts(b->window);
	assert_idle(b);
	assert_int_equal(counts.held, 0);
	assert_int_equal(counts.in_flight, 0);
	assert_int_equal(counts.unacked, 0);
	assert_true(window_deadline(b->window) == CLOCK_NEVER);
}

static void holds_until_quiet(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	uint64_t tag = feed(&b, "/a", 1);
	assert_idle(&b);
	assert_int_equal(window_deadline(b.window), b.now + 30 * S);
	b.now += 30 * S - 1;
	assert_idle(&b);
	b.now += 1;
	void *order = take_order(&b, "/a", 1);
	assert_idle(&b); /* not acknowledged before the confirm */
	window_ordered(b.window, order);
	take_ack(&b, tag);
	assert_idle(&b);
	assert_int_equal(window_counts(b.window).in_flight, 1);
	window_receipt(b.window, SPAN("/a"), id(1));
	assert_empty(&b);
	teardown(&b);
}

static void each_change_begins_the_quiet_anew_until_max_delay(void **state)
{
	struct bench b = setup(30 * S, 100 * S, 10);
	uint64_t start = b.now, number = 1;
	(void)state;
	for (; b.now < start + 100 * S; b.now += 20 * S) {
		feed(&b, "/a", number++);
		struct window_action action;
		while (window_next(b.window, b.now, &action) == 0) {
			assert_int_not_equal(action.kind, WINDOW_ORDER);
			window_took(b.window, &action);
			if (action.kind == WINDOW_NOTE) {
				window_noted(b.window, action.ticket);
			}
		}
		b.now += WINDOW_NOTE_WAIT;
		if (number > 2) {
			struct window_action note = take(&b, WINDOW_NOTE);
			window_noted(b.window, note.ticket);
			take(&b, WINDOW_ACK);
		}
		b.now -= WINDOW_NOTE_WAIT;
	}
	assert_int_equal(window_deadline(b.window), start + 100 * S);
	take_order(&b, "/a", number - 1);
	teardown(&b);
}

static void age_counts_from_the_change(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	struct change *old = change(&b, "/old", id(1), 0);
	old->time_ns -= 31 * S;
	feed_change(&b, old);
	take_order(&b, "/old", 1);
	struct change *ten = change(&b, "/ten", id(2), 0);
	ten->time_ns -= 10 * S;
	feed_change(&b, ten);
	assert_int_equal(window_deadline(b.window), b.now + 20 * S);
	window_drop(b.window);
	struct change *ahead = change(&b, "/ahead", id(3), 0);
	ahead->time_ns += 3600 * S;
	feed_change(&b, ahead);
	assert_int_equal(window_deadline(b.window), b.now + 30 * S);
	window_drop(b.window);
	struct change *never = change(&b, "/never", id(4), 0);
	never->time_ns = 0;
	feed_change(&b, never);
	take_order(&b, "/never", 4);
	teardown(&b);
}

static void soon_and_no_delay_need_no_quiet(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	feed_change(&b, change(&b, "/a", id(1), CHANGE_SOON));
	take_order(&b, "/a", 1);
	teardown(&b);
	b = setup(0, 0, 10);
	feed(&b, "/a", 1);
	take_order(&b, "/a", 1);
	teardown(&b);
}

/* A walk that comes by does not hurry a path that is being written, nor keep it from its turn. */
static void soon_does_not_hurry_others(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	feed(&b, "/a", 1);
	b.now += 20 * S;
	feed_change(&b, change(&b, "/a", id(2), CHANGE_SOON));
	window_noted(b.window, (b.now += WINDOW_NOTE_WAIT, take_note(&b, id(1), id(2))));
	b.now -= WINDOW_NOTE_WAIT;
	assert_int_equal(window_deadline(b.window), b.now + 10 * S);
	teardown(&b);
	b = setup(30 * S, 300 * S, 10);
	feed_change(&b, change(&b, "/a", id(1), CHANGE_SOON));
	b.now += 20 * S;
	feed(&b, "/a", 2);
	b.now += WINDOW_NOTE_WAIT;
	take_note(&b, id(1), id(2));
	assert_idle(&b);
	teardown(&b);
}

static void one_order_of_a_path_in_flight(void **state)
{
	static const struct ident stranger = {9, 1};
	struct bench b = setup(0, 0, 10);
	(void)state;
	feed(&b, "/a", 1);
	void *first = take_order(&b, "/a", 1);
	uint64_t tag = feed(&b, "/a", 2);
	assert_idle(&b);
	assert_true(window_deadline(b.window) == CLOCK_NEVER);
	feed(&b, "/b", 3);
	take_order(&b, "/b", 3); /* other paths do not wait */
	window_receipt(b.window, SPAN("/a"), stranger);
	assert_idle(&b);
	window_receipt(b.window, SPAN("/a"), id(1)); /* the receipt may beat the confirm */
	void *second = take_order(&b, "/a", 2);
	assert_idle(&b);
	window_ordered(b.window, first);
	take_ack(&b, 1);
	window_ordered(b.window, second);
	take_ack(&b, tag);
	teardown(&b);
}

static void orders_in_flight_are_bounded(void **state)
{
	struct bench b = setup(0, 0, 2);
	(void)state;
	feed(&b, "/a", 1);
	b.now++;
	feed(&b, "/b", 2);
	b.now++;
	feed(&b, "/c", 3);
	window_ordered(b.window, take(&b, WINDOW_ORDER).ticket);
	take(&b, WINDOW_ACK);
	take(&b, WINDOW_ORDER);
	assert_idle(&b);
	assert_true(window_deadline(b.window) == CLOCK_NEVER);
	window_receipt(b.window, SPAN("/a"), id(1));
	take_order(&b, "/c", 3);
	teardown(&b);
}

/* A bulk pass fills its half, and what is live passes by. */
static void live_orders_do_not_wait_for_bulk_ones(void **state)
{
	const unsigned bulk = CHANGE_BULK | CHANGE_SOON;
	struct bench b = setup(0, 0, 4);
	(void)state;
	feed_change(&b, change(&b, "/1", id(1), bulk));
	b.now++;
	feed_change(&b, change(&b, "/2", id(2), bulk));
	b.now++;
	uint64_t third = feed_change(&b, change(&b, "/3", id(3), bulk));
	take_order(&b, "/1", 1);
	take_order(&b, "/2", 2);
	assert_idle(&b);
	b.now++;
	feed(&b, "/live", 4);
	take_order(&b, "/live", 4);
	feed(&b, "/3", 5); /* is live from now on */
	b.now += WINDOW_NOTE_WAIT;
	window_noted(b.window, take_note(&b, id(3), id(5)));
	take_ack(&b, third);
	take_order(&b, "/3", 5);
	assert_idle(&b);
	feed_change(&b, change(&b, "/6", id(6), bulk));
	window_receipt(b.window, SPAN("/live"), id(4));
	assert_idle(&b);
	window_receipt(b.window, SPAN("/1"), id(1));
	take_order(&b, "/6", 6);
	teardown(&b);
}

static void covered_deliveries_go_when_the_note_is_confirmed(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	uint64_t first = feed(&b, "/a", 1);
	uint64_t second = feed(&b, "/a", 2);
	assert_idle(&b);
	b.now += WINDOW_NOTE_WAIT;
	void *note = take_note(&b, id(1), id(2));
	assert_idle(&b);
	window_noted(b.window, note);
	take_ack(&b, first);
	assert_idle(&b);
	b.now += 30 * S;
	window_ordered(b.window, take_order(&b, "/a", 2));
	take_ack(&b, second);
	window_receipt(b.window, SPAN("/a"), id(2));
	assert_empty(&b);
	teardown(&b);
}

static void uncovered_deliveries_wait_for_the_order(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	uint64_t first = feed_change(&b, change(&b, "/a", id(1), CHANGE_FORCE));
	uint64_t second = feed(&b, "/a", 2);
	b.now += WINDOW_NOTE_WAIT;
	window_noted(b.window, take_note(&b, id(1), id(2)));
	assert_idle(&b);
	b.now += 30 * S;
	struct window_action order = take(&b, WINDOW_ORDER);
	assert_int_equal(order.order->id.number, 2);
	assert_int_equal(order.order->facts, CHANGE_FORCE);
	window_ordered(b.window, order.ticket);
	take_ack(&b, second);
	take_ack(&b, first);
	window_receipt(b.window, SPAN("/a"), id(2));
	assert_empty(&b);
	teardown(&b);
}

static void notes_are_confirmed_before_the_order(void **state)
{
	struct bench b = setup(0, 0, 10);
	(void)state;
	feed(&b, "/a", 1);
	window_ordered(b.window, take_order(&b, "/a", 1));
	take_ack(&b, 1);
	feed(&b, "/a", 2);
	feed(&b, "/a", 3);
	window_receipt(b.window, SPAN("/a"), id(1));
	assert_idle(&b);
	assert_int_equal(window_deadline(b.window), b.now + WINDOW_NOTE_WAIT);
	b.now += WINDOW_NOTE_WAIT;
	void *note = take_note(&b, id(2), id(3));
	assert_idle(&b);
	feed(&b, "/a", 4); /* too late for the order that waits for its note */
	assert_idle(&b);
	window_noted(b.window, note);
	take_ack(&b, 2);
	void *order = take_order(&b, "/a", 3);
	assert_idle(&b);
	window_ordered(b.window, order);
	take_ack(&b, 3);
	window_receipt(b.window, SPAN("/a"), id(3));
	take_order(&b, "/a", 4);
	teardown(&b);
}

static void a_full_note_does_not_wait(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	for (uint64_t number = 1; number <= WINDOW_NOTE_MAX + 1; number++) {
		feed(&b, "/a", number);
	}
	assert_int_equal(take(&b, WINDOW_NOTE).merged_count, WINDOW_NOTE_MAX);
	assert_idle(&b);
	teardown(&b);
}

static void what_is_delivered_again_replaces_its_token(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	uint64_t first = feed(&b, "/a", 1);
	uint64_t again = feed(&b, "/a", 1);
	take_ack(&b, first);
	assert_int_equal(window_counts(b.window).merged, 0);
	b.now += 30 * S;
	void *order = take_order(&b, "/a", 1);
	uint64_t late = feed(&b, "/a", 1); /* the order on its way says it already */
	assert_idle(&b);
	window_ordered(b.window, order);
	take_ack(&b, again);
	take_ack(&b, late);
	late = feed(&b, "/a", 1);
	take_ack(&b, late);
	window_receipt(b.window, SPAN("/a"), id(1));
	assert_empty(&b);
	teardown(&b);
}

static void the_number_tells_which_is_later(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	uint64_t second = feed(&b, "/a", 2);
	uint64_t first = feed_change(&b, change(&b, "/a", id(1), CHANGE_FORCE));
	b.now += WINDOW_NOTE_WAIT;
	window_noted(b.window, take_note(&b, id(1), id(2)));
	assert_idle(&b); /* 2 does not cover 1 */
	b.now += 30 * S;
	struct window_action order = take(&b, WINDOW_ORDER);
	assert_int_equal(order.order->id.number, 2);
	assert_int_equal(order.order->facts, CHANGE_FORCE);
	window_ordered(b.window, order.ticket);
	take_ack(&b, second);
	take_ack(&b, first);
	teardown(&b);
}

/* What the broker had delivered before is the earlier one, whatever its number or its turn. */
static void what_is_redelivered_is_earlier(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	struct broker_delivery again = {.tag = 77, .redelivered = true};
	(void)state;
	feed(&b, "/a", 1);
	struct change *c = change(&b, "/a", id(2), 0);
	assert_int_equal(window_feed(b.window, c, again, b.now, WALL + b.now), 0);
	b.now += WINDOW_NOTE_WAIT;
	take_note(&b, id(2), id(1));
	teardown(&b);
}

/* Companions of what is delivered again come with it, so even what is due waits for them. */
static void what_is_redelivered_waits_for_companions(void **state)
{
	struct bench b = setup(0, 0, 10);
	struct broker_delivery again = {.tag = 77, .redelivered = true};
	(void)state;
	struct change *c = change(&b, "/a", id(1), 0);
	assert_int_equal(window_feed(b.window, c, again, b.now, WALL + b.now), 0);
	assert_idle(&b);
	assert_int_equal(window_deadline(b.window), b.now + WINDOW_AGAIN);
	b.now += WINDOW_AGAIN;
	take_order(&b, "/a", 1);
	teardown(&b);
}

static void dropping_forgets_all_but_tickets(void **state)
{
	struct bench b = setup(0, 0, 10);
	(void)state;
	feed(&b, "/a", 1);
	void *order = take_order(&b, "/a", 1);
	feed(&b, "/a", 2);
	feed(&b, "/a", 3);
	b.now += WINDOW_NOTE_WAIT;
	void *note = take_note(&b, id(2), id(3));
	window_drop(b.window);
	assert_empty(&b);
	uint64_t again = feed(&b, "/a", 1); /* and the path is free */
	void *second = take_order(&b, "/a", 1);
	window_ordered(b.window, order);
	window_noted(b.window, note);
	assert_idle(&b);
	window_ordered(b.window, second);
	take_ack(&b, again);
	window_receipt(b.window, SPAN("/a"), id(1));
	assert_empty(&b);
	teardown(&b);
}

static void renames_gather(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	for (uint64_t number = 1; number <= 2; number++) {
		struct change *c = change(&b, "/new", id(number), CHANGE_DEEP);
		char from[16];
		c->op = CHANGE_RENAME;
		sprintf(from, "/old%u", (unsigned)number);
		assert_int_equal(change_add_pair(c, span_str(from), SPAN("/new")), 0);
		feed_change(&b, c);
	}
	b.now += 30 * S;
	window_noted(b.window, take_note(&b, id(1), id(2)));
	struct window_action order = take(&b, WINDOW_ORDER);
	assert_int_equal(order.order->pair_count, 2);
	teardown(&b);
}

static void flush_ends_the_waiting(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	feed(&b, "/a", 1);
	b.now += S;
	feed(&b, "/b", 2);
	window_flush(b.window, b.now);
	window_ordered(b.window, take(&b, WINDOW_ORDER).ticket);
	take(&b, WINDOW_ACK);
	window_ordered(b.window, take(&b, WINDOW_ORDER).ticket);
	take(&b, WINDOW_ACK);
	b.now += 29 * S;
	feed(&b, "/c", 3); /* what follows at once does not wait either */
	take_order(&b, "/c", 3);
	b.now += S;
	feed(&b, "/d", 4);
	assert_idle(&b);
	teardown(&b);
}

/* A flush while the former order of the path is in flight. */
static void flush_reaches_what_waits_for_a_receipt(void **state)
{
	struct bench b = setup(30 * S, 300 * S, 10);
	(void)state;
	feed_change(&b, change(&b, "/a", id(1), CHANGE_SOON));
	window_ordered(b.window, take_order(&b, "/a", 1));
	take_ack(&b, 1);
	feed(&b, "/a", 2);
	window_flush(b.window, b.now);
	assert_idle(&b);
	window_receipt(b.window, SPAN("/a"), id(1));
	take_order(&b, "/a", 2);
	teardown(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_until_quiet),
		cmocka_unit_test(each_change_begins_the_quiet_anew_until_max_delay),
		cmocka_unit_test(age_counts_from_the_change),
		cmocka_unit_test(soon_and_no_delay_need_no_quiet),
		cmocka_unit_test(soon_does_not_hurry_others),
		cmocka_unit_test(one_order_of_a_path_in_flight),
		cmocka_unit_test(orders_in_flight_are_bounded),
		cmocka_unit_test(live_orders_do_not_wait_for_bulk_ones),
		cmocka_unit_test(covered_deliveries_go_when_the_note_is_confirmed),
		cmocka_unit_test(uncovered_deliveries_wait_for_the_order),
		cmocka_unit_test(notes_are_confirmed_before_the_order),
		cmocka_unit_test(a_full_note_does_not_wait),
		cmocka_unit_test(what_is_delivered_again_replaces_its_token),
		cmocka_unit_test(the_number_tells_which_is_later),
		cmocka_unit_test(what_is_redelivered_is_earlier),
		cmocka_unit_test(what_is_redelivered_waits_for_companions),
		cmocka_unit_test(dropping_forgets_all_but_tickets),
		cmocka_unit_test(renames_gather),
		cmocka_unit_test(flush_ends_the_waiting),
		cmocka_unit_test(flush_reaches_what_waits_for_a_receipt),
	};
	return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
