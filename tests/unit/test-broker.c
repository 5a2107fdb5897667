/* SPDX-License-Identifier: Apache-2.0 */
/* The broker module against a real RabbitMQ, which is killed and restarted on the way. */
#include "broker-rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "core/buf.h"
#include "core/cleanup.h"
#include "flow/broker.h"
#include "flow/topology.h"

#define PATIENCE (60 * CLOCK_S)

/* One client: a loop, a broker, what it was told. */
struct client {
	struct loop *loop;
	struct broker *broker;
	bool up;
	char words[512];
	unsigned confirmed, delivered, redelivered, lost;
	struct broker_delivery last;
	char body[256];
	bool ack, requeue;
	unsigned char *seen; /* by number in the body */
	struct broker_consumer *consumer;
};

static void on_state(void *arg, bool up, const char *words)
{
	struct client *client = arg;
	client->up = up;
	(void)snprintf(client->words, sizeof(client->words), "%s", words);
}

static void client_open_nodes(struct client *client, const struct broker_nodes *nodes)
{
	struct broker_options options = {
		.nodes = *nodes, .name = "test", .state = on_state, .arg = client};
	*client = (struct client){.ack = true};
	assert_int_equal(loop_create(&client->loop), 0);
	assert_int_equal(broker_create(client->loop, &options, &client->broker), 0);
}

static void client_open_url(struct client *client, const struct broker_url *url)
{
	client_open_nodes(client, &(struct broker_nodes){{*url}, 1});
}

static void client_open(struct client *client)
{
	struct broker_url url;
	assert_int_equal(managed_url(&rig_config, &url, NULL), 0);
	client_open_url(client, &url);
}

static void client_close(struct client *client)
{
	broker_destroy(client->broker);
	loop_destroy(client->loop);
	free(client->seen);
}

static void turn_both(struct client *one, struct client *other)
{
	assert_int_equal(loop_turn(one->loop, clock_now() + 5 * CLOCK_MS), 0);
	if (other) {
		assert_int_equal(loop_turn(other->loop, 0), 0);
	}
}

/* Turns the loops of one or two clients until the condition holds. */
#define TURN_UNTIL(one, other, condition)                                                          \
	do {                                                                                       \
		uint64_t deadline_ = clock_now() + PATIENCE;                                       \
		while (!(condition) && clock_now() < deadline_) {                                  \
			turn_both(one, other);                                                     \
		}                                                                                  \
		if (!(condition)) {                                                                \
			fail_msg("waited in vain for %s; state: %s", #condition, (one)->words);    \
		}                                                                                  \
	} while (0)

static void on_confirmed(void *arg)
{
	((struct client *)arg)->confirmed++;
}

static void on_deliver(void *arg, struct broker_delivery delivery, struct span body)
{
	struct client *client = arg;
	client->delivered++;
	client->redelivered += delivery.redelivered;
	client->last = delivery;
	(void)snprintf(client->body, sizeof(client->body), "%.*s", SPAN_ARG(body));
	if (client->seen) {
		client->seen[atoi(client->body)]++;
	}
	if (client->requeue) {
		broker_requeue(client->broker, delivery);
	} else if (client->ack) {
		broker_ack(client->broker, delivery);
	}
}

static void on_lost(void *arg)
{
	((struct client *)arg)->lost++;
}

static struct broker_session *session_open(void)
{
	struct broker_url url;
	struct broker_session *session;
	struct why why;
	assert_int_equal(managed_url(&rig_config, &url, &why), 0);
	if (broker_session_open(&url, clock_now() + PATIENCE, &session, &why) < 0) {
		fail_msg("%s", why.text);
	}
	return session;
}

/* A queue of its own per test, bound to an exchange of the same name. */
static void make_queue(const char *name, const struct broker_queue_options *options)
{
	struct why why = {""};
	struct broker_session *session = session_open();
	int r = broker_declare_exchange(session, name, "topic", &why);
	r = r < 0 ? r : broker_declare_queue(session, name, options, &why);
	r = r < 0 ? r : broker_bind_queue(session, name, name, "#", &why);
	broker_session_close(session);
	if (r < 0) {
		fail_msg("%s", why.text);
	}
}

static void publish_number(struct client *client, const char *exchange, unsigned number)
{
	char text[16];
	(void)snprintf(text, sizeof(text), "%u", number);
	while (broker_publish(client->broker, exchange, SPAN("key"), span_str(text), on_confirmed,
		       client) == BROKER_FULL) {
		assert_int_equal(loop_turn(client->loop, clock_now() + CLOCK_S), 0);
	}
}

/* ---- a good broker ----------------------------------------------------------------------- */

static void objects_can_be_declared_again(void **state)
{
	struct why why = {""};
	uint64_t messages;
	uint32_t consumers;
	(void)state;
	struct broker_session *session = session_open();
	for (int i = 0; i < 2; i++) {
		if (topology_declare(&rig_config, session, &why) < 0) {
			fail_msg("%s", why.text);
		}
	}
	assert_int_equal(broker_queue_depth(session, "q_test_nothing", &messages, &consumers, &why),
		-ENOENT);
	assert_int_equal(
		broker_queue_depth(session, "q_test_changes02", &messages, &consumers, &why), 0);
	assert_int_equal(messages, 0);
	struct broker_queue_options other = {.quorum = true, .ttl_ms = 5};
	assert_int_equal(broker_declare_queue(session, "q_test_tally", &other, &why), -EEXIST);
	assert_non_null(strstr(why.text, "q_test_tally"));
	assert_int_equal(broker_delete_queue(session, "q_test_nothing", &why), 0);
	broker_session_close(session);
}

static void sessions_publish_and_receive(void **state)
{
	struct why why = {""};
	char queue[128], *body;
	size_t len;
	(void)state;
	struct broker_session *session = session_open();
	uint64_t deadline = clock_now() + PATIENCE;
	assert_int_equal(broker_session_private_queue(session, queue, sizeof(queue), &why), 0);
	assert_int_equal(
		broker_session_receive(session, clock_now() + 50 * CLOCK_MS, &body, &len, &why),
		-ETIMEDOUT);
	assert_int_equal(
		broker_session_publish(session, "", span_str(queue), SPAN("one"), deadline, &why),
		0);
	assert_int_equal(
		broker_session_publish(session, "", span_str(queue), SPAN(""), deadline, &why), 0);
	assert_int_equal(broker_session_receive(session, deadline, &body, &len, &why), 0);
	assert_span(span_of(body, len), "one");
	free(body);
	assert_int_equal(broker_session_receive(session, deadline, &body, &len, &why), 0);
	assert_int_equal(len, 0);
	free(body);
	assert_int_equal(broker_declare_exchange(session, "nobody", "topic", &why), 0);
	assert_int_equal(
		broker_session_publish(session, "nobody", SPAN("a"), SPAN("x"), deadline, &why),
		-ENOENT);
	assert_int_equal(
		broker_session_publish(session, "", SPAN("gone"), SPAN("x"), deadline, &why),
		0); /* a private queue that went away with its owner */
	assert_int_equal(
		broker_session_publish(session, "nowhere", SPAN(""), SPAN("x"), deadline, &why),
		-ENOENT);
	assert_int_equal(
		broker_session_publish(session, "", span_str(queue), SPAN("two"), deadline, &why),
		0);
	broker_session_close(session);
}

static void large_bodies(void **state)
{
	enum { LEN = 3 * 1024 * 1024 };
	struct why why = {""};
	char queue[128], *body, *sent = malloc(LEN);
	size_t len;
	(void)state;
	struct broker_session *session = session_open();
	uint64_t deadline = clock_now() + PATIENCE;
	for (size_t i = 0; i < LEN; i++) {
		sent[i] = (char)(i * 7 >> 3);
	}
	assert_int_equal(broker_session_private_queue(session, queue, sizeof(queue), &why), 0);
	assert_int_equal(broker_session_publish(
				 session, "", span_str(queue), span_of(sent, LEN), deadline, &why),
		0);
	assert_int_equal(broker_session_receive(session, deadline, &body, &len, &why), 0);
	assert_int_equal(len, LEN);
	assert_memory_equal(body, sent, LEN);
	free(body);
	free(sent);
	broker_session_close(session);
}

#define FLOOD 10000

/*
 * SIGKILL in the middle of ten thousand messages, and again while they are consumed; in queues
 * that were declared just before.
 */
static void nothing_is_lost(void **state)
{
	struct client client;
	struct why why;
	struct config config = rig_config;
	char mirror[] = "flood";
	(void)state;
	config.mirror = mirror;
	struct broker_session *session = session_open();
	assert_int_equal(topology_declare(&config, session, &why), 0);
	broker_session_close(session);
	client_open(&client);
	for (unsigned i = 0; i < FLOOD; i++) {
		publish_number(&client, "xs_flood_orders", i);
		if (i == FLOOD / 2) {
			rig_end(SIGKILL);
			assert_int_equal(rig_launch(), 0);
		}
	}
	TURN_UNTIL(&client, NULL, client.confirmed == FLOOD);
	assert_int_equal(broker_unconfirmed(client.broker), 0);
	client.seen = calloc(FLOOD, 1);
	assert_int_equal(broker_consume(client.broker, "q_flood_orders", NULL, 0, 500, on_deliver,
				 on_lost, &client, &client.consumer),
		0);
	TURN_UNTIL(&client, NULL, client.delivered > FLOOD / 2);
	rig_end(SIGKILL);
	assert_int_equal(rig_start(), 0);
	unsigned missing;
	uint64_t deadline = clock_now() + PATIENCE;
	do {
		missing = 0;
		assert_int_equal(loop_turn(client.loop, clock_now() + 100 * CLOCK_MS), 0);
		for (unsigned i = 0; i < FLOOD; i++) {
			missing += client.seen[i] == 0;
		}
	} while (missing && clock_now() < deadline);
	assert_int_equal(missing, 0);
	assert_int_equal(client.lost, 1);
	client_close(&client);
}

static void redelivery(void **state)
{
	struct client client, other;
	const struct broker_queue_options quorum = {.quorum = true};
	(void)state;
	make_queue("again", &quorum);
	client_open(&client);
	client.ack = false;
	assert_int_equal(broker_consume(client.broker, "again", NULL, 0, 2, on_deliver, on_lost,
				 &client, &client.consumer),
		0);
	for (unsigned i = 0; i < 3; i++) {
		publish_number(&client, "again", i);
	}
	TURN_UNTIL(&client, NULL, client.delivered == 2 && client.confirmed == 3);
	assert_int_equal(loop_turn(client.loop, clock_now() + 200 * CLOCK_MS), 0);
	assert_int_equal(client.delivered, 2); /* the prefetch holds the third back */
	struct broker_delivery held = client.last;
	broker_requeue(client.broker, client.last);
	broker_requeue(client.broker, client.last); /* settled: nothing happens */
	broker_ack(client.broker, client.last);
	TURN_UNTIL(&client, NULL, client.redelivered == 1);
	broker_consumer_pause(client.consumer);
	broker_requeue(client.broker, client.last);
	assert_int_equal(loop_turn(client.loop, clock_now() + 300 * CLOCK_MS), 0);
	unsigned delivered = client.delivered;
	client_open(&other);
	assert_int_equal(broker_consume(other.broker, "again", NULL, 0, 10, on_deliver, on_lost,
				 &other, &other.consumer),
		0);
	TURN_UNTIL(&other, &client, other.delivered == 2);
	assert_int_equal(client.delivered, delivered);
	broker_ack(client.broker, held); /* old news */
	client_close(&client);           /* its first delivery is void, and comes back */
	TURN_UNTIL(&other, NULL, other.delivered == 3);
	client_close(&other);
}

static void resumed_consumer(void **state)
{
	struct client client;
	const struct broker_queue_options quorum = {.quorum = true};
	(void)state;
	make_queue("pause", &quorum);
	client_open(&client);
	assert_int_equal(broker_consume(client.broker, "pause", NULL, 0, 100, on_deliver, NULL,
				 &client, &client.consumer),
		0);
	broker_consumer_pause(client.consumer);
	TURN_UNTIL(&client, NULL, client.up);
	for (unsigned round = 1; round <= 3; round++) {
		broker_consumer_pause(client.consumer);
		for (unsigned i = 0; i < 50; i++) {
			publish_number(&client, "pause", i);
		}
		TURN_UNTIL(&client, NULL, client.confirmed == 50 * round);
		assert_int_equal(client.delivered, 50 * (round - 1));
		broker_consumer_resume(client.consumer);
		TURN_UNTIL(&client, NULL, client.delivered == 50 * round);
	}
	client_close(&client);
}

static void private_queues_come_back(void **state)
{
	struct client client;
	const struct broker_queue_options quorum = {.quorum = true};
	const char *const exchanges[] = {"news0", "news1"};
	(void)state;
	make_queue("news0", &quorum);
	make_queue("news1", &quorum);
	client_open(&client);
	assert_int_equal(broker_consume(client.broker, NULL, exchanges, 2, 10, on_deliver, on_lost,
				 &client, &client.consumer),
		0);
	TURN_UNTIL(&client, NULL, client.up);
	publish_number(&client, "news0", 1);
	publish_number(&client, "news1", 2);
	TURN_UNTIL(&client, NULL, client.delivered == 2 && client.confirmed == 2);
	rig_end(SIGTERM);
	TURN_UNTIL(&client, NULL, !client.up);
	assert_true(client.words[0]);
	assert_int_equal(rig_start(), 0);
	TURN_UNTIL(&client, NULL, client.up);
	assert_int_equal(client.lost, 1);
	publish_number(&client, "news1", 3);
	TURN_UNTIL(&client, NULL, client.delivered == 3);
	assert_string_equal(client.body, "3");
	client_close(&client);
}

static void stand_by_takes_over(void **state)
{
	struct client first, second;
	const struct broker_queue_options options = {.quorum = true, .single_active = true};
	(void)state;
	make_queue("single", &options);
	client_open(&first);
	first.ack = false;
	assert_int_equal(broker_consume(first.broker, "single", NULL, 0, 10, on_deliver, on_lost,
				 &first, &first.consumer),
		0);
	TURN_UNTIL(&first, NULL, first.up);
	client_open(&second);
	assert_int_equal(broker_consume(second.broker, "single", NULL, 0, 10, on_deliver, on_lost,
				 &second, &second.consumer),
		0);
	TURN_UNTIL(&second, &first, second.up);
	publish_number(&first, "single", 1);
	TURN_UNTIL(&first, &second, first.delivered == 1 && first.confirmed == 1);
	assert_int_equal(second.delivered, 0);
	client_close(&first);
	TURN_UNTIL(&second, NULL, second.delivered == 1);
	assert_string_equal(second.body, "1");
	client_close(&second);
}

/* A change for later leaves by its shard's digits and comes back to the shard of its path. */
static void later_comes_back_to_its_shard(void **state)
{
	struct client client, tally;
	struct topology_name queues[3];
	struct broker_consumer *consumers[3];
	(void)state;
	client_open(&client);
	struct change *change = change_create();
	assert_int_equal(change_set(&change->path, SPAN("/fs/a\xff b")), 0);
	change->id = (struct ident){1, 2};
	client_open(&tally);
	assert_int_equal(broker_consume(tally.broker, "q_test_tally", NULL, 0, 10, on_deliver, NULL,
				 &tally, &tally.consumer),
		0);
	assert_int_equal(
		topology_publish_change(&rig_config, client.broker, change, on_confirmed, &client),
		0);
	TURN_UNTIL(&client, &tally, client.confirmed == 1 && tally.delivered == 1);
	for (unsigned shard = 0; shard < 3; shard++) {
		queues[shard] = topology_shard_queue(&rig_config, "changes", shard);
	}
	/* whichever shard it is has the first one; the later one must come to the same queue */
	for (unsigned shard = 0; shard < 3; shard++) {
		assert_int_equal(broker_consume(client.broker, queues[shard].text, NULL, 0, 10,
					 on_deliver, NULL, &client, &consumers[shard]),
			0);
	}
	TURN_UNTIL(&client, NULL, client.delivered == 1);
	uint32_t channel = client.last.channel & 0xffff;
	uint64_t before = clock_now();
	assert_int_equal(topology_publish_later(&rig_config, client.broker, change,
				 rig_config.retry_ns[0], on_confirmed, &client),
		0);
	TURN_UNTIL(&client, &tally, client.delivered == 2);
	assert_true(clock_now() - before >= CLOCK_S);
	assert_int_equal(client.last.channel & 0xffff, channel);
	assert_int_equal(loop_turn(tally.loop, clock_now() + 200 * CLOCK_MS), 0);
	assert_int_equal(tally.delivered, 2); /* seen when published, not when it came back */
	change_destroy(change);
	client_close(&tally);
	client_close(&client);
}

static void untaken_messages_wait(void **state)
{
	struct client client;
	struct why why;
	const struct broker_queue_options quorum = {.quorum = true};
	(void)state;
	struct broker_session *session = session_open();
	assert_int_equal(broker_declare_exchange(session, "untaken", "topic", &why), 0);
	client_open(&client);
	publish_number(&client, "untaken", 7);
	TURN_UNTIL(&client, NULL, strstr(client.words, "no queue takes messages for 'untaken'"));
	assert_true(client.up);
	assert_int_equal(client.confirmed, 0);
	assert_int_equal(broker_declare_queue(session, "untaken", &quorum, &why), 0);
	assert_int_equal(broker_bind_queue(session, "untaken", "untaken", "#", &why), 0);
	broker_session_close(session);
	TURN_UNTIL(&client, NULL, client.confirmed == 1);
	TURN_UNTIL(&client, NULL, client.words[0] == '\0');
	client_close(&client);
}

static void deleted_queue_is_told(void **state)
{
	struct client client;
	struct why why;
	const struct broker_queue_options quorum = {.quorum = true};
	(void)state;
	make_queue("doomed", &quorum);
	client_open(&client);
	assert_int_equal(broker_consume(client.broker, "doomed", NULL, 0, 10, on_deliver, on_lost,
				 &client, &client.consumer),
		0);
	TURN_UNTIL(&client, NULL, client.up);
	struct broker_session *session = session_open();
	assert_int_equal(broker_delete_queue(session, "doomed", &why), 0);
	broker_session_close(session);
	TURN_UNTIL(&client, NULL, !client.up);
	assert_non_null(strstr(client.words, "doomed"));
	make_queue("doomed", &quorum);
	TURN_UNTIL(&client, NULL, client.up);
	assert_int_equal(client.lost, 1);
	client_close(&client);
}

/* The window is bounded, and `room` comes. */
static void on_room(void *arg)
{
	((struct client *)arg)->delivered++;
}

static void window_and_room(void **state)
{
	struct client client;
	const struct broker_queue_options quorum = {.quorum = true};
	(void)state;
	make_queue("window", &quorum);
	client_open(&client);
	broker_on_room(client.broker, on_room, &client);
	unsigned accepted = 0;
	while (broker_publish(
		       client.broker, "window", SPAN(""), SPAN("0"), on_confirmed, &client) == 0) {
		accepted++;
	}
	assert_int_equal(accepted, BROKER_WINDOW);
	TURN_UNTIL(&client, NULL, client.delivered == 1);
	TURN_UNTIL(&client, NULL, client.confirmed == accepted);
	client_close(&client);
}

/* ---- bad brokers ------------------------------------------------------------------------- */

static void expect_words(const struct broker_url *url, int error, const char *const *words)
{
	struct client client;
	struct broker_session *session;
	struct why why;
	assert_int_equal(broker_session_open(url, clock_now() + PATIENCE, &session, &why), error);
	assert_null(strchr(why.text, '\n'));
	client_open_url(&client, url);
	TURN_UNTIL(&client, NULL, client.words[0]);
	assert_false(client.up);
	for (; *words; words++) {
		if (!strstr(why.text, *words) || !strstr(client.words, *words)) {
			fail_msg("no '%s' in '%s', '%s'", *words, why.text, client.words);
		}
	}
	client_close(&client);
}
#define EXPECT_WORDS(url, error, ...)                                                              \
	expect_words(url, error, (const char *const[]){__VA_ARGS__, NULL})

static int listener(unsigned *ret_port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static void faults_have_words(void **state)
{
	struct broker_url good, bad;
	(void)state;
	assert_int_equal(managed_url(&rig_config, &good, NULL), 0);
	bad = good;
	strcpy(bad.password, "wrong");
	EXPECT_WORDS(&bad, -EACCES, "refuses user 'treemirror'", "password");
	bad = good;
	strcpy(bad.vhost, "elsewhere");
	EXPECT_WORDS(&bad, -EACCES, "virtual host 'elsewhere'");
	bad = good;
	strcpy(bad.host, "no-such-host.invalid");
	EXPECT_WORDS(&bad, -EHOSTUNREACH, "cannot find the host 'no-such-host.invalid'");
	bad = good;
	close(listener(&bad.port));
	EXPECT_WORDS(
		&bad, -ECONNREFUSED, "cannot connect to '127.0.0.1' port", "Connection refused");
}

/* Most nodes are away: whoever connects gets to the one that is not, wherever it begins. */
static void other_nodes(void **state)
{
	struct broker_nodes nodes = {.count = BROKER_NODES_MAX};
	struct broker_session *session = NULL;
	struct client client;
	struct why why;
	(void)state;
	for (size_t i = 0; i < nodes.count; i++) {
		assert_int_equal(managed_url(&rig_config, &nodes.urls[i], NULL), 0);
		if (i != 3) {
			close(listener(&nodes.urls[i].port));
		}
	}
	for (unsigned i = 0; i < 4; i++) {
		client_open_nodes(&client, &nodes);
		TURN_UNTIL(&client, NULL, client.up);
		assert_int_equal(broker_node(client.broker)->port, nodes.urls[3].port);
		client_close(&client);
		assert_int_equal(
			broker_session_open_any(&nodes, clock_now() + PATIENCE, &session, &why), 0);
		assert_int_equal(broker_session_node(session)->port, nodes.urls[3].port);
		broker_session_close(session);
	}
	nodes.count = 3;
	assert_int_equal(broker_session_open_any(&nodes, clock_now() + PATIENCE, &session, &why),
		-ECONNREFUSED);
	assert_non_null(strstr(why.text, "none of the broker's 3 nodes; the last one"));
}

/* Accepts and says nothing: the loop goes on turning, and after ten seconds there are words. */
static void hung_broker(void **state)
{
	struct client client;
	struct broker_url url;
	(void)state;
	assert_int_equal(managed_url(&rig_config, &url, NULL), 0);
	int fd = listener(&url.port);
	client_open_url(&client, &url);
	uint64_t begin = clock_now();
	while (!client.words[0] && clock_now() < begin + PATIENCE) {
		uint64_t before = clock_now();
		assert_int_equal(loop_turn(client.loop, before + 50 * CLOCK_MS), 0);
		assert_true(clock_now() - before < CLOCK_S);
	}
	assert_non_null(strstr(client.words, "did not answer within 10 s"));
	client_close(&client);
	close(fd);
}

static void no_broker_at_all(void **state)
{
	static const char greeting[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n";
	struct client client;
	struct broker_url url;
	(void)state;
	assert_int_equal(managed_url(&rig_config, &url, NULL), 0);
	int fd = listener(&url.port);
	client_open_url(&client, &url);
	int peer = -1;
	while (peer < 0) {
		assert_int_equal(loop_turn(client.loop, clock_now() + 5 * CLOCK_MS), 0);
		peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	}
	assert_int_equal(write(peer, greeting, strlen(greeting)), strlen(greeting));
	TURN_UNTIL(&client, NULL, strstr(client.words, "no AMQP broker"));
	client_close(&client);
	close(peer);
	close(fd);
}

/* A port that somebody else took, then a lost password: the next start finds ways round both. */
static void managed_broker_recovers(void **state)
{
	struct broker_url before, after;
	char path[256];
	(void)state;
	assert_int_equal(managed_url(&rig_config, &before, NULL), 0);
	rig_end(SIGTERM);
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)before.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(managed_prepare(&rig_config, NULL), 0);
	assert_int_equal(managed_url(&rig_config, &after, NULL), 0);
	assert_int_not_equal(after.port, before.port);
	assert_string_equal(after.password, before.password);
	close(fd);
	(void)snprintf(path, sizeof(path), "%s/treemirror/test/broker/url", rig_directory);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(managed_url(&rig_config, &after, NULL), -ENOENT);
	assert_int_equal(rig_start(), 0);
	assert_int_equal(managed_url(&rig_config, &after, NULL), 0);
	assert_string_not_equal(after.password, before.password);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_can_be_declared_again),
		cmocka_unit_test(sessions_publish_and_receive),
		cmocka_unit_test(large_bodies),
		cmocka_unit_test(window_and_room),
		cmocka_unit_test(redelivery),
		cmocka_unit_test(resumed_consumer),
		cmocka_unit_test(later_comes_back_to_its_shard),
		cmocka_unit_test(stand_by_takes_over),
		cmocka_unit_test(untaken_messages_wait),
		cmocka_unit_test(deleted_queue_is_told),
		cmocka_unit_test(faults_have_words),
		cmocka_unit_test(other_nodes),
		cmocka_unit_test(hung_broker),
		cmocka_unit_test(no_broker_at_all),
		cmocka_unit_test(nothing_is_lost),
		cmocka_unit_test(private_queues_come_back),
		cmocka_unit_test(managed_broker_recovers),
	};
	return cmocka_run_group_tests_name("broker", tests, rig_setup, rig_teardown);
}
