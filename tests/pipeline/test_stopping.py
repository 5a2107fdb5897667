# SPDX-License-Identifier: Apache-2.0
"""Stopped in the middle of the work, and begun again: nothing lost, nothing copied for nothing."""
import signal
import subprocess
import sys
import time

import pytest

from rig import World, wait_until
from rig.arrivals import Arrivals

FOLDERS = 4
# So many files that never change again, in folders that are there.
LOAD = r"""
import random, sys
dice = random.Random(1)
for number in range(int(sys.argv[1])):
    with open(f"d{number % 4}/f{number}", "wb") as file:
        file.write(dice.randbytes(dice.choice([0, 10, 1000, 20000])))
"""
# How long a stop takes, broker included: a daemon has ten seconds at most to hand back what it has.
STOP_SECONDS = 60


@pytest.fixture(name="busy")
def make_busy(world):
    """A world in which thousands of orders are on their way."""
    world.sh(f"rm -rf d?; mkdir -p $(seq -f d%.0f 0 {FOLDERS - 1})")
    world.check()
    return world


def arrive(world, arrivals, count, stop):
    """
    stop() each time when a part has arrived; in the end everything has.  How much came twice is
    printed: nothing, unless the broker is too busy to say in time what it has written down.
    """
    with subprocess.Popen([sys.executable, "-S", "-c", LOAD, str(count)], cwd=world.source,
                          env=world.shim_environment()):
        for part in (1, 2, 3):
            wait_until(lambda: len(arrivals.count) >= part * count // 5, 120,  # noqa: B023
                       "a part of the files")
            before = time.monotonic()
            stop()
            print(f"{len(arrivals.count)} of {count} there; {time.monotonic() - before:.1f} s")
    world.check(seconds=240)
    assert len(arrivals.count) == count
    print(f"{len(arrivals.twice)} came twice")
    assert len(arrivals.twice) <= count // 2, list(arrivals.twice)[:3]


@pytest.mark.full
@pytest.mark.parametrize("stage", ["copier", "winnow", "poster", "tally"])
def test_one_stage(busy, stage):
    """As when one daemon is replaced by a newer one."""
    with Arrivals([f"{busy.target}/d{i}" for i in range(FOLDERS)]) as arrivals:
        arrive(busy, arrivals, 1500, lambda: busy.must("restart", stage, seconds=STOP_SECONDS))


@pytest.mark.full
def test_everything(busy):
    """Whoever stops it gets the machine back within seconds, whatever waits."""
    def restart():
        before = time.monotonic()
        busy.must("stop", seconds=STOP_SECONDS)
        took = time.monotonic() - before
        print(f"stopped in {took:.1f} s")
        busy.start()
    with Arrivals([f"{busy.target}/d{i}" for i in range(FOLDERS)]) as arrivals:
        arrive(busy, arrivals, 2000, restart)


def test_a_directory_on_its_way(here, world):
    """A copier dies with the order of a directory: nothing old in it is copied again for that."""
    here.sh("mkdir d; for i in $(seq 50); do echo $i > d/$i; done")
    here.check()
    with Arrivals([f"{here.target}/d"]) as arrivals:
        world.kill("copier", signal.SIGSTOP)
        here.sh("chmod 750 d; echo new > d/new")
        assert world.mirrorctl("flush", "--now", "--timeout", "3s").returncode == 75
        world.kill("copier")  # has been given the orders
        world.wait_ready()
        here.check()
        time.sleep(3)  # more than `settle`: what is looked at once more
        here.check()
    assert set(arrivals.count) == {f"{here.target}/d/new"}, arrivals.count


@pytest.mark.full
def test_no_world_is_needed():
    """A stop where nothing runs, and one in the middle of a start."""
    world = World(target="local", copiers=1)
    try:
        assert world.mirrorctl("stop").returncode == 0
        with subprocess.Popen(["mirrorctl", "start"], env=world.environment, cwd=world.directory,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as starting:
            wait_until(lambda: world.pids("broker"), 60, "the broker to begin")
            assert world.mirrorctl("stop").returncode == 0
            assert starting.wait() != 0
        assert not world.pids("broker")
    finally:
        world.close()
