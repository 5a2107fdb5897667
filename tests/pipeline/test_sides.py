# SPDX-License-Identifier: Apache-2.0
"""The same job on each kind of sides: here, over the ssh command, and pulled from afar."""
import os

import pytest

KINDS = {
    "local": {"target": "local"},
    "ssh": {"transport": "ssh"},
    "pull": {"source": "sftp", "target": "local"},
    "afar": {"source": "sftp", "target": "sftp"},
}
pytestmark = [pytest.mark.slow, pytest.mark.parametrize("world", KINDS.values(), ids=KINDS.keys(),
                                                        indirect=True, scope="module")]

FIRST = r"""
mkdir -p a/b/c d e old; for i in $(seq 30); do echo $i > a/b/$i; done
echo 1 > d/one; ln d/one d/two; ln -s one d/three; : > empty
for i in 1 2 3; do echo $i > old/$i; done
dd if=/dev/urandom of=big bs=1M count=9 status=none; truncate -s 5M holes
touch -d 2015-05-05 a/b/3; chmod 600 a/b/4; chmod 500 e
"""
SECOND = r"""
mv a/b a/renamed; rm -r a/renamed/1*; echo more >> big; mv old new; echo 9 > new/9
rm d/three; mkdir d/three; echo x > d/three/x; chmod 700 e; echo y > e/y; ln -s gone dangling
mv d/one d/uno; echo 2 >> d/two; rm empty; touch -d 2016-06-06 a
"""


def test_one_job(here):
    here.sh(FIRST)
    here.check()
    here.sh(SECOND)
    here.check()


def test_strange_names(here):
    here.py(r"""
import os
for name in (b"sp ace", b"new\nline", b"-rf", b"qu'o\"te", b"back\\slash", b"\xff\xfe", "ü".encode(),
             b"%41", b"#", b"?", b"a;b", b"*", b"~", b"..x", b"x" * 255):
    with open(name, "wb") as file:
        file.write(name)
""")
    here.check()


def test_nanoseconds_where_both_sides_are_here(here, world):
    if world.sshd is not None:
        pytest.skip("SFTP knows whole seconds only")
    here.sh("echo 1 > a; touch -d '2020-02-02 02:02:02.123456789' a")
    here.check()
    assert os.stat(f"{here.target}/a").st_mtime_ns % 10**9 == 123456789


def test_extended_attributes_where_both_sides_are_here(here, world):
    if world.sshd is not None:
        pytest.skip("SFTP carries none")
    here.sh("echo 1 > a")
    try:
        os.setxattr(f"{here.source}/a", "user.colour", b"blue")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    here.py("import os; os.setxattr('a', 'user.colour', b'red')")
    here.check()
    assert os.getxattr(f"{here.target}/a", "user.colour") == b"red"
