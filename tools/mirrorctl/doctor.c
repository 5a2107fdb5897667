/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirrorctl doctor: one check after the other, each a line; for what is wrong, what to do.
 */
#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>

#include "term.h"
#include "verb.h"

static void doctor_line(const char *mark, enum style style, const char *what, const char *words)
{
	printf("%s%s%s %-12s %s\n", term_style(stdout, style), mark, term_style(stdout, STYLE_NONE),
		what, words);
	(void)fflush(stdout);
}

void doctor_good(const char *what, const char *format, ...)
{
	char words[1024];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	doctor_line("✓", STYLE_GOOD, what, words);
}

void doctor_note(const char *what, const char *format, ...)
{
	char words[1024];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	doctor_line("-", STYLE_DIM, what, words);
}

void doctor_bad(struct doctor *doctor, const char *what, const char *format, ...)
{
	char words[1024];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	doctor_line("✗", STYLE_BAD, what, words);
	doctor->bad++;
}

static int doctor_run(struct command *command)
{
	struct doctor doctor = {.config = command->config};
	doctor_good("config", "%s", command->config->file);
	doctor_check_host(&doctor);
	doctor_check_broker(&doctor);
	doctor_check_trees(&doctor);
	if (doctor.bad) {
		return say(
			EXIT_FAILED, "%u thing%s to mend", doctor.bad, doctor.bad == 1 ? "" : "s");
	}
	return EXIT_DONE;
}

const struct verb verb_doctor = {
	.name = "doctor",
	.summary = "check everything that has to be right before this can work",
	.run = doctor_run,
};
