#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# place.sh BUILT DIRECTORY STAMP: a hard link of what was built, under its own name, in DIRECTORY.
set -eu
mkdir -p "$2"
ln -f "$1" "$2/$(basename "$1")"
: > "$3"
