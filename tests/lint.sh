#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# lint.sh BUILD RESULTS.xml: what the tools say about the C code.  BUILD was configured with Clang,
# so that clang-tidy understands its compile_commands.json.  One test case per file and tool.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
results=$2
words=$(mktemp)
pool=$(mktemp -d)
trap 'rm -rf "$words" "$pool"' EXIT

sources() { find lib shim poster winnow copier tally tools tests "$@" 2>/dev/null | sort; }

exec 3>"$results"
echo '<testsuite name="lint">' >&3

# tool, file, and its words in $words when it failed.
told()
{
	local tool=$1 file=$2 status=$3
	printf '<testcase classname="%s" name="%s">' "$tool" "$file" >&3
	if [ "$status" -ne 0 ]; then
		echo '<failure/>' >&3
		echo "FAILED  $tool $file"
		cat "$words"
	fi
	echo '</testcase>' >&3
}

for file in $(sources -name '*.[ch]'); do
	status=0
	clang-format --dry-run --Werror "$file" >"$words" 2>&1 || status=$?
	sed -i '12,$d' "$words"
	told clang-format "$file" $status
done

# Each file of ours that the build compiles, once.
compiled()
{
	python3 - "$build/compile_commands.json" <<'END'
import json, os, sys
files = {os.path.relpath(os.path.join(it["directory"], it["file"])) for it in json.load(open(sys.argv[1]))}
print("\n".join(sorted(file for file in files if not file.startswith((".", "tests/"))
                       and "/tests/" not in file)))
END
}
check_one()
{
	clang-tidy --quiet -p "$1" "$2" >"$3" 2>/dev/null
}
export -f check_one
compiled | xargs -P "$(nproc)" -I{} bash -c \
	'name=$(tr / _ <<<"{}"); check_one "$0" "{}" "$1/$name" && : >"$1/$name.good"' \
	"$build" "$pool" || true
for file in $(compiled); do
	name=$(tr / _ <<<"$file")
	cp "$pool/$name" "$words"
	told clang-tidy "$file" "$([ -e "$pool/$name.good" ] && echo 0 || echo 1)"
done

# It does not know CLEANUP() and STEAL(), nor that a task may lend others what is on its stack.
status=0
cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr -j "$(nproc)" \
	--enable=warning,performance,portability --suppress=missingIncludeSystem \
	--suppress=memleak --suppress=resourceLeak --suppress=autoVariables \
	--suppress=varFuncNullUB \
	-Ilib -D_GNU_SOURCE -D__x86_64__ \
	lib shim poster winnow copier tally tools >"$words" 2>&1 || status=$?
told cppcheck 'all' $status

echo '</testsuite>' >&3
