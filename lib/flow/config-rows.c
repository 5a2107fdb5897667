/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of mirror.yaml, in the order in which people are shown them. */
#include "flow/config-rows.h"

#include <stdlib.h>

#include "core/clock.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)
#define DAY (86400 * CLOCK_S)

#define AT(field) offsetof(struct config, field)

const struct config_row config_rows[] = {
	{NULL, "mirror", CONFIG_MIRROR, AT(mirror), .required = true,
		.expected = "a name of letters, digits, '_', '.' and '-', at most 63",
		.help = "Names the mirror: its queues, journals and state directory. Two "
			"mirrors of one user need different names."},
	{NULL, "trees", CONFIG_TREES, AT(trees), .required = true,
		.expected = "a list of maps with source and target",
		.help = "What is mirrored where: a list of maps with source, target and "
			"optionally exclude, verify, bandwidth and in_place. Either side is an "
			"absolute path "
			"or "
			"sftp://user@host:port/path. Exclude patterns without a slash match any "
			"name, others match from the top of the tree; one that ends in a slash "
			"matches what is below such a directory. * and ? do not cross slashes, ** "
			"does. verify says how a copy is looked at before it gets its name: "
			"'none' (the default: every reply of the server was good), 'size', or "
			"'checksum' (all of it is read back and compared). bandwidth limits the "
			"content that one copier sends in a second, such as 100MiB/s. in_place: "
			"true has large files (copier: delta_size) of which an eighth or less "
			"has changed overwritten where they stand, at servers without copy-data; "
			"who reads them at the target meanwhile, or after a copier was killed "
			"meanwhile, sees old and new blocks mixed. By default they are sent whole "
			"and replaced at once."},
	{NULL, "broker", CONFIG_BROKER, AT(broker), .fallback = "managed",
		.expected = "'managed', a URL such as amqps://user@host/vhost, or a list of URLs",
		.help = "The RabbitMQ that carries the changes: 'managed' is a private one "
			"on this host, started and stopped with the mirror. Of a cluster, the "
			"URLs of its nodes, at most eight: each daemon is with one of them, and "
			"goes to another one when that fails. The password of a URL "
			"stands in $XDG_CONFIG_HOME/treemirror/credentials, mode 0600, one URL a "
			"line."},
	{NULL, "broker_ca", CONFIG_FILE, AT(broker_ca), .expected = "a path",
		.help = "amqps: the file of certificates that are trusted, instead of the "
			"system's."},
	{NULL, "broker_cert", CONFIG_FILE, AT(broker_cert), .expected = "a path",
		.help = "amqps: for a broker that wants one from its clients, the file of our "
			"certificate and those between it and the authority (PEM)."},
	{NULL, "broker_key", CONFIG_FILE, AT(broker_key), .expected = "a path",
		.help = "The file of its key (PEM, without a passphrase), mode 0600; without "
			"this line the key stands in the same file."},
	{NULL, "delay", CONFIG_TIME, AT(delay_ns), .fallback = "30s", .max = DAY,
		.expected = "a time from 0 to 1d, such as 30s",
		.help = "How long a path must have been quiet before it is mirrored."},
	{NULL, "max_delay", CONFIG_TIME, AT(max_delay_ns), .fallback = "5m", .max = 7 * DAY,
		.expected = "a time from 0 to 7d, such as 5m",
		.help = "A path that never becomes quiet is mirrored after this time; a "
			"file that stays open is looked at again as often. Not less than delay."},
	{NULL, "settle", CONFIG_TIME, AT(settle_ns), .fallback = "60s", .max = 3600 * CLOCK_S,
		.step = CLOCK_MS, .expected = "a time from 0 to 1h, such as 60s",
		.help = "How long caches of network file systems and stalled servers may be "
			"wrong: what contradicts a change is believed only after this time."},
	{NULL, "keep_gone", CONFIG_TIME, AT(keep_gone_ns), .fallback = "1h", .max = 365 * DAY,
		.expected = "a time from 0 to 365d, such as 1h",
		.help = "How long removed entries stay in .mirror-gone of the target, from "
			"where they can be put back."},
	{NULL, "max_delete", CONFIG_COUNT, AT(max_delete), .fallback = "10000",
		.max = UINT64_C(1000000000000), .expected = "a number from 0 to 1000000000000",
		.help = "Removed entries of one tree above which removing stops and waits "
			"for a person."},
	{NULL, "retry", CONFIG_PAUSES, AT(retry_ns), .fallback = "[10s, 1m, 10m, 1h]",
		.min = CLOCK_MS, .max = DAY, .step = CLOCK_MS,
		.expected = "a list of at most 16 times from 1ms to 1d, such as [10s, 1m]",
		.help = "Pauses between attempts; when the last attempt fails too, the "
			"order has failed and stays so until 'mirrorctl failed --retry'."},
	{NULL, "journal", CONFIG_PLACES, AT(journal), .fallback = "[/dev/shm, /tmp]",
		.expected = "a list of absolute paths",
		.help = "Where journals are made, the first usable place first. %h stands "
			"for the host's name. Where a scheduler gives each job a /dev/shm and /tmp "
			"of its own, name a directory on shared storage with %h in it."},
	{NULL, "journal_size", CONFIG_RING, AT(journal_size_bytes), .fallback = "64MiB",
		.min = 64 * KIB, .max = 4 * GIB, .expected = "a power of two from 64KiB to 4GiB",
		.help = "Size of one journal. Changes that find it full are dropped and "
			"lead to a rescan."},

	{"winnow", "shards", CONFIG_COUNT, AT(winnow.shards), .fallback = "5", .min = 1, .max = 64,
		.expected = "a number from 1 to 64",
		.help = "Parts into which paths are divided, one process each. To be "
			"changed only while the queues are empty."},
	{"winnow", "held", CONFIG_COUNT, AT(winnow.held), .fallback = "60000", .min = 1,
		.max = 65535, .expected = "a number from 1 to 65535",
		.help = "Changes that one shard holds in memory at most; more wait in the "
			"broker."},
	{"winnow", "in_flight", CONFIG_COUNT, AT(winnow.in_flight), .fallback = "20000", .min = 1,
		.max = 10000000, .expected = "a number from 1 to 10000000",
		.help = "Orders of one shard that wait for their receipt at most."},

	{"copier", "instances", CONFIG_COUNT, AT(copier.instances), .fallback = "4", .max = 64,
		.expected = "a number from 0 to 64", .help = "Copiers on this host."},
	{"copier", "transport", CONFIG_TRANSPORT, AT(copier.transport), .fallback = "libssh2",
		.expected = "libssh2 or ssh",
		.help = "How SFTP is reached: 'libssh2' speaks SSH itself, 'ssh' runs the "
			"ssh command and so knows its configuration, Kerberos and ProxyJump."},
	{"copier", "identity", CONFIG_FILE, AT(copier.identity), .expected = "a path",
		.help = "Private key file; without it the agent and the usual files."},
	{"copier", "known_hosts", CONFIG_FILE, AT(copier.known_hosts),
		.fallback = "~/.ssh/known_hosts", .expected = "a path",
		.help = "Keys of the hosts that are trusted."},
	{"copier", "ssh_command", CONFIG_TEXT, AT(copier.ssh_command), .fallback = "ssh",
		.expected = "the name or path of a program",
		.help = "transport ssh: the program to run, and options of yours (-c CIPHERS)."},
	{"copier", "keepalive", CONFIG_TIME, AT(copier.keepalive_ns), .fallback = "30s",
		.min = CLOCK_S, .max = 3600 * CLOCK_S, .step = CLOCK_S,
		.expected = "a time from 1s to 1h in whole seconds, such as 30s",
		.help = "How long a server from which an answer is due may be silent before its "
			"host is asked for a sign of life. Where none comes in three times that, "
			"the connection is given up and made anew."},
	{"copier", "in_flight", CONFIG_COUNT, AT(copier.in_flight), .fallback = "128", .min = 1,
		.max = 4096, .expected = "a number from 1 to 4096",
		.help = "Orders that one copier carries out at once."},
	{"copier", "connections", CONFIG_COUNT, AT(copier.connections), .fallback = "16", .min = 1,
		.max = 64, .expected = "a number from 1 to 64",
		.help = "Connections that one copier makes to a target at most: one for "
			"all there is, more while a file larger than split_size is held up by the "
			"2 MiB that a server takes in one round trip. They are closed when they "
			"have not been needed for a minute."},
	{"copier", "split_size", CONFIG_SIZE, AT(copier.split_bytes), .fallback = "8MiB",
		.min = MIB, .max = 1024 * GIB, .expected = "a size from 1MiB to 1TiB",
		.help = "What a file has beyond this size may go over several connections."},
	{"copier", "window", CONFIG_SIZE, AT(copier.window_bytes), .fallback = "32MiB",
		.min = 64 * KIB, .max = 4 * GIB, .expected = "a size from 64KiB to 4GiB",
		.help = "Content of a large file that one copier has in flight at most, "
			"over all its connections, 2 MiB on each."},
	{"copier", "bandwidth", CONFIG_RATE, AT(copier.bandwidth_bytes), .fallback = "0",
		.max = 1024 * GIB, .expected = "0 or a size a second, such as 100MiB/s",
		.help = "Content that one copier sends in a second, all trees together; 0: "
			"no limit. Live orders come before bulk ones, and small files are "
			"not held up by large ones. 'mirrorctl reload' brings a change into "
			"effect, also of a tree's."},
	{"copier", "delta_size", CONFIG_SIZE, AT(copier.delta_bytes), .fallback = "64MiB",
		.max = 1024 * GIB, .expected = "0 or a size to 1024GiB",
		.help = "Of files from this size on, only the blocks that have changed are "
			"sent, where the server can copy the others (copy-data); 0: never."},
	{"copier", "delta_room", CONFIG_SIZE, AT(copier.delta_room_bytes), .fallback = "256MiB",
		.min = MIB, .max = 1024 * GIB, .expected = "a size from 1MiB to 1024GiB",
		.help = "What the records of such files' blocks take in the state directory "
			"at most; that of a file takes 1/4096 of its size, up to 2 MiB."},
	{"copier", "fsync", CONFIG_FLAG, AT(copier.fsync), .fallback = "false",
		.expected = "true or false",
		.help = "Whether files are flushed to disk at the target before they get "
			"their name."},
	{"copier", "allow_non_atomic", CONFIG_FLAG, AT(copier.allow_non_atomic),
		.fallback = "false", .expected = "true or false",
		.help = "Whether servers without posix-rename@openssh.com are accepted: "
			"there a file is missing for a moment while it is replaced."},

	{"tally", "interval", CONFIG_TIME, AT(tally.interval_ns), .fallback = "15s", .min = CLOCK_S,
		.max = DAY, .expected = "a time from 1s to 1d, such as 15s",
		.help = "How often the metrics are written."},
	{"tally", "metrics", CONFIG_FILE, AT(tally.metrics), .expected = "a path",
		.help = "Where the metrics are written as OpenMetrics text; without it "
			"metrics.txt in the state directory."},
};
const size_t config_row_count = sizeof(config_rows) / sizeof(config_rows[0]);
