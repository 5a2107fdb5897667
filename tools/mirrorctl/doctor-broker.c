/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor.h"

#include <errno.h>
#include <stdio.h>

#include "control.h"
#include "core/clock.h"
#include "flow/managed.h"
#include "flow/topology.h"
#include "gather.h"

#define LOGIN_NS (10 * CLOCK_S)

static void check_queues(struct doctor *doctor, struct broker_session *session)
{
	struct why why = {0};
	uint64_t messages;
	uint32_t consumers;
	struct topology_name name = topology_queue(doctor->config, "tally");
	if (broker_queue_depth(session, name.text, &messages, &consumers, &why) < 0) {
		doctor_note("queues", "not there yet; mirrorctl start makes them");
	} else {
		doctor_good("queues", "are there");
	}
}

void doctor_check_broker(struct doctor *doctor)
{
	const struct config *config = doctor->config;
	struct broker_session *session = NULL;
	struct why why = {0};
	char holder[320];
	if (config->broker_managed && managed_room(config, &why) == -ENOSPC) {
		doctor_bad(doctor, "broker", "%s", why.text);
	}
	control_holder(config->mirror, holder, sizeof(holder));
	if (config->broker_managed && !holder[0]) {
		doctor_note("broker", "managed, and not running: mirrorctl start runs it");
		return;
	}
	if (gather_session(config, clock_now() + LOGIN_NS, &session, &why) < 0) {
		doctor_bad(doctor, "broker", "%s", why.text);
		return;
	}
	const struct broker_url *node = broker_session_node(session);
	doctor_good("broker", "%s:%u accepts the log-in", node->host, node->port);
	check_queues(doctor, session);
	if (!config->broker_managed) {
		doctor_note("broker",
			"its limits cannot be asked for here: consumer_timeout must be above "
			"the longest copy of one file, and quorum queues need no delivery-limit "
			"below 1000");
	}
	broker_session_close(session);
}
