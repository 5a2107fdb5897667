# SPDX-License-Identifier: Apache-2.0
"""A configuration with a fault: file, line, column, what was expected, exit 2."""
import os
import re

import pytest

from rig import BUILD
from rig.process import run

GOOD = "mirror: demo\ntrees:\n  - source: /tmp/a\n    target: /tmp/b\n"

FAULTS = {
    "unknown key": (GOOD + "dealy: 30s\n", 5, 1, "delay"),
    "unknown key like no other": (GOOD + "frobnicate: 1\n", 5, 1, "expected one of mirror, trees,"),
    "unknown key below": (GOOD + "winnow: { shard: 5 }\n", 5, 11, "shards"),
    "time without a unit": (GOOD + "delay: 30\n", 5, 8, "30s"),
    "number where a word is": (GOOD + "max_delete: many\n", 5, 13, "number"),
    "out of range": (GOOD + "winnow: { shards: 65 }\n", 5, 19, "64"),
    "no such transport": (GOOD + "copier: { transport: ftp }\n", 5, 22, "libssh2"),
    "list where a map is": ("mirror: demo\ntrees: /tmp/a\n", 2, 8, "list"),
    "relative source": ("mirror: demo\ntrees:\n  - source: a\n    target: /tmp/b\n", 3, 13, ""),
    "bad mirror name": (GOOD.replace("demo", "../x"), 1, 9, "letters"),
    "said twice": (GOOD + "delay: 1s\ndelay: 2s\n", 6, 1, ""),
    "not YAML": (GOOD + "broker: [\n", None, None, ""),
    "password in the URL": (GOOD + "broker: amqps://u:secret@h/v\n", 5, 9, "credentials"),
}


def control(directory, *arguments, **environment):
    return run([f"{BUILD}/bin/mirrorctl", *arguments], cwd=directory, seconds=30, env={
        "HOME": str(directory), "XDG_CONFIG_HOME": f"{directory}/config",
        "XDG_STATE_HOME": f"{directory}/state", "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
        **environment})


@pytest.mark.parametrize("text, line, column, expected", FAULTS.values(), ids=FAULTS.keys())
def test_fault(tmp_path, text, line, column, expected):
    file = tmp_path / "mirror.yaml"
    file.write_text(text)
    done = control(tmp_path, "-c", str(file), "config", "check")
    assert done.returncode == 2, (done.stdout, done.stderr)
    where = re.search(re.escape(str(file)) + r":(\d+):(\d+): \S", done.stderr)
    assert where, done.stderr
    if line:
        assert (int(where[1]), int(where[2])) == (line, column), done.stderr
    assert expected in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("program", ["mirrorctl status", "mirrorctl start", "mirror-audit",
                                     "mirror-poster", "mirror-winnow", "mirror-copier",
                                     "mirror-tally"])
def test_every_program_refuses_it(tmp_path, program):
    file = tmp_path / "mirror.yaml"
    file.write_text(GOOD + "dealy: 30s\n")
    name, *verb = program.split()
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = run([f"{BUILD}/bin/{name}", "-c", str(file), *verb], seconds=30, env=environment)
    daemon = name not in ("mirrorctl", "mirror-audit")
    assert done.returncode == (100 if daemon else 2), (done.stdout, done.stderr)
    assert "mirror.yaml:5:1:" in done.stderr


def test_no_file_at_all(tmp_path):
    done = control(tmp_path, "status")
    assert done.returncode == 2
    assert "mirror.yaml" in done.stderr


def test_found_by_environment(tmp_path):
    (tmp_path / "config/treemirror").mkdir(parents=True)
    (tmp_path / "config/treemirror/mirror.yaml").write_text(GOOD)
    assert control(tmp_path, "config", "check").returncode == 0
    other = tmp_path / "other.yaml"
    other.write_text(GOOD.replace("demo", "other"))
    done = control(tmp_path, "config", "show", MIRROR_CONFIG=str(other))
    assert done.returncode == 0 and "other" in done.stdout
    third = tmp_path / "third.yaml"
    third.write_text(GOOD.replace("demo", "third"))
    done = control(tmp_path, "-c", str(third), "config", "show", MIRROR_CONFIG=str(other))
    assert "third" in done.stdout


def test_show_reads_back(tmp_path):
    file = tmp_path / "mirror.yaml"
    file.write_text(GOOD + "delay: 90s\nwinnow: { shards: 7 }\nretry: [1s, 1m]\n")
    shown = control(tmp_path, "-c", str(file), "config", "show").stdout
    again = tmp_path / "again.yaml"
    again.write_text(shown)
    assert control(tmp_path, "-c", str(again), "config", "show").stdout == shown
    assert "7" in shown


def test_shipped_defaults_are_the_programs(tmp_path):
    shipped = os.path.join(os.path.dirname(__file__), "../../configs/mirror.yaml")
    done = control(tmp_path, "config", "show", "--defaults")
    assert done.returncode == 0, done.stderr
    with open(shipped, encoding="utf-8") as file:
        assert file.read() == done.stdout, "mirrorctl config show --defaults > configs/mirror.yaml"


def test_usage(tmp_path):
    for arguments in (["frobnicate"], ["status", "--frobnicate"], ["flush", "--timeout", "soon"]):
        done = control(tmp_path, *arguments)
        assert done.returncode == 2, arguments
        assert done.stderr and not done.stdout, arguments
    for program in ("mirrorctl", "mirror-audit", "mirror-poster", "mirror-winnow", "mirror-copier",
                    "mirror-tally"):
        for option in ("--help", "--version"):
            done = run([f"{BUILD}/bin/{program}", option], seconds=30, env={"HOME": str(tmp_path)})
            assert done.returncode == 0 and done.stdout and not done.stderr, (program, option)
