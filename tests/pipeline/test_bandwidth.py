# SPDX-License-Identifier: Apache-2.0
"""One copier with a limit: who waits for whom, and what is left when its connection is lost."""
import glob
import os
import signal
import subprocess
import time

import pytest

from rig import wait_until

LIMIT = "2MiB/s"
KIB, MIB = 1 << 10, 1 << 20
IN_FLIGHT = 8
WORLD = {"copiers": 1, "config": {"copier": {"bandwidth": LIMIT},
                                  "winnow": {"shards": 1, "in_flight": IN_FLIGHT}}}
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def limit(world):
    """Changes the limit while everything runs; afterwards it is as before."""
    def change(bandwidth):
        world.config["copier"]["bandwidth"] = bandwidth
        world.write_config()
        return world.must("reload")
    yield change
    change(LIMIT)


def make_large(here, mebibytes):
    here.sh(f"head -c {mebibytes}M /dev/urandom > large")
    wait_until(lambda: arrived(here), 60, "the large file to be under way")


def arrived(here):
    """Bytes of the large file so far."""
    for path in glob.glob(f"{here.target}/.mirror-*"):
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            pass
    return 0


def test_the_limit_is_kept(here):
    begun = time.monotonic()
    here.sh("head -c 10M /dev/urandom > a")
    here.check()
    assert time.monotonic() - begun > 4.5, "10 MiB at 2 MiB/s"


def test_the_limit_changes_while_a_file_is_under_way(here, world, limit):
    pids = world.pids("copier")
    make_large(here, 64)
    assert limit("256KiB/s") == "1 copiers read their limits again\n"
    begun, before = time.monotonic(), arrived(here)
    time.sleep(4)
    came = arrived(here) - before
    # what had been sent by then still came, and it may catch up a little
    assert came < 256 * KIB * (time.monotonic() - begun) + MIB, came
    begun, left = time.monotonic(), 64 * MIB - arrived(here)
    limit("0")
    wait_until(lambda: os.path.exists(f"{here.target}/large"), 200, "the rest")
    assert left / (time.monotonic() - begun) > 4 * 256 * KIB, "it went on by the old limit"
    here.check()
    assert world.pids("copier") == pids


def test_a_wrong_configuration_changes_no_limit(here, world, limit):
    limit("1MiB/s")
    with open(world.config_file, "a", encoding="utf-8") as file:
        file.write("delya: 1s\n")
    done = world.mirrorctl("reload")
    assert done.returncode == 2 and "delay" in done.stderr, done.stderr
    for pid in world.pids("copier"):
        os.kill(pid, signal.SIGHUP)
    log = f"{world.directory}/state/treemirror/{world.mirror}/log/copier-0.log"

    def told():
        with open(log, encoding="utf-8") as file:
            return "all stays as it was" in file.read()
    wait_until(told, 30, "the copier's word")
    world.write_config()
    begun = time.monotonic()
    here.sh("head -c 3M /dev/urandom > a")
    here.check()
    assert time.monotonic() - begun > 2.5, "3 MiB at 1 MiB/s"


def test_small_files_are_not_stuck_behind_a_large_one(here, limit):
    limit("512KiB/s")
    make_large(here, 40)
    here.sh("for i in 1 2 3 4 5; do echo $i > small$i; done")
    wait_until(lambda: all(os.path.exists(f"{here.target}/small{i}") for i in range(1, 6)), 70,
               "the small files")
    assert not os.path.exists(f"{here.target}/large"), "they came after the large one"
    limit("0")
    here.check()


@pytest.mark.parametrize("meets", [False, True], ids=["alone", "meets_a_live_change"])
def test_live_work_comes_before_a_bulk_pass(here, world, limit, meets):
    """The bulk pass would take minutes, in more directories than a winnow has under way; a change
    that is made meanwhile does not wait for it."""
    count = 5 * IN_FLIGHT
    world.flush()
    for i in range(count):  # no shim sees this
        os.mkdir(f"{here.source}/bulk{i}")
        with open(f"{here.source}/bulk{i}/file", "wb") as file:
            file.write(os.urandom(MIB))
        os.utime(file.name, (10**9, 10**9))

    def come():
        return len(glob.glob(f"{here.target}/bulk*/file"))
    limit("256KiB/s")
    script = "for i in {1..30}; do chmod 75$((i % 2)) .; sleep 0.1; done"
    # with it, the pass and what is live are one order there, and not below
    with subprocess.Popen(["bash", "-c", script if meets else ":"], cwd=here.source,
                          env=world.shim_environment()):
        time.sleep(0.5)
        world.must("sync", "--no-wait", here.source)
    wait_until(lambda: glob.glob(f"{here.target}/bulk*/.mirror-*"), 60, "the bulk pass")
    here.sh("head -c 100000 /dev/urandom > live")
    wait_until(lambda: os.path.exists(f"{here.target}/live"), 120, "the change")
    assert come() < count / 2, "it came behind the bulk pass"
    limit("0")
    here.check()
    assert come() == count


def test_nothing_is_left_when_the_connection_stays_away(here, world):
    """The order becomes a retry, which has to know that there is something to clear away."""
    make_large(here, 20)
    world.sshd.stop()
    try:
        time.sleep(14)  # longer than a blocked order is kept
        assert glob.glob(f"{here.target}/.mirror-*")
    finally:
        world.sshd.start()
    here.check(seconds=240)
