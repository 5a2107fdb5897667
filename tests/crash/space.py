# SPDX-License-Identifier: Apache-2.0
"""
A small file system for the target that an ordinary user can fill and make read-only.

It is a tmpfs in a mount namespace of our own; enter() puts this process and all that it starts
there.  The right to mount stays with a helper that was forked off before; the rest of the run has
no privilege, lest modes and full disks mean nothing to it.
"""
import ctypes
import os
import subprocess

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 0x4000, 0x40000
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
LIBC = ctypes.CDLL(None, use_errno=True)


def must(result, what):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source, where, kind, flags, data=None):
    must(LIBC.mount(source, os.fsencode(where), kind, flags, data), f"mount on {where}")


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def drop_privileges():
    """From here on we are what we were before, but for where we are."""
    must(LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl")
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    must(LIBC.capset(header, data), "capset")


class Space:
    def __init__(self, size_mb):
        self.size_mb = size_mb
        self.ballast = None
        self.where = None
        self._enter()

    def _enter(self):
        uid, gid = os.getuid(), os.getgid()
        must(LIBC.unshare(CLONE_NEWNS | CLONE_NEWUSER), "unshare")
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{uid} {uid} 1")
        write("/proc/self/gid_map", f"{gid} {gid} 1")
        mount(None, "/", None, MS_REC | MS_PRIVATE)
        ask, self._ask = os.pipe()
        self._answer, answer = os.pipe()
        if os.fork() == 0:
            os.close(self._ask)
            self._serve(ask, answer)
        os.close(ask)
        os.close(answer)
        drop_privileges()

    def _serve(self, ask, answer):
        """Lives as long as who asks."""
        try:
            with os.fdopen(ask) as lines:
                for line in lines:
                    os.write(answer, self._mount(*line.rstrip("\n").split("\t")).encode() + b"\n")
        finally:
            os._exit(0)

    def _mount(self, what, where):
        flags = MS_NOSUID | MS_NODEV
        try:
            if what == "new":
                mount(b"none", where, b"tmpfs", flags, f"size={self.size_mb}m,mode=700".encode())
            elif what == "off":
                must(LIBC.umount2(os.fsencode(where), 2), "umount")
            else:
                mount(b"none", where, None,
                      flags | MS_REMOUNT | (MS_RDONLY if what == "ro" else 0))
        except OSError as error:
            return str(error)
        return "ok"

    def _request(self, what):
        os.write(self._ask, f"{what}\t{self.where}\n".encode())
        return os.read(self._answer, 1000).decode().strip()

    def mount(self, where):
        self.where = where
        answer = self._request("new")
        if answer != "ok":
            raise OSError(answer)
        self.ballast = os.open(where, os.O_TMPFILE | os.O_RDWR, 0o600)  # it has no name

    def fill(self):
        size = 1 << 20
        end = os.fstat(self.ballast).st_size
        while size >= 4096:
            try:
                os.posix_fallocate(self.ballast, end, size)
                end += size
            except OSError:
                size //= 2

    def free(self):
        os.ftruncate(self.ballast, 0)

    def read_only(self, yes):
        """Not while somebody has a file open for writing there: then False."""
        return self._request("ro" if yes else "rw") == "ok"

    def close(self):
        os.close(self.ballast)
        self._request("off")


def possible():
    """Whether this kernel lets an ordinary user do that."""
    done = subprocess.run(["unshare", "-Um", "--map-current-user", "true"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0
