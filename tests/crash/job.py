# SPDX-License-Identifier: Apache-2.0
"""job.py SEED OPERATIONS: random operations in the working directory, beside others that do so too.

What goes wrong because another process was there first is part of the game and is passed over.
"""
import os
import random
import shutil
import sys
import time

seed, operations = map(int, sys.argv[1:3])
dice = random.Random(seed)
LETTERS = ["a", "b", "c", "d", "e", " f", "-g", "h\n", "\udcff", "'i\""]


def path(depth=3):
    return "/".join(dice.choice(LETTERS) for _ in range(dice.randint(1, depth)))


def data():
    return dice.randbytes(dice.choice([0, 1, 100, 5000, 70000]))


def make(name):
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    return name


def create():
    with open(make(path()), "wb") as file:
        file.write(data())


def append():
    with open(make(path()), "ab") as file:
        file.write(data())


def overwrite():
    with open(path(), "r+b") as file:
        file.seek(dice.randrange(5000))
        file.write(data())


def truncate():
    os.truncate(path(), dice.randrange(6000))


def rename():
    os.rename(path(), make(path()))


def chain():
    one, two, three = path(2), path(2), path(2)
    os.rename(two, three)
    os.rename(one, two)


def swap():
    one, two, aside = path(2), path(2), f"aside-{seed}"
    os.rename(one, aside)
    try:
        os.rename(two, one)
    finally:
        os.rename(aside, two)


def remove():
    os.unlink(path())


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


def chmod():
    name = path()
    os.chmod(name, dice.choice([0o700, 0o755, 0o750] if os.path.isdir(name)
                               else [0o600, 0o644, 0o400 | 0o200, 0o755]))


def touch():
    when = dice.randrange(10**9, 1700000000)
    os.utime(path(), (when, when))


def type_change():
    name = path(2)
    if os.path.isdir(name) and not os.path.islink(name):
        shutil.rmtree(name)
        create_at = dice.choice(["file", "symlink"])
    else:
        os.unlink(name)
        create_at = "directory"
    if create_at == "file":
        with open(name, "wb") as file:
            file.write(data())
    elif create_at == "symlink":
        os.symlink(path(), name)
    else:
        os.mkdir(name)


def keep_open():
    """Left open for a while, or to the end of the process."""
    file = open(make(path()), "ab", buffering=0)
    file.write(data())
    held.append(file)
    if len(held) > 5:
        held.pop(dice.randrange(5)).close()


held = []
OPERATIONS = {create: 10, append: 6, overwrite: 4, truncate: 2, rename: 8, chain: 2, swap: 2,
              remove: 4, remove_tree: 1, mkdir: 3, rmdir: 1, symlink: 2, link: 3, chmod: 3, touch: 3,
              type_change: 1, keep_open: 2}
for _ in range(operations):
    try:
        dice.choices(list(OPERATIONS), OPERATIONS.values())[0]()
    except (OSError, shutil.Error):
        pass
    time.sleep(dice.choice([0, 0, 0.002, 0.01]))
os._exit(0)  # without closing
