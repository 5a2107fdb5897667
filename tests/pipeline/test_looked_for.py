# SPDX-License-Identifier: Apache-2.0
"""Programs that no preload sees: what they did arrives by itself, and is counted."""
import os
import shutil
import subprocess
import sys
import time

import pytest

from rig import wait_until
from rig.process import descendants, kill
from rig.world import BUILD

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ALONE = f"{BUILD}/tests/shim/alone"
BUSYBOX = shutil.which("busybox") or "busybox"

pytestmark = pytest.mark.skipif(not os.path.exists(ALONE), reason="alone is not built here")


def arrives(here, seconds=60):
    """Nobody flushes: what the program did is found after its end, the delay passes."""
    wait_until(lambda: not here.world.differences(here.name), seconds,
               f"the copy: {here.world.differences(here.name)}")


def test_static_program(here):
    here.sh("mkdir d; echo old > gone; echo old > from; echo old > d/changed; echo x > same")
    here.check()
    here.sh(f"cd d; {ALONE} write new mkdir e write e/f append changed remove ../gone "
            "rename ../from ../to symlink text link link new hard chmod changed")
    arrives(here)
    assert here.read("d/changed") == b"old\nalone\n"


def test_busybox(here):
    here.sh(f"""
        {BUSYBOX} sh -c 'mkdir -p a/b; echo 1 > a/b/f; seq 1000 > a/g; cp a/g a/h; mv a/h a/b/'
        {BUSYBOX} tar cf a.tar a; {BUSYBOX} mkdir out; {BUSYBOX} tar xf a.tar -C out
        {BUSYBOX} rm -r a/b; {BUSYBOX} sed -i s/1/one/ out/a/g""")
    arrives(here)


def test_cleared_environment(here):
    here.sh("env -i sh -c 'echo 1 > a; mkdir b; mv a b/c; ln -s b l'")
    arrives(here)


def test_go(here, tmp_path):
    go = shutil.which("go")
    if not go:
        pytest.skip("there is no go here")
    (tmp_path / "it.go").write_text(
        'package main\nimport "os"\nfunc main() { os.Mkdir("d", 0755); '
        'os.WriteFile("d/f", []byte("go"), 0600); os.Rename("d/f", "d/g") }\n')
    subprocess.run([go, "build", "-o", "it", "it.go"], cwd=tmp_path, check=True,
                   env={**os.environ, "HOME": str(tmp_path), "GO111MODULE": "off"})
    here.sh(f"{tmp_path}/it")
    arrives(here)
    assert here.read("d/g") == b"go"


def test_paths_outside_of_the_working_directory(here):
    here.sh(f"mkdir d e; cd /; {BUSYBOX} dd if=/dev/zero of={here.source}/d/out bs=100 count=1 2>&1;"
            f"{ALONE} write {here.source}/e/f")
    arrives(here)


def test_a_flush_waits_for_it(here):
    here.sh(f"mkdir d; cd d; {ALONE} write f mkdir e write e/g")
    here.check()


def test_while_it_runs(here, world):
    """max_delay is 5 s here."""
    with subprocess.Popen(["bash", "-c", f"{ALONE} write a sleep 30000 write b; true"],
                          cwd=here.source, env=world.shim_environment()) as job:
        try:
            wait_until(lambda: here.holds("a", b"alone\n"), 25, "what a running program wrote")
            assert job.poll() is None
        finally:
            for pid in descendants(job.pid):
                kill(pid)
    arrives(here)


def test_left_behind(here):
    """A child that outlives its parent, and one that has gone to another session meanwhile."""
    here.sh(f"{ALONE} write a later sleep 3000 write b; sleep 0.2")
    arrives(here)
    wait_until(lambda: here.holds("b", b"alone\n"), 60, "what the child wrote")
    here.sh(f"{BUSYBOX} sh -c '{BUSYBOX} setsid {BUSYBOX} sh -c \"sleep 4; echo late > c\" & sleep 2'")
    wait_until(lambda: here.holds("c", b"late\n"), 60, "what the daemon wrote")


def test_left_behind_in_session_0():
    """The session was begun outside of the namespace of pids, as in many a container."""
    inside = ["unshare", "--user", "--map-current-user", "--pid", "--fork", "--mount-proc",
              "--kill-child"]
    if subprocess.run([*inside, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("namespaces are not allowed here")
    done = subprocess.run(
        [*inside, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-c",
         os.path.join(TESTS, "pytest.ini"), "--rootdir", TESTS, f"{__file__}::test_left_behind"],
        text=True, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stdout


def test_the_poster_is_killed_meanwhile(here, world):
    here.sh(f"(cd /; exec sleep 0.1); {ALONE} write a sleep 3000 write b &")
    time.sleep(1.5)
    world.kill("poster")
    time.sleep(3)
    world.wait_ready()
    arrives(here)
    assert here.read("b") == b"alone\n"


def test_counted_by_job(here, world):
    subprocess.run(["bash", "-c", f"{ALONE} write a write b; {ALONE} write c"], cwd=here.source,
                   env={**world.shim_environment(), "SLURM_JOB_ID": "4711"}, check=True)
    arrives(here)

    def counted():
        jobs = {it["job"]: it for it in world.status()["jobs"]}
        it = jobs.get("4711", {})
        return it.get("unseen_programs") == 2 and it.get("unseen_found") == 3
    wait_until(counted, 30, "the figures")
    status = world.status()
    assert status["totals"]["unseen_programs"] >= 2 and status["totals"]["unseen_found"] >= 3
    text = world.must("status")
    assert "unseen" in text and "(3 files found)" in text


def test_run_directly(here, world):
    """mirrorctl itself has no shim in it."""
    here.sh("mkdir d")
    done = world.mirrorctl("run", "--", ALONE, "write", "a", cwd=f"{here.source}/d")
    assert done.returncode == 0
    arrives(here)
    done = world.mirrorctl("run", "--trace", "--", ALONE, "write", "b", cwd=f"{here.source}/d")
    assert done.returncode in (0, 2)
    arrives(here)
