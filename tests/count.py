#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""count.py FILE.xml...: adds up JUnit files of Meson and pytest.

Prints what failed and, as the last line, "N passed, N failed[, N skipped]"; exits 1 when
anything failed or nothing ran.
"""
import sys
import xml.etree.ElementTree as tree


def outcome(case):
    """Of one <testcase>: passed, failed or skipped."""
    for tag in ("failure", "error"):
        if case.find(tag) is not None:
            return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def cases_of(file):
    try:
        root = tree.parse(file).getroot()
    except (OSError, tree.ParseError) as error:
        yield "failed", f"{file}: {error}"
        return
    for suite in root.iter("testsuite"):
        cases = suite.findall("testcase")
        for case in cases:
            where = case.get("classname") or suite.get("name") or ""
            yield outcome(case), f"{where} {case.get('name')}".strip()
        # A program that died without a word has a failed suite and no failed case.
        told = int(suite.get("failures") or 0) + int(suite.get("errors") or 0)
        if told > 0 and all(outcome(case) != "failed" for case in cases):
            yield "failed", f"{suite.get('name')} (the program itself)"


def main():
    count = {"passed": 0, "failed": 0, "skipped": 0}
    failed = []
    for file in sys.argv[1:]:
        for result, name in cases_of(file):
            count[result] += 1
            if result == "failed":
                failed.append(name)
    for name in failed:
        print(f"FAILED  {name}")
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    print(f"{count['passed']} passed, {count['failed']} failed{skipped}")
    return 1 if count["failed"] or not count["passed"] else 0


sys.exit(main())
