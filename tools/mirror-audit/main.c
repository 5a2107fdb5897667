/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror-audit: whether two trees are the same.  A map of its files:
 *
 *   pairs.[ch]     what is compared: trees of the configuration, or two places
 *   walk.[ch]      the walk over both sides, many directories at once
 *   content.[ch] links.[ch]   digests of files; groups of hard links
 *   report.[ch]    lines, JSON, summary, exit status
 *   repair.[ch]    forced changes for what differs
 *
 * The comparison itself is lib/side/compare.[ch].
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "walk.h"

#define EXIT_TROUBLE 2

struct request {
	const char *config_file;
	struct walk_options walk;
	bool repair, json, quiet;
	char **arguments;
	size_t argument_count;
};

static const char usage[] =
	"usage: mirror-audit [-c FILE] [OPTION…] [PATH…]\n"
	"       mirror-audit [-c FILE] [OPTION…] SOURCE TARGET\n"
	"\n"
	"Compares the trees of the configuration, whole or below the paths given, or two places\n"
	"(directories, or sftp://user@host:port/path), and prints a line for each difference.\n"
	"Two arguments are two places unless both lie in source trees of the configuration.\n"
	"\n"
	"  -c, --config FILE   the configuration\n"
	"      --checksum      compare content, not only size and time\n"
	"      --repair        give out an order for each difference (the mirror must be running)\n"
	"      --sample N      compare N entries chosen at random\n"
	"      --json          one JSON object a line\n"
	"  -q, --quiet         no lines, no summary: only the exit status\n"
	"  -h, --help          this\n"
	"  -V, --version\n"
	"\n"
	"Exit status: 0 the same, 1 different, 2 trouble. The manual is mirror-audit(1).\n";

static int say(const char *words)
{
	(void)fprintf(stderr, "mirror-audit: %s\n", words);
	return EXIT_TROUBLE;
}

/* --- what was typed ----------------------------------------------------------------------- */

static bool take_count(const char *text, uint64_t *ret)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	*ret = value;
	return text[0] >= '0' && text[0] <= '9' && !*end && !errno && value > 0;
}

/* Returns -1 to go on, or the exit status. */
static int take_options(int argc, char **argv, struct request *ret)
{
	enum { CHECKSUM = 256, REPAIR, SAMPLE, JSON };
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
		{"checksum", no_argument, NULL, CHECKSUM}, {"repair", no_argument, NULL, REPAIR},
		{"sample", required_argument, NULL, SAMPLE}, {"json", no_argument, NULL, JSON},
		{"quiet", no_argument, NULL, 'q'}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'}, {0}};
	for (int option; (option = getopt_long(argc, argv, "c:qhV", options, NULL)) != -1;) {
		switch (option) {
		case 'c':
			ret->config_file = optarg;
			break;
		case CHECKSUM:
			ret->walk.checksum = true;
			break;
		case REPAIR:
			ret->repair = true;
			break;
		case SAMPLE:
			if (!take_count(optarg, &ret->walk.sample)) {
				return say("--sample: expected a number of entries, 1 or more");
			}
			break;
		case JSON:
			ret->json = true;
			break;
		case 'q':
			ret->quiet = true;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			return EXIT_SUCCESS;
		case 'V':
			(void)puts("mirror-audit (treemirror) " TREEMIRROR_VERSION);
			return EXIT_SUCCESS;
		default:
			return say("see mirror-audit --help");
		}
	}
	ret->arguments = argv + optind;
	ret->argument_count = (size_t)(argc - optind);
	return -1;
}

/* --- running ------------------------------------------------------------------------------ */

DEFINE_CLEANUP(struct config *, config_destroy)
DEFINE_CLEANUP(struct loop *, loop_destroy)

/* Without a configuration file: what two places need. */
static struct config *config_without_file(void)
{
	return calloc(1, sizeof(struct config));
}

/* Which of the two forms was meant. *ret_config is set in both. */
static int take_config(
	const struct request *request, struct config **ret_config, bool *ret_two, struct why *why)
{
	int r = config_load(request->config_file, ret_config, why);
	bool may_be_two = request->argument_count == 2;
	if (r == -ENOENT && may_be_two && !request->config_file && !getenv("MIRROR_CONFIG")) {
		*ret_two = true;
		*ret_config = config_without_file();
		return *ret_config ? 0 : -ENOMEM;
	}
	*ret_two = r == 0 && may_be_two &&
		   !(pairs_is_below(*ret_config, request->arguments[0]) &&
			   pairs_is_below(*ret_config, request->arguments[1]));
	return r;
}

static int audit(const struct request *request, const struct config *config, bool two,
	struct audit_pairs *pairs, struct loop *loop, struct why *why)
{
	struct report report = {
		.json = request->json, .quiet = request->quiet, .sampled = request->walk.sample};
	struct walk_options options = request->walk;
	struct repair repair = {0};
	int r = two ? pairs_of_two(loop, config, request->arguments, pairs, why)
		    : pairs_of_config(loop, config, request->arguments, request->argument_count,
			      pairs, why);
	r = r == 0 && request->repair ? repair_open(config, &repair, why) : r;
	if (r < 0) {
		return r;
	}
	options.repair = request->repair ? &repair : NULL;
	options.progress = !request->quiet && isatty(STDERR_FILENO);
	r = walk_run(loop, pairs, &options, &report, why);
	repair_close(&repair);
	if (r < 0) {
		return r;
	}
	int status = report_end(&report);
	if (repair.published && !request->quiet) {
		(void)fprintf(stderr,
			"mirror-audit: %llu repairs ordered; mirrorctl flush waits for them\n",
			(unsigned long long)repair.published);
	}
	return fflush(stdout) == 0
		       ? status
		       : why_error(why, -errno, "write the result: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	struct request request = {0};
	struct audit_pairs pairs = {0};
	struct why why = {""};
	bool two = false;
	CLEANUP(config_destroy_p) struct config *config = NULL;
	CLEANUP(loop_destroy_p) struct loop *loop = NULL;
	log_open("mirror-audit", LOG_LEVEL_WARNING);
	(void)signal(SIGPIPE, SIG_IGN);
	int status = take_options(argc, argv, &request);
	if (status >= 0) {
		return status;
	}
	int r = take_config(&request, &config, &two, &why);
	if (r == 0 && two && request.repair) {
		return say("--repair works on trees of the configuration, not on two places");
	}
	r = r < 0 ? r : loop_create(&loop);
	r = r < 0 ? r : audit(&request, config, two, &pairs, loop, &why);
	pairs_finish(&pairs);
	if (loop) {
		(void)loop_turn(loop, 0); /* what the sides' ends left to do */
	}
	return r >= 0 ? r : say(why.text[0] ? why.text : strerror(-r));
}
