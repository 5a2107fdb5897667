/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay TARGET-PORT ONE-WAY-MS: a long link on loopback.
 *
 * Prints the port it listens at; each connection there is carried on to TARGET-PORT, and every byte
 * arrives so many milliseconds later, in both directions.  Ends when its input does.
 *
 *   socket --read--> block with the time it is due --(due)--> other socket
 *
 * At most QUEUED_MAX bytes of one direction are on their way, as TCP's own buffers would have it
 * on a real link.  Making a connection costs no round trip here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_BYTES (128 * 1024)
#define QUEUED_MAX  (6 * 1024 * 1024) /* Linux's own limit for one connection */
#define EVENTS      64

struct block {
	struct block *next;
	uint64_t due_ns;
	size_t len, sent;
	char bytes[BLOCK_BYTES];
};

struct end {
	int fd;
	struct end *other;
	struct block *head, **tail; /* to be written here */
	size_t queued;
	bool read_ended, write_blocked, shut;
	struct end *next; /* of all ends */
};

static struct end *ends;
static struct block *spare;
static uint64_t delay_ns;
static int poller;

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct block *block_take(void)
{
	struct block *block = spare;
	if (block) {
		spare = block->next;
	} else if (!(block = malloc(sizeof(*block)))) {
		fail("malloc");
	}
	return block;
}

static void block_give(struct block *block)
{
	block->next = spare;
	spare = block;
}

/* What the socket has to say, into the other end's queue. */
static void take_in(struct end *end)
{
	struct end *to = end->other;
	while (!end->read_ended && to->queued < QUEUED_MAX) {
		struct block *block = block_take();
		ssize_t n = read(end->fd, block->bytes, sizeof(block->bytes));
		if (n <= 0) {
			block_give(block);
			end->read_ended = n == 0 || (errno != EAGAIN && errno != EINTR);
			return;
		}
		block->next = NULL;
		block->len = (size_t)n;
		block->sent = 0;
		block->due_ns = now_ns() + delay_ns;
		*to->tail = block;
		to->tail = &block->next;
		to->queued += block->len;
	}
}

static void give_out(struct end *end, uint64_t now)
{
	end->write_blocked = false;
	while (end->head && end->head->due_ns <= now) {
		struct block *block = end->head;
		ssize_t n = write(end->fd, block->bytes + block->sent, block->len - block->sent);
		if (n < 0 && errno == EAGAIN) {
			end->write_blocked = true;
			return;
		}
		size_t done = n < 0 ? block->len - block->sent : (size_t)n;
		block->sent += done;
		end->queued -= done;
		if (block->sent == block->len) {
			end->head = block->next;
			if (!end->head) {
				end->tail = &end->head;
			}
			block_give(block);
		}
	}
	if (!end->head && end->other->read_ended && !end->shut) {
		end->shut = true;
		(void)shutdown(end->fd, SHUT_WR);
	}
}

static void watch(struct end *end, int operation)
{
	bool wants = !end->read_ended && end->other->queued < QUEUED_MAX;
	struct epoll_event event = {.data.ptr = end,
		.events = (wants ? EPOLLIN : 0) | (end->write_blocked ? EPOLLOUT : 0)};
	if (epoll_ctl(poller, operation, end->fd, &event) < 0) {
		fail("epoll_ctl");
	}
}

static void end_add(struct end *end, int fd, struct end *other)
{
	const int yes = 1;
	*end = (struct end){.fd = fd, .other = other, .next = ends};
	end->tail = &end->head;
	ends = end;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void welcome(int listener, uint16_t target)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(target),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int here = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	int there = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct end *pair = calloc(2, sizeof(*pair));
	if (here < 0 || there < 0 || !pair ||
		connect(there, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(here);
		close(there);
		free(pair);
		return;
	}
	end_add(&pair[0], here, &pair[1]);
	end_add(&pair[1], there, &pair[0]);
	watch(&pair[0], EPOLL_CTL_ADD);
	watch(&pair[1], EPOLL_CTL_ADD);
}

static bool is_over(const struct end *end)
{
	return end->shut && end->other->shut;
}

/* Both ends of a connection that is over; they lie in one piece of memory, the first one first. */
static void sweep(void)
{
	for (struct end **at = &ends; *at;) {
		struct end *second = *at, *first = second->next;
		if (!is_over(second)) {
			at = &first->next;
			continue;
		}
		*at = first->next;
		close(first->fd);
		close(second->fd);
		free(first);
	}
}

/* Milliseconds until the next block is due; -1: none. */
static int round_all(void)
{
	uint64_t now = now_ns(), next = UINT64_MAX;
	for (struct end *end = ends; end; end = end->next) {
		take_in(end);
		give_out(end, now);
	}
	for (struct end *end = ends; end; end = end->next) {
		watch(end, EPOLL_CTL_MOD);
		if (end->head && !end->write_blocked && end->head->due_ns < next) {
			next = end->head->due_ns;
		}
	}
	sweep();
	now = now_ns();
	return next == UINT64_MAX ? -1 : next <= now ? 0 : (int)((next - now + 999999) / 1000000);
}

static int listen_somewhere(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) < 0 ||
		listen(listener, 128) < 0 ||
		getsockname(listener, (struct sockaddr *)&address, &len) < 0) {
		fail("listen");
	}
	printf("%u\n", ntohs(address.sin_port));
	(void)fflush(stdout);
	return listener;
}

static void run(int listener, uint16_t target)
{
	int wait_ms = -1;
	for (;;) {
		struct epoll_event events[EVENTS];
		int count = epoll_wait(poller, events, EVENTS, wait_ms);
		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == &poller) {
				return; /* our input has ended */
			}
			if (!events[i].data.ptr) {
				welcome(listener, target);
			}
		}
		wait_ms = round_all();
	}
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		(void)fprintf(stderr, "usage: relay TARGET-PORT ONE-WAY-MS\n");
		return 2;
	}
	delay_ns = (uint64_t)(strtod(argv[2], NULL) * 1e6);
	int listener = listen_somewhere();
	struct epoll_event welcome_event = {.events = EPOLLIN};
	struct epoll_event end_event = {.events = EPOLLIN, .data.ptr = &poller};
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &welcome_event) < 0 ||
		epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &end_event) < 0) {
		fail("epoll");
	}
	run(listener, (uint16_t)strtoul(argv[1], NULL, 10));
	return 0;
}
