/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real broker for tests: the managed one, in a directory of its own, ended by its pid.
 *
 *   group setup: rig_setup   group teardown: rig_teardown   rig_kill(), rig_start() in between
 */
#pragma once

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "flow/managed.h"

static char rig_directory[64];
static struct config rig_config;
static pid_t rig_pid;

static inline void rig_exec(void)
{
	struct managed_command command;
	struct why why;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves nothing behind */
	if (managed_command(&rig_config, &command, &why) < 0) {
		(void)fprintf(stderr, "%s\n", why.text);
		_exit(1);
	}
	(void)dup2(open("/dev/null", O_RDWR), STDIN_FILENO);
	(void)dup2(STDIN_FILENO, STDOUT_FILENO);
	execve(command.argv[0], command.argv, command.envp);
	_exit(1);
}

static inline int rig_launch(void)
{
	struct why why;
	if (managed_prepare(&rig_config, &why) < 0) {
		print_error("%s\n", why.text);
		return -1;
	}
	rig_pid = fork();
	if (rig_pid == 0) {
		rig_exec();
	}
	return 0;
}

static inline int rig_wait(void)
{
	struct why why = {""};
	uint64_t deadline = clock_now() + 120 * CLOCK_S;
	while (clock_now() < deadline && waitpid(rig_pid, NULL, WNOHANG) == 0) {
		if (managed_ready(&rig_config, clock_now() + 5 * CLOCK_S, &why) == 0) {
			return 0;
		}
		usleep(200000);
	}
	print_error("the broker did not start: %s\n", why.text);
	return -1;
}

static inline int rig_start(void)
{
	return rig_launch() < 0 ? -1 : rig_wait();
}

static inline void rig_end(int signal_number)
{
	if (rig_pid > 0) {
		kill(rig_pid, signal_number);
		waitpid(rig_pid, NULL, 0);
		rig_pid = 0;
	}
}

static inline int rig_setup(void **state)
{
	static uint64_t retry_ns[] = {CLOCK_S};
	static char mirror[] = "test";
	(void)state;
	(void)snprintf(rig_directory, sizeof(rig_directory), "/tmp/treemirror-test.XXXXXX");
	if (!mkdtemp(rig_directory)) {
		return -1;
	}
	setenv("XDG_STATE_HOME", rig_directory, 1);
	unsetenv("HOME");
	rig_config.mirror = mirror;
	rig_config.broker_managed = true;
	rig_config.winnow.shards = 3;
	rig_config.settle_ns = 2 * CLOCK_S;
	rig_config.retry_ns = retry_ns;
	rig_config.retry_count = 1;
	return rig_start();
}

static inline int rig_teardown(void **state)
{
	char command[128];
	(void)state;
	rig_end(SIGTERM);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", rig_directory);
	return system(command);
}
