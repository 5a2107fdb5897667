/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text is refused with file, line and column or understood; what is shown of it reads back
 * and is shown the same.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "flow/config.h"

static char *shown(const struct config *config)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	fuzz_require(out);
	config_show(config, out);
	fuzz_require(fclose(out) == 0);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *config = NULL, *again = NULL;
	struct why why = {""};
	setenv("HOME", "/home/u", 1);
	int r = config_parse(span_of(data, size), "f", &config, &why);
	if (r < 0) {
		unsigned line, column;
		fuzz_require(r == -EINVAL);
		fuzz_require(sscanf(why.text, "f:%u:%u: ", &line, &column) == 2);
		fuzz_require(line > 0 && column > 0);
		return 0;
	}
	char *once = shown(config);
	r = config_parse(span_str(once), "shown", &again, &why);
	if (r < 0) {
		(void)fprintf(stderr, "%s\n%s", why.text, once);
	}
	fuzz_require(r == 0);
	char *twice = shown(again);
	fuzz_require(strcmp(once, twice) == 0);
	config_destroy(config);
	config_destroy(again);
	free(once);
	free(twice);
	return 0;
}
