# SPDX-License-Identifier: Apache-2.0
"""Names are bytes: whatever a file system takes must arrive unchanged."""
import os
import signal
import time

import pytest

NAMES = {
    "spaces": b"  two words ",
    "quotes": b"it's \"so\" `called`",
    "backslashes": b"a\\b\\\\c\\n",
    "newlines": b"line\none\n",
    "control": b"\x01\x1b[31m\x7f\t\r",
    "dashes": b"--help",
    "not-utf8": b"\xff\xc3\x28\x80",
    "overlong": b"\xc0\xaf\xed\xa0\x80",
    "utf8": "Zürich-東京-🌍".encode(),
    "json": b"\"}],{\\u0000",
    "url": b"%2e%2F%00?q=1#f",
    "glob": b"*?[a-z]{x,y}",
    "shell": b"$(reboot);&&|>x",
    "dots": b"...",
    "tilde": b"~root",
    "topic": b"a.b.*.#",
    "longest": b"n" * 255,
    "longest-not-utf8": b"\xfe" * 255,
    "almost-ours": b".mirror-0123456789abcdeg",
    "ours-elsewhere": b".mirror",
}

ALL_CALLS = r"""
import os, sys
name = os.fsencode(sys.argv[1])
os.mkdir(name)
os.chdir(name)
with open(name, "wb") as file:
    file.write(b"content of " + name)
os.symlink(name, b"symlink")
os.link(name, b"link")
os.mkdir(b"sub")
os.rename(b"link", b"sub/" + name)
os.mkdir(b"gone")
os.rename(b"gone", b"sub/" + name[:200] + b"+")
"""


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_name(here, name):
    here.py(ALL_CALLS, os.fsdecode(name))
    here.check()
    assert here.read(os.path.join(os.fsdecode(name), os.fsdecode(name))) == b"content of " + name
    here.py("import shutil, sys; shutil.rmtree(sys.argv[1])", os.fsdecode(name))
    here.check()
    assert os.listdir(here.target) == []


def test_path_near_the_limit(here):
    """4,090 bytes from the root on, made with relative calls.

    The file's own name is no shorter than the temporary one that SFTP has to give in full.
    """
    file = "a-file-with-a-name-of-36-characters."
    room = 4090 - len(here.source) - len("/" + file)
    depth, rest = divmod(room, 201)
    here.py("""
import os, sys
depth, rest = map(int, sys.argv[1:3])
for part in ["d" * 200] * depth + ["r" * (rest - 1)] * (rest > 1):
    os.mkdir(part)
    os.chdir(part)
with open(sys.argv[3], "w") as file:
    file.write("deep")
""", str(depth), str(rest), file)
    here.check()
    here.py("import os; os.rename('d' * 200, 'e' * 200)")
    here.check()


def test_tree_reached_through_a_symlink(here, world):
    alias = os.path.join(world.directory, "alias")
    os.symlink(world.source, alias)
    here.sh(f"cd {alias}/{here.name}; echo 1 > a; mkdir d; echo 2 > {alias}/{here.name}/d/b; "
            f"mv {alias}/{here.name}/a d/../c; ln -s x s")
    here.check()
    assert here.read("c") == b"1\n"


@pytest.mark.parametrize("then", [signal.SIGCONT, signal.SIGKILL])
def test_a_symlink_turned_before_it_is_read(here, world, then):
    """`current` leads to the next run already when the poster, or the next one, reads what was done
    by way of it."""
    here.sh("""mkdir r1 r2; ln -s r1 current; echo 1 > r1/old; echo 1 > r1/gone; ln -s r1 d; mkdir f
               echo 1 > r1/log; echo 1 > r2/log; ln -s r1/log log""")
    world.flush()
    time.sleep(2.5)  # a poster notes once a second where symlinks lead
    poster, = world.kill("poster", signal.SIGSTOP)
    try:
        here.sh("""echo 2 > current/new; mkdir current/dir; echo 3 > current/dir/f; ln -s x current/link
                   mv current/old current/moved; rm current/gone; chmod 600 current/moved
                   ln -sfn r2 current; echo 4 > current/new
                   mkdir d/by-d; mv d elsewhere; mv f d; echo 5 > d/own
                   echo 6 >> log; ln -sfn r2/log log""")
    finally:
        os.kill(poster, then)
    here.check()


def test_dot_dot_and_dirfd(here):
    here.py("""
import os
import signal
os.makedirs("a/b/c")
os.chdir("a/b/c")
open("../../x", "w").write("1")
fd = os.open("..", os.O_RDONLY)
os.mkdir("dir", dir_fd=fd)
os.rename("../../x", "y", dst_dir_fd=fd)
os.symlink("y", "z", dir_fd=fd)
os.chmod(f"/proc/self/fd/{fd}", 0o750)
""")
    here.check()
    assert here.read("a/b/y") == b"1"
