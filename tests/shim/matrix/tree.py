# SPDX-License-Identifier: Apache-2.0
"""The directory that a command line works in, and what a mirror would have to know of it."""
import hashlib
import os
import pathlib
import shutil
import stat

SOURCES = pathlib.Path(__file__).parent / "sources"
LONG_AGO_NS = 1_500_000_000 * 10**9  # whatever is written now is newer


def populate(base):
    """base/w to work in, base/home, base/tmp; the same each time, all of it old."""
    for name in ("w", "home", "tmp"):
        (base / name).mkdir(parents=True)
    work = base / "w"
    shutil.copytree(SOURCES, work / "code")
    src = work / "src"
    (src / "sub" / "deep").mkdir(parents=True)
    (src / "a.txt").write_text("alpha\nbeta\ngamma\n")
    (src / "b.txt").write_text("one\ntwo\nthree\n")
    (src / "with space.txt").write_text("space\n")
    (src / "numbers").write_text("".join(f"{i * 37 % 101}\n" for i in range(100)))
    (src / "data.bin").write_bytes(bytes(i * i % 251 for i in range(40000)))
    (src / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (src / "run.sh").chmod(0o755)
    for name in ("one", "two", "three"):
        (src / "sub" / "deep" / name).write_text(name * 20 + "\n")
    os.link(src / "b.txt", src / "hard")
    (src / "link").symlink_to("a.txt")
    (work / "dirlink").symlink_to("src/sub")
    for path in everything(base):
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS), follow_symlinks=False)


def everything(base):
    """All paths below base as bytes, deepest first."""
    for root, dirs, files in os.walk(os.fsencode(base), topdown=False):
        for name in dirs + files:
            yield os.path.join(root, name)


def _content(path, mode):
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    if stat.S_ISREG(mode):
        try:
            return hashlib.sha1(pathlib.Path(os.fsdecode(path)).read_bytes()).digest()
        except PermissionError:
            return None
    return None


def _attributes(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
    except OSError:
        return ()


class Facts:
    """What a mirror has to bring over; `inode` only says which names are one file."""

    def __init__(self, path):
        st = os.lstat(path)
        self.inode = (st.st_dev, st.st_ino)
        self.mode = st.st_mode
        self.is_directory = stat.S_ISDIR(st.st_mode)
        self.own = (st.st_mode, st.st_uid, st.st_gid, _attributes(path))
        self.all = (*self.own, st.st_mtime_ns, _content(path, st.st_mode),
                    0 if self.is_directory else st.st_nlink)


def snapshot(base):
    """Facts by path.  FIFOs, sockets and devices are not mirrored, and so not looked at."""
    kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    found = {path: Facts(path) for path in everything(base)}
    return {path: facts for path, facts in found.items() if any(k(facts.mode) for k in kinds)}
