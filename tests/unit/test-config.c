/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buf.h"
#include "core/clock.h"
#include "flow/config.h"
#include "some.h"

#define GOOD  "mirror: x\ntrees:\n- {source: /a, target: /b}\n" /* what follows is line 4 */
#define TREES "mirror: x\ntrees:\n"

static struct config *parsed(const char *text)
{
	struct config *config = NULL;
	struct why why = {""};
	int r = config_parse(span_str(text), "f", &config, &why);
	if (r < 0) {
		print_message("%s\n", why.text);
	}
	assert_int_equal(r, 0);
	return config;
}

static void refused(const char *text, const char *words)
{
	struct config *config = NULL;
	struct why why = {""};
	assert_int_equal(config_parse(span_str(text), "f", &config, &why), -EINVAL);
	assert_null(config);
	if (!strstr(why.text, words)) {
		print_message("got: %s\nnot: %s\n", why.text, words);
	}
	assert_non_null(strstr(why.text, words));
}

/* What config_show() prints, as a heap string. */
static char *shown(
	void (*show)(const struct config *config, FILE *out), const struct config *config)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	assert_non_null(out);
	show(config, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void defaults(void **state)
{
	struct config *config = parsed(GOOD);
	(void)state;
	assert_string_equal(config->mirror, "x");
	assert_true(config->broker_managed);
	assert_string_equal(config->broker[0], "managed");
	assert_null(config->broker_ca);
	assert_int_equal(config->delay_ns, 30 * CLOCK_S);
	assert_int_equal(config->max_delay_ns, 300 * CLOCK_S);
	assert_int_equal(config->settle_ns, 60 * CLOCK_S);
	assert_int_equal(config->keep_gone_ns, 3600 * CLOCK_S);
	assert_int_equal(config->max_delete, 10000);
	assert_int_equal(config->retry_count, 4);
	assert_int_equal(config->retry_ns[0], 10 * CLOCK_S);
	assert_int_equal(config->retry_ns[3], 3600 * CLOCK_S);
	assert_string_equal(config->journal[0], "/dev/shm");
	assert_string_equal(config->journal[1], "/tmp");
	assert_null(config->journal[2]);
	assert_int_equal(config->journal_size_bytes, 64 << 20);
	assert_int_equal(config->winnow.shards, 5);
	assert_int_equal(config->winnow.held, 60000);
	assert_int_equal(config->winnow.in_flight, 20000);
	assert_int_equal(config->copier.instances, 4);
	assert_int_equal(config->copier.transport, TRANSPORT_LIBSSH2);
	assert_int_equal(config->copier.in_flight, 128);
	assert_int_equal(config->copier.window_bytes, 32 << 20);
	assert_null(config->copier.identity);
	assert_non_null(config->copier.known_hosts);
	assert_string_equal(config->copier.ssh_command, "ssh");
	assert_false(config->copier.fsync);
	assert_false(config->copier.allow_non_atomic);
	assert_null(config->tally.metrics);
	config_destroy(config);
	config_destroy(NULL);
}

static void values(void **state)
{
	setenv("HOME", "/home/u", 1);
	struct config *config = parsed(GOOD
		"delay: 0\nmax_delay: 1.5h\nretry: []\njournal: [/x//%h/]\njournal_size: 2GiB\n"
		"broker: amqps://u@h/v\nbroker_ca: ~/ca.pem\n"
		"winnow: {shards: 64}\ncopier: {transport: ssh, window: 64K, identity: /i/./j, "
		"fsync: true}\ntally:\n  metrics: ~/m.txt\n  interval: 1s\n");
	(void)state;
	assert_int_equal(config->delay_ns, 0);
	assert_int_equal(config->max_delay_ns, 5400 * CLOCK_S);
	assert_int_equal(config->retry_count, 0);
	assert_string_equal(config->journal[0], "/x/%h");
	assert_int_equal(config->journal_size_bytes, UINT64_C(2) << 30);
	assert_false(config->broker_managed);
	assert_string_equal(config->broker[0], "amqps://u@h/v");
	assert_string_equal(config->broker_ca, "/home/u/ca.pem");
	assert_int_equal(config->copier.transport, TRANSPORT_SSH);
	assert_int_equal(config->copier.window_bytes, 65536);
	assert_string_equal(config->copier.identity, "/i/j");
	assert_true(config->copier.fsync);
	assert_string_equal(config->tally.metrics, "/home/u/m.txt");
	config_destroy(config);
}

static void locations(void **state)
{
	setenv("HOME", "/home/u", 1);
	struct config *config =
		parsed(TREES "- {source: ~/a//b/, target: 'sftp://op@h:2222/x%20y/../z/', exclude: "
			     "['*.swp', s/]}\n"
			     "- {source: 'sftp://[::1]/r', target: sftp://b/}\n");
	const struct location *source = &config->trees[0].source,
			      *target = &config->trees[0].target;
	(void)state;
	assert_int_equal(config->tree_count, 2);
	assert_false(source->remote);
	assert_string_equal(source->path, "/home/u/a/b");
	assert_string_equal(source->text, "~/a//b/");
	assert_true(target->remote);
	assert_string_equal(target->user, "op");
	assert_string_equal(target->host, "h");
	assert_int_equal(target->port, 2222);
	assert_string_equal(target->path, "/z");
	assert_string_equal(config->trees[0].exclude[1], "s/");
	assert_null(config->trees[0].exclude[2]);
	source = &config->trees[1].source;
	assert_null(source->user);
	assert_string_equal(source->host, "::1");
	assert_int_equal(source->port, 0);
	config_destroy(config);
}

static void files_that_are_no_map(void **state)
{
	(void)state;
	refused("", "f:1:1: the file is empty");
	refused("# only a comment\n", "f:1:1: the file is empty");
	refused("- a\n", "f:1:1: expected a map");
	refused("word\n", "f:1:1: expected a map");
	refused("mirror: [\n", "f:2:1: ");
	refused("mirror: x\n\ttrees: y\n", "f:2:1: ");
	refused("mirror: x\n\ttrees: y\n", "tab");
	refused("mirror: x\ndelay: \xff\n", "f:2:8: ");
	refused("mirror: x\ndelay: \xff\n", "expected UTF-8");
	refused(GOOD "---\na: b\n", "f:5:1: a second document");
	refused(GOOD "? [a]\n: b\n", "f:4:3: expected the name of a key");
}

static void keys(void **state)
{
	(void)state;
	refused("mirror: x\n", "f:1:1: missing key 'trees'");
	refused("trees: [{source: /a, target: /b}]\n", "f:1:1: missing key 'mirror'");
	refused(GOOD "max_dealy: 3s\n",
		"f:4:1: unknown key 'max_dealy'; did you mean 'max_delay'?");
	refused(GOOD "winow: {shards: 3}\n", "f:4:1: unknown key 'winow'; did you mean 'winnow'?");
	refused(GOOD "colour: red\n", "f:4:1: unknown key 'colour'; ");
	refused(GOOD "winnow: {shrds: 3}\n", "f:4:10: unknown key 'shrds' of winnow; did you mean");
	refused(GOOD "shards: 3\n",
		"f:4:1: key 'shards' does not belong here; expected it in winnow");
	refused(GOOD "winnow: {delay: 3s}\n", "f:4:10: key 'delay' does not belong here");
	refused(GOOD "winnow: 3\n", "f:4:9: winnow: expected a map of keys");
	refused(GOOD "delay: 1s\ndelay: 2s\n", "f:5:1: key 'delay' is there twice");
	refused(GOOD "copier: {fsync: true, fsync: true}\n", "f:4:23: key 'fsync' is there twice");
	refused(TREES "- {source: /a, targte: /b}\n",
		"f:3:16: unknown key 'targte' of a tree; did you");
	refused(TREES "- {source: /a}\n", "f:3:3: trees: missing key 'target'");
	refused(TREES "- {source: /a, target: /b, verify: all}\n",
		"f:3:36: verify: found 'all'; expected none, size or checksum");
	refused(TREES "- {source: /a, target: /b, bandwidth: fast}\n",
		"f:3:39: bandwidth: found 'fast'; expected a size a second");
	refused(TREES "- {source: /a, target: /b, in_place: maybe}\n",
		"f:3:38: in_place: found 'maybe'; expected true or false");
}

static void nodes_of_a_cluster(void **state)
{
	char text[4096] = "";
	struct config *config = parsed(GOOD "broker: [amqps://u@a/v, 'amqp://u@b:1/v']\n");
	(void)state;
	FILE *out = fmemopen(text, sizeof(text), "w");
	config_show(config, out);
	(void)fclose(out);
	config_destroy(config);
	config = parsed(text);
	assert_false(config->broker_managed);
	assert_string_equal(config->broker[0], "amqps://u@a/v");
	assert_string_equal(config->broker[1], "amqp://u@b:1/v");
	assert_null(config->broker[2]);
	config_destroy(config);
}

static void words_of_a_tree(void **state)
{
	char text[4096] = "";
	struct config *config =
		parsed(TREES "- {source: /a, target: /b, verify: checksum, bandwidth: 100MiB/s, "
			     "in_place: true}\n"
			     "- {source: /c, target: /d}\ncopier: {bandwidth: 1GiB}\n");
	(void)state;
	FILE *out = fmemopen(text, sizeof(text), "w");
	config_show(config, out);
	(void)fclose(out);
	config_destroy(config);
	assert_non_null(strstr(text, "\n    verify: checksum\n    bandwidth: 100MiB/s\n    "
				     "in_place: true\n"));
	assert_non_null(strstr(text, "\n  bandwidth: 1GiB/s\n"));
	config = parsed(text);
	assert_int_equal(config->trees[0].verify, VERIFY_CONTENT);
	assert_int_equal(config->trees[0].bandwidth_bytes, 100 << 20);
	assert_int_equal(config->trees[1].verify, VERIFY_NONE);
	assert_int_equal(config->trees[1].bandwidth_bytes, 0);
	assert_true(config->trees[0].in_place && !config->trees[1].in_place);
	assert_int_equal(config->copier.bandwidth_bytes, 1 << 30);
	config_destroy(config);
}

static void values_that_are_wrong(void **state)
{
	(void)state;
	refused(GOOD "delay: 30\n", "f:4:8: delay: found '30'; expected a time from 0 to 1d");
	refused(GOOD "delay: -3s\n", "found '-3s'");
	refused(GOOD "delay: 2d\n", "found '2d'");
	refused(GOOD "delay: [3s]\n", "delay: found a list; expected a time");
	refused(GOOD "delay: {a: 3s}\n", "delay: found a map");
	refused(GOOD "delay:\n", "delay: found nothing");
	refused(GOOD "delay: ~\n", "delay: found nothing");
	refused(GOOD "delay: 10m\n", "f:4:1: max_delay (5m) is less than delay (10m)");
	refused(GOOD "broker_key: /k\n", "f:4:1: broker_key without broker_cert");
	refused(GOOD "max_delete: 1e3\n", "max_delete: found '1e3'; expected a number");
	refused(GOOD "max_delete: 99999999999999999999\n", "expected a number");
	refused(GOOD "winnow: {shards: 0}\n",
		"f:4:18: shards: found '0'; expected a number from 1 to 64");
	refused(GOOD "winnow: {held: 65536}\n", /* the broker counts in 16 bits */
		"f:4:16: held: found '65536'; expected a number from 1 to 65535");
	refused(GOOD "journal_size: 65MiB\n", "expected a power of two");
	refused(GOOD "journal_size: 64MB\n", "expected a power of two");
	refused(GOOD "journal_size: 8TiB\n", "expected a power of two");
	refused(GOOD "copier: {window: 17592186044416T}\n", "expected a size");
	refused(GOOD "\"a\\x1bb\": 1\n", "f:4:1: unknown key 'a\\x1bb'");
	refused(GOOD "delay: \"\\x1b[2J\"\n", "found '\\x1b[2J'");
	refused(GOOD "copier: {transport: ftp}\n",
		"transport: found 'ftp'; expected libssh2 or ssh");
	refused(GOOD "copier: {fsync: yes}\n", "fsync: found 'yes'; expected true or false");
	refused(GOOD "copier: {identity: id_rsa}\n", "identity: found 'id_rsa'; expected a path");
	refused(GOOD "copier: {ssh_command: \"a\\0b\"}\n", "ssh_command: found");
	refused(GOOD "journal: /tmp\n", "journal: found '/tmp'; expected a list");
	refused(GOOD "journal: []\n", "journal: found a list; expected a list of absolute paths");
	refused(GOOD "journal: [/a, b]\n", "f:4:15: journal: found 'b'");
	refused(GOOD "journal: ['/a:b']\n", "without ':'");
	refused(GOOD "retry: [1s, 1]\n", "f:4:13: retry: found '1'");
	refused(GOOD "retry: 1s\n", "retry: found '1s'; expected a list");
	refused("mirror: ../x\ntrees: []\n",
		"f:1:9: mirror: found '../x'; expected a name of letters");
	refused("mirror: -x\ntrees: []\n", "mirror: found '-x'");
}

static void brokers_that_are_wrong(void **state)
{
	(void)state;
	refused(GOOD "broker: http://h/\n", "f:4:9: broker: found 'http://h/'");
	refused(GOOD "broker: amqp://u@h:port/\n", "f:4:9: broker: ");
	refused(GOOD "broker: amqps://u:secret@h/v\n", "credentials");
	refused(GOOD "broker: []\n", "f:4:9: broker: found a list; expected 'managed', a URL");
	refused(GOOD "broker: {a: b}\n", "f:4:9: broker: found a map");
	refused(GOOD "broker: [managed]\n", "f:4:10: broker: found 'managed'");
	refused(GOOD "broker: [amqp://a/v, [amqp://b/v]]\n", "f:4:22: broker: found a list");
	refused(GOOD "broker: [amqp://a/v, amqp://b/w]\n",
		"f:4:22: broker: virtual host 'w', but 'v' at the first node");
	refused(GOOD "broker: [amqp://a/v, amqps://u:secret@h/v]\n", "credentials");
	struct config *config = NULL;
	struct why why;
	assert_int_equal(
		config_parse(SPAN(GOOD "broker: amqps://u:secret@h/v\n"), "f", &config, &why),
		-EINVAL);
	assert_null(strstr(why.text, "secret"));
}

static void trees_that_are_wrong(void **state)
{
	(void)state;
	refused(TREES "  {}\n", "trees: found a map; expected a list");
	refused(TREES "  []\n", "trees: found an empty list");
	refused(TREES "- /a\n", "f:3:3: trees: found '/a'; expected a map");
	refused(TREES "- {source: a, target: /b}\n",
		"f:3:12: source: found 'a'; expected an absolute");
	refused(TREES "- {source: /a, target: sftp://h}\n", "target: found 'sftp://h'");
	refused(TREES "- {source: /a, target: sftp://h/~/x}\n", "target: found");
	refused(TREES "- {source: /a, target: sftp:///x}\n", "target: found");
	refused(TREES "- {source: /a, target: sftp://-oX@h/x}\n", "target: found");
	refused(TREES "- {source: /a, target: sftp://-h/x}\n", "target: found");
	refused(TREES "- {source: /a, target: 'sftp://h:70000/x'}\n", "target: found");
	refused(TREES "- {source: /a, target: sftp://h/x%2}\n", "target: found");
	refused(TREES "- {source: /a, target: sftp://h/x%zz}\n", "target: found");
	refused(TREES "- {source: /a, target: 'sftp://u:pw@h/x'}\n", "target: no passwords here");
	refused(TREES "- {source: /a, target: /b, exclude: '*.o'}\n",
		"exclude: found '*.o'; expected a list");
	refused(TREES "- {source: /a, target: /b, exclude: [[]]}\n",
		"exclude: found a list; expected a pat");
	refused(TREES "- {source: /a, target: /b, exclude: ['']}\n", "expected a pattern");
}

static void trees_that_overlap(void **state)
{
	(void)state;
	refused(TREES "- {source: /a, target: /a/.}\n",
		"source and target '/a' and '/a/.' are the same place");
	refused(TREES "- {source: /a, target: /a/b}\n", "lie one in the other");
	refused(TREES "- {source: /a/b, target: /a}\n", "lie one in the other");
	refused(TREES "- {source: sftp://h/a, target: 'sftp://u@h:22/a'}\n", "are the same place");
	refused(GOOD "- {source: /a/x, target: /c}\n",
		"f:4:3: trees: the sources '/a' and '/a/x' lie one");
	refused(GOOD "- {source: sftp://h/a, target: /c}\n", "the sources");
	refused(GOOD "- {source: /c, target: /b}\n",
		"the targets '/b' and '/b' are the same place");
	refused(GOOD "- {source: /c, target: /a}\n", "a source and a target");
	refused(GOOD "- {source: /b, target: /c}\n", "a target and a source");
	config_destroy(
		parsed(TREES "- {source: /a, target: sftp://h/a}\n- {source: /ab, target: /c}\n"));
}

static void show_reads_back(void **state)
{
	struct config *config = parsed(
		TREES "- {source: /a, target: /b, exclude: [\"a b\", "
		      "\"\\x01\\u0085 \\u2028 \\ufeff\\\"\\\\\", "
		      "\"~\", \"é😀\", \"null\", \"- x\", \"#\", \"a: b\"]}\n"
		      "broker: amqp://u@h:1/v\nbroker_ca: /x\nretry: []\njournal: [/a b]\nsettle: "
		      "1500ms\n"
		      "max_delete: 0\ndelay: 0\njournal_size: 128K\ncopier: {window: 1000001}\n");
	char *once = shown(config_show, config);
	struct config *again = parsed(once);
	char *twice = shown(config_show, again);
	(void)state;
	assert_string_equal(once, twice);
	for (size_t i = 0; config->trees[0].exclude[i]; i++) {
		assert_string_equal(config->trees[0].exclude[i], again->trees[0].exclude[i]);
	}
	assert_int_equal(again->copier.window_bytes, 1000001);
	assert_int_equal(again->settle_ns, 1500 * CLOCK_MS);
	free(once);
	free(twice);
	config_destroy(config);
	config_destroy(again);
}

static void show_defaults(const struct config *config, FILE *out)
{
	(void)config;
	config_show_defaults(out);
}

/* The shipped file says the defaults, commented or not. */
static void defaults_are_shown(void **state)
{
	char *text = shown(show_defaults, NULL);
	struct config *config = parsed(text);
	char *as_is = shown(config_show, config);
	struct buf bare = BUF_EMPTY;
	(void)state;
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		size_t len = strcspn(line, "\n");
		bool value = line[0] == '#' && line[1] != ' ' && len && line[len - 1] != ':';
		bool section = line[0] == '#' && line[1] != ' ' && strchr("wct", line[1]) &&
			       strncmp(line, "#broker_", 8) != 0;
		bool nested = strncmp(line, "#  ", 3) == 0 && line[3] != '#' && len &&
			      line[len - 1] != ':' && line[3] != ' ';
		size_t skip = value || section || nested ? 1 : 0;
		buf_add(&bare, span_of(line + skip, len - skip));
		buf_add_char(&bare, '\n');
	}
	struct config *filled = parsed(bare.data);
	char *written_out = shown(config_show, filled);
	assert_string_equal(as_is, written_out);
	free(text);
	free(as_is);
	free(written_out);
	buf_finish(&bare);
	config_destroy(config);
	config_destroy(filled);
}

static void show_manual(const struct config *config, FILE *out)
{
	(void)config;
	config_show_manual(out);
}

static void the_manual_names_every_key(void **state)
{
	static const char *const keys[] = {"*mirror*", "*trees*", "*broker\\_ca*",
		"*winnow: shards*", "*copier: allow\\_non\\_atomic*", "*tally: metrics*"};
	char *text = shown(show_manual, NULL);
	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		assert_non_null(strstr(text, keys[i]));
	}
	free(text);
}

/* --- files -------------------------------------------------------------------------------- */

static char top[] = "/tmp/test-config-XXXXXX";

static int make_top(void **state)
{
	char path[128];
	(void)state;
	if (!mkdtemp(top)) {
		return -1;
	}
	(void)snprintf(path, sizeof(path), "%s/treemirror", top);
	setenv("XDG_CONFIG_HOME", top, 1);
	unsetenv("MIRROR_CONFIG");
	return mkdir(path, 0700);
}

static const char *path_of(const char *name)
{
	static char path[128];
	(void)snprintf(path, sizeof(path), "%s/treemirror/%s", top, name);
	return path;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	FILE *file = fopen(path_of(name), "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path_of(name), mode), 0);
}

static int remove_top(void **state)
{
	(void)state;
	(void)remove(path_of("mirror.yaml"));
	(void)remove(path_of("other.yaml"));
	(void)remove(path_of("credentials"));
	(void)remove(path_of("our.pem"));
	(void)remove(path_of("our.key"));
	(void)remove(path_of(""));
	return remove(top);
}

static void the_file_is_found(void **state)
{
	struct config *config;
	struct why why;
	(void)state;
	assert_int_equal(config_load(NULL, &config, &why), -ENOENT);
	assert_non_null(strstr(why.text, "treemirror/mirror.yaml"));
	write_file("mirror.yaml", GOOD, 0644);
	write_file("other.yaml", GOOD "delay: 7\n", 0644);
	assert_int_equal(config_load(NULL, &config, &why), 0);
	assert_string_equal(config->file, path_of("mirror.yaml"));
	config_destroy(config);
	setenv("MIRROR_CONFIG", path_of("other.yaml"), 1);
	assert_int_equal(config_load(NULL, &config, &why), -EINVAL);
	assert_non_null(strstr(why.text, "other.yaml:4:8: "));
	assert_int_equal(config_load(path_of("mirror.yaml"), &config, &why), 0);
	config_destroy(config);
	assert_int_equal(chdir(top), 0);
	assert_int_equal(config_load("treemirror/mirror.yaml", &config, &why), 0);
	assert_string_equal(config->file, path_of("mirror.yaml"));
	config_destroy(config);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(config_load(top, &config, &why), -EISDIR);
	unsetenv("MIRROR_CONFIG");
}

static void passwords(void **state)
{
	struct config *config =
		parsed(GOOD "broker: amqps://op@Broker.example/v\nbroker_ca: /ca\n");
	struct broker_nodes nodes;
	struct why why;
	(void)state;
	assert_int_equal(config_broker(config, &nodes, &why), -ENOENT);
	assert_non_null(strstr(why.text, "treemirror/credentials"));
	write_file("credentials",
		"# comment\n\n amqp://op:no@broker.example/v \namqps://op:no@broker.example/w\n"
		"amqps://other:no@broker.example/v\namqps://op:no@broker.example:1/v\n"
		"amqps://op:s%40cret@broker.example:5671/v\r\n",
		0600);
	assert_int_equal(config_broker(config, &nodes, &why), 0);
	assert_string_equal(nodes.urls[0].password, "s@cret");
	assert_string_equal(nodes.urls[0].user, "op");
	assert_string_equal(nodes.urls[0].vhost, "v");
	assert_string_equal(nodes.urls[0].ca_file, "/ca");
	assert_string_equal(nodes.urls[0].cert_file, "");
	assert_true(nodes.urls[0].tls);
	config_destroy(config);

	config = parsed(GOOD "broker: amqps://broker.example/v\n");
	assert_int_equal(config_broker(config, &nodes, &why), 0);
	assert_string_equal(nodes.urls[0].user, "other");
	config_destroy(config);

	config = parsed(GOOD "broker: [amqps://op@broker.example/v, amqps://op@second/v]\n");
	assert_int_equal(config_broker(config, &nodes, &why), -ENOENT);
	assert_non_null(strstr(why.text, "no password for amqps://op@second/v"));
	write_file(
		"credentials", "amqps://op:one@broker.example/v\namqps://op:two@second/v\n", 0600);
	assert_int_equal(config_broker(config, &nodes, &why), 0);
	assert_int_equal(nodes.count, 2);
	assert_string_equal(nodes.urls[0].password, "one");
	assert_string_equal(nodes.urls[1].password, "two");
	config_destroy(config);
}

static void unsafe_passwords(void **state)
{
	struct config *config = parsed(GOOD "broker: amqp://op@h\n");
	struct broker_nodes nodes;
	struct why why;
	(void)state;
	write_file("credentials", "amqp://op:hidden@h\n", 0640);
	assert_int_equal(config_broker(config, &nodes, &why), -EPERM);
	assert_non_null(strstr(why.text, "mode 0640; expected 0600"));
	write_file("credentials", "amqp://op:hidden@h\n", 0400);
	assert_int_equal(config_broker(config, &nodes, &why), 0);
	assert_string_equal(nodes.urls[0].password, "hidden");
	assert_int_equal(chmod(path_of("credentials"), 0600), 0);
	write_file("credentials", "\nop:hidden@h\n", 0600);
	assert_int_equal(config_broker(config, &nodes, &why), -EINVAL);
	assert_non_null(strstr(why.text, "credentials:2: expected a URL"));
	assert_null(strstr(why.text, "hidden"));
	config_destroy(config);
}

/* The key is as secret as a password; it may stand in the file of the certificate. */
static void certificate_of_ours(void **state)
{
	struct broker_nodes nodes;
	struct why why;
	char text[1024];
	(void)state;
	write_file("credentials", "amqps://op:secret@h\n", 0600);
	(void)snprintf(text, sizeof(text), GOOD "broker: amqps://op@h\nbroker_cert: %s\n",
		path_of("our.pem"));
	struct config *config = parsed(text);
	assert_int_equal(config_broker(config, &nodes, &why), -ENOENT);
	write_file("our.pem", "", 0644);
	assert_int_equal(config_broker(config, &nodes, &why), -EPERM);
	assert_non_null(strstr(why.text, "our.pem has mode 0644; expected 0600"));
	config_destroy(config);
	write_file("our.key", "", 0600);
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "broker_key: %s\n",
		path_of("our.key"));
	config = parsed(text);
	assert_int_equal(config_broker(config, &nodes, &why), 0);
	assert_string_equal(nodes.urls[0].cert_file, path_of("our.pem"));
	assert_string_equal(nodes.urls[0].key_file, path_of("our.key"));
	config_destroy(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(values),
		cmocka_unit_test(locations),
		cmocka_unit_test(files_that_are_no_map),
		cmocka_unit_test(keys),
		cmocka_unit_test(nodes_of_a_cluster),
		cmocka_unit_test(words_of_a_tree),
		cmocka_unit_test(values_that_are_wrong),
		cmocka_unit_test(brokers_that_are_wrong),
		cmocka_unit_test(trees_that_are_wrong),
		cmocka_unit_test(trees_that_overlap),
		cmocka_unit_test(show_reads_back),
		cmocka_unit_test(defaults_are_shown),
		cmocka_unit_test(the_manual_names_every_key),
		cmocka_unit_test(the_file_is_found),
		cmocka_unit_test(passwords),
		cmocka_unit_test(certificate_of_ours),
		cmocka_unit_test(unsafe_passwords),
	};
	return cmocka_run_group_tests_name("config", tests, make_top, remove_top);
}
