/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding functions without asking the dynamic linker to do anything.
 *
 *   resolve("close")     the default version of that name in the first object behind the shim
 *   resolve_own("close") what the shim itself exports by that name
 *   resolve_vdso(…)      in the kernel's own object
 *   resolve_own_path()   where the shim itself was loaded from, if that is known in full
 *
 * Reads the linker's list of objects: no lock, no heap, no errno; safe in signal handlers, before
 * constructors have run, and inside an allocator that is starting.  NULL where there is none.
 */
#pragma once

void *resolve(const char *name);
void *resolve_own(const char *name);
void *resolve_vdso(const char *name);
const char *resolve_own_path(void);
