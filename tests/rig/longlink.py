# SPDX-License-Identifier: Apache-2.0
"""A link with a round-trip time on loopback, in front of a port (relay.c)."""
import os
import subprocess


class LongLink:
    def __init__(self, build, port, round_trip_ms, environment):
        self._process = subprocess.Popen(
            [os.path.join(build, "tests/rig/relay"), str(port), str(round_trip_ms / 2)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
        self.pid = self._process.pid
        self.port = int(self._process.stdout.readline())

    def stop(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
