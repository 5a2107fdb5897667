# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What a job profile says so that the job is mirrored.  One line does it:
#
#   eval "$(mirrorctl env)"
#
# This is the same for a profile that many people and machines share: silent where treemirror is
# not installed or not configured, and a way out for one job (MIRROR_OFF=1).
if [ -z "${MIRROR_OFF-}" ] && command -v mirrorctl >/dev/null 2>&1; then
	eval "$(mirrorctl env 2>/dev/null)"
fi
