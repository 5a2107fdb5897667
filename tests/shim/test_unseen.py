# SPDX-License-Identifier: Apache-2.0
"""Programs that no preload can see are recognised when they are run, and no others."""

import os
import shutil
import stat
import struct
import subprocess

import pytest

from conftest import program

WAYS = ["execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "fexecve",
        "fexecve-path", "execveat", "syscall", "vfork", "posix_spawn", "posix_spawnp"]

GO = """package main
%s
import "os"
func main() { for _, f := range os.Args[1:] { os.WriteFile(f, []byte("go\\n"), 0644) } }
"""


def unseen(journal):
    return [r for r in journal.take() if r["kind"] == "unseen"]


def arguments(records):
    return [it for r in records for it in r.get("path2", "").split("\0") if it]


def script(path, interpreter):
    path.write_text(f"#!{interpreter}\nexit 7\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_run_one(journal, work, way):
    got = journal.run([program("runs"), way, program("alone"), "write", "./f"], work)
    assert (got.returncode, got.stdout, got.stderr) == (0, b"", b"")
    assert (work / "f").read_text() == "alone\n"
    [record] = unseen(journal)
    assert record["reason"] == "static" and record["dir"] == str(work)
    assert record["path"] == program("alone") and arguments([record]) == ["./f"]
    assert record["session"] == os.getsid(0)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_seen_is_not_recorded(journal, work, way):
    got = journal.run([program("runs"), way, shutil.which("touch"), "./f"], work)
    assert (got.returncode, got.stdout, got.stderr) == (0, b"", b"")
    records = journal.take()
    assert not [r for r in records if r["kind"] == "unseen"]
    assert [r for r in records if r["program"] == "touch"]


def test_pid_is_that_of_the_program(journal, work):
    got = journal.run([program("runs"), "posix_spawn", shutil.which("env"), "-i",
                       shutil.which("sh"), "-c", "echo $$ > /dev/stdout"], work)
    [record] = unseen(journal)
    assert record["pid"] == int(got.stdout) and record["reason"] == "environment"


def test_a_vector_longer_than_the_stack_allows(journal, work):
    got = journal.run([program("runs"), "execl-many", shutil.which("echo"), "x"], work)
    assert got.stdout.split() == [b"x"] * 50
    got = journal.run([program("runs"), "execl-many", program("alone"), "./f"], work)
    assert arguments(unseen(journal)) == ["./f"] * 50


def test_many_arguments_take_several_records(journal, work):
    names = [f"./{'x' * 100}{i}" for i in range(3000)]
    got = journal.run([program("runs"), "execve", "/usr/bin/busybox", "true", *names], work)
    assert got.returncode == 0
    records = unseen(journal)
    assert len(records) > 10 and arguments(records) == names
    assert len({r["pid"] for r in records}) == 1 and journal.facts()["dropped"] == 0


def test_scripts_are_followed(journal, work, tmp_path):
    direct = script(tmp_path / "direct", "/usr/bin/busybox sh")
    over = script(tmp_path / "over", direct)
    seen = script(tmp_path / "seen", shutil.which("bash"))
    for it, code, reasons in ((direct, 7, ["static"]), (over, 7, ["static"]), (seen, 7, [])):
        got = journal.run([program("runs"), "execve", it], work)
        assert got.returncode == code
        assert [r["reason"] for r in unseen(journal)] == reasons


def test_endless_scripts(journal, work, tmp_path):
    script(tmp_path / "a", tmp_path / "b")
    script(tmp_path / "b", tmp_path / "a")
    (tmp_path / "empty").touch(0o755)
    for name, code in (("a", 126), ("empty", 126), ("missing", 127), (".", 126)):
        assert journal.run([program("runs"), "execve", str(tmp_path / name)], work).returncode == code
    assert unseen(journal) == []


def test_privileged(journal, work):
    su = shutil.which("su")
    if os.getuid() == 0 or not os.stat(su).st_mode & stat.S_ISUID:
        pytest.skip("needs an ordinary user and a set-user-id program")
    assert journal.run([program("runs"), "execve", su, "--version"], work).returncode == 0
    assert [r["reason"] for r in unseen(journal)] == ["privileged"]


def test_environments(journal, work):
    for command in ("env -i /bin/true", "env -u LD_PRELOAD true", "env -u MIRROR_JOURNAL true",
                    "LD_PRELOAD= /bin/true", "MIRROR_JOURNAL= /bin/true"):
        assert journal.run(command, work, shell="bash").returncode == 0
        assert [r["reason"] for r in unseen(journal)] == ["environment"], command
    assert journal.run("env X=1 true; env -i nothing-there; true", work,
                       shell="bash").returncode == 0
    assert unseen(journal) == []


@pytest.mark.parametrize("machine", [(1, 3), (1, 62), (2, 183)], ids=["i386", "x32", "arm"])
def test_other_machines(journal, work, machine):
    header = b"\x7fELF" + bytes([machine[0], 1, 1]) + bytes(9) + struct.pack("<HH", 2, machine[1])
    (work / "other").write_bytes(header + bytes(200))
    (work / "other").chmod(0o755)
    journal.run([program("runs"), "execve", str(work / "other")], work)
    assert [r["reason"] for r in unseen(journal)] == ["machine"]


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_go(journal, work, tmp_path, kind):
    go = shutil.which("go")
    if not go:
        pytest.skip("there is no go here")
    (tmp_path / "it.go").write_text(GO % ('import "C"' if kind == "dynamic" else ""))
    environment = {**os.environ, "HOME": str(tmp_path), "GOFLAGS": "-mod=mod",
                   "GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off"}
    subprocess.run([go, "build", "-o", "it", "it.go"], cwd=tmp_path, env=environment, check=True)
    subprocess.run(["strip", "it"], cwd=tmp_path, check=True)
    got = journal.run([program("runs"), "execve", str(tmp_path / "it"), "./f"], work)
    assert got.returncode == 0 and (work / "f").read_text() == "go\n"
    reason = "go" if kind == "dynamic" else "static"
    assert [r["reason"] for r in unseen(journal)] == [reason]


def test_a_program_that_is_replaced_is_read_again(journal, work, tmp_path):
    """What was found out is kept in the journal's memory, by device, inode and ctime."""
    here = tmp_path / "program"
    for source, reasons in ((shutil.which("true"), []), (program("alone"), ["static"])) * 2:
        here.write_bytes(b"")
        here.write_bytes(open(source, "rb").read())
        here.chmod(0o755)
        for _ in range(2):
            got = journal.run(f"echo > x; {here}", work, shell="bash")
            assert got.returncode == 0
            assert [r["reason"] for r in unseen(journal)] == reasons


def test_found_by_path(journal, work, tmp_path):
    (tmp_path / "bin").mkdir()
    shutil.copy(program("alone"), tmp_path / "bin" / "alone")
    path = f"/nonexistent::{tmp_path}/bin:/bin"
    for way in ("execvp", "execlp", "execvpe", "posix_spawnp"):
        got = journal.run([program("runs"), way, "alone", "write", "./f"], work, PATH=path)
        assert got.returncode == 0
        assert [r["reason"] for r in unseen(journal)] == ["static"], way
