/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "did you mean": which of some words is nearest to what was typed.
 */
#pragma once

#include <stddef.h>

/*
 * Offers one candidate after the other to *best (NULL at first), keeping the nearest that is near
 * enough to be meant.
 */
void nearest_offer(const char *typed, const char *candidate, const char **best);
