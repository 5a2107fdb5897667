/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls without libc: no errno, no cancellation, no symbol needed.
 *
 *   long r = raw_call(SYS_fstat, fd, &st);         -errno, or what the kernel returns
 *
 * Safe everywhere, in signal handlers and between vfork() and exec too.  Missing arguments are
 * passed as zero.  Only little-endian 64-bit kernels: x86_64 and aarch64.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>

static inline long raw_call6(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
#else
#error "no raw system calls for this machine"
#endif
}

/* raw_call(number, up to six arguments of any scalar type) */
#define raw_call(...) RAW_PICK_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define RAW_PICK_(n, a, b, c, d, e, f, ...)                                                        \
	raw_call6((long)(n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline bool raw_failed(long result)
{
	return (unsigned long)result >= -4095UL;
}
