# SPDX-License-Identifier: Apache-2.0
"""The two tables of the matrix: `commands`, and `misses`, what is known to go unseen.

A command line is a name, the programs it takes, its marks, and a script for bash below:

    NAME: PROGRAM... [@quick] [@varies]
    	SCRIPT

@quick: belongs to the selection that runs always.  @varies: what it prints and which files it
leaves differ from run to run.  A script that finds something impossible here exits with 77.

A miss is the command line's name, a pattern of paths, how it is caught otherwise, and the reason:

    NAME  PATTERN  CAUGHT  REASON

CAUGHT is `looked` where a record says that an unseen program works there, so that a poster looks for
what it changes; `rescan` where records were dropped and counted; `no`.
"""
import collections
import fnmatch
import pathlib
import re

HERE = pathlib.Path(__file__).parent

Command = collections.namedtuple("Command", "name programs marks script")


def _header(line, number):
    match = re.fullmatch(r"([\w.+-]+):((?: \S+)*)", line)
    if not match:
        raise ValueError(f"commands:{number}: neither a name nor a script: {line!r}")
    words = match[2].split()
    return Command(match[1], [w for w in words if w[0] != "@"],
                   {w[1:] for w in words if w[0] == "@"}, [])


def commands():
    found = []
    for number, line in enumerate((HERE / "commands").read_text().splitlines(), 1):
        if line.startswith("\t"):
            found[-1].script.append(line[1:])
        elif line and not line.startswith("#"):
            found.append(_header(line, number))
    names = [it.name for it in found]
    assert len(set(names)) == len(names), sorted(n for n in names if names.count(n) > 1)
    return [it._replace(script="\n".join(it.script) + "\n") for it in found]


def misses(name):
    """(pattern, caught) of what this command line changes without a record."""
    lines = (HERE / "misses").read_text().splitlines()
    rows = [line.split(None, 3) for line in lines if line and not line.startswith("#")]
    assert all(len(row) == 4 for row in rows), "a miss without a reason"
    return [tuple(row[1:3]) for row in rows if row[0] == name]


def matches(miss, expected):
    return fnmatch.fnmatchcase(miss[0], expected[0]) and miss[1] == expected[1]
