/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A view, printed.
 */
#pragma once

#include <stdio.h>

#include "gather.h"

/* For people.  before: the view some time ago, for rates; NULL: none. */
void status_text(const struct view *view, const struct view *before, FILE *out);
/* For programs: one object.  Field names are stable. */
int status_json(const struct view *view, FILE *out);
