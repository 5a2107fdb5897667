/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

int greet(FILE *to)
{
	return fputs("hello\n", to) < 0;
}
