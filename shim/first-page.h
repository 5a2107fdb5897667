/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the shim's variables lie.  Every page that a process writes to costs it a fault and a page
 * of zeros at each exec, so what all use lies together on one; see layout.ld.
 */
#pragma once

#define FIRST_PAGE __attribute__((section(".bss.first")))
/* Right behind it: a table whose beginning is used more than the rest. */
#define BEHIND_FIRST_PAGE __attribute__((section(".bss.table")))
