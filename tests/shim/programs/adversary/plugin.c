/* SPDX-License-Identifier: Apache-2.0 */
/* A library that is loaded so that it takes libc's functions and nobody else's. */
#include <stdio.h>

void make_file(const char *path);

void make_file(const char *path)
{
	FILE *f = fopen(path, "w");
	if (f) {
		(void)fputs("x", f);
		(void)fclose(f);
	}
}
