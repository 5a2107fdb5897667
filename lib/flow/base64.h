/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as RFC 4648 text with padding, and back. */
#pragma once

#include "core/buf.h"

/* Appends. */
void base64_write(struct buf *buf, struct span bytes);
/* Appends what text says.  Returns 0 or -EINVAL. */
int base64_read(struct span text, struct buf *ret);
