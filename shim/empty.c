/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What programs of 32 bits load in the shim's place: nothing, so that their loader has nothing to
 * complain about.  They are recognised by whoever runs them, see unseen.h.
 */
typedef int nothing;
