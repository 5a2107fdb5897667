# SPDX-License-Identifier: Apache-2.0
"""What keeps everything running, and what becomes of it when it is killed itself."""
import os
import re
import signal
import subprocess
import threading

import pytest

from rig import BUILD, World, wait_until
from rig.process import kill

DAEMONS = ("poster", "winnow", "copier", "tally")


def supervisor_of(world):
    return world.status()["supervisor"]["pid"]


def test_what_is_killed_comes_back(here, world):
    for stage in (*DAEMONS, "broker"):
        before = world.kill(stage)
        assert before
        wait_until(lambda: len(world.pids(stage)) == len(before) and
                   not set(before) & set(world.pids(stage)), 60, f"{stage} to come back")
        world.wait_ready()
    assert sum(it["restarts"] for it in world.status()["supervisor"]["processes"]) > 0
    here.sh("echo 1 > a")
    here.check()


def test_children_end_with_the_supervisor_and_start_begins_anew(here, world):
    here.sh("echo 1 > a")
    brokers = world.pids("broker")
    kill(supervisor_of(world), signal.SIGKILL)
    wait_until(lambda: not any(world.pids(stage) for stage in DAEMONS), 30, "the daemons to end")
    assert world.mirrorctl("status").returncode == 3
    world.start()
    assert len(world.pids("broker")) == 1 and world.pids("broker") != brokers
    here.check()


def test_stop_ends_what_a_killed_supervisor_left(world):
    kill(supervisor_of(world), signal.SIGKILL)
    world.stop()
    assert not any(world.pids(stage) for stage in (*DAEMONS, "broker"))
    world.start()


def test_one_stage_alone(here, world):
    others = world.pids("winnow")
    world.stop("copier")
    assert not world.pids("copier") and world.pids("winnow") == others
    done = world.mirrorctl("status")
    assert done.returncode == 3 and "copier is down" in done.stdout.splitlines()[0]
    world.start("copier")
    assert world.mirrorctl("status").returncode == 0
    world.must("restart", "winnow")
    assert world.pids("winnow") != others
    here.check()


def test_broker_alone(here, world):
    """Jobs do not notice, and everything arrives when it is back."""
    world.stop("broker")
    assert not world.pids("broker")
    here.sh("for i in $(seq 50); do echo $i > $i; done")
    assert world.mirrorctl("status").stdout.startswith("STALLED (broker is down")
    world.start("broker")
    here.check()


def test_two_at_once_start_one(world):
    world.stop()
    results = []
    threads = [threading.Thread(target=lambda: results.append(world.mirrorctl("start")))
               for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [it.returncode for it in results] == [0, 0, 0], results
    assert len(world.pids("broker")) == 1 and len(world.pids("tally")) == 1


def test_changed_configuration_is_told(world):
    before = world.config["delay"]
    world.write_config(delay="2s")
    try:
        done = world.mirrorctl("start")
        assert done.returncode == 0 and "restart" in done.stderr
        assert "restart" in world.mirrorctl("status").stdout
    finally:
        world.write_config(delay=before)
    assert "restart" not in world.mirrorctl("status").stdout


def test_nothing_of_ours_runs_under_the_shim(world):
    """Also not when `start` is typed in a shell that has evaluated `env`."""
    world.stop()
    done = world.mirrorctl("start", env=world.shim_environment())
    assert done.returncode == 0, done.stderr
    for stage in DAEMONS:
        for pid in world.pids(stage):
            with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
                assert "libmirrorshim" not in file.read()


@pytest.mark.slow
def test_state_directory_with_a_long_name(tmp_path):
    """A socket's name holds 108 bytes; a path may hold more."""
    world = World(target="local", copiers=1)
    state = f"{world.directory}/{'long-' * 30}/state"
    world.environment["XDG_STATE_HOME"] = state
    with world:
        world.sh("echo 1 > a")
        world.check()


def test_a_daemon_that_cannot_start_is_told(tmp_path):
    """Exit 100: its last words, at once, and it stays down."""
    build = tmp_path / "build"
    (build / "bin").mkdir(parents=True)
    os.symlink(f"{BUILD}/lib", build / "lib")
    for name in os.listdir(f"{BUILD}/bin"):
        subprocess.run(["cp", "-l", f"{BUILD}/bin/{name}", str(build / "bin")], check=False)
        if not (build / "bin" / name).exists():
            subprocess.run(["cp", f"{BUILD}/bin/{name}", str(build / "bin")], check=True)
    tally = build / "bin/mirror-tally"
    tally.unlink()
    tally.write_text("#!/bin/sh\necho 'the disk is made of cheese' >&2\nexit 100\n")
    tally.chmod(0o755)
    world = World(target="local", copiers=1)
    try:
        control = [str(build / "bin/mirrorctl"), "-c", world.config_file]
        done = subprocess.run([*control, "start"], env=world.environment, text=True,
                              capture_output=True, timeout=120, check=False)
        assert done.returncode == 1
        assert re.search(r"tally.*made of cheese", done.stderr), done.stderr
        status = world.mirrorctl("status")
        assert status.returncode == 3 and "made of cheese" in status.stdout
    finally:
        world.close()
