# SPDX-License-Identifier: Apache-2.0
"""A world: two trees and everything that mirrors one to the other, in one directory."""
import glob
import json
import os
import shlex
import shutil
import signal
import stat
import sys
import tempfile

from . import process
from .compare import differences, snapshot
from .longlink import LongLink
from .sick import Sick
from .sshd import Sshd

BUILD = os.environ.get("MIRROR_BUILD") or os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "build")

# Short times, so that a test takes seconds; flush --now does not wait for them anyway.
DEFAULTS = {
    "delay": "1s",
    "max_delay": "5s",
    "settle": "2s",
    "retry": ["1s", "2s", "4s"],
    "winnow": {"shards": 2},
}


class World:
    """
    target, source: "local" or "sftp"; round_trip_ms: of the link between them.  config: keys of
    mirror.yaml that differ from DEFAULTS.  sick: the target's calls can be made to fail, and the
    daemons' clocks be stepped.  credentials: of a broker that is not the managed one.
    The world is not started before start() or `with`.
    """

    def __init__(self, *, source="local", target="sftp", transport="libssh2", copiers=2,
                 config=None, exclude=None, sftp_server=None, sshd_options="", relay=False,
                 round_trip_ms=0, sick=False, credentials=None):
        self.directory = tempfile.mkdtemp(prefix="tm-")
        self.failed = False
        self.killed = False  # then temporary names may be left for a while
        self.links = source == "local"  # SFTP tells no link counts
        self.mirror = "w" + os.path.basename(self.directory)[3:].replace("_", "x")
        self.source, self.target = self._path("source"), self._path("target")
        self.config_file = self._path("config/treemirror/mirror.yaml")
        for name in ("source", "target", "home", "config/treemirror", "state", "run", "tmp"):
            os.makedirs(self._path(name), mode=0o700)
        self.environment = self._make_environment()
        self.sick = Sick(BUILD, self.directory, self.target) if sick else None
        self.sshd = None
        if "sftp" in (source, target):
            self.sshd = Sshd(self._path("ssh"), self.environment, sftp_server, sshd_options,
                             relay, self.sick.environment() if sick else None).start()
        self.long_link = None
        if round_trip_ms:
            self.long_link = LongLink(BUILD, self.sshd.port, round_trip_ms, self.environment)
            self.sshd.stand_behind(self.long_link.port)
        self.config = {**DEFAULTS, **(config or {})}
        self.config.setdefault("mirror", self.mirror)
        self.config.setdefault("journal", [self._path("journal")])
        self.config.setdefault("trees", [{
            "source": self.sshd.url(self.source) if source == "sftp" else self.source,
            "target": self.sshd.url(self.target) if target == "sftp" else self.target,
            **({"exclude": exclude} if exclude else {})}])
        self.config["copier"] = {
            "instances": copiers, "transport": transport,
            **({"identity": self.sshd.identity, "known_hosts": self.sshd.known_hosts}
               if self.sshd else {}),
            **(config or {}).get("copier", {})}
        if transport == "ssh":
            self._write_ssh_config()
        self.write_config()
        if credentials:
            self._write_credentials(credentials)
        self.before_removal = lambda: None  # when all is stopped
        self._shim = None
        self._number = 0

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.failed = True
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None and not self.failed:
            self.failed = True
            print(self.diagnosis())
        self.close()

    # --- what people type -------------------------------------------------------------------

    def start(self, *stages):
        self.must("start", *stages, seconds=180, env={
            **self.environment, **(self.sick.environment() if self.sick else {})})
        return self

    def stop(self, *stages):
        self.must("stop", *stages, seconds=120)

    def mirrorctl(self, *arguments, seconds=120, **options):
        """Runs `mirrorctl ARGUMENTS`; the caller looks at returncode, stdout and stderr."""
        return self.program("mirrorctl", *arguments, seconds=seconds, **options)

    def audit(self, *arguments, seconds=300):
        return self.program("mirror-audit", *arguments, seconds=seconds)

    def program(self, name, *arguments, seconds=120, **options):
        options.setdefault("env", self.environment)
        options.setdefault("cwd", self.directory)
        return process.run([f"{BUILD}/bin/{name}", *arguments], seconds=seconds, **options)

    def must(self, *arguments, seconds=120, **options):
        """mirrorctl, which has to succeed; returns what it printed."""
        done = self.mirrorctl(*arguments, seconds=seconds, **options)
        assert done.returncode == 0, (
            f"mirrorctl {shlex.join(arguments)} ended with {done.returncode}\n"
            f"{done.stdout}{done.stderr}")
        return done.stdout

    def flush(self, *, now=True, seconds=90):
        self.must("flush", *(["--now"] if now else []), "--timeout", f"{seconds}s",
                  seconds=seconds + 30)

    def status(self):
        done = self.mirrorctl("status", "--json")
        return json.loads(done.stdout)

    # --- jobs ---------------------------------------------------------------------------------

    def shim_environment(self):
        """What `eval "$(mirrorctl env)"` gives a job."""
        if self._shim is None:
            text = self.must("env")
            done = process.run(["env", "-i", "bash", "-c", text + "\nenv -0"], env={})
            pairs = (it.split("=", 1) for it in done.stdout.split("\0") if "=" in it)
            wanted = {name: value for name, value in pairs
                      if name == "LD_PRELOAD" or name.startswith("MIRROR_")}
            self._shim = {**self.environment, **wanted}
        return self._shim

    def journal_ring(self):
        """The file that jobs and the poster have mapped."""
        places = self.shim_environment()["MIRROR_JOURNAL"].split(":")
        return next(ring for ring in (f"{place.replace('%h', os.uname().nodename)}/ring"
                                      for place in places) if os.path.exists(ring))

    def job(self, argv, *, cwd=None, check=True, seconds=120, **options):
        """Runs a program under the shim, in the source tree."""
        done = process.run(argv, seconds=seconds, cwd=cwd or self.source,
                           env=self.shim_environment(), **options)
        assert not check or done.returncode == 0, (argv, done.returncode, done.stdout, done.stderr)
        return done

    def sh(self, script, **options):
        return self.job(["bash", "-c", script], **options)

    def py(self, script, *arguments, **options):
        return self.job([sys.executable, "-S", "-c", script, *arguments], **options)

    def place(self):
        """A new directory in the source tree, made under the shim, for one test."""
        self._number += 1
        name = f"t{self._number}"
        self.sh(f"mkdir {name}")
        return Place(self, name)

    # --- truth --------------------------------------------------------------------------------

    def differences(self, rel="", links=None):
        whole = rel == ""
        target = os.path.join(self.target, rel)
        if not os.path.isdir(target):
            return [f"{rel!r} is missing"]
        return differences(snapshot(os.path.join(self.source, rel), whole),
                           snapshot(target, whole, without_temporaries=self.killed),
                           self.links if links is None else links)

    def check(self, rel="", *, now=True, links=None, seconds=90):
        """Flushes, then the trees must be equal."""
        self.flush(now=now, seconds=seconds)
        found = self.differences(rel, links)
        assert not found, "\n".join(["the target differs:", *found[:20]])

    # --- parts --------------------------------------------------------------------------------

    def pids(self, name):
        """Of a daemon ("copier") or "broker", straight from /proc."""
        name = {"broker": "beam.smp"}.get(name, f"mirror-{name}")[:15]
        return sorted(pid for pid, it in process.of_world(self.directory).items() if it == name)

    def kill(self, name, number=signal.SIGKILL):
        pids = self.pids(name)
        for pid in pids:
            process.kill(pid, number)
        self.killed = self.killed or name == "copier"
        return pids

    def wait_ready(self, seconds=120):
        """Until everything that may have been killed is up again."""
        process.wait_until(lambda: self.mirrorctl("status").returncode in (0, 4), seconds,
                           "all stages to be up")

    def write_config(self, **changes):
        self.config.update(changes)
        with open(self.config_file, "w", encoding="utf-8") as file:
            for key, value in self.config.items():
                file.write(f"{key}: {json.dumps(value)}\n")

    def logs(self, last=40):
        """The ends of all logs, for a person."""
        parts = []
        for path in sorted(glob.glob(self._path("state/treemirror/*/log/*.log"))):
            with open(path, encoding="utf-8", errors="replace") as file:
                parts.append(f"--- {os.path.basename(path)}\n{''.join(file.readlines()[-last:])}")
        return "\n".join(parts)

    def diagnosis(self):
        status = self.mirrorctl("status", seconds=30)
        failed = self.mirrorctl("failed", seconds=30)
        return "\n".join([self.directory, status.stdout, status.stderr, failed.stdout, self.logs()])

    # --- the end ------------------------------------------------------------------------------

    def close(self):
        """Stops everything; what is still there afterwards is a fault of `mirrorctl stop`."""
        stopped = None
        try:
            stopped = self.mirrorctl("stop", seconds=120)
        finally:
            if self.sshd:
                self.sshd.stop()
            if self.long_link:
                self.long_link.stop()
            left = process.end_all(self.directory)
            self.before_removal()
            if not (self.failed and os.environ.get("MIRROR_TEST_KEEP") == "true"):
                _remove(self.directory)
        if not self.failed:
            assert stopped and stopped.returncode == 0, stopped
            assert not left, f"left behind by mirrorctl stop: {left}"

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _make_environment(self):
        here = {"HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_STATE_HOME": "state",
                "XDG_RUNTIME_DIR": "run", "TMPDIR": "tmp"}
        keep = ("USER", "LOGNAME", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")
        return {**{name: os.environ[name] for name in keep if name in os.environ},
                **{name: self._path(value) for name, value in here.items()},
                "PATH": f"{BUILD}/bin:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}

    def _write_credentials(self, text):
        path = self._path("config/treemirror/credentials")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            file.write(text)

    def _write_ssh_config(self):
        # ssh looks up the home directory in the password file, not in $HOME.
        wrapper = self._path("ssh/ssh")
        with open(wrapper, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec ssh -F /dev/null -o UserKnownHostsFile='
                       f'{self.sshd.known_hosts} -i {self.sshd.identity} "$@"\n')
        os.chmod(wrapper, 0o700)
        self.config["copier"]["ssh_command"] = wrapper


class Place:
    """One test's own directory in a world that many tests share."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.source = os.path.join(world.source, name)
        self.target = os.path.join(world.target, name)

    def sh(self, script, **options):
        return self.world.sh(script, cwd=self.source, **options)

    def py(self, script, *arguments, **options):
        return self.world.py(script, *arguments, cwd=self.source, **options)

    def check(self, **options):
        self.world.check(self.name, **options)

    def read(self, name):
        """A file's content at the target."""
        with open(os.path.join(self.target, name), "rb") as file:
            return file.read()

    def holds(self, name, content):
        """Whether the target has this file with this content by now."""
        return os.path.exists(os.path.join(self.target, name)) and self.read(name) == content


def _remove(directory):
    """Removes a tree, read-only directories included."""
    def again(function, path, _):
        os.chmod(os.path.dirname(path), stat.S_IRWXU)
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, stat.S_IRWXU)
        function(path)
    shutil.rmtree(directory, onerror=again)
