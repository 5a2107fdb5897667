# SPDX-License-Identifier: Apache-2.0
"""The poster that the first shim starts: once, unnoticed, and only where it is wanted."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import BUILD, DUMP, SHIM, program

POSTER = BUILD / "poster" / "mirror-poster"


class Node:
    """A home in which `mirrorctl start` seems to have been run, and a journal that is not there."""

    def __init__(self, directory):
        self.directory = directory
        self.journal = directory / "shm" / f"treemirror-{os.getuid()}" / "demo"
        self.state = directory / "state" / "treemirror" / "demo"
        (directory / "shm").mkdir()
        (directory / "tree").mkdir()
        (directory / "lib").mkdir()
        (directory / "bin").mkdir()
        (self.state / "log").mkdir(parents=True)
        (directory / "lib" / "libmirrorshim.so").symlink_to(SHIM)
        (directory / "bin" / "mirror-poster").symlink_to(POSTER)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]  # nobody listens there
        config = directory / "mirror.yaml"
        config.write_text(f"mirror: demo\nbroker: amqp://guest:guest@127.0.0.1:{port}/\n"
                          f"journal: [{directory}/shm]\n"
                          f"trees: [{{source: {directory}/tree, target: {directory}/copy}}]\n")
        (self.state / "config").symlink_to(config)
        (directory / "config" / "treemirror").mkdir(parents=True)
        credentials = directory / "config" / "treemirror" / "credentials"
        credentials.write_text(f"amqp://guest:guest@127.0.0.1:{port}/\n")
        credentials.chmod(0o600)
        config.write_text(config.read_text().replace("guest:guest@", "guest@"))

    def environment(self, **more):
        return {"HOME": str(self.directory), "XDG_STATE_HOME": str(self.directory / "state"),
                "XDG_CONFIG_HOME": str(self.directory / "config"), "PATH": os.environ["PATH"],
                "LD_PRELOAD": str(self.directory / "lib" / "libmirrorshim.so"),
                "MIRROR_JOURNAL": str(self.journal), **more}

    def start(self, *argv, **more):
        return subprocess.Popen(argv, cwd=self.directory / "tree", env=self.environment(**more),
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def run(self, *argv, **more):
        it = self.start(*argv, **more)
        return it.communicate(timeout=60)[0]

    def posters(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = open(f"/proc/{pid}/environ", "rb").read().split(b"\0")
                name = open(f"/proc/{pid}/comm").read().strip()
            except OSError:
                continue
            if name == "mirror-poster" and f"HOME={self.directory}".encode() in words:
                found.append(int(pid))
        return found

    def facts(self):
        return json.loads(subprocess.run([DUMP, "facts", self.journal], check=True,
                                         stdout=subprocess.PIPE).stdout)

    def shown(self):
        return subprocess.run([DUMP, "show", self.journal], check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    def settle(self, seconds=10):
        """Until a reader serves the journal; those that were one too many have ended then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.journal.is_dir() and (self.journal / "ring").exists() and \
                    self.facts()["reader"]:
                break
            time.sleep(0.05)
        time.sleep(0.3)
        return self.posters()

    def end(self):
        for pid in self.posters():
            os.kill(pid, signal.SIGKILL)
        while self.posters():
            time.sleep(0.02)

    def forget_call(self):
        """As if the last call for a poster were long ago."""
        with open(self.journal / "ring", "r+b") as ring:
            ring.seek(256 + 8)
            ring.write(bytes(16))


@pytest.fixture
def node(tmp_path):
    it = Node(tmp_path)
    yield it
    it.end()


def without_shim(node, *argv):
    return node.run(*argv, LD_PRELOAD="", MIRROR_JOURNAL="")


@pytest.mark.parametrize("name", ["guest", "guest-musl"])
def test_the_program_does_not_notice(node, name):
    bare = without_shim(node, program(name), "a", "300")
    assert "deaths 0 wait -1 10 clones -1 10" in bare and "thread saw 0" in bare
    assert node.posters() == []
    assert node.run(program(name), "b", "300") == bare
    assert len(node.settle()) == 1


def test_first_events_are_not_lost(node):
    node.run("sh", "-c", "echo 1 > first; mv first second")
    shown = node.shown()
    assert "first" in shown and "second" in shown
    node.settle()
    node.run("sh", "-c", "echo 1 > later")
    assert "later" in node.shown()


@pytest.mark.parametrize("size, made", [("1048576", 1 << 20), ("1000000000", 64 << 20),
                                        ("0", 64 << 20)])
def test_the_list_says_how_large(node, size, made):
    node.run("sh", "-c", "echo 1 > first", MIRROR_JOURNAL=f"{size}:{node.journal}")
    drafts = made >> 17
    assert (node.journal / "ring").stat().st_size == 4096 + drafts * 16384 + made + 32768
    assert "first" in node.shown()


def test_one_for_many(node):
    running = [node.start(program("guest"), f"f{i}") for i in range(20)]
    said = {it.communicate(timeout=60)[0] for it in running}
    assert len(said) == 1
    posters = node.settle()
    assert len(posters) == 1 and node.facts()["reader"] == posters[0]
    shown = node.shown()
    assert all(f"/f{i}" in shown or f" f{i}" in shown for i in range(20))
    assert os.listdir(node.journal).count("ring") == 1
    assert not [name for name in os.listdir(node.journal) if name.startswith("ring.")]


def test_it_is_a_process_of_its_own(node):
    script = "ulimit -S -n 100; trap '' HUP TERM; exec 9< /etc/passwd; echo 1 > f; sleep 0.5"
    node.run("taskset", "-c", "0", "sh", "-c", script, LD_LIBRARY_PATH="/nowhere")
    pid, = node.settle()
    status = open(f"/proc/{pid}/status").read()
    environment = open(f"/proc/{pid}/environ").read()
    sets = {line.split(":")[0]: int(line.split()[1], 16) for line in status.splitlines()
            if line.startswith(("SigBlk", "SigIgn"))}
    assert not sets["SigIgn"] & (1 << signal.SIGHUP - 1 | 1 << signal.SIGTERM - 1)
    assert not sets["SigBlk"] & ~(1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1)  # a signalfd's
    assert os.getsid(pid) == pid and os.readlink(f"/proc/{pid}/cwd") == "/"
    assert "LD_" not in environment and "MIRROR_JOURNAL" not in environment
    files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert "/etc/passwd" not in files and not any(file.startswith("pipe:") for file in files[:3])
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)


def test_a_dead_one_is_replaced_but_not_in_a_hurry(node):
    node.run("sh", "-c", "echo 1 > f")
    first = node.settle()
    node.end()
    node.run("sh", "-c", "echo 2 > f")
    time.sleep(0.5)
    assert node.posters() == []  # asked for a moment ago
    node.forget_call()
    node.run("sh", "-c", "echo 3 > f")
    assert len(node.settle()) == 1 and node.posters() != first


def test_ends_and_stays_away_when_stopped(node):
    node.run("sh", "-c", "echo 1 > f")
    assert len(node.settle()) == 1
    (node.state / "stopped").touch()
    end = time.monotonic() + 30
    while node.posters() and time.monotonic() < end:
        time.sleep(0.1)
    assert node.posters() == []
    node.forget_call()
    node.run("sh", "-c", "echo 2 > f; sleep 0.5")
    assert node.posters() == []
    assert "f" in node.shown()


def unwanted_never_started(node):
    (node.state / "config").unlink()


def unwanted_stopped(node):
    (node.state / "stopped").touch()


def unwanted_not_installed(node):
    (node.directory / "bin" / "mirror-poster").unlink()


@pytest.mark.parametrize("unwanted", [unwanted_never_started, unwanted_stopped,
                                      unwanted_not_installed])
def test_nothing_happens_where_it_is_not_wanted(node, unwanted):
    unwanted(node)
    bare = without_shim(node, program("guest"), "a", "300")
    assert node.run(program("guest"), "b", "300") == bare
    assert node.posters() == [] and not node.journal.exists()
    assert os.listdir(node.directory / "shm") == []


def test_not_beside_a_supervisor(node):
    """Its poster is coming back already, or was stopped alone."""
    (node.state / "run").mkdir()
    decoy = node.directory / "mirrorctl"
    shutil.copy("/bin/sleep", decoy)
    sleeper = subprocess.Popen([decoy, "60"])
    try:
        (node.state / "run" / "supervisor.lock").write_text(
            f"pid {sleeper.pid} on {socket.gethostname()}\n")
        node.run("sh", "-c", "echo 1 > f; sleep 0.7")
        assert node.posters() == []
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize("unusual, count", [("nothing", 1), ("subreaper", 0), ("seccomp", 0),
                                            ("file size", 0)])
def test_not_from_an_unusual_program(node, unusual, count):
    script = {
        "nothing": "pass",
        "subreaper": "import ctypes; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)",
        "seccomp": "import ctypes, struct; c = ctypes.CDLL(None); "
                   "f = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000)); "
                   "p = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 1, ctypes.addressof(f))); "
                   "assert c.prctl(38, 1, 0, 0, 0) == 0 and c.prctl(22, 2, p, 0, 0) == 0",
        "file size": "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))",
    }[unusual]
    said = node.run("/usr/bin/python3", "-B", "-c",
                    script + "; import time; open('f', 'w').close(); time.sleep(0.7); print('well')")
    assert said == "well\n"
    assert len(node.posters()) == count
