/* SPDX-License-Identifier: Apache-2.0 */
#include "poster/missing.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/path.h"
#include "flow/change.h"

void missing_file_destroy(struct missing_file *file)
{
	if (file) {
		free((void *)file->path.data);
		free(file);
	}
}

static struct missing_file *take_first(struct missing *missing)
{
	struct missing_file *file = missing->first;
	missing->first = file->next;
	if (!missing->first) {
		missing->last = NULL;
	}
	missing->count--;
	return file;
}

void missing_finish(struct missing *missing)
{
	while (missing->first) {
		missing_file_destroy(take_first(missing));
	}
}

int missing_add(struct missing *missing, struct span path, bool links, uint64_t now_ns)
{
	CLEANUP(free_p) struct missing_file *file = calloc(1, sizeof(*file));
	if (!file || change_set(&file->path, path) < 0) {
		return -ENOMEM;
	}
	file->links = links;
	file->deadline_ns = now_ns + MISSING_WAIT_NS;
	file->number = missing->number++;
	missing->count++;
	if (missing->last) {
		missing->last->next = file;
	} else {
		missing->first = file;
	}
	missing->last = STEAL(file);
	return 0;
}

void missing_explained(struct missing *missing, struct span path)
{
	struct missing_file *before = NULL, *next;
	struct span rel;
	for (struct missing_file *file = missing->first; file; file = next) {
		next = file->next;
		if (file->links || !path_below(file->path, path, &rel)) {
			before = file;
			continue;
		}
		if (before) {
			before->next = next;
		} else {
			missing->first = next;
		}
		missing->last = next ? missing->last : before;
		missing->count--;
		missing_file_destroy(file);
	}
}

struct missing_file *missing_take_due(struct missing *missing, uint64_t now_ns)
{
	bool due = missing->first &&
		   (missing->first->deadline_ns <= now_ns || missing->count > MISSING_MAX);
	return due ? take_first(missing) : NULL;
}

uint64_t missing_settled(const struct missing *missing)
{
	return missing->first ? missing->first->number : missing->number;
}
