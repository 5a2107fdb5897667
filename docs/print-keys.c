/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the keys of mirror.yaml as a part of its manual page. */
#include <stdio.h>

#include "flow/config.h"

int main(void)
{
	config_show_manual(stdout);
	return 0;
}
