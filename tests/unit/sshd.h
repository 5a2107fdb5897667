/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private sshd on loopback for tests: own host key, own user key, run as whoever runs the test.
 *
 *   sshd_start(&sshd, directory, "options of sftp-server"); … sshd_stop(&sshd);
 */
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct sshd {
	pid_t pid;
	unsigned port;
	char directory[200], identity[256], known_hosts[256];
};

__attribute__((format(printf, 1, 2))) static inline bool shell(const char *format, ...)
{
	char command[4096];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	return system(command) == 0; /* NOLINT: a test's own words */
}

static inline unsigned free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	bool good = bind(fd, (struct sockaddr *)&address, len) == 0 &&
		    getsockname(fd, (struct sockaddr *)&address, &len) == 0;
	close(fd);
	return good ? ntohs(address.sin_port) : 0;
}

static inline bool can_connect(unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	bool good = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return good;
}

static inline bool sshd_run(struct sshd *sshd)
{
	char config[300], log[300];
	(void)snprintf(config, sizeof(config), "%s/sshd_config", sshd->directory);
	(void)snprintf(log, sizeof(log), "%s/sshd.log", sshd->directory);
	sshd->pid = fork();
	if (sshd->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/usr/sbin/sshd", "/usr/sbin/sshd", "-D", "-f", config, "-E", log,
			(char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 500; i++) {
		if (can_connect(sshd->port)) {
			return true;
		}
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	return false;
}

/* Makes keys and starts it; directory must exist. */
static inline bool sshd_start(struct sshd *sshd, const char *directory, const char *server_options)
{
	char path[300];
	sshd->port = free_port();
	(void)snprintf(sshd->directory, sizeof(sshd->directory), "%s", directory);
	(void)snprintf(sshd->identity, sizeof(sshd->identity), "%s/key", directory);
	(void)snprintf(sshd->known_hosts, sizeof(sshd->known_hosts), "%s/known_hosts", directory);
	(void)snprintf(path, sizeof(path), "%s/sshd_config", directory);
	FILE *config = fopen(path, "w");
	fprintf(config,
		"ListenAddress 127.0.0.1\nPort %u\nHostKey %s/host\nPidFile none\nUsePAM no\n"
		"StrictModes no\nAuthorizedKeysFile %s/key.pub\nPasswordAuthentication no\n"
		"KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
		"Subsystem sftp /usr/lib/openssh/sftp-server %s\n",
		sshd->port, directory, directory, server_options);
	fclose(config);
	if (geteuid() == 0) {
		(void)mkdir("/run/sshd", 0755); /* sshd wants it when root runs it */
	}
	return shell("cd %s && ssh-keygen -q -t ed25519 -N '' -f host && "
		     "ssh-keygen -q -t ed25519 -N '' -f key && "
		     "printf '[127.0.0.1]:%u %%s\\n' \"$(cut -d' ' -f1,2 host.pub)\" > known_hosts",
		       directory, sshd->port) &&
	       sshd_run(sshd);
}

/* Breaks its connections.  Who is not root has one sshd more between listener and connection. */
static inline bool sshd_cut(const struct sshd *sshd)
{
	return shell("for it in $(pgrep -P %d); do pkill -KILL -P $it; kill -KILL $it; done; true",
		sshd->pid);
}

static inline void sshd_stop(struct sshd *sshd)
{
	if (sshd->pid > 0) {
		kill(sshd->pid, SIGTERM);
		waitpid(sshd->pid, NULL, 0);
		sshd->pid = 0;
	}
}
