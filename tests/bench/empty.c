/* SPDX-License-Identifier: Apache-2.0 */
/* A preload library that does nothing: what any costs at exec. */
extern int empty;
int empty;
