/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any body is refused with words or understood; what was understood, is written and is read again
 * comes out the same.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "flow/message.h"

static void refused_well(int r, const struct why *why)
{
	fuzz_require(r == -EBADMSG || r == -EPROTONOSUPPORT);
	fuzz_require(why->text[0]);
}

static void try_change(struct span body)
{
	struct change *change, *again;
	struct buf once = BUF_EMPTY, twice = BUF_EMPTY, topic = BUF_EMPTY;
	struct why why = {""};
	int r = message_decode_change(body, &change, &why);
	if (r < 0) {
		refused_well(r, &why);
		return;
	}
	message_encode_change(change, &once);
	fuzz_require(message_decode_change(buf_span(&once), &again, &why) == 0);
	fuzz_require(span_equal(change->path, again->path));
	message_encode_change(again, &twice);
	fuzz_require(span_equal(buf_span(&once), buf_span(&twice)));
	message_topic(change->path, &topic);
	fuzz_require(topic.len <= 255);
	fuzz_require(change_covers(again, change));
	change_destroy(change);
	change_destroy(again);
	buf_finish(&once);
	buf_finish(&twice);
	buf_finish(&topic);
}

static void try_receipt(struct span body)
{
	struct receipt receipt, again;
	struct buf once = BUF_EMPTY, twice = BUF_EMPTY;
	struct why why = {""};
	int r = message_decode_receipt(body, &receipt, &why);
	if (r < 0) {
		refused_well(r, &why);
		return;
	}
	message_encode_receipt(&receipt, &once);
	fuzz_require(message_decode_receipt(buf_span(&once), &again, &why) == 0);
	message_encode_receipt(&again, &twice);
	fuzz_require(span_equal(buf_span(&once), buf_span(&twice)));
	receipt_finish(&receipt);
	receipt_finish(&again);
	buf_finish(&once);
	buf_finish(&twice);
}

static void try_note(struct span body)
{
	struct note note, again;
	struct buf once = BUF_EMPTY, twice = BUF_EMPTY;
	struct why why = {""};
	int r = message_decode_note(body, &note, &why);
	if (r < 0) {
		refused_well(r, &why);
		return;
	}
	message_encode_note(&note, &once);
	fuzz_require(message_decode_note(buf_span(&once), &again, &why) == 0);
	message_encode_note(&again, &twice);
	fuzz_require(span_equal(buf_span(&once), buf_span(&twice)));
	note_finish(&note);
	note_finish(&again);
	buf_finish(&once);
	buf_finish(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span body = span_of(data, size);
	enum message_kind kind;
	(void)message_kind(body, &kind, NULL);
	try_change(body);
	try_receipt(body);
	try_note(body);
	return 0;
}
