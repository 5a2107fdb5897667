# SPDX-License-Identifier: Apache-2.0
"""
Seeded jobs with every operation there is, while parts are killed; then the trees are equal.

Each case is a run of ./converge, which says what happens; what it prints first repeats it.
MIRROR_SEED repeats one seed in all of them.
"""
import os
import random
import subprocess
import sys

import pytest

CONVERGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "converge")
DAEMONS = "poster,winnow,copier,tally,writer"


def converge(target, faults, seconds, runs=1):
    seed = int(os.environ.get("MIRROR_SEED") or random.randrange(10**6))
    done = subprocess.run([sys.executable, CONVERGE, "--seed", str(seed), "--seconds", str(seconds),
                           "--faults", faults, "--target", target, "--runs", str(runs)],
                          stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, "see the output"


both = pytest.mark.parametrize("target", ["local", "sftp"])


@both
def test_without_faults(target):
    converge(target, "none", 6)


@pytest.mark.slow
@both
def test_daemons_and_writers_killed(target):
    converge(target, DAEMONS, 8)


@pytest.mark.full
@both
def test_everything_breaks(target):
    converge(target, "all", 60)


@pytest.mark.full
@both
def test_some_of_it_breaks(target):
    """MIRROR_RUNS: how many seeds."""
    converge(target, "some", 20, int(os.environ.get("MIRROR_RUNS", "50")))
