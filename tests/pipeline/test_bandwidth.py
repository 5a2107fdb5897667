# SPDX-License-Identifier: Apache-2.0
"""One copier with a limit: who waits for whom, and what is left when its connection is lost."""
import glob
import os
import time

import pytest

from rig import wait_until

WORLD = {"copiers": 1, "config": {"copier": {"bandwidth": "2MiB/s"}}}
pytestmark = pytest.mark.slow


def make_large(here, mebibytes):
    here.sh(f"head -c {mebibytes}M /dev/urandom > large")
    wait_until(lambda: glob.glob(f"{here.target}/.mirror-*"), 60, "the large file to be under way")


def test_the_limit_is_kept(here):
    begun = time.monotonic()
    here.sh("head -c 10M /dev/urandom > a")
    here.check()
    assert time.monotonic() - begun > 4.5, "10 MiB at 2 MiB/s"


def test_small_files_are_not_stuck_behind_a_large_one(here):
    make_large(here, 40)
    here.sh("for i in 1 2 3 4 5; do echo $i > small$i; done")
    wait_until(lambda: all(os.path.exists(f"{here.target}/small{i}") for i in range(1, 6)), 60,
               "the small files")
    assert not os.path.exists(f"{here.target}/large"), "they came after the large one"
    here.check()


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
