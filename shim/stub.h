/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that must not have a frame of ours: they return twice on one stack, or look at who called.
 *
 *   STUB(name)    exports a few instructions that keep all arguments, ask stub_<name>() where to
 *                 go, and jump there; stub_<name>() gets the arguments too
 */
#pragma once

#include "calls.h"

#define FROM_STUB __attribute__((visibility("hidden"), used))

/* Where to go for the real call, whatever that is. */
void *real_or_absent(enum call call);

#if defined(__x86_64__)
/* Six arguments and the count of vector ones; seven words keep the stack aligned for the call. */
#define STUB(name)                                                                                 \
	__asm__(".text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n"                \
		".cfi_startproc\n endbr64\n"                                                       \
		"push %rax\n push %rdi\n push %rsi\n push %rdx\n"                                  \
		"push %rcx\n push %r8\n push %r9\n"                                                \
		".cfi_def_cfa_offset 64\n"                                                         \
		"call stub_" #name "\n mov %rax, %r11\n"                                           \
		"pop %r9\n pop %r8\n pop %rcx\n pop %rdx\n pop %rsi\n pop %rdi\n pop %rax\n"       \
		".cfi_def_cfa_offset 8\n"                                                          \
		"jmp *%r11\n .cfi_endproc\n.size " #name ", . - " #name "\n");
#elif defined(__aarch64__)
#define STUB(name)                                                                                 \
	__asm__(".text\n.globl " #name "\n.type " #name ", %function\n" #name ":\n"                \
		".cfi_startproc\n"                                                                 \
		"stp x29, x30, [sp, #-80]!\n .cfi_def_cfa_offset 80\n .cfi_offset 30, -72\n"       \
		"stp x0, x1, [sp, #16]\n stp x2, x3, [sp, #32]\n"                                  \
		"stp x4, x5, [sp, #48]\n stp x6, x7, [sp, #64]\n"                                  \
		"bl stub_" #name "\n mov x16, x0\n"                                                \
		"ldp x0, x1, [sp, #16]\n ldp x2, x3, [sp, #32]\n"                                  \
		"ldp x4, x5, [sp, #48]\n ldp x6, x7, [sp, #64]\n"                                  \
		"ldp x29, x30, [sp], #80\n .cfi_def_cfa_offset 0\n .cfi_restore 30\n"              \
		"br x16\n .cfi_endproc\n.size " #name ", . - " #name "\n");
#endif
