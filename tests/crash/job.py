# SPDX-License-Identifier: Apache-2.0
"""job.py SEED OPERATIONS: random operations in the working directory, beside others that do so too.

What goes wrong because another process was there first is part of the game and is passed over.
"""
import ctypes
import mmap
import os
import random
import shutil
import sys
import time

seed, operations = map(int, sys.argv[1:3])
dice = random.Random(seed)
LETTERS = ["a", "b", "c", "d", "e", " f", "-g", "h\n", "\udcff", "'i\"", "%20#", "*\\?", "ü" * 3 + "l" * 150]
LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
RENAME_EXCHANGE = 2


def path(depth=3):
    return "/".join(dice.choice(LETTERS) for _ in range(dice.randint(1, depth)))


def data():
    return dice.randbytes(dice.choice([0, 1, 100, 5000, 70000]))


def make(name):
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    return name


def write(name, mode="wb"):
    with open(name, mode) as file:
        file.write(data())


def remove_anything(name):
    if os.path.isdir(name) and not os.path.islink(name):
        shutil.rmtree(name)
    else:
        os.unlink(name)


# --- content ----------------------------------------------------------------------------------

def create():
    write(make(path()))


def append():
    write(make(path()), "ab")


def overwrite():
    with open(path(), "r+b") as file:
        file.seek(dice.randrange(5000))
        file.write(data())


def truncate():
    os.truncate(path(), dice.randrange(6000))


def sparse():
    with open(make(path()), "r+b" if dice.random() < 0.5 else "wb") as file:
        file.seek(dice.choice([4096, 100000, 1000000]))
        file.write(dice.choice([b"", b"end", dice.randbytes(5000)]))
        file.truncate(file.tell() + dice.choice([0, 0, 50000]))


def mapped():
    """Stored to also after its descriptor is closed; the map may last to the end of the process."""
    with open(make(path()), "a+b") as file:
        file.truncate(8192)
        it = mmap.mmap(file.fileno(), 8192)
    for _ in range(3):
        at = dice.randrange(8000)
        it[at:at + 100] = dice.randbytes(100)
        time.sleep(dice.choice([0, 0.003]))
    if dice.random() < 0.5:
        held.append(it)
    else:
        it.close()


def same_size():
    """Twice or more within a second, always of one size."""
    name = make(path())
    for _ in range(dice.randint(2, 3)):
        with open(name, "wb") as file:
            file.write(dice.randbytes(100))
        time.sleep(dice.choice([0, 0.03, 0.3]))


def mtime_back():
    """In place, and as if nothing had been."""
    name = path()
    with open(name, "r+b") as file:
        before = os.fstat(file.fileno())
        file.write(dice.randbytes(1))
    os.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns))


def write_slowly():
    """So that who kills this process finds it in the middle."""
    with open(make(path()), "wb", buffering=0) as file:
        for _ in range(dice.randint(2, 12)):
            file.write(data())
            time.sleep(dice.choice([0.001, 0.02]))


def keep_open():
    """Left open for a while, or to the end of the process."""
    file = open(make(path()), "ab", buffering=0)
    file.write(data())
    held.append(file)


# --- names ------------------------------------------------------------------------------------

def rename():
    os.rename(path(), make(path()))


def replace():
    """As editors do: beside it, then over it."""
    name = make(path())
    beside = f"{name[:150]}.new"
    write(beside)
    if dice.random() < 0.3:
        os.utime(beside, (1600000000, 1600000000))
    os.rename(beside, name)


def chain():
    one, two, three = path(2), path(2), path(2)
    os.rename(two, three)
    os.rename(one, two)


def chain_while_writing():
    """A directory goes from name to name, and a file below it is written to all the time."""
    names = [dice.choice(LETTERS) for _ in range(dice.randint(2, 4))]
    os.makedirs(names[0], exist_ok=True)
    inside = dice.choice(LETTERS)
    with open(f"{names[0]}/{inside}", "ab", buffering=0) as file:
        for old, new in zip(names, names[1:]):
            file.write(data())
            os.rename(old, new)
            file.write(data())
            if dice.random() < 0.5:
                write(f"{new}/{dice.choice(LETTERS)}")


def swap():
    one, two, aside = path(2), path(2), f"aside-{seed}"
    os.rename(one, aside)
    try:
        os.rename(two, one)
    finally:
        os.rename(aside, two)


def exchange():
    LIBC.renameat2(AT_FDCWD, os.fsencode(path(2)), AT_FDCWD, os.fsencode(path(2)), RENAME_EXCHANGE)


def remove():
    os.unlink(path())


def recreate():
    """Gone and there again, at once, perhaps as something else."""
    name = path(2)
    remove_anything(name)
    if dice.random() < 0.6:
        write(name)
    else:
        os.mkdir(name)
        write(f"{name}/{dice.choice(LETTERS)}")


def remove_tree():
    shutil.rmtree(path())


def mkdir():
    os.makedirs(path(), exist_ok=True)


def rmdir():
    os.rmdir(path())


def symlink():
    os.symlink(path(), make(path()))


def link():
    os.link(path(), make(path()), follow_symlinks=False)


def write_through_link():
    """Linked, written by the new name, perhaps not for long under it."""
    old, new = path(), make(path())
    os.link(old, new, follow_symlinks=False)
    write(new, dice.choice(["ab", "r+b"]))
    if dice.random() < 0.4:
        os.unlink(dice.choice([old, new]))
    else:
        write(old, "ab")


def type_change():
    """File, directory, symlink: what it was it is no longer."""
    name = path(2)
    remove_anything(name)
    for _ in range(dice.randint(1, 3)):
        become = dice.choice(["file", "symlink", "directory"])
        if become == "file":
            write(name)
        elif become == "symlink":
            os.symlink(path(), name)
        else:
            os.mkdir(name)
            write(f"{name}/{dice.choice(LETTERS)}")
        time.sleep(dice.choice([0, 0, 0.3]))
        if dice.random() < 0.3:
            return
        remove_anything(name)


# --- attributes -------------------------------------------------------------------------------

def chmod():
    """To what leaves a directory readable: another process may just have put one there."""
    os.chmod(path(), dice.choice([0o700, 0o755, 0o750, 0o711]))


def touch():
    when = dice.randrange(10**9, 1700000000)
    os.utime(path(), (when, when))


held = []
OPERATIONS = {create: 10, append: 6, overwrite: 4, truncate: 2, sparse: 2, mapped: 2, same_size: 2,
              mtime_back: 2, write_slowly: 2, keep_open: 2, rename: 8, replace: 4, chain: 2,
              chain_while_writing: 3, swap: 2, exchange: 3, remove: 4, recreate: 3, remove_tree: 1,
              mkdir: 3, rmdir: 1, symlink: 2, link: 3, write_through_link: 3, type_change: 2,
              chmod: 3, touch: 3}
for _ in range(operations):
    try:
        dice.choices(list(OPERATIONS), OPERATIONS.values())[0]()
    except (OSError, shutil.Error, ValueError):
        pass
    while len(held) > 5:
        held.pop(dice.randrange(5)).close()
    time.sleep(dice.choice([0, 0, 0.002, 0.01]))
os._exit(0)  # without closing
