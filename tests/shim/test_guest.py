# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong around it, the program runs as it does without us."""

import mmap
import os
import random
import shutil
import subprocess
import time

import pytest

from conftest import DUMP, SHIM, Journal, program

# What it prints is its own doing, so it must be the same everywhere.
JOB = "for i in 1 2 3; do echo $i > f$i; done; mv f1 g; cat g f2; rm f3; mkdir d; ls; echo $?"


def run(command, cwd, environment, shell="bash"):
    argv = [shell, "-c", command] if isinstance(command, str) else command
    done = subprocess.run(argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    return done.returncode, done.stdout, done.stderr


def assert_same(command, journal, tmp_path, shell="bash", **more):
    """Bare and under the shim, each in a fresh directory; returns what both said."""
    results = []
    for name in "bare", "under":
        directory = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        bare = {**os.environ, "LC_ALL": "C", **more}
        environment = bare if name == "bare" else journal.environment(**more)
        results.append(run(command, directory, environment, shell))
    assert results[0] == results[1]
    return results[0]


# ---- a journal that somebody damages ---------------------------------------------------------

def scribble(ring, rng, how):
    view = mmap.mmap(ring.fileno(), 0)
    for _ in range(50):
        if how == "zeros":
            view[:] = bytes(len(view))
        elif how == "header":
            at = rng.randrange(0, 512)
            view[at:at + 8] = rng.choice([bytes(8), b"\xff" * 8, rng.randbytes(8)])
        else:
            at = rng.randrange(0, len(view) - 4096)
            view[at:at + 4096] = rng.randbytes(4096)
        time.sleep(0.002)
    view.close()


@pytest.mark.parametrize("how", ["zeros", "header", "anywhere"])
def test_a_ring_scribbled_over_while_it_is_used(journal, tmp_path, how):
    rng = random.Random(how)
    script = f"for k in 1 2 3 4 5; do {{ {JOB}; }} > /dev/null; rm -r d f2 g; done; echo done"
    work = [tmp_path / name for name in ("a", "b")]
    for directory in work:
        directory.mkdir()
    running = [subprocess.Popen(["bash", "-c", script], cwd=directory, env=journal.environment(),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for directory in work]
    with open(journal.directory / "ring", "r+b") as ring:
        scribble(ring, rng, how)
    for process in running:
        assert process.communicate(timeout=60) == (b"done\n", b"")
        assert process.returncode == 0
    assert_same(JOB, journal, tmp_path)


def replace(ring):
    other = ring.with_name("other")
    other.write_bytes(ring.read_bytes())
    other.rename(ring)


CHANGES = {"removed": lambda ring: ring.unlink(), "replaced": replace,
           "grown": lambda ring: os.truncate(ring, ring.stat().st_size + 8192),
           "locked away": lambda ring: ring.parent.chmod(0),
           "read-only": lambda ring: ring.chmod(0o400)}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do it all")
@pytest.mark.parametrize("what", CHANGES)
def test_a_ring_that_changes_under_a_running_program(tmp_path, work, what):
    journal = Journal(tmp_path / "journal")
    script = "echo x > a; read go; " + JOB
    process = subprocess.Popen(["bash", "-c", script], cwd=work, env=journal.environment(),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    while not (work / "a").exists():
        time.sleep(0.01)
    time.sleep(0.05)
    try:
        CHANGES[what](journal.directory / "ring")
        out, err = process.communicate(b"go\n", timeout=60)
    finally:
        journal.directory.chmod(0o700)
    assert (process.returncode, out, err) == (0, b"1\n2\na\nd\nf2\ng\n0\n", b"")


def test_an_attached_ring_of_no_bytes_is_left_alone(tmp_path, work):
    """Truncated before the program looks at it; afterwards, docs/LIMITS.md says."""
    journal = Journal(tmp_path / "journal")
    for size in 0, 100, 4096, 70000:
        os.truncate(journal.directory / "ring", size)
        assert run("echo x > f; cat f; rm f", work, journal.environment()) == (0, b"x\n", b"")


# ---- sandboxes -------------------------------------------------------------------------------

@pytest.mark.parametrize("entry", ["prctl", "syscall"])
@pytest.mark.parametrize("how", ["strict", "narrow", "wide", "refused"])
def test_a_sandbox_kills_nobody_for_what_we_call(journal, work, how, entry):
    got = journal.run([program("sandboxed"), how, entry, str(work)], work)
    assert (got.returncode, got.stdout, got.stderr) == (0, b"", b"")
    model = journal.model()
    lost = journal.facts()["dropped"]
    assert model.told(work / "written")
    if how == "strict":
        return
    assert model.kinds(work / "removed")[-1] == "unlink"
    assert model.kinds(work / "renamed") == ["rename"]
    if how == "narrow":  # what is opened inside cannot be looked at: told, and said to be lost
        assert model.kinds(work / "opened")[0] == "close" and lost == 1
    else:
        assert model.kinds(work / "opened")[0] == "open" and lost == 0
        assert model.told(work / "renamed")


@pytest.mark.parametrize("more", [{}, {"SLURM_JOB_ID": "4711"}])
@pytest.mark.parametrize("entry", ["prctl", "syscall"])
@pytest.mark.parametrize("how", ["exec", "fork", "spawn"])
def test_a_sandbox_kills_no_heirs_either(journal, work, how, entry, more):
    """What is run inside has a shim that calls nothing; that it is not seen is told."""
    got = journal.run([program("sandboxed"), how, entry, str(work)], work, **more)
    assert (got.returncode, got.stdout, got.stderr) == (0, b"", b"")
    assert sorted(os.listdir(work)) == ["renamed", "written"]
    unseen = [r for r in journal.take() if r["kind"] == "unseen"]
    assert [os.path.basename(r["path"]) for r in unseen] == ["sandboxed"]
    assert unseen[0]["dir"] == str(work)


def test_who_looks_at_the_environment_sees_what_it_was_given(journal, work):
    """Outside of sandboxes nothing is written over."""
    got = journal.run("tr '\\0' '\\n' < /proc/$$/environ | grep MIRROR_JOURNAL", work, shell="bash")
    assert got.stdout.decode() == f"MIRROR_JOURNAL={journal.directory}\n"


# ---- limits ----------------------------------------------------------------------------------

ALL_USED = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    pass
os.mkdir("made")
os.rename("made", "moved")
for fd in held:
    os.fstat(fd)
os.fstat(0)
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("no child", len(held))
"""


def test_all_descriptors_used_before_the_first_change(journal, work):
    got = run(["/usr/bin/python3", "-c", ALL_USED], work, journal.environment())
    assert (got[0], got[2]) == (0, b"") and got[1].startswith(b"no child")
    assert journal.model().kinds(work / "moved") == ["rename"]


LIMITS = {"memory": "ulimit -v 60000", "file size": "ulimit -f 4", 
          "descriptors": "ulimit -n 8", "stack": "ulimit -s 128", "locked": "ulimit -l 0",
          "processes": "ulimit -u 2000"}


@pytest.mark.parametrize("limit", LIMITS)
def test_limits(tmp_path, limit):
    journal = Journal(tmp_path / "journal", 1 << 26)  # larger than the memory it may have
    code, out, err = assert_same(f"{LIMITS[limit]}; {JOB}", journal, tmp_path)
    assert code == 0
    told = any(path.endswith(b"/g") for path in journal.model().hints)
    assert told == (limit != "memory")


# ---- worlds that lack something --------------------------------------------------------------

def user_namespace():
    return subprocess.run(["unshare", "-rm", "true"], stderr=subprocess.DEVNULL).returncode == 0


needs_namespace = pytest.mark.skipif(not user_namespace(), reason="no user namespaces here")


def inside(setup, job=JOB):
    return ["unshare", "-rm", "bash", "-c", f"{setup} && {{ {job}; }}"]


@needs_namespace
def test_no_proc(journal, tmp_path):
    """Names that only /proc knows are counted as lost; the program does not notice."""
    hidden = inside("mount -t tmpfs none /proc", JOB + "; cd d; python3 -c \"import os; "
                    "d = os.open('.', os.O_RDONLY); os.mkdir('in', dir_fd=d); print(os.listdir())\"")
    code, out, err = assert_same(hidden, journal, tmp_path)
    assert (code, err) == (0, b"") and b"['in']" in out
    facts = journal.facts()
    assert facts["dropped"] > 0
    assert any(path.endswith(b"/g") for path in journal.model().hints)


@needs_namespace
def test_the_journals_file_system_is_full(tmp_path, work):
    place, there = tmp_path / "full", tmp_path / "dump"
    place.mkdir()
    setup = (f"mount -t tmpfs -o size=3m none {place} && {DUMP} make {place}/journal 1048576 && "
             f"{{ dd if=/dev/zero of={place}/rest bs=4k 2>/dev/null; true; }}")
    command = inside(setup, f"(export LD_PRELOAD={SHIM} "
                     f"MIRROR_JOURNAL={place}/journal; {JOB}); {DUMP} take {place}/journal >{there}")
    code, out, err = run(command, work, {**os.environ, "LC_ALL": "C"})
    bare = run(inside("true"), (tmp_path / "bare").mkdir() or tmp_path / "bare",
               {**os.environ, "LC_ALL": "C"})
    assert (code, out, err) == bare
    assert b'"rename"' in there.read_bytes()


# ---- company ---------------------------------------------------------------------------------

COMPANY = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4",
           "eatmydata": "libeatmydata.so", "faketime": "faketime/libfaketime.so.1",
           "proxychains": "libproxychains.so.4"}
BUSY = JOB + ("; python3 -c \"import os, tempfile, threading\n"
              "def work(k):\n"
              "  for i in range(30):\n"
              "    n = f'{k}-{i}'; open(n, 'w').write('x' * 5000); os.rename(n, n + 'r')\n"
              "all = [threading.Thread(target=work, args=(k,)) for k in range(4)]\n"
              "[t.start() for t in all]; [t.join() for t in all]\n"
              "print(len(os.listdir()), tempfile.mkstemp()[0] > 2)\"")


def library(name):
    for place in "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib":
        if os.path.exists(f"{place}/{name}"):
            return f"{place}/{name}"
    return pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("order", ["before", "behind"])
@pytest.mark.parametrize("name", COMPANY)
def test_other_preloads(tmp_path, name, order):
    journal = Journal(tmp_path / "journal", 1 << 20)
    other, results = library(COMPANY[name]), []
    both = f"{SHIM}:{other}" if order == "before" else f"{other}:{SHIM}"
    for kind, preload in ("bare", other), ("under", both):
        directory = tmp_path / kind
        directory.mkdir()
        environment = journal.environment(LD_PRELOAD=preload, FAKETIME="+1d", TMPDIR=str(directory),
                                          PROXYCHAINS_QUIET_MODE="1")
        results.append(run(BUSY, directory, environment))
    assert results[0] == results[1] and results[0][0] == 0
    model = journal.model()
    for path in (tmp_path / "under").iterdir():
        # faketime's clock is not ours, and its files' times are
        assert os.fsencode(path) in model.hints if name == "faketime" else model.told(path), path


@pytest.mark.parametrize("order", ["before", "behind"])
def test_fakeroot_in_both_orders(journal, tmp_path, order):
    if not shutil.which("fakeroot"):
        pytest.skip("fakeroot is not installed")
    job = "mkdir d; chown 0:0 d; echo x > d/f; chown 1:2 d/f; mv d e; stat -c '%u:%g %n' e/f; rm -r e"
    bare, under = tmp_path / "bare", tmp_path / "under"
    bare.mkdir(), under.mkdir()
    expected = run(["fakeroot", "sh", "-c", job], bare, {**os.environ, "LC_ALL": "C"})
    if order == "before":  # fakeroot puts itself in front of what is there
        got = run(["fakeroot", "sh", "-c", job], under, journal.environment())
    else:
        inner = f"LD_PRELOAD={SHIM}:$LD_PRELOAD MIRROR_JOURNAL={journal.directory} sh -c \"{job}\""
        got = run(["fakeroot", "sh", "-c", inner], under, {**os.environ, "LC_ALL": "C"})
    assert got == expected and got[:2] == (0, b"1:2 e/f\n")
    assert journal.model().kinds(under / "e") == ["rename", "rmdir"]


FAULTY = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	char *p = malloc(10 + argc);
	FILE *f = fopen("made", "w");
	fputs("hello", f);
	fclose(f);
	rename("made", "moved");
	free(p);
	return argc > 1 ? p[argc] : puts("fine") < 0;
}
"""


@pytest.mark.parametrize("sanitizer", ["address", "thread", "undefined", "address,undefined"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_sanitized_programs(journal, work, compiler, sanitizer):
    """They start, they do what they do, and address sanitizers find what they should."""
    source, built = work / "faulty.c", work / "faulty"
    source.write_text(FAULTY)
    if not shutil.which(compiler) or subprocess.run(
            [compiler, "-g", f"-fsanitize={sanitizer}", "-o", built, source],
            stderr=subprocess.DEVNULL).returncode:
        pytest.skip(f"{compiler} -fsanitize={sanitizer} does not work here")
    clean = {key: value for key, value in os.environ.items() if not key.endswith("SAN_OPTIONS")}
    environment = {**clean, "LD_PRELOAD": str(SHIM), "MIRROR_JOURNAL": str(journal.directory)}
    assert run([built], work, environment) == (0, b"fine\n", b"")
    assert journal.model().told(work / "moved")
    if "address" in sanitizer:
        code, out, err = run([built, "x"], work, environment)
        assert code != 0 and b"heap-use-after-free" in err
