# SPDX-License-Identifier: Apache-2.0
"""
Writers are killed at random moments, in the middle of whatever they do; after a flush the target is
what they left.  No daemon is touched, so nothing is found by looking at everything again, but for
the rare batch in which a record was torn.
"""
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from rig import World, process, wait_until
from rig.world import BUILD

VICTIM = os.path.join(BUILD, "tests", "crash", "victim")
AT_ONCE = 6


class Victims:
    """Each has a group of its own, so that its children die with it, or a little later."""

    def __init__(self, world, dice):
        self.world, self.dice = world, dice
        self.running, self.killed = [], []
        self.started = 0

    def start(self):
        """Every other one has files of its own."""
        self.started += 1
        own = [str(self.started)] if self.started % 2 else []
        self.running.append(subprocess.Popen(
            [VICTIM, str(self.dice.randrange(10**9)), *own], cwd=self.world.source,
            env=self.world.shim_environment(), stdin=subprocess.DEVNULL, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def kill_one(self):
        """The whole group, or the leader first."""
        victim = self.running.pop(self.dice.randrange(len(self.running)))
        if self.dice.random() < 0.3:
            victim.kill()
        else:
            end_group(victim.pid)
        self.killed.append(victim)  # not waited for: so nobody else gets its number

    def kill(self, count):
        for _ in range(count):
            while len(self.running) < AT_ONCE:
                self.start()
            time.sleep(self.dice.choice([0, 0.001, 0.005, 0.02, 0.05]) * self.dice.random())
            self.kill_one()

    def end(self):
        while self.running:
            self.kill_one()
        for victim in self.killed:
            end_group(victim.pid)
        for victim in self.killed:  # killed is not dead: who is in a write() ends that first
            wait_until(lambda: not process.of_group(victim.pid), 60, "victims to be gone")
            victim.wait()


def end_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def lost(world):
    """Records dropped or torn so far: each brings a rescan, which hides what else were missing."""
    return (world.status().get("totals") or {}).get("lost", 0)


def kill_and_compare(world, batches, kills):
    seed = int(os.environ.get("MIRROR_SEED") or random.randrange(10**6))
    print(f"MIRROR_SEED={seed} repeats this run")
    dice = random.Random(seed)
    world.sh(f"for i in $(seq {kills + AT_ONCE}); do mkdir own$i; touch own$i/f0 own$i/f1 "
             "own$i/f2 own$i/f3; done")
    for batch in range(batches):
        world.flush()
        victims = Victims(world, dice)
        try:
            victims.kill(kills)
        finally:
            victims.end()
        world.flush(seconds=300)
        found = world.differences()
        assert not found, "\n".join([f"batch {batch}: the target differs:", *found[:20]])
    print(f"{batches * kills} writers killed, target equal {batches} times, {lost(world)} torn")


@pytest.fixture(params=["local", "sftp"])
def world(request):
    with World(target=request.param, copiers=2,
               config={"delay": "200ms", "max_delay": "2s"}) as it:
        yield it


def test_writers_killed(world):
    kill_and_compare(world, batches=2, kills=50)


def test_opened_unheard_of():
    """A file is opened while the journal is full, written to after the rescan; then its process dies."""
    with World(target="local", config={"delay": "200ms", "max_delay": "60s",
                                       "journal_size": "64KiB"}) as world:
        world.sh("touch file mapped")
        world.flush()
        poster, = world.pids("poster")
        os.kill(poster, signal.SIGSTOP)
        world.sh("for i in $(seq 3000); do : > f$((i % 10)); done")
        script = ("import mmap, sys, time\n"
                  "file = open('file', 'r+b', buffering=0)\n"
                  "other = open('mapped', 'r+b')\n"
                  "other.truncate(4096)\n"
                  "map = mmap.mmap(other.fileno(), 4096)\n"
                  "other.close()\n"
                  "print('open', flush=True)\n"
                  "sys.stdin.readline()\n"
                  "file.write(b'late')\n"
                  "map[0:4] = b'late'\n"
                  "print('written', flush=True)\n"
                  "time.sleep(600)\n")
        writer = subprocess.Popen([sys.executable, "-S", "-c", script], cwd=world.source,
                                  env=world.shim_environment(), stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        try:
            assert writer.stdout.readline() == "open\n"
            assert json.loads(world.must("journal", "--json").splitlines()[0])["dropped"] > 0
            os.kill(poster, signal.SIGCONT)
            world.flush()
            writer.stdin.write("go\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "written\n"
        finally:
            writer.kill()
            writer.wait()
        world.check()


@pytest.mark.full
def test_thousands_killed(world):
    """MIRROR_KILLS: how many."""
    kill_and_compare(world, batches=int(os.environ.get("MIRROR_KILLS", "3000")) // 100, kills=100)
