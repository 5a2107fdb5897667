# SPDX-License-Identifier: Apache-2.0
"""Each thing that a job can do to a tree, one by one, over SFTP."""
import os
import time

import pytest

from rig import wait_until

pytestmark = pytest.mark.root


def test_create(here):
    here.sh("echo one > a; mkdir -p d/e; echo two > d/e/b; : > empty")
    here.check()
    assert here.read("d/e/b") == b"two\n"


def test_arrives_by_itself(here):
    """Nobody flushes: the delay passes and the file is there."""
    here.sh("echo quiet > a")
    wait_until(lambda: os.path.exists(f"{here.target}/a"), 60, "the copy")
    assert here.read("a") == b"quiet\n"


def test_append(here):
    here.sh("echo 1 > a")
    here.check()
    here.sh("echo 2 >> a; echo 3 >> a")
    here.check()
    assert here.read("a") == b"1\n2\n3\n"


def test_truncate(here):
    here.sh("seq 1000 > a; seq 1000 > b; seq 1000 > c")
    here.check()
    here.sh(": > a; truncate -s 10 b; truncate -s 9999 c")
    here.check()


def test_overwrite_in_place(here):
    """Same size, and the old mtime put back: the content must change all the same."""
    here.sh("echo aaaa > a; touch -d 2020-01-01 a")
    here.check()
    here.sh("printf bb | dd of=a bs=1 seek=1 conv=notrunc status=none; touch -d 2020-01-01 a")
    here.check()
    assert here.read("a") == b"abba\n"


def test_rename_file(here):
    here.sh("mkdir d; echo 1 > a; echo 2 > b; echo 3 > c")
    here.check()
    here.sh("mv a a2; mv b d/; mv -f c a2")
    here.check()


@pytest.mark.slow
def test_rename_directory_moves_no_data(here):
    here.sh("mkdir -p old/sub; for i in $(seq 50); do echo $i > old/sub/$i; done")
    time.sleep(15)  # what was written just now is copied again under its new name, to be sure
    here.check()
    before = os.stat(f"{here.target}/old/sub/7").st_ino
    here.sh("mv old new")
    here.check()
    assert os.stat(f"{here.target}/new/sub/7").st_ino == before, "copied again, not renamed"


def test_write_then_rename_directory(here):
    """What is still on its way under the old name arrives under the new one."""
    here.sh("mkdir old; for i in $(seq 20); do echo $i > old/$i; done; mv old new; echo x > new/21")
    here.check()


@pytest.mark.parametrize("count", [400, pytest.param(100_000, marks=pytest.mark.full)])
def test_move_while_files_change(here, count):
    """Programs that stand in the directory go on writing while it gets other names."""
    here.py("""
import os, sys
os.mkdir("d")
for i in range(int(sys.argv[1])):
    with open(f"d/{i}", "w") as file:
        file.write(f"first {i}")
""", str(count), seconds=900)
    here.check(seconds=90 + count // 40)
    here.sh("""
for k in 0 1 2; do
    ( cd d && for i in $(seq $k 3 150); do echo "again $i" > $i; : > new$i; done ) &
done
mv d e; sleep 0.1; mv e f; echo last > f/7; wait
""")
    here.check(seconds=90 + count // 40)


def test_swap(here):
    here.sh("mkdir a b; echo in-a > a/f; echo in-b > b/f")
    here.check()
    here.sh("mv a t; mv b a; mv t b")
    here.check()
    assert here.read("a/f") == b"in-b\n"


def test_exchange(here):
    """renameat2(RENAME_EXCHANGE)."""
    here.sh("echo 1 > a; echo 2 > b")
    here.check()
    here.py("""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
assert libc.renameat2(-100, b"a", -100, b"b", 2) == 0
""")
    here.check()
    assert here.read("a") == b"2\n"


def test_rename_chain(here):
    here.sh("for i in 1 2 3 4 5; do mkdir d$i; echo $i > d$i/f; done")
    here.check()
    here.sh("rm -r d5; for i in 4 3 2 1; do mv d$i d$((i+1)); done; mkdir d1; echo new > d1/f")
    here.check()


def test_remove(here):
    here.sh("mkdir -p d/e/f; touch a d/b d/e/c d/e/f/d; mkdir empty")
    here.check()
    here.sh("rm a; rm -rf d; rmdir empty")
    here.check()
    assert os.listdir(here.target) == []


def test_write_and_remove_at_once(here):
    here.sh("echo short > a; rm a; mkdir d; echo x > d/y; rm -r d")
    here.check()
    assert os.listdir(here.target) == []


def test_hard_links(here):
    here.sh("echo 1 > a; ln a b; mkdir d; ln a d/c")
    here.check()
    here.sh("echo 2 >> d/c")
    here.check()
    assert here.read("a") == b"1\n2\n"
    here.sh("rm a; ln b e")
    here.check()


def test_symlinks(here):
    here.sh("ln -s a b; ln -s /etc/hostname c; mkdir d; ln -s ../nowhere d/e; ln -s d f")
    here.check()
    here.sh("ln -sfn d b; rm c")
    here.check()
    assert os.readlink(f"{here.target}/b") == "d"


def test_mode(here):
    here.sh("echo 1 > a; mkdir d; echo 2 > d/b; chmod 640 a; chmod 750 d")
    here.check()
    here.sh("chmod 400 a; chmod 2711 d; chmod 4755 d/b")
    here.check()


def test_read_only_directory(here):
    here.sh("mkdir d; echo 1 > d/a; chmod 555 d")
    here.check()
    here.sh("chmod 755 d; echo 2 > d/b; chmod 555 d")
    here.check()
    here.sh("chmod 755 d")
    here.check()


def test_mtime(here):
    here.sh("echo 1 > a; mkdir d; echo 2 > d/b; touch -d 2001-02-03 a; touch -d 2002-03-04 d")
    here.check()
    here.sh("touch -d 1999-12-31T23:59:59 d/b; touch -d 2011-01-01 d")
    here.check()


def test_type_changes(here):
    here.sh("echo 1 > a; mkdir b; echo 2 > b/x; ln -s nowhere c")
    here.check()
    here.sh("rm a; mkdir a; echo in > a/x; rm -r b; ln -s a b; rm c; echo file > c")
    here.check()
    here.sh("rm -r a; echo 1 > a; rm b; mkdir b; echo 3 > b/y")
    here.check()


def test_copy_calls(here):
    """cp (copy_file_range), cat through a pipe (splice), python's sendfile."""
    here.sh("seq 100000 > a; cp a b; cat a | cat > c; cp --sparse=always a d")
    here.py("import shutil; shutil.copyfile('a', 'e')")
    here.check()


def test_sparse(here):
    here.sh("truncate -s 64M a; printf end | dd of=a bs=1 seek=40000000 conv=notrunc status=none")
    here.check()
    blocks = os.stat(f"{here.target}/a").st_blocks * 512
    assert blocks < 8 << 20, f"{blocks} bytes allocated for one written block"


def test_memory_map(here):
    here.sh("truncate -s 1M a")
    here.check()
    here.py("""
import mmap, os
fd = os.open("a", os.O_RDWR)
m = mmap.mmap(fd, 0)
os.close(fd)
m[5000:5005] = b"hello"
m.flush()
""")
    here.check()
    assert here.read("a")[5000:5005] == b"hello"


@pytest.mark.slow
def test_many_files(here):
    here.sh("for d in $(seq 20); do mkdir $d; for f in $(seq 50); do echo $d $f > $d/$f; done; done")
    here.check()
    here.sh("rm -r 3 4; mv 5 five; for d in 6 7; do for f in $(seq 50); do echo > $d/$f; done; done")
    here.check()


@pytest.mark.slow
def test_large_file(here):
    here.sh("dd if=/dev/urandom of=a bs=1M count=64 status=none")
    here.check()
    here.sh("dd if=/dev/urandom of=a bs=1M count=3 seek=20 conv=notrunc status=none")
    here.check()


def test_fifo_and_socket_are_skipped(here):
    here.sh("mkfifo p; echo 1 > a")
    here.check()
    assert sorted(os.listdir(here.target)) == ["a"]


def test_outside_of_the_tree(here, world):
    """Renamed in, renamed out, and never there."""
    outside = os.path.join(world.directory, "outside")
    here.sh(f"mkdir -p {outside}/in/sub; echo 1 > {outside}/in/sub/a; mkdir out; echo 2 > out/b")
    here.check()
    here.sh(f"mv {outside}/in in; mv out {outside}/out; echo 3 > {outside}/c")
    here.check()
    assert os.listdir(here.target) == ["in"]


def test_other_name_of_what_went_with_its_directory(here):
    """Written through a name whose directory is gone before its order comes."""
    here.sh("mkdir -p d/e; echo old > a; ln a d/e/b")
    here.check()
    here.sh("echo new > d/e/b; rm -r d")
    here.check()
    assert here.read("a") == b"new\n"
