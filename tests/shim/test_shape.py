# SPDX-License-Identifier: Apache-2.0
"""What the file is: exports = calls.def, nothing needed, nothing versioned, little stack."""

import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import SHIM

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "shim"


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def symbols():
    return [line.split() for line in output("nm", "-D", str(SHIM)).splitlines()]


def rows():
    text = (SOURCE / "calls.def").read_text()
    row = re.compile(r"^(?:NAMED|PAIRED|HELD|TOUCH|OWN|STUB)\(([^,]+), (\w+), ", re.M)
    return [name for _, name in row.findall(text)]


def test_exports_are_the_list():
    exported = {s[-1] for s in symbols() if s[-2] not in "wU"}
    assert exported == set(rows())
    assert len(rows()) == len(set(rows())) > 90


def test_imports_are_weak_and_few():
    imported = {s[-1]: s[-2] for s in symbols() if len(s) == 2}
    assert set(imported.values()) == {"w"}
    assert set(imported) == {"__errno_location", "_r_debug", "_dl_debug_addr", "environ"}


def test_needs_nothing():
    dynamic = output("readelf", "-d", str(SHIM))
    assert "NEEDED" not in dynamic and "VERNEED" not in dynamic and "TEXTREL" not in dynamic
    assert output("readelf", "-V", str(SHIM)).strip() == "No version information found in this file."


def test_builds_for_aarch64_and_needs_nothing_there(tmp_path):
    """No build of the whole: what the compiler makes of it, and what it would call."""
    compiler = "aarch64-linux-gnu-gcc"
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    root = SOURCE.parent
    meson = (SOURCE / "meson.build").read_text()
    sources = [str(SOURCE / name) for name in re.findall(r"^  '(\S+\.c)',", meson, re.M)]
    flags = [flag for flag in re.findall(r"'(-[^']+)'", meson.split("shared_module")[0])]
    assert len(sources) > 20 and "-mno-outline-atomics" in flags
    library = tmp_path / "libmirrorshim.so"
    subprocess.run([compiler, "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Werror=stack-usage=1024",
                    *flags, "-I", str(root / "lib"), "-I", str(SOURCE), "-shared", "-nostdlib",
                    "-nostartfiles", f"-Wl,-T,{SOURCE}/layout.ld", "-o", str(library), *sources],
                   check=True, cwd=tmp_path)
    wanted = {line.split()[-1]: line.split()[-2]
              for line in output("nm", "-D", str(library)).splitlines() if len(line.split()) == 2}
    assert set(wanted.values()) == {"w"} and len(wanted) == 4


def test_has_no_thread_local_storage():
    assert " TLS " not in output("readelf", "-lW", str(SHIM))


def test_frames_stay_below_a_kibibyte():
    """The compiler's own figures, from -fstack-usage beside each object."""
    usage = [line.split("\t") for file in SHIM.parent.glob("libmirrorshim.so.p/*.su")
             for line in file.read_text().splitlines()]
    assert len(usage) > 100
    for place, size, kind in usage:
        assert int(size) < 1024 and "dynamic" not in kind.replace("dynamic,bounded", ""), place
