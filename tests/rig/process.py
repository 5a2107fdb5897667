# SPDX-License-Identifier: Apache-2.0
"""Processes: run them, find those of one world, end them.

A process belongs to a world when the world's directory stands in its environment; the rig, sshd
(SetEnv) and mirrorctl see to that.  Nothing is ever ended by name.
"""
import os
import signal
import subprocess
import time


def wait_until(condition, seconds=60, what="it"):
    """Returns the first true value of condition(); the time is a guard, not a measure."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.1)


def run(argv, *, seconds=120, **options):
    """subprocess.run() with text that survives any bytes, no stdin, and a time limit as a guard."""
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.run(argv, timeout=seconds, text=True, encoding="utf-8",
                          errors="surrogateescape", check=False, **options)


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def name_of(pid):
    """The program's name; empty when the process is gone or a zombie."""
    stat = _read(f"/proc/{pid}/stat")
    if not stat or stat[stat.rindex(b")") + 2:][:1] in (b"Z", b"X"):
        return ""
    return stat[stat.index(b"(") + 1:stat.rindex(b")")].decode(errors="replace")


def parent_of(pid):
    stat = _read(f"/proc/{pid}/stat")
    return int(stat[stat.rindex(b")") + 2:].split()[1]) if stat else 0


def descendants(pid):
    """Children, their children, and so on."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            children.setdefault(parent_of(int(entry)), []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        queue = [child for parent in queue for child in children.get(parent, [])]
        found += queue
    return found


def of_group(group):
    """Living processes of a process group."""
    found = []
    for entry in os.listdir("/proc"):
        stat = _read(f"/proc/{entry}/stat") if entry.isdigit() else b""
        if stat and int(stat[stat.rindex(b")") + 2:].split()[2]) == group and name_of(int(entry)):
            found.append(int(entry))
    return found


def is_alive(pid):
    return name_of(pid) != ""


def of_world(directory):
    """{pid: name} of all living processes that carry the directory in their environment."""
    mark = os.fsencode(directory) + b"/"
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            if mark in _read(f"/proc/{entry}/environ").replace(b"\0", b"/\0"):
                name = name_of(int(entry))
                if name:
                    found[int(entry)] = name
    return found


def variable(pid, name):
    """Of a process's environment as it was at its start; None where it is not there."""
    mark = os.fsencode(name) + b"="
    for entry in _read(f"/proc/{pid}/environ").split(b"\0"):
        if entry.startswith(mark):
            return os.fsdecode(entry[len(mark):])
    return None


def kill(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def end_all(directory, seconds=30):
    """
    Ends every process of a world; returns the names of those that were still there.  Erlang's
    helpers end by themselves, a moment after the broker.
    """
    deadline = time.monotonic() + seconds
    while ((left := of_world(directory)) and time.monotonic() < deadline - seconds + 5 and
           not any(name.startswith("mirror") for name in left.values())):
        time.sleep(0.05)
    while (found := of_world(directory)) and time.monotonic() < deadline:
        for pid in found:
            kill(pid)
        time.sleep(0.1)
    return sorted(left.values())
