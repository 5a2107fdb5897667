# SPDX-License-Identifier: Apache-2.0
"""What the measuring programs share: tables, progress, taking turns, a heap of files."""
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from rig import process  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def table(title, heads, rows):
    cells = [heads, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    print(f"\n{title}\n")
    for row in cells:
        line = "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                         for i, (cell, width) in enumerate(zip(row, widths)))
        print(f"  {line}".rstrip())
    sys.stdout.flush()


def progress(words):
    if sys.stderr.isatty():
        print(f"\r\033[K{words} …", end="", file=sys.stderr, flush=True)


def make_files(where, count):
    """count small files of mixed sizes, a hundred to a folder."""
    for number in range(count):
        folder = os.path.join(where, f"{number // 100:03}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"{number:05}"), "wb") as file:
            file.write(os.urandom(200 + number * 37 % 8000))


def make_archive(directory, count):
    """The same as a tar archive in directory."""
    where = os.path.join(directory, "files")
    make_files(where, count)
    archive = f"{where}.tar"
    subprocess.run(["tar", "-cf", archive, "-C", where, "."], check=True)
    shutil.rmtree(where)
    return archive


def timed(argv, cwd, environment):
    """
    (wall, CPU) seconds of a program and its children.  None of its descriptors is a file: where that
    lies would count.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=cwd, env=environment, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wall = time.perf_counter() - began
    if done.returncode != 0:
        sys.exit(f"{argv[0]} failed: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def in_turns(kinds, rounds, once):
    """
    {kind: [once(kind), …]}: every kind once in each round, after one round that warms up.  Every
    second round goes backwards, so that none always comes first.
    """
    found = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind in kinds if number % 2 else kinds[::-1]:
            progress(f"{kind}, {number} of {rounds}")
            value = once(kind)
            if number > 0:
                found[kind].append(value)
    return found


def compare(bare, shim):
    """The medians of (wall, CPU) pairs, and the medians of the ratios of neighbours."""
    def median(values):
        return statistics.median(values)
    return {"bare_s": median([it[0] for it in bare]), "shim_s": median([it[0] for it in shim]),
            "ratio": median([b[0] / a[0] for a, b in zip(bare, shim)]),
            "cpu_ratio": median([b[1] / a[1] for a, b in zip(bare, shim) if a[1]])}


def usage(world):
    """{name: (processes, CPU seconds, resident bytes)} of all daemons of the world."""
    found = {}
    for pid, name in process.of_world(world.directory).items():
        if name.startswith("mirror") or name in ("beam.smp", "epmd", "erl_child_setup"):
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                    fields = file.read().rsplit(") ", 1)[1].split()
            except OSError:
                continue
            name = name if name.startswith("mirror") else "broker"
            count, cpu, resident = found.get(name, (0, 0, 0))
            found[name] = (count + 1, cpu + (int(fields[11]) + int(fields[12])) / TICKS,
                           resident + int(fields[21]) * PAGE)
    return found
