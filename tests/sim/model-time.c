/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual time, and randomness from the seed: what would make two runs of a seed differ. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "core/log.h"
#include "sim.h"

#define BEGIN_NS (UINT64_C(1800000000) * CLOCK_S)

static uint64_t passed_ns, state;

uint64_t __wrap_clock_now(void);
uint64_t __wrap_clock_wall(void);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms);
uint64_t __wrap_ident_source(void);
ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags);
void __wrap_log_line(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void seed_dice(uint64_t seed);

uint64_t __wrap_clock_now(void)
{
	return CLOCK_S + passed_ns;
}

uint64_t __wrap_clock_wall(void)
{
	return BEGIN_NS + passed_ns;
}

int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
	must(timeout_ms >= 0); /* else nothing would ever happen again */
	passed_ns += (uint64_t)timeout_ms * CLOCK_MS;
	sim.steps++;
	return 0;
}

void seed_dice(uint64_t seed)
{
	state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	passed_ns = 0;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t roll(void)
{
	uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t dice(uint64_t bound)
{
	return roll() % bound;
}

bool once_in(uint64_t n)
{
	return dice(n) == 0;
}

uint64_t __wrap_ident_source(void)
{
	return roll() | 1;
}

ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags)
{
	for (size_t i = 0; i < size; i++) {
		((unsigned char *)data)[i] = (unsigned char)roll();
	}
	return (ssize_t)size;
}

uint64_t sim_latency(void)
{
	uint64_t most = once_in(50) ? 3000 : once_in(5) ? 200 : 10;
	return dice(most + 1) * CLOCK_MS;
}

struct later {
	struct loop_timer timer;
	loop_fn fn;
	void *arg;
};

static void on_later(void *arg)
{
	struct later *later = arg;
	loop_fn fn = later->fn;
	void *its = later->arg;
	free(later);
	fn(its);
}

void sim_after(uint64_t delay_ns, loop_fn fn, void *arg)
{
	struct later *later = calloc(1, sizeof(*later));
	must(later);
	later->fn = fn;
	later->arg = arg;
	loop_timer_init(&later->timer, sim.loop, on_later, later);
	must(loop_timer_set(&later->timer, clock_now() + delay_ns) == 0);
}

static void trace_arguments(const char *format, va_list arguments)
	__attribute__((format(printf, 1, 0)));
static void trace_arguments(const char *format, va_list arguments)
{
	if (sim.options.trace) {
		printf("%9.3f ", (double)passed_ns / 1e9);
		vprintf(format, arguments);
		putchar('\n');
	}
}

void trace(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	trace_arguments(format, arguments);
	va_end(arguments);
}

/* The stages' logs. */
void __wrap_log_line(enum log_level level, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	trace_arguments(format, arguments);
	va_end(arguments);
}

void sim_broken(const char *file, int line, const char *what)
{
	fflush(stdout);
	fprintf(stderr, "%s:%d: not so: %s (seed %llu, at %.3f s)\n", file, line, what,
		(unsigned long long)sim.options.seed, (double)passed_ns / 1e9);
	abort();
}
