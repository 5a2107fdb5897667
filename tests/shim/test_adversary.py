# SPDX-License-Identifier: Apache-2.0
"""Cases made to escape a preload library, judged by what the poster would publish.

Every miss stands in MISSED with its reason; one that is not there fails, and so does one that is
there and is none any more.
"""

import concurrent.futures
import fcntl
import os
import shutil
import subprocess
import tempfile

import pytest

import judge
from conftest import Journal, PROGRAMS, program

MISSED = {
    "bare-open": "opened by an instruction of its own, not by libc",
    "bare-rename": "renamed by an instruction of its own, not by libc",
    "opened-by-ring": "io_uring opens, writes and closes by itself",
    "removed-by-ring": "io_uring removes by itself",
    "unlinked-while-open-link-afar": "no call of the kernel tells a file's other names",
    "bound-deeply": "RTLD_DEEPBIND binds a library to libc before anything preloaded",
}


class Result:
    def __init__(self, name):
        self.name = name
        self.top = tempfile.mkdtemp(prefix="adversary-")
        try:
            self.run()
        finally:
            shutil.rmtree(self.top)

    def run(self):
        tree = os.path.join(self.top, "tree")
        os.mkdir(tree), os.mkdir(os.path.join(self.top, "outside"))
        journal = Journal(os.path.join(self.top, "journal"), 1 << 18)
        plugin = str(PROGRAMS / "libplugin.so")
        self.call(tree, {**os.environ, "LC_ALL": "C"}, "before")
        before = judge.snapshot(tree)
        self.status = self.call(tree, journal.environment(ADVERSARY_PLUGIN=plugin))
        after = judge.snapshot(tree)
        self.told = judge.changes(journal.directory, tree)
        self.lost, self.count = judge.missed(before, after, self.told)

    def call(self, tree, environment, *words):
        """Waits for all descendants: a pipe that they inherit ends when the last of them has."""
        ours, theirs = os.pipe()
        held = fcntl.fcntl(theirs, fcntl.F_DUPFD, 300)
        os.close(theirs)
        child = subprocess.Popen([program("adversary"), self.name, *words], cwd=tree,
                                 env=environment, stdin=subprocess.DEVNULL, pass_fds=[held],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        os.close(held)
        self.words = child.communicate(timeout=60)[1].decode(errors="replace")
        os.read(ours, 1)
        os.close(ours)
        return child.returncode


def cases():
    path = PROGRAMS / "adversary"
    if not path.exists():
        return []
    return subprocess.run([path], stdout=subprocess.PIPE, check=True, text=True).stdout.split()


@pytest.fixture(scope="module")
def results():
    names = cases()
    if not names:
        pytest.skip("adversary is not built here")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return {it.name: it for it in pool.map(Result, names)}


@pytest.mark.parametrize("name", cases())
def test_case(results, name):
    it = results[name]
    assert it.status != 99, it.words
    if it.status == 77:
        pytest.skip("not possible on this system")
    assert it.count > 0, "the case changed nothing"
    if name in MISSED:
        assert it.lost, "told of now: take it off the list of misses"
    else:
        assert it.lost == [], it.told


def test_score(results):
    tried = [it for it in results.values() if it.status != 77]
    held = [it for it in tried if not it.lost]
    paths, lost = sum(it.count for it in tried), sum(len(it.lost) for it in tried)
    print(f"\nadversarial cases: {len(held)} of {len(tried)} "
          f"({len(results) - len(tried)} not possible here), "
          f"paths: {paths - lost} of {paths}")
    for it in tried:
        if it.lost:
            print(f"missed: {it.name}: {MISSED.get(it.name, 'NOT ON THE LIST')}")
    assert set(MISSED) <= set(results)
    assert len(held) > len(tried) * 76 / 91
