#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# layers.sh [ROOT]: who may include whom, which file owns which foreign header, and what every
# source file opens with.  TAP on stdout.
set -u
shopt -s nullglob globstar lastpipe
cd "${1-$(dirname "$0")/..}"

stages=(shim poster winnow copier tally)
number=0

# A rule and the lines that break it (on stdin).
rule()
{
	local offenders
	offenders=$(cat)
	number=$((number + 1))
	if [ -z "$offenders" ]; then
		echo "ok $number - $1"
	else
		echo "not ok $number - $1"
		sed 's/^/# /' <<<"$offenders"
	fi
}

sources_of() { find "$@" \( -name '*.[ch]' -o -name '*.def' \) 2>/dev/null | sort; }

# "file:header" for each #include "…" (or <…>, with angle) of the files on stdin.
includes() { xargs -r grep -HoP '^\s*#\s*include\s+"\K[^"]+'; }
foreign() { xargs -r grep -HoP '^\s*#\s*include\s+<\K[^>]+'; }

sources_of shim | includes | grep -Ev ':(core|shim)/' | while IFS=: read -r file header; do
	[ -e "shim/$header" ] || [ -e "$(dirname "$file")/$header" ] ||
		echo "$file includes $header"
done | rule 'the shim uses lib/core and nothing else'

sources_of lib/core | includes | grep -v ':core/' |
	rule 'lib/core includes nothing but lib/core'

sources_of lib/flow | includes | grep -Ev ':(core|flow)/' |
	rule 'lib/flow includes lib/core and lib/flow only'

sources_of lib/side | includes | grep -Ev ':(core|flow|side)/' |
	rule 'lib/side includes lib only'

for stage in "${stages[@]}"; do
	sources_of "$stage" | includes | while IFS=: read -r file header; do
		case $header in
		core/* | flow/* | side/* | "$stage"/*) continue ;;
		esac
		[ -e "$stage/$header" ] || [ -e "$(dirname "$file")/$header" ] ||
			echo "$file includes $header"
	done
done | rule 'no stage includes the header of another stage'

for stage in "${stages[@]}"; do
	sources_of tools lib | includes | grep -E ":(\.\./)*$stage/"
done | rule 'neither lib nor the tools include the header of a stage'

owned()
{
	local header=$1 homes=$2
	sources_of lib "${stages[@]}" tools | foreign | grep ":$header" | cut -d: -f1 |
		grep -Ev "^($homes)\$" | sort -u |
		rule "<$header> stands only in $homes"
}
owned 'amqp' 'lib/flow/broker[a-z-]*\.[ch]'
owned 'libssh2' 'lib/side/(ssh-login|stream-libssh2)\.[ch]'
owned 'yaml.h' 'lib/flow/config[a-z-]*\.[ch]'
owned 'sqlite3.h' 'lib/flow/ledger[a-z-]*\.[ch]'
owned 'jansson.h' 'lib/flow/wire-read\.c|tools/mirrorctl/[a-z-]*\.[ch]|tools/mirror-audit/[a-z-]*\.[ch]'

for file in lib/**/*.h; do
	head -n 2 "$file" | tail -n 1 | grep -q '^/\*' || echo "$file"
done | rule 'every header in lib says first what it is for'

{
	sources_of lib "${stages[@]}" tools tests
	find tests tools examples .ci -name '*.sh' -o -name '*.py'
	printf '%s\n' tests/run .ci/run examples/quickstart
} | sort -u | while read -r file; do
	[ ! -e "$file" ] || head -n 2 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$file"
done | rule 'every source file names its licence'

echo "1..$number"
