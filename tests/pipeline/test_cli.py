# SPDX-License-Identifier: Apache-2.0
"""What mirrorctl does without a broker: nothing here starts a daemon."""
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess

import pytest

from rig import BUILD
from rig.process import run

CONTROL = f"{BUILD}/bin/mirrorctl"
VERBS = ("start stop restart reload status env run sync flush failed forget journal config doctor").split()


class Mirror:
    """A configuration in a directory of its own; nothing of it runs."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.source, self.target = f"{self.directory}/source", f"{self.directory}/target"
        self.file = f"{self.directory}/mirror.yaml"
        self.state = f"{self.directory}/state/treemirror/demo"
        for path in (self.source, self.target):
            os.mkdir(path)
        self.write()

    def write(self, **keys):
        config = {"mirror": "demo", "trees": [{"source": self.source, "target": self.target}],
                  "journal": [f"{self.directory}/journal"], **keys}
        with open(self.file, "w", encoding="utf-8") as file:
            json.dump(config, file)

    def __call__(self, *arguments, config=True, seconds=60, **environment):
        return run([CONTROL, *(["-c", self.file] if config else []), *arguments], seconds=seconds,
                   cwd=self.directory, env={
                       "HOME": self.directory, "XDG_STATE_HOME": f"{self.directory}/state",
                       "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8",
                       "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", ""), **environment})


@pytest.fixture
def mirror(tmp_path):
    return Mirror(tmp_path)


# --- help and usage -------------------------------------------------------------------------------

def test_help_names_every_verb(mirror):
    done = mirror("--help", config=False)
    assert done.returncode == 0 and not done.stderr
    for verb in VERBS:
        assert f"  {verb} " in done.stdout
    assert "supervise" not in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb(mirror, verb):
    for arguments in ([verb, "--help"], ["-h", verb]):
        done = mirror(*arguments, config=False)
        assert done.returncode == 0 and not done.stderr
        assert done.stdout.startswith(f"usage: mirrorctl {verb}")
        assert "--config FILE" in done.stdout


@pytest.mark.parametrize("name", ["mirrorctl", "mirror-audit", "mirror-trace", "mirror-poster",
                                  "mirror-winnow", "mirror-copier", "mirror-tally"])
def test_every_program_explains_itself(name):
    done = run([f"{BUILD}/bin/{name}", "--help"], seconds=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: mirror")
    for option in ("--version", "-V"):
        done = run([f"{BUILD}/bin/{name}", option], seconds=30)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{name} (treemirror) ")


def test_no_verb_is_bad_usage(mirror):
    done = mirror(config=False)
    assert done.returncode == 2 and not done.stdout and "usage:" in done.stderr


@pytest.mark.parametrize("arguments, expected", [
    (["statsu"], "'status'"), (["sotp"], "'stop'"), (["status", "--jsno"], "'--json'"),
    (["flush", "--tiemout", "3s"], "'--timeout'"), (["start", "coppier"], "'copier'"),
    (["config", "chekc"], "'check'"), (["status", "--confgi"], "'--config'"),
])
def test_near_misses_are_suggested(mirror, arguments, expected):
    done = mirror(*arguments)
    assert done.returncode == 2 and not done.stdout
    assert f"did you mean {expected}" in done.stderr


@pytest.mark.parametrize("arguments", [
    ["frobnicate"], ["--frobnicate"], ["status", "--frobnicate"], ["status", "extra"],
    ["status", "--json=yes"], ["flush", "--timeout"], ["flush", "--timeout", "soon"],
    ["status", "--watch=often"], ["config"], ["config", "check", "--defaults"], ["run"],
    ["sync", "--newer-than", "yesterday"], ["sync", "--newer-than", "2026-02-31"],
    ["sync", "--wait", "--no-wait"], ["sync", "--delete", "--newer-than", "2h"], ["forget"],
])
def test_bad_usage_is_told(mirror, arguments):
    done = mirror(*arguments)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert not done.stdout and done.stderr.startswith("mirrorctl: ")


def test_config_file_on_both_sides_of_the_verb(mirror):
    for arguments in (["-c", mirror.file, "config", "check"], ["config", "check", "-c", mirror.file],
                      [f"--config={mirror.file}", "config", "check"],
                      ["config", f"-c{mirror.file}", "check"]):
        done = mirror(*arguments, config=False)
        assert done.returncode == 0 and done.stdout.startswith("OK"), done.stderr


def test_no_configuration_tells_where_it_looked(mirror):
    done = mirror("status", config=False, XDG_CONFIG_HOME="/nowhere/config")
    assert done.returncode == 2 and not done.stdout
    assert "/nowhere/config/treemirror/mirror.yaml" in done.stderr
    assert "MIRROR_CONFIG" in done.stderr and "trees:" in done.stderr
    done = mirror("status", config=False, MIRROR_CONFIG="/nowhere/else.yaml")
    assert done.returncode == 2 and "/nowhere/else.yaml" in done.stderr


def test_fault_in_the_configuration(mirror):
    mirror.write(dealy="3s")
    for verb in (["status"], ["start"], ["config", "check"], ["env"]):
        done = mirror(*verb)
        assert done.returncode == 2 and f"{mirror.file}:1:" in done.stderr


# --- env and run ----------------------------------------------------------------------------------

def evaluated(mirror, **environment):
    """The variables that a shell has after evaluating what env prints."""
    text = mirror("env", **environment)
    assert text.returncode == 0, text.stderr
    assert text.stdout.count("\nexport ") == 1 and text.stdout.startswith("export LD_PRELOAD=")
    shell = subprocess.run(["sh", "-c", text.stdout + "\nset"], env={}, text=True, check=True,
                           stdout=subprocess.PIPE, errors="surrogateescape").stdout
    return dict(line.split("=", 1) for line in shell.splitlines() if "=" in line)


def shim():
    return os.path.realpath(f"{BUILD}/lib/libmirrorshim.so")


def test_env_keeps_what_is_preloaded(mirror):
    first = shlex.split(evaluated(mirror)["LD_PRELOAD"])[0]
    assert os.path.realpath(first) == shim()
    library = "/lib/x86_64-linux-gnu/libm.so.6"
    kept = shlex.split(evaluated(mirror, LD_PRELOAD=library)["LD_PRELOAD"])[0]
    assert kept == f"{library}:{first}"
    again = shlex.split(evaluated(mirror, LD_PRELOAD=f"{first}:{library} {first}")["LD_PRELOAD"])[0]
    assert again == f"{library}:{first}", "ours is there once"


@pytest.mark.parametrize("name", ["plain", "with space", "it's", '"double"', "$HOME `id` \\n",
                                  "-dash", "ä€"])
def test_env_quotes_odd_places(mirror, name):
    place = f"{mirror.directory}/{name}"
    mirror.write(journal=[place])
    line = [it for it in mirror("env").stdout.splitlines() if "MIRROR_JOURNAL" in it][0]
    told = subprocess.run(["sh", "-c", line + '\nprintf %s "$MIRROR_JOURNAL"'], check=True,
                          text=True, stdout=subprocess.PIPE, env={}).stdout
    assert told.startswith(place + "/treemirror-")


def test_env_refuses_what_the_loader_cannot_name(mirror, tmp_path):
    away = tmp_path / "a place with spaces"
    (away / "bin").mkdir(parents=True)
    (away / "lib").mkdir()
    shutil.copy(CONTROL, away / "bin/mirrorctl")
    shutil.copy(shim(), away / "lib/libmirrorshim.so")
    done = run([str(away / "bin/mirrorctl"), "-c", mirror.file, "env"], env={
        "HOME": mirror.directory, "PATH": "/usr/bin:/bin"})
    assert done.returncode == 1 and not done.stdout and "LD_PRELOAD" in done.stderr


@pytest.mark.parametrize("script, status", [
    ("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", -signal.SIGKILL),
    ("kill -TERM $$", -signal.SIGTERM)])
def test_run_ends_as_its_command(mirror, script, status):
    done = mirror("run", "--", "sh", "-c", script)
    assert done.returncode == status and not done.stdout and not done.stderr


def test_run_leaves_options_to_the_command(mirror):
    assert mirror("run", "echo", "--help", "-c", "x").stdout == "--help -c x\n"
    assert mirror("run", "--", "echo", "--", "a b").stdout == "-- a b\n"


def test_run_what_is_not_there(mirror):
    assert mirror("run", "--", "/no/such/program").returncode == 127
    assert mirror("run", "--", "no-such-program").returncode == 127
    assert mirror("run", "--", "/etc/passwd").returncode == 126


# --- nothing runs ---------------------------------------------------------------------------------

def test_status_when_stopped(mirror):
    done = mirror("status")
    assert done.returncode == 3
    assert done.stdout.startswith("STOPPED") and "\033" not in done.stdout
    done = mirror("status", "--json")
    status = json.loads(done.stdout)
    assert done.returncode == 3 and status["answer"] == "STOPPED" and status["exit"] == 3
    assert [stage["stage"] for stage in status["stages"]] == [
        "broker", "poster", "winnow", "copier", "tally"]


def test_stop_when_nothing_runs(mirror):
    for _ in range(2):
        assert mirror("stop").returncode == 0
    assert os.path.exists(f"{mirror.state}/stopped")
    assert stat.S_IMODE(os.stat(mirror.state).st_mode) == 0o700
    assert mirror("stop", "copier").returncode == 0


def test_flush_when_nothing_runs(mirror):
    done = mirror("flush")
    assert done.returncode == 1 and "mirrorctl start" in done.stderr
    done = mirror("flush", "--timeout", "1")
    assert done.returncode == 75 and done.stderr


def test_sync_of_what_is_outside(mirror):
    done = mirror("sync", "/etc")
    assert done.returncode == 2 and "'/etc'" in done.stderr
    done = mirror("sync", mirror.source)
    assert done.returncode == 1 and done.stderr


def test_failed_and_journal_without_a_past(mirror):
    for verb in ("failed", "journal"):
        done = mirror(verb)
        assert done.returncode == 1 and not done.stdout and len(done.stderr.splitlines()) == 1


def test_state_directory_that_cannot_be_made(mirror):
    done = mirror("start", XDG_STATE_HOME="/dev/null/x")
    assert done.returncode == 1 and "/dev/null" in done.stderr


# --- completion -----------------------------------------------------------------------------------

def test_bash_completes(mirror):
    script = mirror("completion", "bash", config=False).stdout
    def complete(*words):
        ask = (f"{script}\nCOMP_WORDS=({' '.join(shlex.quote(word) for word in words)})\n"
               f"COMP_CWORD={len(words) - 1}\n_mirrorctl\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n")
        return subprocess.run(["bash", "-c", ask], text=True, check=True, cwd=mirror.directory,
                              stdout=subprocess.PIPE).stdout.split()
    assert complete("mirrorctl", "st") == ["start", "stop", "status"]
    assert complete("mirrorctl", "-c", "mirr") == ["mirror.yaml"]
    assert complete("mirrorctl", "-c", "f", "status", "--j") == ["--json"]
    assert complete("mirrorctl", "start", "co") == ["copier"]
    assert complete("mirrorctl", "config", "") == ["check", "show"]
    assert "source" in complete("mirrorctl", "sync", "so")
