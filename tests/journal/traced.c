/* SPDX-License-Identifier: Apache-2.0 */
#include "traced.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rings.h"

static void be_traced(void (*prepare)(void), void (*body)(void))
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (prepare) {
		prepare();
	}
	(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	(void)raise(SIGSTOP);
	body();
	(void)raise(SIGSTOP);
	_exit(0);
}

static bool wait_for(struct traced *traced)
{
	int status;
	REQUIRE(waitpid(traced->pid, &status, 0) == traced->pid, "waitpid: %s", strerror(errno));
	REQUIRE(WIFSTOPPED(status), "the traced one ended by itself: %d", status);
	int number = WSTOPSIG(status);
	REQUIRE(number == SIGSTOP || number == SIGTRAP, "the traced one got signal %d", number);
	return number == SIGTRAP;
}

void traced_start(struct traced *traced, void (*prepare)(void), void (*body)(void))
{
	traced->over = false;
	traced->pid = fork();
	if (traced->pid == 0) {
		be_traced(prepare, body);
	}
	REQUIRE(traced->pid > 0, "fork: %s", strerror(errno));
	(void)wait_for(traced);
}

bool traced_step(struct traced *traced)
{
	int how = traced->by_calls ? PTRACE_SYSCALL : PTRACE_SINGLESTEP;
	REQUIRE(ptrace(how, traced->pid, NULL, NULL) == 0, "ptrace: %s", strerror(errno));
	traced->over = traced->over || !wait_for(traced);
	return !traced->over;
}

void traced_kill(struct traced *traced)
{
	(void)kill(traced->pid, SIGKILL);
	REQUIRE(waitpid(traced->pid, NULL, 0) == traced->pid, "waitpid: %s", strerror(errno));
}
