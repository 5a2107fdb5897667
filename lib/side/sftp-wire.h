/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of SFTP version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions.
 *
 * Writing: sftp_packet_begin(), then the fields in order, then sftp_packet_end(); failures stick
 * in the buf.
 * Reading: the sftp_take functions return a value and move on.  What comes from a server is
 * hostile: taking more than is there gives zero or an empty span and sets `bad`, which is looked
 * at once at the end.  Spans point into what is read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/span.h"

enum sftp_type {
	SFTP_INIT = 1,
	SFTP_VERSION = 2,
	SFTP_OPEN = 3,
	SFTP_CLOSE = 4,
	SFTP_READ = 5,
	SFTP_WRITE = 6,
	SFTP_LSTAT = 7,
	SFTP_FSTAT = 8,
	SFTP_SETSTAT = 9,
	SFTP_FSETSTAT = 10,
	SFTP_OPENDIR = 11,
	SFTP_READDIR = 12,
	SFTP_REMOVE = 13,
	SFTP_MKDIR = 14,
	SFTP_RMDIR = 15,
	SFTP_REALPATH = 16,
	SFTP_STAT = 17,
	SFTP_RENAME = 18,
	SFTP_READLINK = 19,
	SFTP_SYMLINK = 20,
	SFTP_STATUS = 101,
	SFTP_HANDLE = 102,
	SFTP_DATA = 103,
	SFTP_NAME = 104,
	SFTP_ATTRS = 105,
	SFTP_EXTENDED = 200,
	SFTP_EXTENDED_REPLY = 201,
};

enum sftp_status {
	SFTP_OK = 0,
	SFTP_EOF = 1,
	SFTP_NO_SUCH_FILE = 2,      /* OpenSSH: ENOENT, ENOTDIR, EBADF, ELOOP */
	SFTP_PERMISSION_DENIED = 3, /* EACCES, EPERM, EFAULT */
	SFTP_FAILURE = 4,           /* all others */
	SFTP_BAD_MESSAGE = 5,       /* ENAMETOOLONG, EINVAL */
	SFTP_NO_CONNECTION = 6,
	SFTP_CONNECTION_LOST = 7,
	SFTP_UNSUPPORTED = 8, /* ENOSYS */
	/* words of later versions, which other servers use in version 3 too */
	SFTP_NO_SUCH_PATH = 10,
	SFTP_FILE_ALREADY_EXISTS = 11,
	SFTP_WRITE_PROTECT = 12,
	SFTP_NO_SPACE = 14,
	SFTP_QUOTA_EXCEEDED = 15,
	SFTP_DIR_NOT_EMPTY = 18,
	SFTP_NOT_A_DIRECTORY = 19,
	SFTP_FILE_IS_A_DIRECTORY = 24,
};

enum sftp_open {
	SFTP_OPEN_READ = 1,
	SFTP_OPEN_WRITE = 2,
	SFTP_OPEN_CREATE = 8,
	SFTP_OPEN_EXCL = 32
};

enum sftp_attr_flag {
	SFTP_ATTR_SIZE = 1,
	SFTP_ATTR_OWNER = 2,
	SFTP_ATTR_MODE = 4,
	SFTP_ATTR_TIMES = 8,
};
#define SFTP_ATTR_EXTENDED UINT32_C(0x80000000)

struct sftp_attr {
	uint32_t flags;
	uint64_t size_bytes;
	uint32_t uid, gid;
	uint32_t mode;         /* with the type */
	uint32_t atime, mtime; /* seconds modulo 2^32 */
};

/* A whole packet is at most this long (the length field excluded); OpenSSH's own limit. */
#define SFTP_PACKET_MAX (256 * 1024)

/* --- writing ------------------------------------------------------------------------------ */

/* Begins a packet and returns where it began, for sftp_packet_end().  INIT has a version as id. */
size_t sftp_packet_begin(struct buf *buf, enum sftp_type type, uint32_t id);
void sftp_put_u32(struct buf *buf, uint32_t value);
void sftp_put_u64(struct buf *buf, uint64_t value);
void sftp_put_string(struct buf *buf, struct span bytes);
void sftp_put_attr(struct buf *buf, const struct sftp_attr *attr);
void sftp_packet_end(struct buf *buf, size_t begin);

/* --- reading ------------------------------------------------------------------------------ */

struct sftp_reader {
	const unsigned char *at;
	size_t left;
	bool bad;
};

struct sftp_reader sftp_reader_of(struct span bytes);
uint8_t sftp_take_u8(struct sftp_reader *reader);
uint32_t sftp_take_u32(struct sftp_reader *reader);
uint64_t sftp_take_u64(struct sftp_reader *reader);
struct span sftp_take_string(struct sftp_reader *reader);
struct sftp_attr sftp_take_attr(struct sftp_reader *reader);

/*
 * Whether bytes begin with a whole packet: its type and body without length and type.
 * Returns its length, 0 (more bytes needed), or -EBADMSG (no server says that).
 */
int sftp_packet_split(struct span bytes, uint8_t *ret_type, struct span *ret_body);

/* A name in a directory that a file system can have: not empty, no slash, no NUL, at most 255. */
bool sftp_name_possible(struct span name);
