/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests go into `filling`; at the end of the loop's turn it becomes `sending` and is written,
 * so that the requests of all tasks that ran in this turn leave together, and bytes on their way
 * stay where they are until the stream has taken them.
 *
 *   task: gates -> slot -> filling ==(end of turn)==> sending -> stream
 *   stream -> received -> slot of the id -> callback -> task_wake
 *
 * Three gates bound what is in flight: requests, bytes of content, open handles.  A gate lets in
 * in order of arrival, and patient tasks only while no others wait.
 *
 * A slot's number and its use count make the id of a request; a reply whose id was never sent, or
 * anything else that no honest server says, ends the session.  When it ends, each slot's callback
 * hears -ENOTCONN, then the gates let all waiters out.
 */
#include "side/sftp.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"

#define REQUESTS_DEFAULT 1024
#define REQUESTS_MAX     32768
#define CONTENT_BYTES    (4U * 1024 * 1024) /* sshd's window is 2 MiB; as much again on the way */
#define HANDLES_DEFAULT  256
#define BLOCK_DEFAULT    (32U * 1024)
#define BLOCK_MAX        (255U * 1024)
#define READ_STEP        (64U * 1024)
#define HELLO_NS         (30 * CLOCK_S)
#define STALL_NS         (600 * CLOCK_S) /* not a byte although an answer is due */
#define STALL_LOOK_NS    (60 * CLOCK_S)

struct waiter {
	struct waiter *next;
	struct task *task;
	uint32_t weight;
	bool inside;
};

struct queue {
	struct waiter *head, **tail;
};

/* Room for `limit`; what is heavier than the limit goes alone. */
struct gate {
	uint64_t limit, used;
	struct queue first, patient;
};

struct slot {
	sftp_reply_fn fn; /* NULL: free */
	void *arg;
	uint32_t weight; /* of content */
	uint16_t uses;
	uint16_t next_free;
};

struct sftp {
	struct loop *loop;
	struct ssh_stream *stream; /* NULL: over */
	unsigned references;
	int error; /* why it is over */
	struct why why;
	struct sftp_features features;
	bool hello; /* VERSION was seen */
	struct task *opener;

	struct gate requests, content, handles;
	struct slot *slots;
	uint16_t free_slot, slot_count;
	unsigned pending;

	struct buf filling, sending, received;
	size_t sent; /* of sending */
	bool flush_is_due;
	uint64_t bytes_out, bytes_in;
	uint64_t heard_ns, round_trip_ns;
	struct loop_timer stall;
};

/* --- gates -------------------------------------------------------------------------------- */

static bool gate_has_room(const struct gate *gate, uint32_t weight)
{
	return gate->used == 0 || gate->used + weight <= gate->limit;
}

static struct waiter *gate_next(struct gate *gate)
{
	struct queue *queue = gate->first.head ? &gate->first : &gate->patient;
	struct waiter *waiter = queue->head;
	if (!waiter || !gate_has_room(gate, waiter->weight)) {
		return NULL;
	}
	queue->head = waiter->next;
	if (!queue->head) {
		queue->tail = &queue->head;
	}
	return waiter;
}

static void gate_admit(struct gate *gate)
{
	struct waiter *waiter;
	while ((waiter = gate_next(gate))) {
		gate->used += waiter->weight;
		waiter->inside = true;
		task_wake(waiter->task);
	}
}

static void gate_leave(struct gate *gate, uint32_t weight)
{
	gate->used -= weight;
	gate_admit(gate);
}

static void gate_init(struct gate *gate, uint64_t limit)
{
	*gate = (struct gate){.limit = limit};
	gate->first.tail = &gate->first.head;
	gate->patient.tail = &gate->patient.head;
}

static void gate_open_wide(struct gate *gate)
{
	gate->limit = UINT64_MAX;
	gate_admit(gate);
}

/* Returns 0 inside, or -ENOTCONN outside. */
static int gate_enter(struct sftp *sftp, struct gate *gate, uint32_t weight)
{
	struct waiter waiter = {.task = task_self(), .weight = weight};
	struct queue *queue = task_is_patient() ? &gate->patient : &gate->first;
	bool is_next = !gate->first.head && !queue->head;
	if (sftp->stream && is_next && gate_has_room(gate, weight)) {
		gate->used += weight;
		return 0;
	}
	if (sftp->stream) {
		*queue->tail = &waiter;
		queue->tail = &waiter.next;
		while (!waiter.inside) {
			task_wait();
		}
		if (sftp->stream) {
			return 0;
		}
		gate_leave(gate, weight);
	}
	return -ENOTCONN;
}

/* --- slots -------------------------------------------------------------------------------- */

static uint64_t stall_look_ns(const struct sftp *sftp)
{
	uint64_t ask_ns = sftp->stream->ops->ask ? sftp->stream->ask_ns : 0;
	return ask_ns ? ask_ns : STALL_LOOK_NS;
}

static uint32_t slot_take(struct sftp *sftp, uint32_t weight, sftp_reply_fn fn, void *arg)
{
	uint16_t number = sftp->free_slot;
	struct slot *slot = &sftp->slots[number];
	sftp->free_slot = slot->next_free;
	slot->fn = fn;
	slot->arg = arg;
	slot->weight = weight;
	slot->uses++;
	if (sftp->pending++ == 0) {
		sftp->heard_ns = clock_now();
		(void)loop_timer_set(&sftp->stall, sftp->heard_ns + stall_look_ns(sftp));
	}
	return (uint32_t)slot->uses << 16 | number;
}

/* Frees the slot, then calls back, then lets others in: a callback may use the slot again. */
static void slot_answer(struct sftp *sftp, uint16_t number, const struct sftp_reply *reply)
{
	struct slot *slot = &sftp->slots[number];
	uint32_t weight = slot->weight;
	sftp_reply_fn fn = STEAL(slot->fn);
	slot->next_free = sftp->free_slot;
	sftp->free_slot = number;
	sftp->pending--;
	fn(slot->arg, reply);
	gate_leave(&sftp->requests, 1);
	if (weight) {
		gate_leave(&sftp->content, weight);
	}
}

static int slots_create(struct sftp *sftp, unsigned in_flight)
{
	unsigned count = in_flight ? in_flight : REQUESTS_DEFAULT;
	count = count > REQUESTS_MAX ? REQUESTS_MAX : count;
	sftp->slots = calloc(count, sizeof(*sftp->slots));
	if (!sftp->slots) {
		return -ENOMEM;
	}
	for (unsigned i = 0; i < count; i++) {
		sftp->slots[i].next_free = (uint16_t)(i + 1);
	}
	sftp->slot_count = (uint16_t)count;
	gate_init(&sftp->requests, count);
	gate_init(&sftp->content, CONTENT_BYTES);
	gate_init(&sftp->handles, HANDLES_DEFAULT);
	return 0;
}

/* --- the end ------------------------------------------------------------------------------ */

void sftp_end(struct sftp *sftp, int error, const char *words)
{
	const struct sftp_reply gone = {.error = -ENOTCONN};
	struct ssh_stream *stream = STEAL(sftp->stream);
	if (!stream) {
		return;
	}
	sftp->error = error;
	(void)snprintf(sftp->why.text, sizeof(sftp->why.text), "%s", words);
	stream->ops->close(stream);
	loop_timer_stop(&sftp->stall);
	sftp_ref(sftp);
	for (uint16_t i = 0; i < sftp->slot_count; i++) {
		if (sftp->slots[i].fn) {
			slot_answer(sftp, i, &gone);
		}
	}
	gate_open_wide(&sftp->content);
	gate_open_wide(&sftp->requests);
	gate_open_wide(&sftp->handles);
	task_wake(sftp->opener);
	sftp_unref(sftp);
}

struct sftp *sftp_ref(struct sftp *sftp)
{
	sftp->references++;
	return sftp;
}

void sftp_unref(struct sftp *sftp)
{
	if (!sftp || --sftp->references) {
		return;
	}
	sftp->references = 1; /* while it ends */
	sftp_end(sftp, -ENOTCONN, "closed");
	buf_finish(&sftp->filling);
	buf_finish(&sftp->sending);
	buf_finish(&sftp->received);
	free(sftp->slots);
	free(sftp);
}

bool sftp_is_up(const struct sftp *sftp)
{
	return sftp->stream != NULL;
}

bool sftp_is_old(const struct sftp *sftp)
{
	uint64_t limit = sftp->stream ? sftp->stream->age_limit_bytes : 0;
	return limit && (sftp->bytes_out > limit || sftp->bytes_in > limit);
}

uint64_t sftp_content_used(const struct sftp *sftp)
{
	return sftp->content.used;
}

void sftp_limit_content(struct sftp *sftp, uint64_t bytes)
{
	sftp->content.limit = bytes;
}

uint64_t sftp_round_trip_ns(const struct sftp *sftp)
{
	return sftp->round_trip_ns;
}

const char *sftp_why(const struct sftp *sftp)
{
	return sftp->why.text;
}

const struct sftp_features *sftp_features(const struct sftp *sftp)
{
	return &sftp->features;
}

/* A host that is away is another matter than a server that takes its time. */
static void on_stall(void *arg)
{
	struct sftp *sftp = arg;
	struct ssh_stream *stream = sftp->stream;
	struct why why = {"the server has not answered for ten minutes"};
	uint64_t now = clock_now();
	if (sftp->pending == 0) {
		return;
	}
	int r = now - sftp->heard_ns > STALL_NS ? -ETIMEDOUT : 0;
	r = r == 0 && stream->ops->ask && stream->ask_ns ? stream->ops->ask(stream, &why) : r;
	if (r < 0) {
		sftp_end(sftp, r, why.text);
		return;
	}
	(void)loop_timer_set(&sftp->stall, now + stall_look_ns(sftp));
}

/* --- what comes in ------------------------------------------------------------------------ */

static bool offers(struct span name, struct span data, const char *wanted, const char *version)
{
	return span_equal(name, span_str(wanted)) && span_equal(data, span_str(version));
}

static void take_version(struct sftp *sftp, struct span body)
{
	struct sftp_features *can = &sftp->features;
	struct sftp_reader reader = sftp_reader_of(body);
	uint32_t version = sftp_take_u32(&reader);
	if (version < 3) {
		sftp_end(sftp, -EPROTO, "the server speaks an SFTP older than version 3");
		return;
	}
	while (reader.left && !reader.bad) {
		struct span name = sftp_take_string(&reader), data = sftp_take_string(&reader);
		can->posix_rename |= offers(name, data, "posix-rename@openssh.com", "1");
		can->hardlink |= offers(name, data, "hardlink@openssh.com", "1");
		can->fsync |= offers(name, data, "fsync@openssh.com", "1");
		can->lsetstat |= offers(name, data, "lsetstat@openssh.com", "1");
		can->statvfs |= offers(name, data, "statvfs@openssh.com", "2");
		can->limits |= offers(name, data, "limits@openssh.com", "1");
		can->copy_data |= offers(name, data, "copy-data", "1");
		can->names |= offers(name, data, "users-groups-by-id@openssh.com", "1");
	}
	if (reader.bad) {
		sftp_end(sftp, -EPROTO, "the server's greeting is malformed");
		return;
	}
	sftp->hello = true;
	task_wake(sftp->opener);
}

static void take_packet(struct sftp *sftp, uint8_t type, struct span body)
{
	struct sftp_reader reader = sftp_reader_of(body);
	if (!sftp->hello) {
		if (type == SFTP_VERSION) {
			take_version(sftp, body);
		} else {
			sftp_end(sftp, -EPROTO, "the server does not begin with an SFTP greeting");
		}
		return;
	}
	uint32_t id = sftp_take_u32(&reader);
	uint16_t number = (uint16_t)id;
	if (number >= sftp->slot_count || !sftp->slots[number].fn ||
		sftp->slots[number].uses != id >> 16) {
		sftp_end(sftp, -EPROTO, "the server answered what was not asked");
		return;
	}
	struct sftp_reply reply = {.type = type, .body = span_of(reader.at, reader.left)};
	slot_answer(sftp, number, &reply);
}

/* Hands out whole packets; keeps the rest. */
static void take_packets(struct sftp *sftp)
{
	size_t done = 0;
	uint8_t type;
	struct span body;
	while (sftp->stream) {
		struct span rest = span_skip(buf_span(&sftp->received), done);
		int len = sftp_packet_split(rest, &type, &body);
		if (len < 0 && !sftp->hello) {
			char text[120], words[240];
			(void)snprintf(words, sizeof(words),
				"the server does not speak SFTP, it says: '%s' (do login scripts "
				"print?)",
				log_escape(rest, text, sizeof(text)));
			sftp_end(sftp, -EPROTO, words);
		} else if (len < 0) {
			sftp_end(sftp, -EPROTO, "the server sent a packet of an impossible length");
		}
		if (len <= 0) {
			break;
		}
		take_packet(sftp, type, body);
		done += (size_t)len;
	}
	buf_drop(&sftp->received, done);
}

static void receive(struct sftp *sftp)
{
	struct why why;
	while (sftp->stream) {
		char *room = buf_reserve(&sftp->received, READ_STEP);
		if (!room) {
			sftp_end(sftp, -ENOMEM, "out of memory");
			return;
		}
		ssize_t n = sftp->stream->ops->read(sftp->stream, room, READ_STEP, &why);
		if (n == -EAGAIN) {
			return;
		}
		if (n < 0) {
			sftp_end(sftp, (int)n, why.text);
			return;
		}
		sftp->received.len += (size_t)n;
		sftp->bytes_in += (size_t)n;
		sftp->heard_ns = clock_now();
		take_packets(sftp);
	}
}

/* --- what goes out ------------------------------------------------------------------------ */

static void transmit(struct sftp *sftp)
{
	struct why why;
	while (sftp->stream) {
		if (sftp->sent == sftp->sending.len) {
			struct buf empty = sftp->sending;
			buf_clear(&empty);
			sftp->sending = sftp->filling;
			sftp->filling = empty;
			sftp->sent = 0;
		}
		if (sftp->sent == sftp->sending.len) {
			return;
		}
		ssize_t n = sftp->stream->ops->write(sftp->stream, sftp->sending.data + sftp->sent,
			sftp->sending.len - sftp->sent, &why);
		if (n == -EAGAIN) {
			return;
		}
		if (n < 0) {
			sftp_end(sftp, (int)n, why.text);
			return;
		}
		sftp->sent += (size_t)n;
		sftp->bytes_out += (size_t)n;
	}
}

static void on_event(void *arg)
{
	struct sftp *sftp = sftp_ref(arg);
	receive(sftp);
	transmit(sftp);
	receive(sftp); /* a stream may have taken in more while it wrote */
	sftp_unref(sftp);
}

static void on_flush(void *arg)
{
	struct sftp *sftp = arg;
	sftp->flush_is_due = false;
	on_event(sftp);
	sftp_unref(sftp);
}

static void flush_soon(struct sftp *sftp)
{
	if (sftp->flush_is_due) {
		return;
	}
	if (loop_defer(sftp->loop, on_flush, sftp) < 0) {
		sftp_end(sftp, -ENOMEM, "out of memory");
		return;
	}
	sftp->flush_is_due = true;
	sftp_ref(sftp);
}

/* After a packet was put into filling. */
static void packet_done(struct sftp *sftp, size_t begin)
{
	sftp_packet_end(&sftp->filling, begin);
	if (sftp->filling.failed) {
		sftp_end(sftp, -ENOMEM, "out of memory");
		return;
	}
	flush_soon(sftp);
}

/* Waits for room and takes a slot.  Returns 0 or -ENOTCONN. */
static int request_begin(struct sftp *sftp, enum sftp_type type, uint32_t weight, sftp_reply_fn fn,
	void *arg, size_t *ret_begin)
{
	if (weight && gate_enter(sftp, &sftp->content, weight) < 0) {
		return -ENOTCONN;
	}
	if (gate_enter(sftp, &sftp->requests, 1) < 0) {
		if (weight) {
			gate_leave(&sftp->content, weight);
		}
		return -ENOTCONN;
	}
	*ret_begin = sftp_packet_begin(&sftp->filling, type, slot_take(sftp, weight, fn, arg));
	return 0;
}

/* --- calls -------------------------------------------------------------------------------- */

static void on_call_reply(void *arg, const struct sftp_reply *reply)
{
	struct sftp_call *call = arg;
	call->error = reply->error;
	call->type = reply->type;
	if (!reply->error) {
		buf_add(&call->body, reply->body);
		call->error = call->body.failed ? -ENOMEM : 0;
	}
	call->done = true;
	task_wake(call->task);
}

static void put_fields(struct buf *buf, const char *fields, va_list values)
{
	for (; *fields; fields++) {
		switch (*fields) {
		case 's':
			sftp_put_string(buf, va_arg(values, struct span));
			break;
		case 'u':
			sftp_put_u32(buf, va_arg(values, uint32_t));
			break;
		case 'q':
			sftp_put_u64(buf, va_arg(values, uint64_t));
			break;
		case 'a':
			sftp_put_attr(buf, va_arg(values, const struct sftp_attr *));
			break;
		}
	}
}

void sftp_start(
	struct sftp *sftp, struct sftp_call *call, enum sftp_type type, const char *fields, ...)
{
	size_t begin;
	va_list values;
	*call = (struct sftp_call){.sftp = sftp, .task = task_self(), .started = true};
	if (request_begin(sftp, type, 0, on_call_reply, call, &begin) < 0) {
		call->done = true;
		call->error = -ENOTCONN;
		return;
	}
	va_start(values, fields);
	put_fields(&sftp->filling, fields, values);
	va_end(values);
	packet_done(sftp, begin);
}

static int call_wait(struct sftp_call *call)
{
	while (!call->done) {
		task_wait();
	}
	return call->error;
}

void sftp_call_finish(struct sftp_call *call)
{
	if (call->started) {
		(void)call_wait(call);
		buf_finish(&call->body);
		call->started = false;
	}
}

static int nonsense(struct sftp *sftp)
{
	sftp_end(sftp, -EPROTO, "the server's answer does not fit the request");
	return -ENOTCONN;
}

static int status_of(struct sftp_call *call)
{
	struct sftp_reader reader = sftp_reader_of(buf_span(&call->body));
	uint32_t status = sftp_take_u32(&reader);
	return reader.bad || status > 255 ? nonsense(call->sftp) : (int)status;
}

int sftp_wait(struct sftp_call *call)
{
	int r = call_wait(call);
	if (r < 0) {
		return r;
	}
	return call->type == SFTP_STATUS ? status_of(call) : nonsense(call->sftp);
}

int sftp_wait_for(struct sftp_call *call, enum sftp_type type, struct sftp_reader *ret)
{
	int r = call_wait(call);
	if (r < 0) {
		return r;
	}
	*ret = sftp_reader_of(buf_span(&call->body));
	if (call->type == type) {
		return 0;
	}
	r = call->type == SFTP_STATUS ? status_of(call) : nonsense(call->sftp);
	return r == SFTP_OK ? nonsense(call->sftp) : r;
}

int sftp_wait_attr(struct sftp_call *call, struct sftp_attr *ret)
{
	struct sftp_reader reader;
	int r = sftp_wait_for(call, SFTP_ATTRS, &reader);
	if (r) {
		return r;
	}
	*ret = sftp_take_attr(&reader);
	return reader.bad ? nonsense(call->sftp) : 0;
}

int sftp_wait_name(struct sftp_call *call, struct span *ret)
{
	struct sftp_reader reader;
	int r = sftp_wait_for(call, SFTP_NAME, &reader);
	if (r) {
		return r;
	}
	uint32_t count = sftp_take_u32(&reader);
	*ret = sftp_take_string(&reader);
	return reader.bad || count != 1 || (ret->len && memchr(ret->data, '\0', ret->len))
		       ? nonsense(call->sftp)
		       : 0;
}

/* --- handles ------------------------------------------------------------------------------ */

int sftp_open_handle(struct sftp *sftp, struct sftp_handle *ret, enum sftp_type type,
	struct span path, uint32_t flags, const struct sftp_attr *attr)
{
	struct sftp_reader reader;
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	if (gate_enter(sftp, &sftp->handles, 1) < 0) {
		return -ENOTCONN;
	}
	if (type == SFTP_OPEN) {
		sftp_start(sftp, &call, type, "sua", path, flags, attr);
	} else {
		sftp_start(sftp, &call, type, "s", path);
	}
	int r = sftp_wait_for(&call, SFTP_HANDLE, &reader);
	struct span handle = r ? SPAN_NONE : sftp_take_string(&reader);
	if (r == 0 && (reader.bad || handle.len > sizeof(ret->bytes))) {
		r = nonsense(sftp);
	}
	if (r) {
		gate_leave(&sftp->handles, 1);
		return r;
	}
	ret->len = handle.len;
	memcpy(ret->bytes, handle.data, handle.len);
	return 0;
}

static void on_unwanted_reply(void *arg, const struct sftp_reply *reply)
{
}

void sftp_close_handle(struct sftp *sftp, const struct sftp_handle *handle, struct sftp_call *call)
{
	size_t begin;
	if (call) {
		sftp_start(sftp, call, SFTP_CLOSE, "s", sftp_handle_span(handle));
	} else if (request_begin(sftp, SFTP_CLOSE, 0, on_unwanted_reply, NULL, &begin) == 0) {
		sftp_put_string(&sftp->filling, sftp_handle_span(handle));
		packet_done(sftp, begin);
	}
	gate_leave(&sftp->handles, 1); /* the server closes this one before it opens another */
}

/* --- content ------------------------------------------------------------------------------ */

static void put_read(struct sftp *sftp, const struct sftp_handle *handle, uint64_t offset,
	uint32_t len, size_t begin)
{
	sftp_put_string(&sftp->filling, sftp_handle_span(handle));
	sftp_put_u64(&sftp->filling, offset);
	sftp_put_u32(&sftp->filling, len);
	packet_done(sftp, begin);
}

int sftp_read(struct sftp *sftp, const struct sftp_handle *handle, uint64_t offset, uint32_t len,
	sftp_reply_fn fn, void *arg)
{
	size_t begin;
	int r = request_begin(sftp, SFTP_READ, len, fn, arg, &begin);
	if (r == 0) {
		put_read(sftp, handle, offset, len, begin);
	}
	return r;
}

int sftp_read_again(struct sftp *sftp, const struct sftp_handle *handle, uint64_t offset,
	uint32_t len, sftp_reply_fn fn, void *arg)
{
	if (!sftp->stream) {
		return -ENOTCONN;
	}
	sftp->requests.used++;
	sftp->content.used += len;
	put_read(sftp, handle, offset, len,
		sftp_packet_begin(&sftp->filling, SFTP_READ, slot_take(sftp, len, fn, arg)));
	return 0;
}

int sftp_write(struct sftp *sftp, const struct sftp_handle *handle, uint64_t offset,
	struct span data, sftp_reply_fn fn, void *arg)
{
	size_t begin;
	int r = request_begin(sftp, SFTP_WRITE, (uint32_t)data.len, fn, arg, &begin);
	if (r == 0) {
		sftp_put_string(&sftp->filling, sftp_handle_span(handle));
		sftp_put_u64(&sftp->filling, offset);
		sftp_put_string(&sftp->filling, data);
		packet_done(sftp, begin);
	}
	return r;
}

/* --- the beginning ------------------------------------------------------------------------ */

static int say_hello(struct sftp *sftp)
{
	const uint64_t begun = clock_now(), deadline = begun + HELLO_NS;
	packet_done(sftp, sftp_packet_begin(&sftp->filling, SFTP_INIT, 3));
	while (sftp->stream && !sftp->hello) {
		if (clock_now() >= deadline) {
			sftp_end(
				sftp, -ETIMEDOUT, "the server did not begin to speak SFTP in time");
		} else {
			task_wait_until(deadline);
		}
	}
	sftp->round_trip_ns = clock_now() - begun;
	return sftp->error;
}

static uint32_t block_limit(uint64_t said, uint32_t otherwise)
{
	return said < 4096 ? otherwise : said > BLOCK_MAX ? BLOCK_MAX : (uint32_t)said;
}

static int learn_limits(struct sftp *sftp)
{
	struct sftp_reader reader;
	struct sftp_features *can = &sftp->features;
	CLEANUP(sftp_call_finish) struct sftp_call call = SFTP_CALL;
	const uint64_t begun = clock_now();
	sftp_start(sftp, &call, SFTP_EXTENDED, "s", SPAN("limits@openssh.com"));
	int r = sftp_wait_for(&call, SFTP_EXTENDED_REPLY, &reader);
	sftp->round_trip_ns = clock_now() - begun; /* the greeting's has the server's start in it */
	if (r) {
		return r < 0 ? r : 0; /* offered and then refused: the defaults stay */
	}
	(void)sftp_take_u64(&reader); /* of a whole packet */
	can->read_bytes = block_limit(sftp_take_u64(&reader), can->read_bytes);
	can->write_bytes = block_limit(sftp_take_u64(&reader), can->write_bytes);
	uint64_t handles = sftp_take_u64(&reader);
	if (handles) {
		sftp->handles.limit = handles > 8 ? handles - 4 : 4;
	}
	return reader.bad ? nonsense(sftp) : 0;
}

int sftp_open(struct loop *loop, struct ssh_stream *stream, unsigned in_flight, struct sftp **ret,
	struct why *why)
{
	struct sftp *sftp = calloc(1, sizeof(*sftp));
	if (!sftp || slots_create(sftp, in_flight) < 0) {
		stream->ops->close(stream);
		free(sftp);
		return -ENOMEM;
	}
	sftp->loop = loop;
	sftp->references = 1;
	sftp->stream = stream;
	sftp->opener = task_self();
	sftp->features.read_bytes = BLOCK_DEFAULT;
	sftp->features.write_bytes = BLOCK_DEFAULT;
	loop_timer_init(&sftp->stall, loop, on_stall, sftp);
	stream->event = on_event;
	stream->arg = sftp;
	int r = say_hello(sftp);
	r = r == 0 && sftp->features.limits ? learn_limits(sftp) : r;
	sftp->opener = NULL;
	sftp->features.handles = (uint32_t)sftp->handles.limit;
	if (r < 0) {
		r = why_error(why, sftp->error, "%s", sftp->why.text);
		sftp_unref(sftp);
		return r;
	}
	*ret = sftp;
	return 0;
}
