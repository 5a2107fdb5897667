/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dlsym() and dlvsym(): what is looked up in libc itself.
 *
 * ctypes.CDLL("libc.so.6"), JNA and P/Invoke open libc and ask it for a function, and nothing that
 * was preloaded stands before that.  Who is told the function that one of our wrappers would call
 * next gets the wrapper.  Only that one: a library behind us that looks for what lies behind itself
 * gets what it asks for, or we would call each other for ever.
 *
 * RTLD_DEFAULT finds us anyway, and RTLD_NEXT depends on who calls; both go straight to the real
 * one.
 */
#include "record.h"
#include "resolve.h"
#include "stub.h"

FROM_STUB void *stub_dlsym(void *handle);
FROM_STUB void *stub_dlvsym(void *handle);

STUB(dlsym)
STUB(dlvsym)

static void *ours_for(const char *name, void *found)
{
	void *ours = found ? resolve_own(name) : NULL;
	return ours && resolve(name) == found ? ours : found;
}

static void *seen_dlsym(void *handle, const char *name)
{
	return ours_for(name, CALL_REAL(dlsym, (handle, name), NULL));
}

static void *seen_dlvsym(void *handle, const char *name, const char *version)
{
	return ours_for(name, CALL_REAL(dlvsym, (handle, name, version), NULL));
}

static bool names_a_library(const void *handle)
{
	uintptr_t value = (uintptr_t)handle;
	return recorder_configured && value != 0 && value != UINTPTR_MAX;
}

void *stub_dlsym(void *handle)
{
	return names_a_library(handle) ? (void *)seen_dlsym : real_or_absent(CALL_dlsym);
}

void *stub_dlvsym(void *handle)
{
	return names_a_library(handle) ? (void *)seen_dlvsym : real_or_absent(CALL_dlvsym);
}
