# SPDX-License-Identifier: Apache-2.0
"""The score of the matrix, printed at the end."""
import pytest


class Score:
    def __init__(self):
        self.rows = []

    def add(self, name, changed, missed):
        self.rows.append((name, changed, missed))

    def lines(self):
        missed = [row for row in self.rows if row[2]]
        paths = sum(row[1] for row in self.rows)
        for name, changed, count in missed:
            yield f"not told of: {count} of {changed} paths, {name}"
        yield (f"{len(self.rows) - len(missed)} of {len(self.rows)} command lines, "
               f"{paths - sum(row[2] for row in missed)} of {paths} paths")


SCORE = Score()


@pytest.fixture(scope="session")
def score():
    return SCORE


def pytest_terminal_summary(terminalreporter):
    if SCORE.rows:
        terminalreporter.section("the matrix")
        for line in SCORE.lines():
            terminalreporter.write_line(line)
