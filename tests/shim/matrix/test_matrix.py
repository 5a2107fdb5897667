# SPDX-License-Identifier: Apache-2.0
"""One test for each command line of the table; the package says what is where."""
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from . import table, tree
from .judge import Judge

HERE = pathlib.Path(__file__).parent
PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"  # no stand-ins for what Debian has
IMPOSSIBLE = 77
PREAMBLE = "cd w\nset -e -o pipefail\n"


def marked(command):
    marks = [] if "quick" in command.marks else [pytest.mark.full]
    return pytest.param(command, id=command.name, marks=marks)


def environment(base, side, under):
    it = {"PATH": f"{HERE}:{PATH}", "HOME": f"{base}/home", "TMPDIR": f"{base}/tmp", "LC_ALL": "C",
          "TZ": "UTC", "USER": os.environ.get("USER", "somebody"), "SHELL": "/bin/sh",
          "MATRIX_SIDE": str(side), "EMAIL": "x@example.org"}
    for who in ("AUTHOR", "COMMITTER"):
        it |= {f"GIT_{who}_NAME": "n", f"GIT_{who}_EMAIL": "n@example.org",
               f"GIT_{who}_DATE": "@1600000000 +0000"}
    it |= {"HGUSER": "n", "GIT_CONFIG_NOSYSTEM": "1", "SOURCE_DATE_EPOCH": "1600000000"}
    return it | {k: v for k, v in under.items() if k in ("LD_PRELOAD", "MIRROR_JOURNAL")}


def run(command, base, environ):
    """Waits for the ends of output, so for what a command leaves in the background too.

    What it says to stderr may name processes: numbers are not compared.
    """
    process = subprocess.Popen(["bash", "-c", PREAMBLE + command.script], cwd=base, env=environ,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, words = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, out, re.sub(rb" *\b\d{2,}\b", b" N", words)  # a pid, and padding


def shape(base, facts):
    """Names and modes of what is left; what is in it may hold times and process numbers."""
    work = os.fsencode(base / "w") + b"/"
    return {path: it.mode for path, it in facts.items() if path.startswith(work)}


def remove(base):
    subprocess.run(["chmod", "-R", "u+rwX", str(base)], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(base)


@pytest.mark.parametrize("command", [marked(it) for it in table.commands()])
def test_command(command, journal, tmp_path, score):
    for name in command.programs:
        if not shutil.which(name, path=PATH):
            pytest.skip(f"{name} is not installed")
    base, side = tmp_path / "base", tmp_path / "side"
    side.mkdir()

    tree.populate(base)
    bare = run(command, base, environment(base, side, {}))
    if bare[0] == IMPOSSIBLE:
        pytest.skip("its script says that it cannot be done here")
    assert bare[0] == 0, bare
    left = tree.snapshot(base)
    remove(base)

    tree.populate(base)
    before = tree.snapshot(base)
    under = run(command, base, environment(base, side, journal.environment()))
    after = tree.snapshot(base)
    dropped = journal.facts()["dropped"]
    judge = Judge(journal.model(), before, after)
    changed = judge.changed()
    assert changed, "this command line changes nothing"
    missed = [(os.fsdecode(os.path.relpath(path, os.fsencode(base))),
               "rescan" if dropped else "looked" if judge.looked_for(path) else "no")
              for path in judge.missed()]
    score.add(command.name, len(changed), [caught for _, caught in missed])
    remove(base)

    if "varies" in command.marks:
        assert under[0] == bare[0], under
    else:
        assert under == bare
        assert shape(base, after) == shape(base, left)
    check_misses(missed, table.misses(command.name))


def check_misses(missed, expected):
    news = [it for it in missed if not any(table.matches(it, e) for e in expected)]
    past = [e for e in expected if not any(table.matches(it, e) for it in missed)]
    assert not news, f"changed, and nothing told: {news}"
    assert not past, f"no longer so, to be removed from misses: {past}"
