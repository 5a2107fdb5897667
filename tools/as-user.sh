#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# as-user.sh USER PROGRAM [ARGUMENT...]: as root, runs PROGRAM of this checkout as an ordinary user.
# as-user.sh --where USER: prints where that user's copy of this checkout is.
#
# The user is made when missing.  He gets a copy of the checkout in his home, for the checkout may
# lie where only root can go; build directories of the copy stay from one time to the next.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)

copy_of()
{
	local home
	home=$(getent passwd "$1" | cut -d: -f6)
	echo "$home/checkouts/$(basename "$here")-$(printf %s "$here" | cksum | cut -d' ' -f1)"
}

if [ "$1" = --where ]; then
	copy_of "$2"
	exit
fi
user=$1
program=$2
shift 2
if ! getent passwd "$user" >/dev/null; then
	echo "making the user $user" >&2
	useradd --create-home --shell /bin/bash "$user"
fi
usermod --append --groups users "$user" # a second group, which copies have to keep
home=$(getent passwd "$user" | cut -d: -f6)
copy=$(copy_of "$user")
echo "running $program as user $user in $copy" >&2
mkdir -p "$copy"
exec 9>"$copy.lock"
if ! flock -n 9; then
	echo "as-user.sh: this copy is in use already" >&2
	exit 2
fi
(cd "$here" && tar -cf - --exclude='./build*' --exclude=__pycache__ .) |
	(cd "$copy" && find . -mindepth 1 -maxdepth 1 ! -name 'build*' -exec rm -rf {} + &&
		tar -xf -)
chown "$user": "$home/checkouts"
chown -R "$user": "$copy"
cd /
exec runuser -u "$user" -- env -i PATH="$PATH" HOME="$home" USER="$user" LOGNAME="$user" \
	LANG=C.UTF-8 TERM="${TERM:-dumb}" MIRROR_JOBS="${MIRROR_JOBS:-}" "$copy/$program" "$@"
