/* SPDX-License-Identifier: Apache-2.0 */
/* amqps:// against a real RabbitMQ with certificates of our own making. */
#include "broker-rig.h"

#include "flow/broker.h"

static unsigned tls_port;

/* A certificate that signs itself, for the name "localhost" and nothing else. */
static int make_certificate(const char *name, const char *subject)
{
	char command[512];
	(void)snprintf(command, sizeof(command),
		"cd '%s' && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=%s "
		"-addext subjectAltName=DNS:%s -keyout %s.key -out %s.crt 2>openssl.log",
		rig_directory, subject, subject, name, name);
	return system(command);
}

/* Starts the broker with a TLS port, and with these further settings. */
static int start_with_tls(const char *more)
{
	char path[256];
	(void)snprintf(
		path, sizeof(path), "%s/treemirror/test/broker/conf.d/10-tls.conf", rig_directory);
	FILE *file = fopen(path, "w");
	if (!file) {
		return -1;
	}
	(void)fprintf(file,
		"listeners.ssl.1 = 127.0.0.1:%u\n"
		"ssl_options.certfile = %s/right.crt\n"
		"ssl_options.keyfile = %s/right.key\n%s",
		tls_port, rig_directory, rig_directory, more);
	(void)fclose(file);
	return rig_start();
}

static int setup(void **state)
{
	struct broker_url url;
	if (rig_setup(state) < 0 || make_certificate("right", "localhost") ||
		make_certificate("other", "localhost") ||
		managed_url(&rig_config, &url, NULL) < 0) {
		return -1;
	}
	rig_end(SIGTERM);
	tls_port = url.port + 2; /* nobody else has been told to take it */
	return start_with_tls("");
}

static void tls_url(struct broker_url *url, const char *host, const char *trusted)
{
	assert_int_equal(managed_url(&rig_config, url, NULL), 0);
	url->tls = true;
	url->port = tls_port;
	(void)snprintf(url->host, sizeof(url->host), "%s", host);
	(void)snprintf(url->ca_file, sizeof(url->ca_file), "%s/%s", rig_directory, trusted);
}

static void trusted_broker(void **state)
{
	enum { LEN = 2 * 1024 * 1024 };
	struct broker_url url;
	struct broker_session *session;
	struct why why = {""};
	char queue[128], *body, *sent = calloc(1, LEN);
	size_t len;
	uint64_t deadline = clock_now() + 60 * CLOCK_S;
	(void)state;
	tls_url(&url, "localhost", "right.crt");
	if (broker_session_open(&url, deadline, &session, &why) < 0) {
		fail_msg("%s", why.text);
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

static void refuse(const struct broker_url *url, int error, const char *words)
{
	struct broker_session *session;
	struct why why = {""};
	assert_int_equal(
		broker_session_open(url, clock_now() + 60 * CLOCK_S, &session, &why), error);
	if (!strstr(why.text, words)) {
		fail_msg("no '%s' in '%s'", words, why.text);
	}
}

static void untrusted_brokers(void **state)
{
	struct broker_url url;
	(void)state;
	tls_url(&url, "localhost", "other.crt");
	refuse(&url, -EKEYREJECTED, "the certificate of 'localhost' is not accepted");
	tls_url(&url, "127.0.0.1", "right.crt");
	refuse(&url, -EKEYREJECTED, "mismatch");
	tls_url(&url, "localhost", "nothing.crt");
	refuse(&url, -ENOKEY, "cannot read trusted certificates");
	tls_url(&url, "localhost", "right.crt");
	url.ca_file[0] = '\0';
	refuse(&url, -EKEYREJECTED, "/etc/ssl/certs/ca-certificates.crt");
}

/* TLS spoken to a port that does not, and the other way round. */
static void wrong_port(void **state)
{
	struct broker_url url, plain;
	(void)state;
	assert_int_equal(managed_url(&rig_config, &plain, NULL), 0);
	tls_url(&url, "localhost", "right.crt");
	url.port = plain.port;
	refuse(&url, -EPROTO, "TLS with 'localhost'");
}

static void show(struct broker_url *url, const char *certificate, const char *key)
{
	(void)snprintf(url->cert_file, sizeof(url->cert_file), "%s/%s", rig_directory, certificate);
	(void)snprintf(url->key_file, sizeof(url->key_file), "%s/%s", rig_directory, key);
}

/* A broker that wants certificates from its clients, and trusts those of one authority. */
static void certificate_of_the_client(void **state)
{
	struct broker_url url;
	struct broker_session *session;
	struct why why = {""};
	char settings[512], command[1024];
	(void)state;
	assert_int_equal(make_certificate("authority", "authority"), 0);
	(void)snprintf(command, sizeof(command),
		"cd '%s' && openssl req -newkey rsa:2048 -nodes -subj /CN=op -keyout client.key "
		"-out client.csr 2>openssl.log && openssl x509 -req -in client.csr -CA "
		"authority.crt -CAkey authority.key -CAcreateserial -days 2 -out client.crt "
		"2>openssl.log && openssl pkey -in client.key -aes128 -passout pass:x -out "
		"locked.key",
		rig_directory);
	assert_int_equal(system(command), 0);
	(void)snprintf(settings, sizeof(settings),
		"ssl_options.cacertfile = %s/authority.crt\n"
		"ssl_options.verify = verify_peer\n"
		"ssl_options.fail_if_no_peer_cert = true\n",
		rig_directory);
	rig_end(SIGTERM);
	assert_int_equal(start_with_tls(settings), 0);

	tls_url(&url, "localhost", "right.crt");
	refuse(&url, -EPROTO, "certificate");
	show(&url, "other.crt", "other.key");
	refuse(&url, -EPROTO, "TLS with 'localhost'");
	show(&url, "client.crt", "other.key");
	refuse(&url, -ENOKEY, "cannot read our certificate's key");
	show(&url, "client.crt", "locked.key");
	refuse(&url, -ENOKEY, "cannot read our certificate's key");
	show(&url, "nothing.crt", "client.key");
	refuse(&url, -ENOKEY, "nothing.crt': No such file");
	show(&url, "client.crt", "client.key");
	if (broker_session_open(&url, clock_now() + 60 * CLOCK_S, &session, &why) < 0) {
		fail_msg("%s", why.text);
	}
	broker_session_close(session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trusted_broker),
		cmocka_unit_test(untrusted_brokers),
		cmocka_unit_test(wrong_port),
		cmocka_unit_test(certificate_of_the_client),
	};
	return cmocka_run_group_tests_name("broker-tls", tests, setup, rig_teardown);
}
