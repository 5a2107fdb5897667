/* SPDX-License-Identifier: Apache-2.0 */
/* replay DIRECTORY…: gives each file to the fuzzer's function; TAP on stdout. */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "fuzz.h"

/* The buffer is exactly as long as the file, so that sanitizers see a step behind it. */
static int replay(const char *path)
{
	FILE *file = fopen(path, "r");
	if (!file || fseek(file, 0, SEEK_END) < 0) {
		return -1;
	}
	long size = ftell(file);
	uint8_t *data = size < 0 ? NULL : malloc((size_t)size ? (size_t)size : 1);
	int r = data && fseek(file, 0, SEEK_SET) == 0 &&
				fread(data, 1, (size_t)size, file) == (size_t)size
			? 0
			: -1;
	(void)fclose(file);
	if (r == 0) {
		(void)LLVMFuzzerTestOneInput(data, (size_t)size);
	}
	free(data);
	return r;
}

static int replay_all(const char *directory, int *number)
{
	char path[4096];
	int failed = 0;
	DIR *entries = opendir(directory);
	if (!entries) {
		(void)fprintf(stderr, "%s: %s\n", directory, strerror(errno));
		return 1;
	}
	for (struct dirent *entry; (entry = readdir(entries));) {
		if (entry->d_name[0] == '.') {
			continue;
		}
		(void)snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		int r = replay(path);
		printf("%s %d - %s\n", r < 0 ? "not ok" : "ok", ++*number, entry->d_name);
		failed |= r < 0;
	}
	(void)closedir(entries);
	return failed;
}

int main(int argc, char **argv)
{
	int number = 0, failed = 0;
	for (int i = 1; i < argc; i++) {
		failed |= replay_all(argv[i], &number);
	}
	printf("1..%d\n", number);
	return failed || number == 0;
}
