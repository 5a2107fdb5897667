# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong around it, the program runs as it does without us."""

import mmap
import os
import random
import subprocess
import time

import pytest

from conftest import Journal, program

# What it prints is its own doing, so it must be the same everywhere.
JOB = "for i in 1 2 3; do echo $i > f$i; done; mv f1 g; cat g f2; rm f3; mkdir d; ls; echo $?"


def run(command, cwd, environment, shell="bash"):
    argv = [shell, "-c", command] if isinstance(command, str) else command
    done = subprocess.run(argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    return done.returncode, done.stdout, done.stderr


def assert_same(command, journal, tmp_path, shell="bash", **more):
    """Bare and under the shim, each in a fresh directory; returns what both said."""
    results = []
    for name in "bare", "under":
        directory = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        bare = {**os.environ, "LC_ALL": "C", **more}
        environment = bare if name == "bare" else journal.environment(**more)
        results.append(run(command, directory, environment, shell))
    assert results[0] == results[1]
    return results[0]


# ---- a journal that somebody damages ---------------------------------------------------------

def scribble(ring, rng, how):
    view = mmap.mmap(ring.fileno(), 0)
    for _ in range(50):
        if how == "zeros":
            view[:] = bytes(len(view))
        elif how == "header":
            at = rng.randrange(0, 512)
            view[at:at + 8] = rng.choice([bytes(8), b"\xff" * 8, rng.randbytes(8)])
        else:
            at = rng.randrange(0, len(view) - 4096)
            view[at:at + 4096] = rng.randbytes(4096)
        time.sleep(0.002)
    view.close()


@pytest.mark.parametrize("how", ["zeros", "header", "anywhere"])
def test_a_ring_scribbled_over_while_it_is_used(journal, tmp_path, how):
    rng = random.Random(how)
    script = f"for k in 1 2 3 4 5; do {{ {JOB}; }} > /dev/null; rm -r d f2 g; done; echo done"
    work = [tmp_path / name for name in ("a", "b")]
    for directory in work:
        directory.mkdir()
    running = [subprocess.Popen(["bash", "-c", script], cwd=directory, env=journal.environment(),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for directory in work]
    with open(journal.directory / "ring", "r+b") as ring:
        scribble(ring, rng, how)
    for process in running:
        assert process.communicate(timeout=60) == (b"done\n", b"")
        assert process.returncode == 0
    assert_same(JOB, journal, tmp_path)


# ---- sandboxes -------------------------------------------------------------------------------

@pytest.mark.parametrize("entry", ["prctl", "syscall"])
@pytest.mark.parametrize("how", ["strict", "narrow", "wide", "refused"])
def test_a_sandbox_kills_nobody_for_what_we_call(journal, work, how, entry):
    got = journal.run([program("sandboxed"), how, entry, str(work)], work)
    assert (got.returncode, got.stdout, got.stderr) == (0, b"", b"")
    model = journal.model()
    lost = journal.facts()["dropped"]
    assert model.told(work / "written")
    if how == "strict":
        return
    assert model.kinds(work / "removed")[-1] == "unlink"
    assert model.kinds(work / "renamed") == ["rename"]
    if how == "narrow":  # what is opened inside cannot be looked at: told, and said to be lost
        assert model.kinds(work / "opened")[0] == "close" and lost == 1
    else:
        assert model.kinds(work / "opened")[0] == "open" and lost == 0
        assert model.told(work / "renamed")
