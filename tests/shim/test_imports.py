# SPDX-License-Identifier: Apache-2.0
"""No call that can change files is forgotten.

Three lists have every name that a C library exports: calls.def (wrapped), calls-not.def (can
change files, not wrapped, with the reason), libc-harmless.txt.  They are held against the libraries
of this machine, against what glibc's machine code can do, and against what all programs import.
"""

import collections
import pathlib
import platform
import re

import pytest

import elf_imports
import libc_reach

ROOT = pathlib.Path(__file__).resolve().parents[2]
GLIBC = "/lib/x86_64-linux-gnu/libc.so.6"
MUSL = "/lib/ld-musl-x86_64.so.1"
ROW = re.compile(r"^(?:NAMED|PAIRED|HELD|TOUCH|OWN)\([^,]+, (\w+), ", re.M)

needs_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 code")


def wrapped():
    return ROW.findall((ROOT / "shim" / "calls.def").read_text())


def reasons():
    """{name: reason} of calls-not.def"""
    found, reason, names = collections.defaultdict(list), "", True
    for line in (ROOT / "shim" / "calls-not.def").read_text().splitlines():
        if line.startswith("    "):
            names = True
            for name in line.split():
                found[name].append(reason)
        elif line and not line.startswith("#"):
            reason = f"{reason} {line}" if not names else line
            names = False
    return found


def harmless():
    lines = (ROOT / "tests" / "shim" / "libc-harmless.txt").read_text().splitlines()
    return [name for line in lines if not line.startswith("#") for name in line.split()]


def test_every_name_has_one_place():
    twice = collections.Counter(wrapped() + harmless())
    for name, why in reasons().items():
        twice[name] += len(why)
        assert all(len(text) > 20 for text in why), name
    assert [name for name, count in twice.items() if count > 1] == []


@needs_x86
@pytest.mark.parametrize("library", [GLIBC, MUSL])
def test_a_name_new_to_us_is_looked_at(library):
    if not pathlib.Path(library).exists():
        pytest.skip(f"{library} is not here")
    known = {*wrapped(), *reasons(), *harmless()}
    assert sorted(set(libc_reach.exports(library)) - known) == []


@needs_x86
def test_machine_code_agrees():
    """What can reach a system call that changes files is in none but the first two lists."""
    can = libc_reach.mutating(GLIBC)
    assert len(can) > 150 and can["remove"] == {"unlink", "rmdir"} and "open" in can["tmpfile"]
    listed = {*wrapped(), *reasons()}
    assert {name: ways for name, ways in can.items() if name not in listed} == {}


def test_all_programs_of_this_machine(record_property):
    count, users = elf_imports.survey()
    calls, known = set(wrapped()), {*wrapped(), *reasons(), *harmless()}
    unknown = {name: paths[:3] for (name, library), paths in users.items()
               if library == "libc.so.6" and name not in known}
    assert unknown == {}
    used = collections.Counter()
    for (name, _), paths in users.items():
        used[name] += len(paths) if name in reasons() else 0
    record_property("objects", count)
    print(f"{count} objects import {len(calls & {name for name, _ in users})} of the "
          f"{len(calls)} calls that are wrapped, and of those that are not:")
    for name, times in (+used).most_common():
        print(f"{times:6} {name}")
    assert count > 100 and "close" in {name for name, _ in users}
