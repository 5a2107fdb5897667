# SPDX-License-Identifier: Apache-2.0
"""How often each name was given at the target, seen by the kernel and by nothing of the product."""
import collections
import ctypes
import os
import select
import struct
import threading

IN_MOVED_TO = 0x80
IN_Q_OVERFLOW = 0x4000
HEAD = struct.Struct("iIII")


class Arrivals:
    """`with Arrivals(directories) as it`: afterwards it.count[path] (temporaries do not count)."""

    def __init__(self, directories):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        assert self._fd >= 0
        self._paths = {}
        for path in directories:
            watch = self._libc.inotify_add_watch(self._fd, os.fsencode(path), IN_MOVED_TO)
            assert watch >= 0, (path, ctypes.get_errno())
            self._paths[watch] = path
        self.count = collections.Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self._over.set()
        self._thread.join()
        self._take()
        os.close(self._fd)

    def _listen(self):
        while not self._over.is_set():
            if select.select([self._fd], [], [], 0.1)[0]:
                self._take()

    def _take(self):
        try:
            data = os.read(self._fd, 1 << 20)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = HEAD.unpack_from(data, at)
            name = data[at + HEAD.size:at + HEAD.size + length].rstrip(b"\0")
            at += HEAD.size + length
            assert not mask & IN_Q_OVERFLOW, "more names than the kernel could tell"
            if not name.startswith(b".mirror-"):
                self.count[os.path.join(self._paths[watch], os.fsdecode(name))] += 1

    @property
    def twice(self):
        """Names that were given more than once, and how often."""
        return {path: count for path, count in self.count.items() if count > 1}
