# SPDX-License-Identifier: Apache-2.0
"""The journal made shorter while programs have it mapped: nobody dies, nothing is lost in silence.

And SIGBUS is the program's own all the same: what it sets, sees and dies of is what it is bare.
"""

import os
import random
import signal
import subprocess
import time

import pytest

from conftest import Journal, program

HOWS = ["shown", "caught", "threads", "child", "sent", "fault", "kill", "ignored", "blocked",
        "reset"]
VARIANTS = ["bus", "bus-musl"]
DEADLY = {"fault", "kill", "blocked", "reset", "caught"}


def shorten(journal, size):
    os.truncate(journal.directory / "ring", size)


def wait_for(path):
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.005)
    assert path.exists()


def run(variant, how, directory, environment, meanwhile=lambda: None):
    """Returns how it ended and what it said."""
    directory.mkdir()
    it = subprocess.Popen([program(variant), how], cwd=directory, env=environment,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(directory / "before-renamed")
    meanwhile()
    out = it.communicate(b"\n", timeout=60)[0].decode()
    return it.returncode, out


def run_bare(variant, how, tmp_path):
    result = run(variant, how, tmp_path / "bare", {**os.environ, "LC_ALL": "C"})
    assert result[0] == (-signal.SIGBUS if how in DEADLY else 0), result
    return result


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("how", HOWS)
def test_the_signal_is_the_programs_own(journal, tmp_path, variant, how):
    bare = run_bare(variant, how, tmp_path)
    assert run(variant, how, tmp_path / "under", journal.environment()) == bare
    assert journal.model().told(tmp_path / "under" / "behind-renamed")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("how", HOWS)
def test_and_so_it_is_when_the_journal_was_made_shorter(journal, tmp_path, variant, how):
    bare = run_bare(variant, how, tmp_path)
    assert run(variant, how, tmp_path / "under", journal.environment(),
               lambda: shorten(journal, 0)) == bare


SIZES = {"nothing": 0, "part of the header": 100, "the header": 4096, "drafts": 80000,
         "most": 200000}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("replaced", ["at once", "later"])
def test_what_comes_after_is_told_or_counted(journal, tmp_path, size, replaced):
    under = tmp_path / "under"

    def meanwhile():
        shorten(journal, SIZES[size])
        if replaced == "at once":
            journal.take()

    code, out = run("bus", "ignored", under, journal.environment(), meanwhile)
    assert (code, out) == (0, "lives\n")
    assert (under / "behind-renamed").exists()
    records = journal.take()  # the reader puts a new one in its place, at the latest here
    facts = journal.facts()
    assert facts["dropped"] >= 1
    assert (journal.directory / "ring").stat().st_size > 1 << 20
    if replaced == "at once":
        assert [r["kind"] for r in records].count("rename") >= 3
    code, out = run("bus", "ignored", tmp_path / "next", journal.environment())
    assert (code, out) == (0, "lives\n")
    assert journal.model().told(tmp_path / "next" / "behind-renamed")


JOB = "for i in 1 2 3 4 5 6; do echo $i > f$i; done; mv f1 g; ln g h; rm f2; mkdir d; rmdir d; rm f* g h"


def test_made_shorter_again_and_again(tmp_path):
    """At any instruction: shells, and threads that have SIGBUS handlers; what is read is no nonsense."""
    journal = Journal(tmp_path / "journal", 1 << 18)
    script = f"for k in $(seq 25); do {JOB}; done; echo done"
    rng = random.Random(4711)
    commands = [["bash", "-c", script], ["dash", "-c", script.replace("$(seq 25)", "1 2 3 4")],
                [program("bus"), "threads"]]
    running = []
    for i, command in enumerate(commands):
        directory = tmp_path / str(i)
        directory.mkdir()
        running.append(subprocess.Popen(command, cwd=directory, env=journal.environment(),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE))
    turns = 0
    while any(it.poll() is None for it in running):
        shorten(journal, rng.choice(list(SIZES.values())))
        if rng.random() < 0.8:
            for record in journal.take():
                path = record.get("path", "")
                assert "\0" not in path and "base64" not in str(sorted(record)), record
        time.sleep(rng.choice([0, 0.002, 0.01]))
        turns += 1
    for it, command in zip(running, commands):
        said = b"threads ended\n" if command[0] == program("bus") else b"done\n"
        assert (*it.communicate(timeout=60), it.returncode) == (said, b"", 0)
    assert turns > 3


def test_ignored_from_the_start_stays_so(journal, work):
    """SIG_IGN passes over exec, a handler does not."""
    script = "trap '' BUS; echo x > f; mv f g; sh -c 'echo y > h; mv h i; kill -BUS $$; echo lives'"
    got = journal.run(script, work, shell="bash")
    assert (got.returncode, got.stdout, got.stderr) == (0, b"lives\n", b"")
    got = journal.run("echo x > f; exec grep SigIgn /proc/self/status", work, shell="bash")
    assert not int(got.stdout.split()[1], 16) & 1 << signal.SIGBUS - 1


ALL_USED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    pass
os.mkdir("made")
sys.stdin.read(1)
os.rename("made", "moved")
print("lives")
"""


def test_attached_without_a_descriptor(journal, work):
    it = subprocess.Popen(["/usr/bin/python3", "-c", ALL_USED], cwd=work, env=journal.environment(),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(work / "made")
    time.sleep(0.1)
    shorten(journal, 0)
    assert (it.communicate(b"\n", timeout=60)[0], it.returncode) == (b"lives\n", 0)


def test_attached_by_the_child_of_vfork(journal, work):
    """It shares its memory with a parent that has to be safe, too."""
    it = subprocess.Popen([program("bus"), "first-by-child"], cwd=work, env=journal.environment(),
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(work / "by-child-renamed")
    shorten(journal, 0)
    assert (it.communicate(b"\n", timeout=60)[0], it.returncode) == (b"lives\n", 0)
