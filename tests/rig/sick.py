# SPDX-License-Identifier: Apache-2.0
"""What libsick.so (sick.c) is told: how the target's calls fail, and how far off the clock is."""
import mmap
import os
import struct

LAYOUT = struct.Struct("=iIIIq")
SIZE = LAYOUT.size + 4096


class Sick:
    """One file that all preloaded processes have mapped; they heed it at once."""

    def __init__(self, build, directory, root):
        self.library = os.path.join(build, "tests/rig/libsick.so")
        self.path = os.path.join(directory, "sick")
        with open(self.path, "w+b") as file:
            file.truncate(SIZE)
            self._map = mmap.mmap(file.fileno(), SIZE)
        root = os.fsencode(root)
        self._map[LAYOUT.size:LAYOUT.size + len(root)] = root
        self._state = [0, 0, 0, 0, 0]

    def environment(self):
        return {"LD_PRELOAD": self.library, "MIRROR_SICK": self.path}

    def target(self, error, per_mille, late=0):
        """So many of a thousand calls fail; late: so many are carried out and fail all the same."""
        self._state[:3] = error, per_mille, late
        self._write()

    def target_well(self):
        self.target(0, 0)

    def clock(self, offset_s):
        self._state[4] = int(offset_s * 10**9)
        self._write()

    def _write(self):
        self._map[:LAYOUT.size] = LAYOUT.pack(*self._state)
