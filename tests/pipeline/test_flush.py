# SPDX-License-Identifier: Apache-2.0
"""The barrier: when flush says 0, everything that had happened before is on the target."""
import hashlib
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from rig import snapshot, wait_until

WORLD = {"config": {"winnow": {"shards": 3}}, "copiers": 3}

# Writes files that never change again and notes each (name, digest) only after it is closed.
LOAD = r"""
import hashlib, os, random, sys, time
dice = random.Random(int(sys.argv[1]))
where = sys.argv[2]
os.makedirs(where, exist_ok=True)
for number in range(20000):
    time.sleep(0.01)
    folder = os.path.join(where, *[str(dice.randrange(4)) for _ in range(dice.randrange(3))])
    os.makedirs(folder, exist_ok=True)
    data = dice.randbytes(dice.choice([0, 10, 1000, 20000]))
    name = os.path.join(folder, f"f{number}")
    final = name
    with open(name, "wb") as file:
        file.write(data)
    if dice.random() < 0.3:
        final = name + "-moved"
        os.rename(name, final)
    print(hashlib.blake2b(data).hexdigest(), final, flush=True)
"""


class Writer:
    """A job that does not rest (but would not fill a disk); `done` is what it has said to have written."""

    def __init__(self, here, seed):
        self.done = []
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", LOAD, str(seed), f"w{seed}"], cwd=here.source, text=True,
            env=here.world.shim_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self):
        for line in self.process.stdout:
            self.done.append(line.split())

    def end(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()


def digest(path):
    with open(path, "rb") as file:
        return hashlib.blake2b(file.read()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("now", [True, False], ids=["now", "after-the-delay"])
def test_never_early(here, world, now):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    writers = [Writer(here, seed + i) for i in range(3)]
    try:
        while not all(writer.done for writer in writers):  # a flush may be over before they begin
            time.sleep(0.1)
        for _ in range(4):
            wait_until(lambda: all(len(it.done) > 50 for it in writers), 60, "the writers")
            before = [it for writer in writers for it in list(writer.done)]
            world.flush(now=now, seconds=240)
            missing = [name for want, name in before
                       if not os.path.exists(f"{here.target}/{name}")
                       or digest(f"{here.target}/{name}") != want]
            assert not missing, f"{len(missing)} of {len(before)}, such as {missing[:3]}"
    finally:
        for writer in writers:
            writer.end()
    here.check(seconds=240)


def test_includes_files_that_are_open(here, world):
    """What an open file held when flush was called is on the target when it returns."""
    script = "import sys, time; f = open('a', 'w'); f.write('so far'); f.flush(); " \
             "print('ready', flush=True); time.sleep(100)"
    with subprocess.Popen([sys.executable, "-S", "-c", script], cwd=here.source, text=True,
                          env=world.shim_environment(), stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout.readline() == "ready\n"
            world.flush()
            assert here.read("a") == b"so far"
        finally:
            writer.kill()


def test_status_knows_at_once(here, world):
    """After a flush, status does not tell of files that were open a moment before it."""
    script = "import sys; f = open('a', 'w'); f.write('so far'); f.flush(); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-S", "-c", script], cwd=here.source, text=True,
                          env=world.shim_environment(), stdin=subprocess.PIPE) as writer:
        wait_until(lambda: world.status()["dirty"], 60, "a beat that tells of the open file")
        writer.stdin.close()
    world.flush()
    status = world.status()
    assert (status["answer"], status["dirty"]) == ("IN SYNC", 0)


def test_nothing_to_do(world):
    world.flush()
    before = snapshot(world.target)
    world.flush()
    assert snapshot(world.target) == before


def test_time_runs_out(here, world):
    """75, and the work is done later all the same."""
    pids = world.kill("copier", 19)
    assert pids
    try:
        here.sh("echo 1 > a")
        done = world.mirrorctl("flush", "--now", "--timeout", "3s")
        assert done.returncode == 75, (done.stdout, done.stderr)
    finally:
        world.kill("copier", 18)
    here.check()


def test_two_at_once(here, world):
    here.sh("for i in $(seq 100); do echo $i > $i; done")
    flushes = [threading.Thread(target=world.flush) for _ in range(3)]
    for it in flushes:
        it.start()
    for it in flushes:
        it.join()
    assert not world.differences(here.name)


def test_without_a_running_mirror(world):
    world.stop()
    done = world.mirrorctl("flush", "--now", "--timeout", "3s")
    assert done.returncode not in (0, 2), (done.stdout, done.stderr)
    assert done.stderr.strip()
    world.start()
    world.flush()


def jobs_of(world):
    return {it["job"]: it for it in world.status()["jobs"]}


def test_of_one_job(here, world):
    """One job's changes are flushed while another's cannot be; both are counted by job."""
    def job(script, **variables):
        subprocess.run(["bash", "-c", script], cwd=here.source, check=True,
                       env={**world.shim_environment(), **variables})
    job("mkdir d; echo > d/f", PBS_JOBID="1.server")
    world.flush()
    copiers = world.kill("copier", 19)
    try:
        job("echo 2 > d/f", LSB_JOBID="2")
        world.must("flush", "--now", "--job", "1.server", "--timeout", "60s")
        done = world.mirrorctl("flush", "--now", "--job", "2", "--timeout", "3s")
        assert done.returncode == 75, (done.stdout, done.stderr)
    finally:
        world.kill("copier", 18)
    world.must("flush", "--now", "--job", "2", "--timeout", "60s")
    array = {"SLURM_JOB_ID": "31", "SLURM_ARRAY_JOB_ID": "30", "SLURM_ARRAY_TASK_ID": "4"}
    job("echo 3 > d/g", **array)
    done = world.mirrorctl("flush", "--now", "--job", "31", "--timeout", "60s",
                           env={**world.environment, **array})
    assert done.returncode == 0 and here.read("d/g") == b"3\n"
    jobs = jobs_of(world)
    assert jobs["1.server"]["work"]["files"] == 1 and jobs["2"]["work"]["files"] == 1
    assert "30_4" in jobs and "31" not in jobs
    assert "30_4" in world.must("status")


def test_while_the_poster_is_stopped(here, world):
    """It has said good-bye, and then a job writes: that is in its journal and nowhere else."""
    world.stop("poster")
    try:
        here.sh("echo later > f")
        done = world.mirrorctl("flush", "--now", "--timeout", "8s")
        assert done.returncode == 75, done
    finally:
        world.start()
    here.check()
    assert here.holds("f", b"later\n")
