/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things are: state directory, journals, programs.
 *
 * All returned strings are heap copies that the caller frees; NULL when memory ran out.
 * Files below $XDG_STATE_HOME/treemirror/<mirror>/ (default ~/.local/state):
 *   log/<stage>[-N].log  run/supervisor.sock  broker/…  tally.db  metrics.txt
 */
#pragma once

#include "core/why.h"
#include "flow/config.h"

/* $HOME, else what the user database says. */
char *place_home(void);
/* The user's own: $XDG_CONFIG_HOME/treemirror, made by nobody. */
char *place_config_directory(void);
/* The mirror's state directory, joined with name where not NULL. */
char *place_state(const char *mirror, const char *name);
/* Makes directory and its parents with mode 0700.  Returns 0 or -errno with words. */
int place_make(const char *directory, struct why *why);
/* "<place>/treemirror-<uid>/<mirror>" for one of config->journal; %h in a place is this host. */
char *place_journal(const struct config *config, size_t index);
/* The size and all of them joined by ':' for MIRROR_JOURNAL (%h kept for the shim to fill in). */
char *place_journal_list(const struct config *config);
/* A program of ours, next to the running one; and the shim library. */
char *place_program(const char *name);
char *place_library(void);
/* This host's name, static storage. */
const char *place_host(void);
