# SPDX-License-Identifier: Apache-2.0
"""Several brokers, several hosts: whatever of it dies, another one goes on.

Three RabbitMQ nodes, two hosts (of one machine: names and state directories of their own) with a
winnow for each shard and two copiers each.  What is killed is killed with SIGKILL, while a job
writes without pause.
"""
import os
import subprocess
import sys

import pytest

from rig import World, wait_until
from rig.arrivals import Arrivals
from rig.cluster import Cluster
from rig.host import Host, possible
from rig.process import kill

pytestmark = [pytest.mark.full,
              pytest.mark.skipif(not possible(), reason="no user namespaces here")]

SHARDS = 2
FOLDERS = 8
# Files that never change again, in folders that are there, until it is told to end.
LOAD = r"""
import os, random, select, sys
dice, number = random.Random(1), 0
while not select.select([sys.stdin], [], [], 0.02)[0]:
    name = f"d{number % 8}/f{number}"
    with open(name, "wb") as file:
        file.write(dice.randbytes(dice.choice([0, 10, 1000, 20000])))
    number += 1
print(number)
"""


class Scene:
    """Cluster, world, second host, and what has arrived so far."""

    def __init__(self, cluster, world, other):
        self.cluster, self.world, self.other = cluster, world, other
        self.arrivals = None

    def shard(self, number):
        return self.world.status()["shards"][number]

    def host(self, name):
        """The pids of a host's winnow."""
        others = self.other.pids("winnow")
        return others if name == self.other.name else [
            pid for pid in self.world.pids("winnow") if pid not in others]

    def winnow(self, shard):
        """The one that is active, by what status says."""
        name = wait_until(lambda: self.shard(shard)["active"], 60, "an active winnow")
        return name, next(pid for pid in self.host(name) if shard_of(pid) == shard)

    def goes_on(self, count=100):
        """Until so many more files have arrived."""
        wanted = len(self.arrivals.count) + count
        wait_until(lambda: len(self.arrivals.count) >= wanted, 120, f"{wanted} files at the target")

    def takes_over(self, shard, name):
        wait_until(lambda: self.shard(shard) == {"shard": shard, "active": name,
                                                 "standby": [self.standby(name)]},
                   90, f"shard {shard} at {name}, the other one standing by")

    def standby(self, name):
        return self.other.name if name == os.uname().nodename else os.uname().nodename


def shard_of(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    return int(words[words.index(b"-i") + 1])


@pytest.fixture(name="scene", scope="module")
def make_scene():
    with Cluster() as cluster:
        world = World(config={"broker": cluster.urls, "winnow": {"shards": SHARDS}},
                      credentials=cluster.credentials)
        other = Host(world, "other-host")
        world.killed = True  # a temporary name may be left for a while
        with world:
            other.must("start", "winnow", "copier")
            try:
                yield Scene(cluster, world, other)
            finally:
                other.must("stop")


@pytest.fixture(name="load")
def make_load(scene):
    """A job that writes while the test runs; in the end all has to be there, and told truly."""
    world = scene.world
    world.sh(f"rm -rf d?; mkdir -p $(seq -f d%.0f 0 {FOLDERS - 1})")
    world.check()
    with Arrivals([f"{world.target}/d{i}" for i in range(FOLDERS)]) as scene.arrivals:
        with subprocess.Popen([sys.executable, "-S", "-c", LOAD], cwd=world.source, text=True,
                              env=world.shim_environment(), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as job:
            scene.goes_on(30)
            yield job
            scene.goes_on()
            written = int(job.communicate("end\n")[0])
        world.check(seconds=240)
        world.wait_ready()
    twice = scene.arrivals.twice
    print(f"{written} files, {sum(scene.arrivals.count.values())} arrivals, {len(twice)} twice")
    assert len(scene.arrivals.count) == written


def test_one_works_and_one_stands_by(scene):
    world = scene.world
    for shard in range(SHARDS):
        name, _ = scene.winnow(shard)
        scene.takes_over(shard, name)
    text = world.must("status")
    assert "stands by" in text, text
    stages = {it["stage"]: it for it in world.status()["stages"]}
    assert (stages["winnow"]["ready"], stages["copier"]["ready"]) == (4, 4)


def test_leader_of_the_queues(scene, load):
    """The node that leads a shard's queue, and whoever was connected to it."""
    node = scene.cluster.leader(f"q_{scene.world.mirror}_changes00")
    print(f"node {node} with {scene.cluster.connections(node)} connections")
    scene.cluster.kill(node)
    scene.goes_on()
    scene.cluster.start(node)
    assert scene.cluster.leader(f"q_{scene.world.mirror}_changes00") != node


def test_leader_that_is_cut_off(scene, load):
    """It neither answers nor hangs up, and comes back when the others have gone on without it."""
    node = scene.cluster.leader(f"q_{scene.world.mirror}_changes00")
    scene.cluster.hang(node)
    try:
        scene.goes_on(200)
    finally:
        scene.cluster.go_on(node)
    scene.goes_on()


def test_active_winnow(scene, load):
    name, pid = scene.winnow(0)
    kill(pid)
    scene.takes_over(0, scene.standby(name))
    scene.goes_on()
    # Orders that were out while their changes were not acknowledged yet are given out once more.
    assert len(scene.arrivals.twice) < 30, scene.arrivals.twice


def test_copier(scene, load):
    kill(scene.other.pids("copier")[0])
    scene.goes_on()


def test_a_whole_host(scene, load):
    """Supervisor, winnows and copiers: the others have it all."""
    for pid in scene.other.pids():
        kill(pid)
    for shard in range(SHARDS):
        wait_until(lambda: scene.shard(shard)["active"] == os.uname().nodename, 60,  # noqa: B023
                   "the winnows here")
    scene.goes_on()
    scene.other.must("start", "winnow", "copier")


def test_every_node_in_turn(scene, load):
    """As when the cluster is upgraded: each of them goes and comes."""
    for node in range(3):
        scene.cluster.kill(node)
        scene.goes_on(50)
        scene.cluster.start(node)
