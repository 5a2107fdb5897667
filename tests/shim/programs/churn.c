/* SPDX-License-Identifier: Apache-2.0 */
/*
 * churn DIRECTORY: makes, renames, links and removes files there until it is killed, telling
 * nothing.  Every name is used once, so that the test can see from the names alone what happened.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2 || chdir(argv[1]) < 0) {
		return 1;
	}
	for (int i = 0;; i++) {
		char name[6][32];
		for (int k = 0; k < 6; k++) {
			(void)snprintf(name[k], sizeof(name[k]), "%06d.%c", i, "abcdef"[k]);
		}
		close(open(name[0], O_WRONLY | O_CREAT, 0600));
		(void)rename(name[0], name[1]);
		(void)link(name[1], name[2]);
		(void)mkdir(name[3], 0700);
		(void)symlink("x", name[4]);
		(void)unlink(name[1]);
		(void)rmdir(name[3]);
		(void)symlink(
			"x", name[5]); /* so that the test knows that the directory was made */
	}
}
