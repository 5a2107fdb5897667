/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets: descriptors that come over them, and the names they make. */
#include "calls.h"
#include "observe.h"

/* struct msghdr and struct cmsghdr, as the kernel has them. */
struct message {
	void *name;
	unsigned name_len;
	void *parts;
	size_t part_count;
	void *control;
	size_t control_len;
	int flags;
};
struct control {
	size_t len;
	int level, type;
	int data[];
};
struct message_of_many { /* struct mmsghdr */
	struct message message;
	unsigned len;
};
#define LEVEL_SOCKET 1
#define TYPE_RIGHTS  1

static void take_rights(const struct control *part)
{
	size_t count = (part->len - sizeof(*part)) / sizeof(int);
	bool rights = part->level == LEVEL_SOCKET && part->type == TYPE_RIGHTS;
	for (size_t i = 0; rights && i < count; i++) {
		observe_copied(-1, part->data[i]);
	}
}

/* Descriptors that another process sent; behind a call that filled the message. */
static void take_message(const struct message *it)
{
	for (size_t at = 0; it->control && at + sizeof(struct control) <= it->control_len;) {
		const struct control *part =
			(const struct control *)((const char *)it->control + at);
		if (part->len < sizeof(*part) || part->len > it->control_len - at) {
			break;
		}
		take_rights(part);
		at += (part->len + 7) & ~(size_t)7;
	}
}

ssize_t recvmsg(int socket, void *message, int flags)
{
	ssize_t result =
		CALL_REAL(recvmsg, (socket, message, flags), RAW(recvmsg, socket, message, flags));
	if (result >= 0 && recorder_configured) {
		take_message(message);
	}
	return result;
}

int recvmmsg(int socket, void *messages, unsigned count, int flags, void *timeout)
{
	int result = CALL_REAL(recvmmsg, (socket, messages, count, flags, timeout),
		(int)RAW(recvmmsg, socket, messages, count, flags, timeout));
	const struct message_of_many *many = messages;
	for (int i = 0; i < result && recorder_configured; i++) {
		take_message(&many[i].message);
	}
	return result;
}

/* struct sockaddr_un; its path need not end in NUL. */
struct address {
	unsigned short family;
	char path[108];
};
#define FAMILY_UNIX 1
#define PATH_AT     offsetof(struct address, path)

/* A name in the file system, behind the call that has made it. */
static void take_name(const struct address *address, size_t len)
{
	struct event event;
	char path[sizeof(address->path) + 1];
	size_t count = 0;
	if (len <= PATH_AT || address->family != FAMILY_UNIX || !address->path[0]) {
		return;
	}
	for (; count < sizeof(address->path) && count < len - PATH_AT; count++) {
		path[count] = address->path[count];
	}
	path[count] = '\0';
	event_begin(&event, RECORD_MKNOD, 0);
	event_name(&event, AT_FDCWD, path);
	(void)event_finish(&event, true, NULL);
}

int bind(int socket, const void *address, unsigned len)
{
	int result = CALL_REAL(bind, (socket, address, len), (int)RAW(bind, socket, address, len));
	if (result == 0 && recorder_configured) {
		take_name(address, len);
	}
	return result;
}
