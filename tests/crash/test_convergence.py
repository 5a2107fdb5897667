# SPDX-License-Identifier: Apache-2.0
"""A seeded job with every operation there is, while parts are killed; then the trees are equal."""
import os
import random
import subprocess
import sys
import time

import pytest

from rig import World

JOB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "job.py")
STAGES = ("poster", "winnow", "copier", "tally")


def jobs(world, seed, processes, operations):
    """Several processes at work in the same tree."""
    return [subprocess.Popen([sys.executable, "-S", JOB, str(seed + i), str(operations)],
                             cwd=world.source, env=world.shim_environment(),
                             stdin=subprocess.DEVNULL) for i in range(processes)]


def trouble(world, dice, kinds):
    """One fault."""
    kind = dice.choice(kinds)
    if kind in STAGES:
        world.kill(kind)
    elif kind == "broker":
        world.kill("broker")
    elif kind == "cut":
        world.sshd.cut()
        world.killed = True  # as below
    elif kind == "sshd":
        world.killed = True  # nobody can remove a temporary name meanwhile
        world.sshd.stop()
        time.sleep(1)
        world.sshd.start()


def converge(world, seed, kinds, processes=4, operations=400):
    print(f"seed {seed}")
    dice = random.Random(seed)
    running = jobs(world, seed, processes, operations)
    while any(job.poll() is None for job in running):
        time.sleep(dice.uniform(0.2, 1.5))
        if kinds:
            trouble(world, dice, kinds)
    assert all(job.returncode == 0 for job in running)
    world.wait_ready()
    world.check(seconds=400)


@pytest.fixture(params=["local", "sftp"])
def world(request):
    with World(target=request.param, copiers=3,
               config={"delay": "200ms", "max_delay": "2s", "winnow": {"shards": 3}}) as it:
        yield it


def seeds(count):
    """MIRROR_SEED repeats one run; else new ones each time."""
    if os.environ.get("MIRROR_SEED"):
        return [int(os.environ["MIRROR_SEED"])]
    return [random.randrange(10**6) for _ in range(count)]


def test_without_faults(world):
    for seed in seeds(2):
        converge(world, seed, ())


@pytest.mark.slow
def test_daemons_killed(world):
    for seed in seeds(2):
        converge(world, seed, STAGES)


@pytest.mark.slow
def test_everything_breaks(world):
    kinds = (*STAGES, "broker", *(("cut", "sshd") if world.sshd else ()))
    for seed in seeds(1):
        converge(world, seed, kinds, operations=800)


@pytest.mark.full
def test_for_long(world):
    for seed in seeds(20):
        converge(world, seed, STAGES, operations=1500)
