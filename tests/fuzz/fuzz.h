/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer is one function over bytes from elsewhere.
 *
 * With -Dfuzz=true (clang) libFuzzer drives it:   build/tests/fuzz/fuzz-message CORPUS
 * Without, replay.c does, over the files of the kept corpus; that is a test of every build.
 * What must hold is said with fuzz_require(), which aborts.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define fuzz_require(condition)                                                                    \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			(void)fprintf(                                                             \
				stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
