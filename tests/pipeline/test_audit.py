# SPDX-License-Identifier: Apache-2.0
"""What mirror-audit sees and says: two local trees, no broker."""
import json
import os
import re
import shutil
import time

import pytest

from rig import BUILD
from rig.process import run

AUDIT = f"{BUILD}/bin/mirror-audit"


class Trees:
    """Two equal trees and a configuration that names them."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.a, self.b = f"{self.directory}/a", f"{self.directory}/b"
        self.file = f"{self.directory}/mirror.yaml"
        os.makedirs(f"{self.a}/d/e")
        for name in ("f", "d/g", "d/e/h"):
            self.put(self.a, name, name)
        os.chmod(f"{self.a}/f", 0o644)
        os.symlink("f", f"{self.a}/l")
        os.link(f"{self.a}/f", f"{self.a}/d/f2")
        assert run(["cp", "-a", self.a, self.b], seconds=30).returncode == 0
        with open(self.file, "w", encoding="utf-8") as file:
            json.dump({"mirror": "demo", "trees": [
                {"source": self.a, "target": self.b, "exclude": ["*.tmp", "scratch/"]}]}, file)

    @staticmethod
    def put(root, name, text):
        with open(f"{root}/{name}", "w", encoding="utf-8") as file:
            file.write(text)

    def keep_time(self, name, change):
        """Changes an entry of the target so that its times and its parent's tell nothing."""
        path = f"{self.b}/{name}"
        before = [(at, os.stat(at)) for at in (path, os.path.dirname(path))]
        change(path)
        for at, info in before:
            os.utime(at, ns=(info.st_atime_ns, info.st_mtime_ns))

    def __call__(self, *arguments, config=True, cwd=None):
        return run([AUDIT, *(["-c", self.file] if config else []), *arguments], seconds=60,
                   cwd=cwd or self.directory, env={"HOME": self.directory, "PATH": "/usr/bin:/bin"})


@pytest.fixture
def trees(tmp_path):
    return Trees(tmp_path)


def test_same(trees):
    done = trees()
    said = re.sub(r"==\d+==WARNING: ASan .*\n", "", done.stderr)  # of a sanitized build
    assert done.returncode == 0 and not said
    assert done.stdout.splitlines() == ["IN SYNC: 8 entries, 10 B"]
    assert trees("--quiet").stdout == ""
    assert trees("--checksum").returncode == 0
    assert trees("--sample", "50").returncode == 0


@pytest.mark.parametrize("what, change", [
    ("missing  {a}/d/e  directory", lambda t: shutil.rmtree(f"{t.b}/d/e")),
    ("extra    {a}/x", lambda t: t.put(t.b, "x", "1")),
    ("{a}/d/g  size 3 | 4", lambda t: t.put(t.b, "d/g", "1234")),
    ("{a}/f  mode 0644 | 0600", lambda t: os.chmod(f"{t.b}/f", 0o600)),
    ("{a}/f  mtime ", lambda t: os.utime(f"{t.b}/f", (1, 1))),
    ("{a}/d/e  mtime ", lambda t: os.utime(f"{t.b}/d/e", (1, 1))),
    ("{a}/l  link f | g", lambda t: (os.remove(f"{t.b}/l"), os.symlink("g", f"{t.b}/l"))),
    ("{a}/f  type file | directory", lambda t: (os.remove(f"{t.b}/f"), os.mkdir(f"{t.b}/f"))),
    ("hard links inode", lambda t: t.keep_time("d/f2", lambda path: (
        shutil.copy2(path, path + "x"), os.replace(path + "x", path)))),
])
def test_each_difference(trees, what, change):
    change(trees)
    done = trees()
    assert done.returncode == 1
    assert what.format(a=trees.a) in done.stdout
    assert done.stdout.splitlines()[-1].startswith("DIFFERS: ")


def test_content(trees):
    trees.keep_time("d/g", lambda path: trees.put(trees.b, "d/g", "D/g"))
    assert trees().returncode == 0
    done = trees("--checksum")
    assert done.returncode == 1 and f"{trees.a}/d/g  content " in done.stdout


def test_excluded_and_own_names(trees):
    before = [(path, os.stat(path)) for path in (trees.b, f"{trees.b}/d")]
    trees.put(trees.b, ".mirror", "")
    trees.put(trees.b, "d/.mirror-0123456789abcdef", "")
    trees.put(trees.b, "d/x.tmp", "")
    os.mkdir(f"{trees.b}/.mirror-gone")
    for path, info in before:
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert trees().returncode == 0
    done = trees(trees.a, trees.b, config=False)
    assert done.returncode == 1 and "x.tmp" in done.stdout and ".mirror" not in done.stdout


def test_what_copiers_left_behind(trees):
    """It is told, and is no difference; what may still be finished is not told."""
    path = f"{trees.b}/d"
    before = os.stat(path)
    for made_s, name in ((time.time() - 7200, "left"), (time.time() - 60, "young")):
        rel = f"d/.mirror-{int(made_s * 1000):011x}00000"
        trees.put(trees.b, rel, name)
        os.utime(f"{trees.b}/{rel}", (made_s, made_s))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    done = trees()
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 2
    assert lines[0].startswith("left ") and lines[1].endswith("; 1 left behind")


def test_paths(trees):
    trees.put(trees.b, "x", "1")
    assert trees("a/d").returncode == 0
    assert trees("a/d", "a/f").returncode == 0
    assert trees("e", cwd=f"{trees.a}/d").returncode == 0
    os.symlink("a/d", f"{trees.directory}/way")
    assert trees("way/e").returncode == 0
    assert trees("a").returncode == 1
    assert trees("a/none").returncode == 2
    outside = trees("/usr/share/none")
    assert outside.returncode == 2 and "lies in no source tree" in outside.stderr


def test_source_and_target_of_the_configuration(trees):
    """As two places, although the first lies in a source tree; what it excludes stays so."""
    assert trees("a", "b").returncode == 0
    trees.put(trees.a, "x.tmp", "1")
    os.utime(trees.b, ns=(os.stat(trees.a).st_mtime_ns,) * 2)
    assert trees(trees.a, trees.b).returncode == 0
    assert trees(f"{trees.a}/d", f"{trees.b}/d").returncode == 0
    trees.put(trees.b, "d/g", "1234")
    done = trees(f"{trees.a}/d", f"{trees.b}/d")
    assert done.returncode == 1 and "g  size 3 | 4" in done.stdout


def test_names_of_any_bytes(trees):
    for name in (b"new\nline", b"\xff\xfe", b"tab\t'"):
        with open(os.fsencode(trees.a) + b"/" + name, "wb"):
            pass
    done = trees()
    assert done.returncode == 1
    for text in (r"new\nline", r"\xff\xfe", r"tab\t"):
        assert text in done.stdout
    found = [json.loads(line) for line in trees("--json").stdout.splitlines()]
    assert [one for one in found if isinstance(one.get("path"), dict) and "base64" in one["path"]]
    assert found[-1]["summary"]["missing"] == 3


def test_trouble_is_told_and_the_rest_goes_on(trees):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    os.chmod(f"{trees.b}/d/e", 0)
    trees.put(trees.b, "x", "1")
    done = trees()
    os.chmod(f"{trees.b}/d/e", 0o755)
    assert done.returncode == 2
    assert "Permission denied" in done.stderr and f"extra    {trees.a}/x" in done.stdout


def test_usage(trees):
    for arguments in (["--sample", "0"], ["--frobnicate"], ["--repair", "/usr", "/etc"],
                      ["/usr", "sftp://u:secret@h/x"], ["/usr", "sftp://"]):
        done = trees(*arguments)
        assert done.returncode == 2 and done.stderr and "secret" not in done.stderr, arguments
