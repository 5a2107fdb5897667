# SPDX-License-Identifier: Apache-2.0
"""The program never notices; the journal hears of everything."""

import os
import random
import signal
import subprocess
import time

import pytest

import judge
from conftest import SHIM, Journal, program

VARIANTS = ["every-call", "every-call-lfs", "every-call-fortify", "every-call-musl"]


def tree(directory):
    found = {}
    for path in sorted(directory.rglob("*")):
        st = path.lstat()
        found[str(path.relative_to(directory))] = (st.st_mode, st.st_nlink)
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_results_and_errno(journal, tmp_path, variant):
    bare, under = tmp_path / "bare", tmp_path / "under"
    bare.mkdir(), under.mkdir()
    expected = subprocess.run([program(variant)], cwd=bare, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60)
    got = journal.run([program(variant)], under)
    assert got.stdout.splitlines() == expected.stdout.splitlines()
    assert (got.returncode, got.stderr) == (expected.returncode, expected.stderr) == (0, b"")
    assert tree(under) == tree(bare)
    model = journal.model()
    for name in tree(under):
        assert model.told(under / name), name
    for name in ["a", "d/a3", "l", "fifo", "gone", "d/e", "raw1", "raw2", "raw-dir"]:  # came and went
        assert os.fsencode(under / name) in model.hints, name
    assert journal.facts()["dropped"] == 0


@pytest.mark.parametrize("name", ["small-stack", "small-stack-musl"])
def test_small_stacks(journal, work, name):
    got = journal.run([program(name)], work)
    assert (got.returncode, got.stdout) == (0, b"0 failures\n")
    model = journal.model()
    for file in ["thread-renamed", "signal-renamed"]:
        assert model.told(work / file)


@pytest.mark.parametrize("name", ["storm", "storm-musl"])
def test_signals_threads_and_forks(tmp_path, work, name):
    journal = Journal(tmp_path / "journal", 1 << 24)
    got = journal.run([program(name)], work)
    assert (got.returncode, got.stdout) == (0, b"0 failures\n")
    facts = journal.facts()
    assert (facts["torn"], facts["dropped"]) == (0, 0)
    model = journal.model()
    for path in work.iterdir():
        assert model.told(path)


ENDS = ["_exit", "sent", "raw-fork", "return", "abort", "kill", "thread", "late-child", "map", "dup2", "fdopen",
        "raw-write", "stream", "stream-kill", "daemon", "tmpfile"]


@pytest.mark.parametrize("how", ENDS)
def test_ends_without_closing(journal, work, how):
    journal.run([program("ends"), how, "file"], work)
    time.sleep(0.2)  # some leave children
    model = journal.model()
    assert model.told(work / "file")
    assert (work / "file").stat().st_size > 0


def test_opened_and_not_written_makes_no_noise(journal, work):
    (work / "file").write_text("x")
    time.sleep(2.1)  # what is younger counts as written: its times may tell no write
    journal.run([program("ends"), "unwritten", "file"], work)
    records = journal.take()
    closes = [r for r in records if r["kind"] == "close"]
    assert len(closes) == 1 and closes[0]["flags"] == []
    assert not [r for r in records if r["kind"] == "written"]


def test_records_carry_what_the_writer_saw(journal, work):
    before = time.time_ns()
    journal.run("exec 3>f; echo hello >&3; exec 3>&-", work, shell="bash", SLURM_JOB_ID="4711")
    close = [r for r in journal.take() if r["kind"] == "close"][-1]
    st = (work / "f").stat()
    assert (close["size"], close["ino"], close["dev"]) == (6, st.st_ino, st.st_dev)
    assert (close["mtime_ns"], close["mode"], close["nlink"]) == (st.st_mtime_ns, st.st_mode, 1)
    assert (close["program"], close["job"]) == ("bash", "4711")
    assert before <= close["time_ns"] <= time.time_ns()


@pytest.mark.parametrize("environment, job", [
    ({"SLURM_JOB_ID": "4711"}, "4711"),
    ({"SLURM_JOB_ID": "4713", "SLURM_ARRAY_JOB_ID": "4712", "SLURM_ARRAY_TASK_ID": "9"}, "4712_9"),
    ({"PBS_JOBID": "815[3].server"}, "815[3].server"),
    ({"LSB_JOBID": "99", "LSB_JOBINDEX": "0"}, "99"),
    ({"LSB_JOBID": "99", "LSB_JOBINDEX": "7"}, "99[7]"),
    ({"FLUX_JOB_ID": "f23Xy"}, "f23Xy"),
    ({"FLUX_JOB_ID": "f23Xy", "PBS_JOBID": "8", "SLURM_JOB_ID": "4711"}, "4711"),
    ({"MIRROR_JOB": "night run/\xe9", "SLURM_JOB_ID": "4711"}, "night run/\xe9"),
    ({"MIRROR_JOB": "", "SLURM_JOB_ID": "", "PBS_JOBID": "8"}, "8"),
    ({"MIRROR_JOB": "x" * 100}, "x" * 63),
    ({}, ""),
])
def test_batch_jobs(journal, work, environment, job):
    journal.run("echo > f; mv f g", work, shell="bash", **environment)
    assert {r.get("job", "") for r in journal.take()} == {job}


def test_other_devices_are_not_recorded(journal, work):
    journal.command("devices", str(os.stat("/proc").st_dev))
    journal.run("echo x > f; cat f; mv f g", work, shell="bash")
    assert {r["kind"] for r in journal.take()} == {"rename"}


def test_a_device_may_become_one_of_interest(journal, work):
    journal.command("devices", str(os.stat("/proc").st_dev))
    os.mkfifo(work / "go")
    script = "exec 3> f 4> g; echo >&3; exec 4>&-; read < go; echo x >&3; exec 3>&-"
    with subprocess.Popen(["bash", "-c", script], cwd=work, env=journal.environment(),
                          stdin=subprocess.DEVNULL) as shell:
        with open(work / "go", "w", encoding="ascii") as go:
            journal.command("devices", str(os.stat(work).st_dev))
            go.write("\n")
        assert shell.wait(60) == 0
    model = journal.model()
    assert model.told(work / "f")
    assert not model.hints.get(os.fsencode(work / "g"))


def test_the_name_outlives_exec(journal, work):
    with open(work / "f", "wb") as out:
        subprocess.run(["bash", "-c", "for ((i = 0; i < 20; i++)); do /bin/true; done; :"],
                       cwd=work, env=journal.environment(), stdin=subprocess.DEVNULL, stdout=out,
                       stderr=subprocess.PIPE, timeout=60, check=True)
    records = journal.take()
    got = [r for r in records if r["kind"] == "inherit" and r["program"] == "true"]
    told = {r["pid"] for r in records if r["program"] == "bash" and r.get("path")}
    assert len(got) == 20
    assert all(r.get("path") or r["pid"] in told for r in got)
    assert not all(r.get("path") for r in got)


@pytest.mark.parametrize("where", ["missing", "readonly", "foreign", "relative", "empty"])
def test_unusable_journals_change_nothing(journal, tmp_path, work, where):
    place = {"missing": tmp_path / "no", "readonly": tmp_path / "ro", "foreign": "/tmp",
             "relative": "journal", "empty": ""}[where]
    if where == "readonly":
        place.mkdir()
        (place / "ring").write_bytes(b"x" * 5000)
        place.chmod(0o500)
    got = journal.run("echo x > f; cat f; rm f; echo $?", work, shell="bash",
                      MIRROR_JOURNAL=str(place))
    assert (got.returncode, got.stdout, got.stderr) == (0, b"x\n0\n", b"")
    assert journal.take() == []


def test_first_usable_of_the_list_and_the_hosts_name(tmp_path, work):
    journal = Journal(tmp_path / ("on-" + os.uname().nodename))
    listed = f"/nonexistent:relative:{tmp_path}/on-%h:/tmp"
    journal.run("echo x > f", work, shell="bash", MIRROR_JOURNAL=listed)
    assert journal.model().told(work / "f")


def test_few_descriptors(journal, work):
    got = journal.run("ulimit -n 8; echo x > f; cat f; mv f g", work, shell="bash")
    assert (got.returncode, got.stdout, got.stderr) == (0, b"x\n", b"")
    assert journal.model().told(work / "g")


def test_no_descriptor_is_kept(journal, work):
    got = journal.run("echo x > f; ls /proc/$$/fd; true", work, shell="bash")
    assert {int(n) for n in got.stdout.split()} <= {0, 1, 2, 255}


def test_full_ring_does_not_stop_the_job(journal, work):
    script = "import os\nfor i in range(30000):\n try: os.unlink('nothing')\n except OSError: pass\n" \
             "for i in range(60000): os.utime('.')\n"
    got = journal.run(["/usr/bin/python3", "-c", script], work)
    assert got.returncode == 0
    assert journal.facts()["dropped"] > 0
    assert len(journal.take()) > 20000


@pytest.mark.parametrize("round", range(3))
def test_killed_between_call_and_record(tmp_path, work, round):
    """Whatever a killed process did to a name is in the journal: drafts cover the last call."""
    journal = Journal(tmp_path / "journal", 1 << 24)
    for i in range(25):
        directory = work / str(i)
        directory.mkdir()
        child = subprocess.Popen([program("churn"), directory], env=journal.environment())
        time.sleep(random.uniform(0.002, 0.02))
        child.send_signal(signal.SIGKILL)
        child.wait()
    model = journal.model()
    for i in range(25):
        directory = work / str(i)
        present = {p.name for p in directory.iterdir()}
        for name in present:
            assert os.fsencode(directory / name) in model.hints, name
        for number in {name[:6] for name in present}:
            if f"{number}.c" in present and f"{number}.b" not in present:
                assert "unlink" in model.kinds(directory / f"{number}.b")
            if f"{number}.f" in present and f"{number}.d" not in present:
                assert "rmdir" in model.kinds(directory / f"{number}.d")


@pytest.mark.parametrize("call", ["mkstemp", "mkdtemp"])
@pytest.mark.parametrize("where", ["", "d/"])
def test_killed_inside_a_call_that_makes_up_the_name(journal, work, call, where):
    """Nobody but libc knows the name yet; its directory's entries are looked at."""
    (work / "d").mkdir()
    before = judge.snapshot(work)
    script = f"import ctypes; ctypes.CDLL(None).{call}(ctypes.create_string_buffer(b'{where}aXXXXXX'))"
    died = journal.run(["/usr/bin/python3", "-S", "-c", script], work,
                       LD_PRELOAD=f"{SHIM}:{program('libdies-inside.so')}")
    assert died.returncode == -signal.SIGKILL
    assert (work / where / "aMadeUp").exists()
    told = judge.changes(journal.directory, work)
    assert before.keys() != judge.snapshot(work).keys()
    assert [(it.path, it.facts) for it in told if it.op == "look"] == [
        (os.fsencode(work / where).rstrip(b"/"), ["delete"])]
