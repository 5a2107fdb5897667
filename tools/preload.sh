#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# preload.sh EMPTY DIRECTORY [STAMP]: in DIRECTORY, where the shim is, what
# LD_PRELOAD='DIRECTORY/treemirror/$LIB/libmirrorshim.so' leads to: the shim, or for programs of 32
# bits EMPTY.  A loader of GNU libc puts its own directory's name for $LIB, that of musl knows no
# such thing.  The shim's are links to DIRECTORY, so that it finds bin/ from there as from here.
set -eu
case $2 in
/*) to=$2/treemirror ;;
*) to=$MESON_INSTALL_DESTDIR_PREFIX/$2/treemirror ;; # as an install script
esac
mkdir -p "$to/lib" "$to/32"
cp -f "$1" "$to/32/new"
mv -f "$to/32/new" "$to/32/libmirrorshim.so" # programs may have the old one mapped
link() { ln -sfn "$2" "$to/$1"; }

link '$LIB' ..
link lib64 ..
link libmirrorshim.so ../libmirrorshim.so # where somebody's shell has put nothing for $LIB
link lib32 32
own=$(/lib64/ld-linux-x86-64.so.2 --list-diagnostics 2>/dev/null | sed -n 's/^dl_dst_lib="\(.*\)"$/\1/p')
if [ "$own" = lib ]; then
	rmdir "$to/lib" 2>/dev/null || rm -rf "$to/lib"
	link lib ..
else
	link lib/x86_64-linux-gnu ../..
	link lib/i386-linux-gnu ../32
	link lib/libmirrorshim.so ../32/libmirrorshim.so
fi
[ -z "${3-}" ] || : > "$3"
