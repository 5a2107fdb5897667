# SPDX-License-Identifier: Apache-2.0
"""Whether everything that changed in a tree was told: two snapshots against the poster's changes.

    before = judge.snapshot(tree)
    ...                                        # something runs under the shim
    after = judge.snapshot(tree)
    missed = judge.missed(before, after, judge.changes(journal, tree))

A path is told of when a change covers it that is no older than the path's last change: by its
own name, by a deep look at a directory above it, or by another name of the same file (the copier
keeps link groups together).  What differs of a directory is its own mode, owner and attributes; its
times follow from any change of an entry.
"""

import base64
import hashlib
import json
import os
import stat
import subprocess

TOOL = os.path.join(os.environ.get("MIRROR_BUILD", "build"), "tests", "shim", "journal-changes")


class Entry:
    """All of a path that can be mirrored, and when and where it is."""

    def __init__(self, path):
        st = os.lstat(path)
        self.ino, self.changed_ns, self.links = (st.st_dev, st.st_ino), st.st_ctime_ns, st.st_nlink
        self.directory = stat.S_ISDIR(st.st_mode)
        self.mtime_ns, self.size = st.st_mtime_ns, st.st_size
        self.state = (st.st_mode, st.st_uid, st.st_gid, attributes(path))
        if stat.S_ISREG(st.st_mode):
            self.state += (st.st_size, st.st_mtime_ns, digest(path))
        elif stat.S_ISLNK(st.st_mode):
            self.state += (os.readlink(path), st.st_mtime_ns)


def attributes(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
    except OSError:
        return ()


def digest(path):
    try:
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read()).digest()
    except PermissionError:
        return None


def snapshot(tree):
    """{path: Entry}, paths as bytes; no symlink is followed, not even in long paths."""
    found, top = {}, os.fsencode(tree)
    for root, directories, files, at in os.fwalk(top):
        for name in directories + files:
            path = os.path.join(root, name)
            here = b"/proc/self/fd/%d/%s" % (at, name)
            found[path] = Entry(here)
    return found


class Change:
    def __init__(self, message):
        it = message["mirror"]
        self.op, self.facts, self.time_ns = it["op"], it.get("facts", []), int(it["time"])
        self.path = raw(it["path"])

    def __repr__(self):
        return f"{self.op} {self.path!r} {' '.join(self.facts)}"


def raw(text):
    return base64.b64decode(text["base64"]) if isinstance(text, dict) else text.encode()


def changes(journal, *trees):
    """What the poster makes of all records in the journal, which are taken from it."""
    done = subprocess.run([TOOL, journal, *trees], stdout=subprocess.PIPE, check=True)
    return [Change(json.loads(line)) for line in done.stdout.splitlines()]


def covers(change, path, was, now):
    """Whether who acts on the change makes path right."""
    by_entry = now and now.directory and now.mtime_ns == now.changed_ns  # not a change of its own
    if now and not by_entry and change.time_ns < now.changed_ns:
        return False
    if change.path == path:
        return True
    if "deep" not in change.facts or not path.startswith(change.path + b"/"):
        return False
    # A deep look trusts equal size and time, unless it is forced or went by another name.
    same = was and now and (was.size, was.mtime_ns) == (now.size, now.mtime_ns)
    return not same or "force" in change.facts or was.ino != now.ino or was.state[:4] != now.state[:4]


def differing(before, after):
    for path in sorted(before.keys() | after.keys()):
        was, now = before.get(path), after.get(path)
        if not was or not now or was.state != now.state:
            yield path, was, now


def missed(before, after, told):
    """[path] of what changed and was not told; and how many paths changed."""
    lost, count = [], 0
    for path, was, now in differing(before, after):
        count += 1
        others = [p for p, e in after.items() if now and now.links > 1 and e.ino == now.ino]
        if not any(covers(change, name, was, now) for change in told
                   for name in {path, *([] if now and now.directory else others)}):
            lost.append(path)
    return lost, count
