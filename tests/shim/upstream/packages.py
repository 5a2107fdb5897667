# SPDX-License-Identifier: Apache-2.0
"""How to build and test each package: rows of shell commands, run in its source directory.

`test` prints a line per result; `result` finds name and outcome in it (and `file`, where names are
not enough; name2 and result2 where there are two forms).
"""
import collections

Package = collections.namedtuple("Package", "source build test result")

# Debian's patches touch configure.ac, which is no reason to make configure anew.
CONFIGURE = ("./configure -q CFLAGS=-O1 --disable-dependency-tracking --disable-nls "
             "AUTOCONF=: AUTOHEADER=: AUTOMAKE=: ACLOCAL=: MAKEINFO=: >configure.out 2>&1 && "
             "make -s -j2 >make.out 2>&1")

# Automake's way: a .trs file for each test.
AUTOMAKE = ("find . -name '*.trs' -delete; make -k -j2 check {} >check.out 2>&1; "
            "find . -name '*.trs' -exec grep -H '^:test-result:' {{}} +")
AUTOMAKE_RESULT = r"^\./(?P<name>\S+)\.trs::test-result: (?P<result>\w+)"

PACKAGES = {
    "sed": Package("sed", CONFIGURE, AUTOMAKE.format("SUBDIRS=."), AUTOMAKE_RESULT),
    "grep": Package("grep", CONFIGURE, AUTOMAKE.format("SUBDIRS='lib src tests'"), AUTOMAKE_RESULT),
    "findutils": Package(
        "findutils", CONFIGURE,
        "find . -name '*.trs' -delete; "
        "for d in find xargs locate tests; do make -k -C $d check >check-$d.out 2>&1; done; "
        "find . -name '*.trs' -exec grep -H '^:test-result:' {} +; grep -HE '^[A-Z]{4,}: ' */testsuite/*.sum",
        AUTOMAKE_RESULT + r"|^(?P<file>\S+\.sum):(?P<result2>[A-Z]+): (?P<name2>.+)"),
    "coreutils": Package(  # those of its tests that are about changing files
        "coreutils", CONFIGURE,
        AUTOMAKE.format("SUBDIRS=. TESTS=\"$(grep -oE 'tests/(chgrp|chmod|chown|cp|dd|install|ln|"
                        "mkdir|mv|rm|rmdir|shred|split|tee|touch|truncate)/[^ ]+\\.(sh|pl)' "
                        "tests/local.mk | sort | tr '\\n' ' ')\""), AUTOMAKE_RESULT),
    "tar": Package(
        "tar", CONFIGURE,
        "make -C tests -s check TESTSUITEFLAGS=-j2 2>&1; true",
        r"^\s*(?P<name>\d+: .+?)\s+(?P<result>ok|FAILED|skipped|expected failure)\b"),
    "sqlite": Package(
        "sqlite3", "./configure -q --disable-readline CFLAGS=-O1 >configure.out 2>&1 && "
        "make -s testfixture >make.out 2>&1",
        "./testfixture test/veryquick.test 2>&1",
        r"^(?P<name>\S+)\.\.\. (?P<result>Ok|Omitted)|^! (?P<name2>\S+) (?P<result2>expected)"),
}
