# SPDX-License-Identifier: Apache-2.0
"""Random sequences of calls, bare and under the shim: the same to the last descriptor.

SEQUENCES=FIRST:COUNT chooses which; else they begin at a number drawn anew each time.
"""

import os
import random
import shutil
import subprocess

import pytest

from conftest import Journal, program

CHUNK = 500  # so that one journal holds it all


def chosen():
    text = os.environ.get("SEQUENCES", ":250")
    first, _, count = text.partition(":")
    return int(first) if first else random.randrange(1 << 40), int(count or 1)


def start(command, environment, output):
    with open(output, "wb") as out:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                stderr=subprocess.PIPE)


def difference(bare, under):
    """The first line that differs, with its sequence and what came before."""
    number, recent = b"?", []
    for mine, yours in zip(bare.splitlines(), under.splitlines() + [b"(nothing more)"]):
        if mine.startswith(b"==== "):
            number, recent = mine[5:], []
        if mine != yours:
            lines = b"\n".join([*recent[-12:], b"bare:  " + mine, b"under: " + yours])
            return f"replay with SEQUENCES={number.decode()}:1\n{lines.decode(errors='replace')}"
        recent.append(mine)
    return f"one ends before the other, in sequence {number.decode()}"


def run_both(place, first, count):
    journal = Journal(place / "journal", 1 << 24)
    bare_environment = {**os.environ, "LC_ALL": "C"}
    runs = []
    for name, environment in ("bare", bare_environment), ("shim", journal.environment()):
        directory = place / name
        directory.mkdir()
        runs.append(start([program("random-calls"), str(first), str(count), str(directory)],
                          environment, place / (name + ".txt")))
    errors = [run.communicate(timeout=600)[1] for run in runs]
    bare, under = (place / "bare.txt").read_bytes(), (place / "shim.txt").read_bytes()
    assert errors == [b"", b""] and [run.returncode for run in runs] == [0, 0]
    assert bare.count(b"==== ") == count
    if bare != under:
        pytest.fail(difference(bare, under), pytrace=False)
    assert journal.facts()["head"] > count * 200  # it did listen
    assert journal.facts()["torn"] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="as root, random calls would damage the machine")
def test_random_sequences(tmp_path):
    first, count = chosen()
    print(f"SEQUENCES={first}:{count}")
    for start_at in range(first, first + count, CHUNK):
        place = tmp_path / str(start_at)
        place.mkdir()
        run_both(place, start_at, min(CHUNK, first + count - start_at))
        shutil.rmtree(place, ignore_errors=True)
