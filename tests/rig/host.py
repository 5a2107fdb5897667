# SPDX-License-Identifier: Apache-2.0
"""A second host for a world: another name, another state directory, the same file systems."""
import os

from . import process

# A name of its own is all that makes a host another one here; what was needed to set it is given up.
ENTER = ["unshare", "--user", "--map-current-user", "--keep-caps", "--uts", "--", "sh", "-c",
         'hostname "$0" && exec setpriv --ambient-caps=-all --inh-caps=-all -- "$@"']


def possible():
    return process.run([*ENTER, "other-host", "hostname"]).stdout == "other-host\n"


class Host:
    def __init__(self, world, name):
        self.world, self.name = world, name
        self.state = f"{world.directory}/state-{name}"
        os.makedirs(self.state, mode=0o700)
        self.environment = {**world.environment, "XDG_STATE_HOME": self.state}

    def mirrorctl(self, *arguments, seconds=120):
        return process.run([*ENTER, self.name, "mirrorctl", *arguments], seconds=seconds,
                           env=self.environment, cwd=self.world.directory)

    def must(self, *arguments, seconds=120):
        done = self.mirrorctl(*arguments, seconds=seconds)
        assert done.returncode == 0, (self.name, arguments, done.stdout, done.stderr)
        return done.stdout

    def pids(self, name=None):
        """Of this host's daemons of one kind; without a name all, and their supervisor."""
        found = self.world.pids(name) if name else process.of_world(self.world.directory)
        return [pid for pid in found if process.variable(pid, "XDG_STATE_HOME") == self.state]
