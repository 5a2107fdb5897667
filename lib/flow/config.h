/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: read once, checked whole, then constant.  The only user of <yaml.h>.
 *
 * config_load() finds mirror.yaml (explicit path, else $MIRROR_CONFIG, else
 * $XDG_CONFIG_HOME/treemirror/mirror.yaml), reads it, and checks each key against one table of
 * rows.  An unknown key, a wrong type or a value out of range is -EINVAL with
 * "FILE:LINE:COLUMN: what is wrong; what was expected" (and a near miss is suggested).
 * The same rows give the defaults, config_show(), the shipped default file and the man page.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/span.h"
#include "core/why.h"
#include "flow/broker.h"

/* One side of a tree: an absolute path here, or at the other end of SSH. */
struct location {
	bool remote;
	char *user; /* remote: NULL where the URL has none */
	char *host;
	unsigned port; /* 0: default */
	char *path;    /* absolute, normalised, no trailing slash (but "/") */
	char *text;    /* as written */
};

/* "~/a", "/a" or sftp://user@host:port/a.  Returns 0, -EINVAL, -EPERM (a password), -ENOMEM. */
int location_parse(struct span text, struct location *ret);
void location_finish(struct location *location);

/* How a copy is looked at before it gets its name. */
enum verify {
	VERIFY_NONE,    /* the server's replies were good */
	VERIFY_SIZE,    /* and it is as long as the source was */
	VERIFY_CONTENT, /* and what is read back is what the source has */
};

struct tree {
	struct location source, target;
	char **exclude; /* patterns, NULL-terminated */
	enum verify verify;
	uint64_t bandwidth_bytes; /* content sent in a second by one copier; 0: no limit */
	bool in_place; /* large files may be changed where they stand, see copier/patch.c */
};

enum transport { TRANSPORT_LIBSSH2, TRANSPORT_SSH };

struct config {
	char *file;   /* absolute path of what was read */
	char *mirror; /* [A-Za-z0-9][A-Za-z0-9_.-]{0,62} */
	struct tree *trees;
	size_t tree_count;
	bool broker_managed;
	char **broker;     /* URLs of its nodes without a password, or "managed"; NULL-terminated */
	char *broker_ca;   /* amqps: file of trusted certificates, or NULL */
	char *broker_cert; /* amqps: file of the certificate that is shown, or NULL */
	char *broker_key;  /* and of its key, or NULL: the same file */
	uint64_t delay_ns, max_delay_ns;
	uint64_t settle_ns;    /* how long caches and old servers are not believed */
	uint64_t keep_gone_ns; /* how long removed entries stay in .mirror-gone */
	uint64_t max_delete;   /* entries per tree waiting in .mirror-gone before removing stops */
	uint64_t *retry_ns;    /* pauses between attempts; after the last an order has failed */
	size_t retry_count;
	char **journal; /* places for journals, NULL-terminated */
	uint64_t journal_size_bytes;
	struct {
		uint64_t shards;    /* 1..64 */
		uint64_t held;      /* paths held by one shard at most */
		uint64_t in_flight; /* orders of one shard without receipt at most */
	} winnow;
	struct {
		uint64_t instances; /* 0..64 on this host */
		enum transport transport;
		char *identity; /* key file, or NULL: agent and defaults */
		char *known_hosts;
		char *ssh_command;     /* transport ssh: the program, default "ssh" */
		uint64_t keepalive_ns; /* a server silent for so long is asked whether it lives */
		uint64_t in_flight;    /* orders carried out at once by one copier */
		uint64_t window_bytes; /* content in flight of one copier */
		uint64_t connections;  /* of one copier, for large files */
		uint64_t split_bytes;  /* what a file has beyond goes over several of them */
		uint64_t bandwidth_bytes; /* in a second, all trees together; 0: no limit */
		uint64_t delta_bytes; /* from this size on only changed blocks are sent; 0: never */
		uint64_t delta_room_bytes; /* for records of what the targets have */
		bool fsync;                /* fsync@openssh.com before each rename */
		bool allow_non_atomic;     /* accept servers without posix-rename@openssh.com */
	} copier;
	struct {
		uint64_t interval_ns; /* how often metrics are written */
		char *metrics;        /* OpenMetrics text file, or NULL: in the state directory */
	} tally;
};

/* path NULL: search as above.  Caller destroys *ret.  Returns 0, -ENOENT, -EINVAL, -errno. */
int config_load(const char *path, struct config **ret, struct why *why);
/* The same for text that is at hand; name stands in the error words.  config->file is NULL. */
int config_parse(struct span text, const char *name, struct config **ret, struct why *why);
void config_destroy(struct config *config);

/* Prints the effective configuration as YAML that config_load() reads back. */
void config_show(const struct config *config, FILE *out);
/* Prints the commented default file (also the reference of all keys). */
void config_show_defaults(FILE *out);
/* Prints one scdoc paragraph per key, for mirror.yaml(5). */
void config_show_manual(FILE *out);

/*
 * Where the broker is, with passwords: from the credentials file
 * ($XDG_CONFIG_HOME/treemirror/credentials, refused unless 0600), or for a managed broker from
 * its files in the state directory.  Returns 0, -ENOENT (managed: never started), -EPERM, …
 */
int config_broker(const struct config *config, struct broker_nodes *ret, struct why *why);

/* Below which tree a canonical source path lies (the deepest); NULL: none.  *ret_rel may be
 * empty: the root itself. */
const struct tree *config_tree(const struct config *config, struct span path, struct span *ret_rel);
/*
 * Whether rel (or an ancestor of it) is excluded or one of our own names.  A pattern without a
 * slash matches any component, one with a slash matches from the root; one with a trailing slash
 * matches what is below such a directory, while the directory itself is mirrored (a name alone
 * does not tell that it is one, and a file must not be lost).  * ? [a-z] do not cross slashes,
 * ** does; a backslash takes the next character as it is.
 */
bool tree_excludes(const struct tree *tree, struct span rel);
/* .mirror, .mirror-gone, .mirror-links at the root, .mirror- and 16 hex digits anywhere. */
bool tree_is_our_name(struct span rel);
/*
 * .mirror-, when it was made (milliseconds since 1970, 11 hex digits), and 5 more: a file on its
 * way.  Whether name is one; then its time.
 */
bool tree_is_temporary(struct span name, int64_t *ret_made_ns);
/* Whether such a file will not be finished by anybody: for an hour nobody has written to it. */
bool tree_temporary_is_left(struct span name, int64_t mtime_ns, int64_t now_ns);
