# SPDX-License-Identifier: Apache-2.0
"""How two trees differ: an oracle that shares no code with the product."""
import hashlib
import os
import re
import stat
from dataclasses import dataclass

OURS_AT_ROOT = {b".mirror", b".mirror-gone", b".mirror-links"}
TEMPORARY = re.compile(rb"\.mirror-[0-9a-f]{16}")


@dataclass
class Entry:
    kind: str
    mode: int = 0
    size: int = 0
    mtime: int = 0          # whole seconds
    content: str = ""       # digest, or the symlink's text
    group: frozenset = frozenset()  # all names of this file within the tree

    def words(self, other, links):
        """What is different, in words."""
        if self.kind != other.kind:
            yield f"is a {other.kind}, not a {self.kind}"
            return
        if self.kind == "symlink":
            if self.content != other.content:
                yield f"points to {other.content!r}, not to {self.content!r}"
            return
        if self.size != other.size:
            yield f"has {other.size} bytes, not {self.size}"
        elif self.content != other.content:
            yield "has other content"
        if self.mode != other.mode:
            yield f"has mode {other.mode:04o}, not {self.mode:04o}"
        if self.mtime != other.mtime:
            yield f"has mtime {other.mtime}, not {self.mtime}"
        if links and self.group != other.group:
            yield f"is linked to {sorted(other.group)}, not to {sorted(self.group)}"


def _digest(path):
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _entry(path, info):
    if stat.S_ISLNK(info.st_mode):
        return Entry("symlink", content=os.fsdecode(os.readlink(path)))
    mode, mtime = stat.S_IMODE(info.st_mode), info.st_mtime_ns // 10**9
    if stat.S_ISDIR(info.st_mode):
        return Entry("directory", mode, 0, mtime)
    return Entry("file", mode, info.st_size, mtime, _digest(path))


def _walk(root, prefix, whole, found):
    with os.scandir(os.path.join(root, prefix) if prefix else root) as entries:
        for it in sorted(entries, key=lambda it: it.name):
            if whole and not prefix and it.name in OURS_AT_ROOT:
                continue
            info = it.stat(follow_symlinks=False)
            if not (it.is_symlink() or it.is_dir(follow_symlinks=False)
                    or stat.S_ISREG(info.st_mode)):
                continue
            path = os.path.join(prefix, it.name)
            found[path] = (_entry(it.path, info), info)
            if it.is_dir(follow_symlinks=False):
                _walk(root, path, whole, found)


def is_temporary(path):
    return bool(TEMPORARY.fullmatch(os.path.basename(path)))


def snapshot(root, whole=True, without_temporaries=False):
    """{path: Entry} of everything below root; whole: root is a mirror's root, not a part of it."""
    found = {}
    _walk(os.fsencode(root), b"", whole, found)
    if without_temporaries:
        found = {path: it for path, it in found.items() if not is_temporary(path)}
    groups = {}
    for path, (entry, info) in found.items():
        if entry.kind == "file" and info.st_nlink > 1:
            groups.setdefault((info.st_dev, info.st_ino), set()).add(path)
    for (dev, ino), names in groups.items():
        for path in names if len(names) > 1 else ():
            found[path][0].group = frozenset(names)
    return {path: entry for path, (entry, _) in found.items()}


def differences(source, target, links=True):
    """Lines that say how the target's snapshot differs from the source's; none: they are equal."""
    lines = []
    for path in sorted(source.keys() | target.keys()):
        name = os.fsdecode(path)
        name = repr(name) if len(name) < 300 else f"{name[:120]!r}… ({len(path)} bytes)"
        if path not in target:
            lines.append(f"{name} is missing")
        elif path not in source:
            lines.append(f"{name} is "
                         f"{'a temporary left behind' if is_temporary(path) else 'too much'}")
        else:
            lines += [f"{name} {words}" for words in source[path].words(target[path], links)]
    return lines
