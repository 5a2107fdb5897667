/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   started   options, config, log, loop, broker, setup
 *   ready     the broker was up for the first time: READY=1 is said, beats begin
 *   draining  SIGTERM or SIGINT: the stage hands back what it has, at most DRAIN_NS
 *   leaving   a last beat, `stopping`, goes out, at most LEAVE_NS; then the loop ends
 *
 * A second signal goes on to the next of these at once.
 *
 * A managed broker that had to change its port cannot be reached any more by who knows the old
 * one: the daemon ends with "try again" and reads the new one when it is started next.
 */
#include "flow/service.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/log.h"
#include "flow/managed.h"
#include "flow/place.h"
#include "flow/topology.h"

#define BEAT_NS  (5 * CLOCK_S)
#define DRAIN_NS (10 * CLOCK_S)
#define LEAVE_NS (2 * CLOCK_S)
#define POLL_NS  (20 * CLOCK_MS)

/* One service per process. */
static struct running {
	struct service service;
	const struct service_stage *stage;
	const char *config_file;
	enum log_level level;
	struct config *config;
	char name[64];
	struct loop_timer beat, end, leave;
	uint64_t leave_deadline_ns;
	bool ready, drained, leaving;
	struct broker_url url;   /* of a managed broker */
	struct why broker_words; /* what the broker says although it is up */
	bool moved;              /* the broker is elsewhere now */
} running;

/* ---- telling ------------------------------------------------------------------------------ */

static void notify_descriptor(void)
{
	const char *text = getenv("MIRROR_NOTIFY_FD");
	int fd = text ? atoi(text) : -1;
	if (fd > STDERR_FILENO) {
		ssize_t written = write(fd, "READY=1\n", 8);
		(void)written; /* nobody listens any more: nothing lost */
		close(fd);
	}
}

/* sd_notify(3)'s protocol: one datagram; '@' stands for the abstract namespace. */
static void notify_socket(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (!path || !*path || strlen(path) >= sizeof(address.sun_path)) {
		return;
	}
	memcpy(address.sun_path, path, strlen(path));
	if (*path == '@') {
		address.sun_path[0] = '\0';
	}
	CLEANUP(fd_close) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
		(void)sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&address, size);
	}
}

/* In the order of what a person should see to first. */
static struct span problem_of(const struct running *run, struct why *ret)
{
	const struct service *service = &run->service;
	if (service->problem.text[0]) {
		return span_str(service->problem.text);
	}
	if (!service->kept) {
		return span_str(run->broker_words.text);
	}
	(void)why_error(ret, 0, "messages of a newer version wait for a newer mirror-%s (%llu): %s",
		run->stage->name, (unsigned long long)service->kept, service->kept_words.text);
	return span_str(ret->text);
}

static void send_beat(struct running *run)
{
	struct service *service = &run->service;
	struct why why;
	struct note note = {
		.kind = NOTE_BEAT,
		.stage = span_str(run->stage->name),
		.host = span_str(place_host()),
		.instance = service->instance,
		.pid = (uint32_t)getpid(),
		.time_ns = clock_wall(),
		.problem = problem_of(run, &why),
		.stopping = run->drained,
	};
	if (run->stage->beat) {
		run->stage->beat(service, &note);
	}
	/* BROKER_FULL: the next beat will do */
	int r = topology_publish_note(service->config, service->broker, &note, NULL, NULL);
	if (r < 0) {
		log_error_r(r, "tell how it goes: %s", strerror(-r));
	}
}

/* While the broker is away nobody listens, and old beats are of no use. */
void service_beat(struct service *service)
{
	if (broker_is_up(service->broker)) {
		send_beat(&running);
	}
}

static void on_beat(void *arg)
{
	struct running *run = arg;
	service_beat(&run->service);
	(void)loop_timer_set(&run->beat, clock_now() + BEAT_NS);
}

static bool broker_has_moved(struct running *run)
{
	struct broker_url url;
	return run->config->broker_managed && managed_url(run->config, &url, NULL) == 0 &&
	       (url.port != run->url.port || strcmp(url.password, run->url.password) != 0);
}

static void on_broker_state(void *arg, bool up, const char *words)
{
	struct running *run = arg;
	(void)why_error(&run->broker_words, 0, "%s", words);
	if (up && !*words) {
		const struct broker_url *node = broker_node(run->service.broker);
		log_info("connected to the broker at %s:%u", node->host, node->port);
	} else {
		log_warning("broker: %s", words);
	}
	if (!up && broker_has_moved(run)) {
		log_warning("the broker is elsewhere now; trying again from the start");
		run->moved = true;
		loop_stop(run->service.loop);
		return;
	}
	if (up && !run->ready) {
		run->ready = true;
		notify_descriptor();
		notify_socket();
	}
	if (up) {
		on_beat(run);
	}
	if (run->stage->broker_state) {
		run->stage->broker_state(&run->service, up);
	}
}

void service_problem(struct service *service, const char *format, ...)
{
	struct why before = service->problem;
	service->problem.text[0] = '\0';
	if (format) {
		va_list arguments;
		va_start(arguments, format);
		why_verror(&service->problem, 0, format, arguments);
		va_end(arguments);
	}
	if (strcmp(before.text, service->problem.text) == 0) {
		return;
	}
	if (format) {
		log_error("%s", service->problem.text);
	} else {
		log_info("mended: %s", before.text);
	}
	if (!before.text[0] != !service->problem.text[0]) {
		service_beat(service);
	}
}

void service_keep(struct service *service, const struct why *why)
{
	service->kept_words = *why;
	if (service->kept++ == 0) {
		log_error("a message of a newer version waits in the broker: %s", why->text);
		service_beat(service);
	}
}

void service_kept_void(struct service *service)
{
	service->kept = 0;
}

/* ---- the end ------------------------------------------------------------------------------ */

static void on_leave(void *arg)
{
	struct running *run = arg;
	bool told = !broker_is_up(run->service.broker) || !broker_unconfirmed(run->service.broker);
	if (told || clock_now() >= run->leave_deadline_ns) {
		loop_stop(run->service.loop);
		return;
	}
	(void)loop_timer_set(&run->leave, clock_now() + POLL_NS);
}

static void leave(struct running *run)
{
	if (run->leaving) {
		loop_stop(run->service.loop);
		return;
	}
	run->leaving = true;
	loop_timer_stop(&run->end);
	if (broker_is_up(run->service.broker)) {
		send_beat(run);
	}
	run->leave_deadline_ns = clock_now() + LEAVE_NS;
	on_leave(run);
}

void service_stop(struct service *service)
{
	(void)service;
	running.drained = true;
	leave(&running);
}

static void on_drain_end(void *arg)
{
	log_warning("could not hand everything back in time; the broker has the rest");
	leave(arg);
}

static void on_signal(void *arg, int number)
{
	struct running *run = arg;
	struct service *service = &run->service;
	if (service->stopping) {
		leave(run);
		return;
	}
	log_info("stopping: %s", strsignal(number));
	service->stopping = true;
	loop_timer_stop(&run->beat);
	if (!run->stage->drain) {
		service_stop(service);
		return;
	}
	(void)loop_timer_set(&run->end, clock_now() + DRAIN_NS);
	run->stage->drain(service);
}

/* ---- another configuration ---------------------------------------------------------------- */

static void on_reload(void *arg, int number)
{
	struct running *run = arg;
	struct config *fresh = NULL;
	struct why why = {""};
	(void)number;
	int r = config_load(run->config->file, &fresh, &why);
	if (r < 0) {
		log_error("the configuration was not read again and all stays as it was: %s",
			why.text[0] ? why.text : strerror(-r));
		return;
	}
	log_info("the configuration was read again");
	run->stage->reload(&run->service, fresh);
	config_destroy(fresh);
}

/* ---- the begin ---------------------------------------------------------------------------- */

static void print_help(const struct service_stage *stage)
{
	printf("usage: mirror-%s [-c FILE]%s [--log-level LEVEL]\n\n"
	       "%s: %s.\n"
	       "Started and kept running by `mirrorctl start`.\n\n"
	       "  -c, --config FILE     instead of $MIRROR_CONFIG or\n"
	       "                        $XDG_CONFIG_HOME/treemirror/mirror.yaml\n",
		stage->name, stage->instances ? " [-i N]" : "", stage->name, stage->summary);
	if (stage->instances) {
		printf("  -i, --instance N      which one of several (0, 1, …)\n");
	}
	printf("      --log-level LEVEL error, warning, info (default) or debug\n"
	       "  -h, --help            this text\n"
	       "  -V, --version         the version\n\n"
	       "Exit status: 0 stopped, %d started wrongly (stay down), %d try again.\n",
		SERVICE_EXIT_WRONG, SERVICE_EXIT_AGAIN);
}

static int wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int wrong(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	(void)fprintf(stderr, "mirror-%s: ", running.stage->name);
	(void)vfprintf(stderr, format, arguments);
	(void)fputc('\n', stderr);
	va_end(arguments);
	return SERVICE_EXIT_WRONG;
}

static int parse_instance(struct running *run, const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);
	if (!run->stage->instances) {
		return wrong("there is only one %s: -i does not apply", run->stage->name);
	}
	if (!*text || *end || value > 9999) {
		return wrong("-i '%s': expected a number from 0 to 9999", text);
	}
	run->service.instance = (unsigned)value;
	return 0;
}

static int parse_level(struct running *run, const char *text)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			run->level = (enum log_level)i;
			return 0;
		}
	}
	return wrong("--log-level '%s': expected error, warning, info or debug", text);
}

#define PARSED_DONE (-1) /* everything asked for was printed */

/* Returns 0, PARSED_DONE, or the exit status. */
static int parse(struct running *run, int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
		{"instance", required_argument, NULL, 'i'},
		{"log-level", required_argument, NULL, 'l'}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'}, {0}};
	int option, r = 0;
	while (r == 0 && (option = getopt_long(argc, argv, "c:i:hV", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			run->config_file = optarg;
			break;
		case 'i':
			r = parse_instance(run, optarg);
			break;
		case 'l':
			r = parse_level(run, optarg);
			break;
		case 'h':
			print_help(run->stage);
			return PARSED_DONE;
		case 'V':
			printf("mirror-%s (treemirror) %s\n", run->stage->name, TREEMIRROR_VERSION);
			return PARSED_DONE;
		default:
			return SERVICE_EXIT_WRONG;
		}
	}
	return r == 0 && optind < argc ? wrong("unexpected argument '%s'", argv[optind]) : r;
}

static void name_service(struct running *run)
{
	if (run->stage->instances) {
		(void)snprintf(run->name, sizeof(run->name), "%s-%u", run->stage->name,
			run->service.instance);
	} else {
		(void)snprintf(run->name, sizeof(run->name), "%s", run->stage->name);
	}
	run->service.name = run->name;
	log_open(run->name, run->level);
}

static int open_loop(struct running *run)
{
	struct service *service = &run->service;
	int r = loop_create(&service->loop);
	if (r == 0) {
		r = loop_add_signal(service->loop, SIGTERM, on_signal, run);
	}
	if (r == 0) {
		r = loop_add_signal(service->loop, SIGINT, on_signal, run);
	}
	if (r == 0 && run->stage->reload) {
		r = loop_add_signal(service->loop, SIGHUP, on_reload, run);
	}
	if (r == 0) {
		loop_timer_init(&run->beat, service->loop, on_beat, run);
		loop_timer_init(&run->end, service->loop, on_drain_end, run);
		loop_timer_init(&run->leave, service->loop, on_leave, run);
		(void)signal(SIGPIPE, SIG_IGN);
	}
	return r;
}

static int open_broker(struct running *run, struct why *why)
{
	struct broker_options options = {.name = run->name, .state = on_broker_state, .arg = run};
	int r = config_broker(run->config, &options.nodes, why);
	if (r == -ENOENT && run->config->broker_managed) {
		return -EAGAIN; /* not prepared yet */
	}
	run->url = options.nodes.urls[0];
	r = r < 0 ? r : broker_create(run->service.loop, &options, &run->service.broker);
	explicit_bzero(&options, sizeof(options));
	return r;
}

/* Whether starting again later may help. */
static int exit_status(int r)
{
	return r == -EAGAIN || r == -EBUSY || r == -ENOMEM ? SERVICE_EXIT_AGAIN
							   : SERVICE_EXIT_WRONG;
}

static int start(struct running *run)
{
	struct why why = {""};
	int r = config_load(run->config_file, &run->config, &why);
	if (r == 0) {
		run->service.config = run->config;
		r = open_loop(run);
	}
	if (r == 0) {
		r = open_broker(run, &why);
	}
	if (r == 0) {
		r = run->stage->setup(&run->service, &why);
	}
	if (r < 0) {
		log_error("cannot start: %s", why.text[0] ? why.text : strerror(-r));
	}
	return r;
}

static void finish(struct running *run)
{
	struct service *service = &run->service;
	if (service->loop) {
		loop_stop_timers(service->loop);
	}
	if (service->state && run->stage->finish) {
		run->stage->finish(service);
	}
	broker_destroy(service->broker);
	loop_destroy(service->loop);
	config_destroy(run->config);
}

int service_main(const struct service_stage *stage, int argc, char **argv)
{
	struct running *run = &running;
	run->stage = stage;
	run->level = LOG_LEVEL_INFO;
	int r = parse(run, argc, argv);
	if (r) {
		return r == PARSED_DONE ? 0 : r;
	}
	name_service(run);
	r = start(run);
	if (r == 0) {
		log_info("started, version " TREEMIRROR_VERSION);
		r = loop_run(run->service.loop);
	}
	finish(run);
	if (r == 0) {
		log_info("stopped");
		r = run->moved ? -EAGAIN : 0;
	}
	return r == 0 ? 0 : exit_status(r);
}
