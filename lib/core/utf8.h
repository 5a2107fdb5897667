/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#pragma once

#include "core/span.h"

/* How many bytes the sequence at the front of bytes has; 0 where it is none (or bytes is empty). */
size_t utf8_length(struct span bytes);
