# SPDX-License-Identifier: Apache-2.0
"""A journal per test, commands under the shim, and a model of what a reader concludes."""

import base64
import json
import os
import pathlib
import subprocess

import pytest

BUILD = pathlib.Path(os.environ.get("MIRROR_BUILD", "build")).resolve()
SHIM = BUILD / "shim" / "libmirrorshim.so"
DUMP = BUILD / "tests" / "shim" / "journal-dump"
PROGRAMS = BUILD / "tests" / "shim"


def program(name):
    path = PROGRAMS / name
    if not path.exists():
        pytest.skip(f"{name} is not built here")
    return str(path)


def name_of(record, key, directory):
    def raw(field):
        if field + "_base64" in record:
            return base64.b64decode(record[field + "_base64"])
        return record.get(field, "").encode()
    path = raw(key)
    if path and not path.startswith(b"/"):
        path = raw(directory) + b"/" + path
    return canonical(path) if path.startswith(b"/") else path


def canonical(path):
    """As the poster does it: the parent's real path, and the last component as it is."""
    parent, name = os.path.split(path.rstrip(b"/") or path)
    if name in (b"", b".", b".."):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(parent), name)


class Model:
    """What a poster would know: the last time each path was hinted at, deaths included."""

    def __init__(self, records):
        self.by_path = {}
        self.hints = {}
        self.deep = {}  # renamed: all below was hinted at too
        self.links = {}  # names of what was one file at some time
        self.looks = set()  # where a poster looks, for a program that is not seen
        self.intents = {}
        for record in records:
            self.take(record)
        for paths in self.intents.values():
            for path in paths.values():
                self.hint(path, float("inf"))

    def hint(self, path, time):
        if path:
            self.hints[path] = max(time, self.hints.get(path, 0))

    def by_inode(self, pid, key):
        for path in (p for (q, k, f), p in self.flat() if q == pid and k == key):
            return path
        return b""

    def flat(self):
        for (pid, fd), paths in self.intents.items():
            for key, path in paths.items():
                yield (pid, key, fd), path

    def take(self, r):
        kind, pid, fd, time = r["kind"], r["pid"], r["fd"], r["time_ns"]
        if r["position"] == r["end"]:
            time = float("inf")  # a draft of a process that died in the call
        if kind == "unseen":
            self.looks |= {canonical(os.fsencode(os.path.join(r["dir"], name)))
                           for name in ["", *r.get("path2", "").split("\0")]}
            return
        path, path2 = name_of(r, "path", "dir"), name_of(r, "path2", "dir2")
        key = (r.get("dev"), r.get("ino"))
        if self.follows(r) and os.path.islink(path):
            path = os.path.realpath(path)
        for name in {path, path2} - {b""}:
            self.by_path.setdefault(name, []).append(kind)
        if kind in ("open", "inherit", "map"):
            path = path or self.by_inode(pid, key)
            assert path, f"an intent without a name: {r}"
            slot = (pid, fd) if kind != "map" else (pid, -r["ino"])
            for old in self.intents.pop(slot, {}).values():
                self.hint(old, time)
            self.intents[slot] = {key: path}
            if "created" in r["flags"]:
                self.hint(path, time)
        elif kind == "close":
            path = path or self.by_inode(pid, key)
            if "dirty" in r["flags"]:
                self.hint(path, time)
            if key in self.intents.get((pid, fd), {}):
                del self.intents[(pid, fd)]
        elif kind != "written":
            self.hint(path, time)
            if kind in ("rename", "exchange"):
                self.deep.update({path: time, path2: time})
                self.move_intents(path, path2, kind == "exchange")
            if kind == "link" or path in self.links:
                group = self.links.setdefault(path, {path})
                group.add(path2)
                self.links[path2] = group
            if kind != "symlink":
                self.hint(path2, time)

    @staticmethod
    def follows(record):
        by_content = record["kind"] in ("open", "inherit", "map", "close", "truncate")
        return by_content or (record["kind"] == "meta" and "nofollow" not in record["flags"])

    def move_intents(self, path, path2, both):
        moves = [(path, path2), (path2, path)] if both else [(path, path2)]
        for paths in self.intents.values():
            for k, p in paths.items():
                for old, new in moves:
                    if p == old or p.startswith(old + b"/"):
                        paths[k] = new + p[len(old):]
                        break

    def below(self, path):
        """The last time that a directory above path was renamed."""
        latest = 0
        while len(path) > 1:
            path = os.path.dirname(path)
            latest = max(latest, self.deep.get(path, 0))
        return latest

    def latest(self, path):
        return max(self.hints.get(path, -1), self.below(path))

    def told(self, path):
        """Whether the last change of path came before the last hint at it."""
        path = os.fsencode(path)
        try:
            st = os.lstat(path)
            # another name of the same file may have been the one that was used
            changed = st.st_ctime_ns if st.st_nlink == 1 else 0
        except FileNotFoundError:
            changed = 0
        return self.hints.get(path, -1) >= changed

    def kinds(self, path):
        return self.by_path.get(os.fsencode(path), [])


class Journal:
    def __init__(self, directory, size=1 << 22):
        self.directory = directory
        self.command("make", str(size))

    def command(self, verb, *rest):
        return subprocess.run([DUMP, verb, self.directory, *rest], check=True,
                              stdout=subprocess.PIPE).stdout

    def take(self):
        return [json.loads(line) for line in self.command("take").splitlines()]

    def model(self):
        return Model(self.take())

    def facts(self):
        return json.loads(self.command("facts"))

    def environment(self, **more):
        return {**os.environ, "LD_PRELOAD": str(SHIM), "MIRROR_JOURNAL": str(self.directory),
                "LC_ALL": "C", **more}

    def run(self, command, cwd, shell=None, **more):
        argv = [shell, "-c", command] if shell else command
        return subprocess.run(argv, cwd=cwd, env=self.environment(**more), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal")


@pytest.fixture
def work(tmp_path):
    directory = tmp_path / "work dir"
    directory.mkdir()
    return directory
