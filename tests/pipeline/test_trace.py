# SPDX-License-Identifier: Apache-2.0
"""mirrorctl run --trace: programs that no shim can be in are seen call by call."""
import os
import shutil
import signal
import subprocess
import time

import pytest

from rig import wait_until
from rig.world import BUILD

ALONE = f"{BUILD}/tests/shim/alone"
RUNS = f"{BUILD}/tests/shim/runs"
BUSYBOX = shutil.which("busybox") or "busybox"

pytestmark = pytest.mark.skipif(not os.path.exists(ALONE), reason="alone is not built here")


@pytest.fixture(scope="module", autouse=True)
def possible(world):
    done = world.mirrorctl("run", "--trace", "--", "true")
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())


def trace(here, script, **options):
    return here.world.mirrorctl("run", "--trace", "--", "bash", "-c", script, cwd=here.source,
                                **options)


@pytest.fixture
def elsewhere(here, tmp_path):
    """A shell line that goes to the source by a name that no argument shows."""
    (tmp_path / "list").write_text(here.source + "\n")
    os.mkdir(tmp_path / "cwd")
    return f"cd {tmp_path}/cwd; {BUSYBOX} sh -c 'read dir < ../list; cd $dir; %s'"


def test_static_programs(here, elsewhere):
    here.sh("mkdir d; echo old > gone; echo old > from; echo old > d/changed")
    here.check()
    work = (f"{ALONE} write d/new mkdir d/e write d/e/f append d/changed remove gone rename from to "
            "symlink text link link d/new hard chmod d/changed")
    done = trace(here, elsewhere % work)
    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: not here.world.differences(here.name), 60, "the copy")
    assert here.read("d/changed") == b"old\nalone\n"


def test_without_trace_it_is_missed(here, elsewhere):
    """Or the test above says nothing."""
    here.sh("echo 1 > a")
    here.check()
    done = here.world.mirrorctl("run", "--", "bash", "-c", elsewhere % "echo 2 > b",
                                cwd=here.source)
    assert done.returncode == 0
    here.world.flush()
    time.sleep(3)
    assert not os.path.exists(f"{here.target}/b")


def test_what_stays_open(here, elsewhere):
    """Written again, long after it was opened; and closed, by a program that runs on."""
    job = subprocess.Popen(
        [f"{BUILD}/bin/mirrorctl", "run", "--trace", "--", "bash", "-c",
         elsewhere % "exec 3> a; echo 1 >&3; sleep 4; echo 2 >&3; exec 3>&-; sleep 60"],
        cwd=here.source, env=here.world.environment)
    try:
        wait_until(lambda: here.holds("a", b"1\n2\n"), 40, "what was written last")
        assert job.poll() is None
    finally:
        job.send_signal(signal.SIGTERM)
        assert job.wait(30) == 128 + signal.SIGTERM


def test_go(here, tmp_path, elsewhere):
    go = shutil.which("go")
    if not go:
        pytest.skip("there is no go here")
    (tmp_path / "it.go").write_text(
        'package main\nimport "os"\nfunc main() { os.Mkdir("d", 0755); '
        'for i := 0; i < 2000; i++ { os.WriteFile("d/f", []byte("go"), 0600); '
        'os.Rename("d/f", "d/g") }; os.WriteFile("d/h", []byte("go"), 0600) }\n')
    subprocess.run([go, "build", "-o", "it", "it.go"], cwd=tmp_path, check=True,
                   env={**os.environ, "HOME": str(tmp_path), "GO111MODULE": "off"})
    done = trace(here, elsewhere % f"{tmp_path}/it")
    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: not here.world.differences(here.name), 60, "the copy")
    assert here.read("d/h") == b"go" and here.read("d/g") == b"go"


@pytest.mark.parametrize("way", ["posix_spawn", "posix_spawnp", "execvp", "execl", "vfork"])
def test_every_way_to_run_one(here, way):
    done = trace(here, f"cd /; {RUNS} {way} {ALONE} write {here.source}/a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    here.check()


def test_ends_as_the_command(here):
    assert trace(here, "exit 7").returncode == 7
    assert trace(here, f"{BUSYBOX} sh -c 'exit 8'").returncode == 8
    assert trace(here, "kill -9 $$").returncode == 137
    assert here.world.mirrorctl("run", "--trace", "--", "nothing-there").returncode == 127
    assert trace(here, f"env -i A=1 {BUSYBOX} sh -c 'echo $A$0$1; echo e >&2' x y").stdout == "1xy\n"


def test_what_is_left_behind_goes_on(here, elsewhere):
    begun = time.monotonic()
    done = trace(here, elsewhere % "(sleep 4; echo late > a) >/dev/null 2>&1 &")
    assert done.returncode == 0 and time.monotonic() - begun < 4
    wait_until(lambda: here.holds("a", b"late\n"), 60, "what came later")


def test_where_it_is_not_possible(here):
    """A program that is traced already cannot be traced by another one."""
    done = trace(here, f"{BUSYBOX} sh -c '{BUILD}/bin/mirrorctl run --trace -- true'")
    assert done.returncode == 2 and "seccomp" in done.stderr
