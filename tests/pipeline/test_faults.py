# SPDX-License-Identifier: Apache-2.0
"""Parts that go away while there is work, and what must be true when they are back."""
import signal
import subprocess
import time

import pytest

from rig import wait_until

pytestmark = pytest.mark.slow

FILES = "for i in $(seq {}); do echo $i > f$i; done"


def test_broker_stopped(here, world):
    """No event waits on the broker: the job ends, and everything arrives when it is back."""
    world.stop("broker")
    here.sh(FILES.format(5000), seconds=60)
    here.sh("mkdir d; mv f1 d; rm f2; echo more >> f3")
    done = world.mirrorctl("flush", "--now", "--timeout", "2s")
    assert done.returncode != 0, "a flush without a broker"
    assert world.mirrorctl("status").returncode == 3
    world.start()
    here.check(seconds=240)


def test_broker_killed(here, world):
    here.sh(FILES.format(300))
    assert world.kill("broker")
    here.sh("for i in $(seq 300); do echo again >> f$i; done; mv f5 five")
    world.wait_ready()
    here.check(seconds=240)


def test_broker_hangs(here, world):
    """It neither answers nor goes away; jobs do not notice."""
    world.kill("broker", signal.SIGSTOP)
    try:
        here.sh(FILES.format(1000), seconds=60)
    finally:
        world.kill("broker", signal.SIGCONT)
    here.check(seconds=240)


@pytest.mark.parametrize("stage", ["poster", "winnow", "copier", "tally"])
def test_daemon_killed(here, world, stage):
    """kill -9 again and again in the middle of the work."""
    with subprocess.Popen(
            ["bash", "-c", "for i in $(seq 400); do echo $i > f$i; mkdir -p d$((i % 7)); "
             "mv f$i d$((i % 7))/; [ $((i % 5)) != 0 ] || rm d$((i % 7))/f$i; done"],
            cwd=here.source, env=world.shim_environment()) as job:
        for _ in range(3):
            wait_until(lambda: world.pids(stage), 60, stage)
            time.sleep(0.7)
            world.kill(stage)
        assert job.wait(60) == 0
    world.wait_ready()
    here.check(seconds=240)


def test_everything_killed(here, world):
    """As if the node had lost its user's processes: start, and the rest is done."""
    here.sh(FILES.format(200))
    for stage in ("copier", "winnow", "poster", "tally", "broker"):
        world.kill(stage)
    here.sh("echo while nobody was there > late; rm f7")
    world.wait_ready()
    here.check(seconds=240)


def test_connections_cut(here, world):
    with subprocess.Popen(["bash", "-c", "for i in $(seq 60); do head -c 300000 /dev/urandom > f$i; "
                           "done"], cwd=here.source, env=world.shim_environment()) as job:
        for _ in range(4):
            time.sleep(0.5)
            world.sshd.cut()
        assert job.wait(60) == 0
    here.check(seconds=240)


def test_sshd_away(here, world):
    world.sshd.stop()
    here.sh(FILES.format(50))
    time.sleep(3)
    world.sshd.start()
    here.check(seconds=240)


def test_stop_and_start_in_the_middle(here, world):
    here.sh(FILES.format(500))
    world.stop()
    assert world.mirrorctl("status").returncode == 3
    here.sh("echo while stopped > late; mv f9 nine; rm f10")
    world.start()
    here.check(seconds=240)


def test_nothing_stays_open_after_all_this(world):
    """No open obligation and no failed order is left of the faults above."""
    world.flush()
    done = world.mirrorctl("status")
    assert done.returncode == 0 and done.stdout.startswith("IN SYNC")
    assert not world.differences()
