# SPDX-License-Identifier: Apache-2.0
"""The score of the matrix, printed at the end."""
import pytest


class Score:
    def __init__(self):
        self.rows = []

    def add(self, name, changed, caught):
        """How many paths a command line changed, and how each that was not told is caught."""
        self.rows.append((name, changed, caught))

    def lines(self):
        missed = [row for row in self.rows if row[2]]
        every = [how for row in missed for how in row[2]]
        paths = sum(row[1] for row in self.rows)
        for name, changed, caught in missed:
            yield f"not told of: {len(caught)} of {changed} paths, {name}"
        yield (f"of those, {every.count('looked')} paths are looked for after programs known to be "
               f"unseen, {every.count('rescan')} are found by a rescan, {every.count('no')} silent")
        yield (f"{len(self.rows) - len(missed)} of {len(self.rows)} command lines, "
               f"{paths - len(every)} of {paths} paths")


SCORE = Score()


@pytest.fixture(scope="session")
def score():
    return SCORE


def pytest_terminal_summary(terminalreporter):
    if SCORE.rows:
        terminalreporter.section("the matrix")
        for line in SCORE.lines():
            terminalreporter.write_line(line)
