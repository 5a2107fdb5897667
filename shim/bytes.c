/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What compilers call without being asked.  Hidden, so that the shim needs no libc; plain loops,
 * which the flags of this file keep from being turned into calls of themselves.
 */
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
int memcmp(const void *a, const void *b, size_t count);
size_t strlen(const char *string);

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
	char *t = to;
	const char *f = from;
	while (count--) {
		*t++ = *f++;
	}
	return to;
}

void *memmove(void *to, const void *from, size_t count)
{
	char *t = to;
	const char *f = from;
	for (size_t i = 0; t < f && i < count; i++) {
		t[i] = f[i];
	}
	while (t > f && count--) {
		t[count] = f[count];
	}
	return to;
}

void *memset(void *to, int value, size_t count)
{
	char *t = to;
	while (count--) {
		*t++ = (char)value;
	}
	return to;
}

int memcmp(const void *a, const void *b, size_t count)
{
	const unsigned char *x = a, *y = b;
	for (size_t i = 0; i < count; i++) {
		if (x[i] != y[i]) {
			return x[i] - y[i];
		}
	}
	return 0;
}

size_t strlen(const char *string)
{
	size_t len = 0;
	while (string[len]) {
		len++;
	}
	return len;
}
