# SPDX-License-Identifier: Apache-2.0
"""What the commands print and how they end."""
import json
import os
import shlex
import shutil
import signal
import subprocess
import time

import pytest

from rig import World, wait_until


# --- status ------------------------------------------------------------------------------------

def test_status_in_sync(here, world):
    here.sh("echo 1 > a")
    world.flush()
    done = world.mirrorctl("status")
    assert done.returncode == 0
    assert done.stdout.startswith("IN SYNC")
    assert "\033" not in done.stdout, "colours where there is no terminal"
    for stage in ("broker", "poster", "winnow", "copier", "tally"):
        assert stage in done.stdout
    assert isinstance(world.status(), dict)


def test_status_lagging_is_zero(here, world):
    world.kill("copier", signal.SIGSTOP)
    try:
        here.sh("echo 1 > a")
        wait_until(lambda: not world.mirrorctl("status").stdout.startswith("IN SYNC"), 60,
                   "the lag to be seen")
    finally:
        world.kill("copier", signal.SIGCONT)
    here.check()


def test_status_tells_what_is_down(world):
    world.stop("tally")
    done = world.mirrorctl("status")
    assert done.returncode == 3 and "tally" in done.stdout + done.stderr
    world.start()
    assert world.mirrorctl("status").returncode == 0


# --- start and stop -----------------------------------------------------------------------------

def test_start_twice_and_stop_twice(world):
    pids = {stage: world.pids(stage) for stage in ("broker", "poster", "winnow", "copier", "tally")}
    assert all(pids.values())
    world.start()
    assert pids == {stage: world.pids(stage) for stage in pids}, "started again"
    world.stop()
    world.stop()
    assert not any(world.pids(stage) for stage in pids)
    done = world.mirrorctl("status")
    assert done.returncode == 3 and done.stdout.startswith("STOPPED")
    world.start()


def test_no_poster_while_stopped(here, world):
    """`stop` means it: a job under the shim does not bring anything up."""
    world.stop()
    here.sh("echo 1 > a; sleep 1")
    assert not world.pids("poster")
    world.start()
    here.check()


# --- jobs ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("script, status", [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)])
def test_run_ends_as_its_command(world, script, status):
    done = world.mirrorctl("run", "--", "sh", "-c", script)
    ended = done.returncode if done.returncode >= 0 else 128 - done.returncode  # as a shell says it
    assert ended == status


def test_run_without_a_command(world):
    assert world.mirrorctl("run", "--", "/no/such/program").returncode == 127
    assert world.mirrorctl("run", "--", "/etc/passwd").returncode == 126


def test_run_records(here, world):
    done = world.mirrorctl("run", "--", "sh", "-c", "echo 1 > a; rm -f b", cwd=here.source)
    assert done.returncode == 0 and done.stdout == "" and done.stderr == ""
    here.check()


def test_env_is_for_a_shell(world):
    done = world.mirrorctl("env")
    lines = done.stdout.splitlines()
    assert [line.split("=")[0] for line in lines] == ["export LD_PRELOAD", "export MIRROR_JOURNAL"]
    for line in lines:
        value = shlex.split(line)[1].split("=", 1)[1]
        assert value.startswith("/")
    kept = world.mirrorctl("env", env={**world.environment, "LD_PRELOAD": "/lib/other.so"})
    assert "/lib/other.so" in kept.stdout


def test_journal_shows_records(here, world):
    world.stop("poster")
    here.sh("echo 1 > 'a b'; rm 'a b'")
    text = world.must("journal")
    assert "a b" in text
    lines = [json.loads(line) for line in world.must("journal", "--json").splitlines()]
    assert any("a b" in json.dumps(line) for line in lines)
    world.start()
    here.check()


# --- audit --------------------------------------------------------------------------------------

def test_audit_same_then_different_then_repaired(here, world):
    here.sh("mkdir d; for i in $(seq 20); do echo $i > d/$i; done; ln -s 1 d/s")
    here.check()
    assert world.audit().returncode == 0
    os.remove(f"{here.target}/d/7")
    with open(f"{here.target}/d/8", "a", encoding="ascii") as file:
        file.write("spoilt")
    open(f"{here.target}/d/extra", "w", encoding="ascii").close()
    os.chmod(f"{here.target}/d/9", 0o600 if os.stat(f"{here.source}/d/9").st_mode & 0o77 else 0o666)
    two_hours_ago = time.time() - 7200
    left = f"{here.target}/d/.mirror-{int(two_hours_ago * 1000):011x}00000"
    open(left, "w", encoding="ascii").close()
    os.utime(left, (two_hours_ago, two_hours_ago))
    done = world.audit()
    assert done.returncode == 1
    for name in ("d/7", "d/8", "d/9", "d/extra", f"d/{os.path.basename(left)}"):
        assert f"{here.name}/{name}" in done.stdout, done.stdout
    as_json = world.audit("--json")
    assert as_json.returncode == 1
    for line in as_json.stdout.splitlines():
        json.loads(line)
    world.audit("--repair")
    here.check()
    assert not os.path.exists(left)
    assert world.audit().returncode == 0


def test_audit_checksum_finds_what_stat_cannot(here, world):
    here.sh("echo aaaa > a")
    here.check()
    info = os.stat(f"{here.target}/a")
    with open(f"{here.target}/a", "r+b") as file:
        file.write(b"b")
    os.utime(f"{here.target}/a", ns=(info.st_atime_ns, info.st_mtime_ns))
    path = f"{here.source}/a"
    assert world.audit(path).returncode == 0
    assert world.audit("--checksum", path).returncode == 1
    world.audit("--checksum", "--repair", path)
    here.check()


def test_audit_of_two_directories(tmp_path, world):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/f").write_text("1")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert world.audit(str(tmp_path / "a"), str(tmp_path / "b")).returncode == 0
    (tmp_path / "b/f").write_text("22")
    assert world.audit(str(tmp_path / "a"), str(tmp_path / "b")).returncode == 1
    assert world.audit(str(tmp_path / "a"), str(tmp_path / "none")).returncode == 2


# --- sync -----------------------------------------------------------------------------------------

def test_sync_brings_what_nobody_saw(here, world):
    """Made without the shim: only a bulk pass can know."""
    os.makedirs(f"{here.source}/d/e")
    for number in range(30):
        with open(f"{here.source}/d/e/{number}", "w", encoding="ascii") as file:
            file.write(str(number))
    world.flush()
    assert not os.path.exists(f"{here.target}/d/e")
    dry = world.mirrorctl("sync", "--dry-run", here.source)
    assert dry.returncode == 0
    assert not os.path.exists(f"{here.target}/d/e")
    world.must("sync", here.source)
    here.check()


def test_sync_deletes_only_when_told(here, world):
    here.sh("echo 1 > a")
    here.check()
    with open(f"{here.target}/extra", "w", encoding="ascii") as file:
        file.write("x")
    world.must("sync", here.source)
    world.flush()
    assert os.path.exists(f"{here.target}/extra")
    world.must("sync", "--delete", here.source)
    here.check()


def test_sync_of_a_path_that_is_nobodys(world):
    done = world.mirrorctl("sync", "/etc")
    assert done.returncode in (1, 2) and done.stderr


# --- the rest ---------------------------------------------------------------------------------------

def test_doctor_is_content(world):
    done = world.mirrorctl("doctor")
    assert done.returncode == 0, (done.stdout, done.stderr)


def test_excluded_names_stay_here():
    with World(target="local", exclude=["*.swp", "scratch/"]) as world:
        world.sh("mkdir scratch d; echo 1 > scratch/a; echo 2 > d/x.swp; echo 3 > d/y")
        world.flush()
        assert sorted(os.listdir(f"{world.target}/d")) == ["y"]
        assert not os.path.exists(f"{world.target}/scratch/a")
        assert world.audit().returncode == 0


@pytest.mark.slow
def test_two_worlds_do_not_meet():
    with World(target="local") as one, World(target="local") as two:
        one.sh("echo one > a")
        two.sh("echo two > a; echo 2 > b")
        one.check()
        two.check()
        one.stop()
        two.sh("rm b")
        two.check()


def test_nothing_is_left_after_stop():
    with World() as world:
        world.sh("echo 1 > a")
        world.check()
    assert not os.path.exists(world.directory)
    assert subprocess.run(["ls", "/dev/shm"], capture_output=True, text=True,
                          check=True).stdout.find(world.mirror) < 0
