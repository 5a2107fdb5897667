/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

int greet(FILE *to);

int main(int argc, char **argv)
{
	FILE *to = argc > 1 ? fopen(argv[1], "w") : stdout;
	return to ? greet(to) : 1;
}
