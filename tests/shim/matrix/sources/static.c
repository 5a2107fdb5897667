/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

int main(void)
{
	FILE *to = fopen("static.out", "w");
	return !to || fputs("hello\n", to) < 0;
}
