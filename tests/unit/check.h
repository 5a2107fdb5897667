/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka wants these four in this order; tests include this one. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/span.h"

#define assert_span(actual, text)                                                                  \
	do {                                                                                       \
		struct span actual_ = (actual), text_ = span_str(text);                            \
		assert_int_equal(actual_.len, text_.len);                                          \
		assert_memory_equal(actual_.len ? actual_.data : "", text_.data, text_.len);       \
	} while (0)
