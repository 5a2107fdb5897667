/* SPDX-License-Identifier: Apache-2.0 */
/* Forced changes for what differs, published through the broker of the mirror. */
#pragma once

#include <stdint.h>

#include "flow/broker.h"
#include "report.h"

struct repair {
	const struct config *config;
	struct broker_session *session;
	uint64_t published;
};

int repair_open(const struct config *config, struct repair *ret, struct why *why);
/* Returns when the broker has it. */
int repair_publish(struct repair *repair, const struct finding *finding, struct why *why);
void repair_close(struct repair *repair);
