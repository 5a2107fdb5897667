# SPDX-License-Identifier: Apache-2.0
"""The situations of situations.txt, each with exactly the changes that stand beside it."""

import pathlib
import re
import subprocess

import pytest

import judge
from conftest import Journal
from test_adversary import Result

HERE = pathlib.Path(__file__).resolve().parent


def read():
    """[(number, what, expected or None)]"""
    rows, number = [], 0
    for line in (HERE / "situations.txt").read_text().splitlines():
        if re.match(r"\d", line):
            number = int(line.split()[0])
        elif line.startswith("    "):
            what, arrow, expected = line.strip().rpartition(" -> ")
            rows.append((number, what if arrow else line.strip(),
                         set(expected.split(", ")) if arrow else None))
    return rows


def told(changes, tree):
    def name(path):
        text = str(pathlib.Path(path.decode()).relative_to(tree))
        return re.sub(r"-[A-Za-z0-9]{6}(?=$|\.nc$)", "-XXXXXX", text)
    return {f"{change.op} {name(change.path)}" for change in changes}


CASES = [row for row in read() if row[2] is not None and not row[1].startswith("$")]
LINES = [row for row in read() if row[1].startswith("$")]
ELSEWHERE = [row for row in read() if row[1].startswith("see ")]


@pytest.mark.parametrize("number, case, expected", CASES, ids=lambda it: str(it)[:40])
def test_case(number, case, expected):
    result = Result(case)
    if result.status == 77:
        pytest.skip("not possible on this system")
    assert told(result.told, result.top + "/tree") == expected


@pytest.mark.parametrize("number, line, expected", LINES, ids=lambda it: str(it)[:60])
def test_line_of_shell(tmp_path, number, line, expected):
    tree, journal = tmp_path / "tree", Journal(tmp_path / "journal", 1 << 18)
    tree.mkdir()
    _, shell, command = line.split(" ", 2)
    with open(tmp_path / "out", "wb") as out:  # the end of which does not wait for children
        subprocess.run([shell, "-c", command], cwd=tree, env=journal.environment(),
                       stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=60)
    subprocess.run(["sleep", "0.2"], check=True)  # for what they left behind
    assert told(judge.changes(journal.directory, tree), tree) == expected


@pytest.mark.parametrize("number, where, nothing", ELSEWHERE, ids=lambda it: str(it)[:60])
def test_elsewhere(number, where, nothing):
    file, name = where.removeprefix("see ").split("::")
    text = "".join(path.read_text() for path in HERE.parent.rglob(pathlib.Path(file).name))
    assert re.search(rf"^def {name}", text, re.M)


def test_all_are_there():
    others = {35, 36}  # seccomp and sanitizers: whether the program notices, not what is told
    assert {number for number, _, _ in read()} == {*range(1, 41)} - others
