#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# setup.sh GROUP...: installs the Debian packages that treemirror needs; silent when all are there.
#
#   build   compiler and libraries               run    broker and SSH
#   test    what the test suites use beside      lint   Clang, its tools, cppcheck
#   matrix  the programs of tests/shim/matrix    upstream  to build those of tests/shim/upstream
#
# As root directly, else through sudo.  Services that come with a package are neither started nor
# enabled: treemirror runs a broker and tests an sshd of its own, as an ordinary user.
set -euo pipefail

packages_of()
{
	case $1 in
	build) echo meson ninja-build gcc libc6-dev pkg-config librabbitmq-dev libssh2-1-dev \
		libxxhash-dev libyaml-dev libjansson-dev libsqlite3-dev scdoc ;;
	run) echo rabbitmq-server openssh-server openssh-client openssh-sftp-server git tar ;;
	test) echo libcmocka-dev python3-pytest python3-pika procps rsync git musl-tools busybox-static \
		libjemalloc2 libtcmalloc-minimal4 eatmydata faketime proxychains4 fakeroot \
		proftpd-core proftpd-mod-crypto
		[ "$(dpkg --print-architecture)" != amd64 ] || echo libc6-i386 ;;
	bench) echo rsync lftp rclone ;;
	lint) echo clang clang-format clang-tidy libclang-rt-14-dev cppcheck ;;
	matrix) echo ksh93u+m mksh zsh fish tcsh posh yash toybox busybox-static \
		cpio pax libarchive-tools p7zip-full zip unzip xz-utils bzip2 zstd lz4 lzop pigz \
		sharutils squashfs-tools xorriso e2fsprogs logrotate expect screen tmux socat \
		netcat-openbsd attr acl bubblewrap parallel gawk mawk original-awk ed vim emacs-nox \
		nano patch diffutils rename dos2unix moreutils bc dc jq xmlstarlet groff m4 xxd \
		bsdextrautils gettext less openssl git mercurial subversion fossil g++ clang tcc \
		gfortran binutils make cmake ninja-build meson autoconf automake libtool-bin bison \
		flex ccache openjdk-17-jdk-headless rustc cargo golang-go musl-tools ocaml-nox \
		python3-venv python3-numpy python3-h5py python3-netcdf4 nodejs ruby lua5.4 tcl \
		php-cli guile-3.0 gnuplot-nox sqlite3 gdbmtool lmdb-utils db-util hdf5-tools \
		netcdf-bin nco cdo openmpi-bin libopenmpi-dev ffmpeg imagemagick ghostscript \
		poppler-utils sox wget curl strace gdb valgrind fakeroot eatmydata faketime unison \
		ncdu aspell universal-ctags cscope rsync procps ;;
	upstream) echo build-essential dpkg-dev dejagnu tcl-dev ;;
	*)
		echo "setup.sh: no group '$1'; there are build, run, test, bench, lint, matrix, upstream" >&2
		return 2
		;;
	esac
}

if [ $# -eq 0 ]; then
	echo "usage: tools/setup.sh GROUP...   (build run test bench lint)" >&2
	exit 2
fi

is_installed()
{
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
for group in "$@"; do
	names=$(packages_of "$group")
	for name in $names; do
		is_installed "$name" || missing+=("$name")
	done
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
	echo "setup.sh: this is not Debian; please install what these packages are here: ${missing[*]}" >&2
	exit 1
fi
root=()
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "setup.sh: these Debian packages are missing, and installing them takes root:" >&2
		echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
		exit 1
	fi
	root=(sudo)
	echo "Debian packages are missing; sudo may ask for your password to install:" >&2
else
	echo "Installing Debian packages:" >&2
fi
echo "  ${missing[*]}" >&2

# Between these two, no package may start a service; a policy of this host's own is respected.
policy=/usr/sbin/policy-rc.d
made_policy=false
forbid_starting()
{
	[ -e $policy ] && return
	made_policy=true
	printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
	"${root[@]}" chmod 755 $policy
}
allow_starting()
{
	if $made_policy; then
		"${root[@]}" rm -f $policy
	fi
}
trap allow_starting EXIT
forbid_starting

apt()
{
	"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" \
		</dev/null 1>&2
}
install_missing()
{
	apt install -y --no-install-recommends "${missing[@]}"
}
known()
{
	apt-cache show --no-all-versions "${missing[@]}" >/dev/null 2>&1
}
if ! known || ! install_missing; then
	apt update
	install_missing
fi

# What came just now stays off at the next boot too.
disable()
{
	command -v systemctl >/dev/null || return 0
	"${root[@]}" systemctl disable "$@" >/dev/null 2>&1 || true
}
for name in "${missing[@]}"; do
	case $name in
	rabbitmq-server) disable rabbitmq-server.service epmd.socket epmd.service ;;
	openssh-server) disable ssh.service ;;
	proftpd-core) disable proftpd.service ;;
	esac
done
