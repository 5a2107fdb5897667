# SPDX-License-Identifier: Apache-2.0
"""Over a long link: large files by several connections, and what becomes of them when one breaks."""
import os
import threading
import time

import pytest
from rig import World, process

MIB = 1 << 20
SIZE = 96 * MIB
pytestmark = pytest.mark.slow


KINDS = {"libssh2": {}, "ssh": {"transport": "ssh"}, "pull": {"source": "sftp", "target": "local"}}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS.keys())
def far(request):
    with World(**request.param, copiers=1, round_trip_ms=40,
               config={"delay": 0, "copier": {"split_size": "1MiB"}}) as world:
        yield world


def sessions(world):
    """The servers' pids, the first connection's first."""
    pids = [pid for pid in process.descendants(world.sshd._process.pid)
            if process.name_of(pid) == "sftp-server"]
    return sorted(pids, key=lambda pid: os.stat(f"/proc/{pid}").st_mtime_ns)


def copy_one(world, name, meanwhile):
    """Writes a large file and waits until it is over; meanwhile() runs beside."""
    world.py("""
import os, sys
with open(sys.argv[1], "wb") as file:
    for _ in range(int(sys.argv[2])):
        file.write(os.urandom(1 << 20))
""", name, str(SIZE // MIB))
    beside = threading.Thread(target=meanwhile)
    beside.start()
    world.flush(seconds=300)
    beside.join()
    world.check(seconds=300)


def test_several_connections(far):
    most = []

    def count():
        end = time.monotonic() + 120
        while time.monotonic() < end and not os.path.exists(f"{far.target}/several"):
            most.append(len(sessions(far)))
            time.sleep(0.05)
    copy_one(far, "several", count)
    assert max(most) >= 3, most


def test_one_of_them_breaks(far):
    """What it had under way is sent, or asked for, again by the first one; nothing is begun anew."""
    broken = []

    def is_under_way():
        for name in os.listdir(far.target):
            if len(name) == 24 and os.path.getsize(f"{far.target}/{name}") > 16 * MIB:
                return True
        return False

    def cut():
        """Everything is held while one of the later connections is killed."""
        end = time.monotonic() + 120
        while not broken and time.monotonic() < end:
            if is_under_way():
                far.sshd.pause()
                broken.append(sessions(far)[-1])
                process.kill(broken[0], 9)
                broken.append(is_under_way())
                far.sshd.resume()
            time.sleep(0.002)
    copy_one(far, "broken", cut)
    assert broken[1], "it was over before anything was cut"
    with open(f"{far.directory}/state/treemirror/{far.mirror}/log/copier-0.log",
              encoding="utf-8") as log:
        assert "the connection broke" not in log.read()
