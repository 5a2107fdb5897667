/* SPDX-License-Identifier: Apache-2.0 */
#include "poster/counts.h"

#include <string.h>

void counts_open(struct counts *counts, const struct journal *journal)
{
	*counts = (struct counts){.drafts_position = UINT64_MAX};
	journal_kept(journal, counts->values);
	counts->repeats = counts->values[COUNT_REPEATS];
	if (!counts->values[COUNT_SERIES]) {
		counts->values[COUNT_SERIES] = ident_source();
	}
}

void counts_renewed(struct counts *counts, uint64_t torn)
{
	counts->values[COUNT_TORN] += torn;
	counts->drafts_position = UINT64_MAX;
}

static enum count verdict(struct counts_moment before, struct counts_moment after)
{
	return after.made != before.made         ? COUNT_TOLD
	       : after.unnamed != before.unnamed ? COUNT_UNNAMED
	       : after.outside != before.outside ? COUNT_OUTSIDE
						 : COUNT_NOTED;
}

void counts_record(struct counts *counts, const struct record *record, struct counts_moment before,
	struct counts_moment after)
{
	enum count count = verdict(before, after);
	counts->values[count]++;
	if (record->end != record->position) {
		return;
	}
	if (counts->drafts_position != record->position) {
		memset(counts->drafts, 0, sizeof(counts->drafts));
		counts->drafts_position = record->position;
	}
	counts->drafts[count]++;
}

void counts_at(const struct counts *counts, uint64_t position, uint64_t repeats,
	uint64_t ret_values[JOURNAL_KEPT])
{
	memcpy(ret_values, counts->values, sizeof(counts->values));
	ret_values[COUNT_REPEATS] = counts->repeats + repeats;
	for (unsigned i = 0; i < JOURNAL_KEPT && counts->drafts_position == position; i++) {
		ret_values[i] -= counts->drafts[i];
	}
}

uint64_t counts_read(const struct counts *counts)
{
	const uint64_t *values = counts->values;
	return values[COUNT_TOLD] + values[COUNT_NOTED] + values[COUNT_OUTSIDE] +
	       values[COUNT_UNNAMED];
}

void counts_tell(const struct counts *counts, uint64_t repeats, struct note *note)
{
	const uint64_t *values = counts->values;
	note->id = (struct ident){values[COUNT_SERIES], 0};
	note->captured = counts_read(counts);
	note->told = values[COUNT_TOLD];
	note->noted = values[COUNT_NOTED];
	note->outside = values[COUNT_OUTSIDE];
	note->unnamed = values[COUNT_UNNAMED];
	note->made = values[COUNT_MADE];
	note->repeats = counts->repeats + repeats;
	note->lost += values[COUNT_TORN] + values[COUNT_UNNAMED];
}
