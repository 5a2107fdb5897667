# SPDX-License-Identifier: Apache-2.0
"""Real programs, bare and under the shim: the same output, and every change told."""

import os
import shutil
import stat
import subprocess
import time

import pytest

from conftest import program

SHELLS = ["bash", "dash"]

REDIRECTIONS = {
    "simple": "echo x > f",
    "append": "echo a > f; sleep 0.02; echo b >> f",
    "group": "{ echo a; sleep 0.05; echo b; } > f",
    "subshell": "(echo a; sleep 0.05; echo b) > f",
    "kept": "exec 3> f; echo a >&3; sleep 0.05; echo b >&3",
    "read-write": "echo 12345 > f; sleep 0.02; exec 4<> f; echo x >&4",
    "both": "ls nothing > f 2>&1; true",
    "here": "cat > f <<END\nline\nEND",
    "pipe": "echo a | cat > f",
    "background": "(sleep 0.1; echo late) > f & sleep 0.01; wait",
    "orphan": "(sleep 0.1; echo late) > f & exit 0",
    "killed": "sh -c 'echo a; sleep 0.02; echo b; kill -9 $$' > f; true",
    "builtin": "printf '%s' x > f",
    "exec": "exec sh -c 'sleep 0.05; echo x' > f",
    "function": "w() { echo in; sleep 0.05; echo out; }; w > f",
    "loop": "for i in 1 2 3; do echo $i; sleep 0.01; done > f",
    "truncate": "echo x > f; sleep 0.02; : > f",
    "nested": "{ { echo a >&3; sleep 0.05; } 3>&1; echo b; } > f",
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", REDIRECTIONS)
@pytest.mark.parametrize("stdout", ["pipe", "file"])
def test_redirections(journal, work, shell, name, stdout):
    out = open(work / "stdout", "wb") if stdout == "file" else subprocess.PIPE
    subprocess.run([shell, "-c", REDIRECTIONS[name] + "\n"], cwd=work, env=journal.environment(),
                   stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, timeout=60)
    if name == "orphan":
        time.sleep(0.3)
    model = journal.model()
    assert model.told(work / "f")
    if stdout == "file" and (work / "stdout").stat().st_size:
        assert model.told(work / "stdout")


def test_redirection_on_a_terminal(journal, work):
    script = "echo x > f; { echo a; sleep 0.02; echo b; } > g; echo c >> f"
    subprocess.run(["script", "-qec", f"bash -c '{script}'", "/dev/null"], cwd=work,
                   env=journal.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                   timeout=60, check=True)
    model = journal.model()
    assert model.told(work / "f") and model.told(work / "g")


def populate(directory):
    (directory / "src" / "deep" / "er").mkdir(parents=True)
    for i in range(40):
        (directory / "src" / f"file {i}").write_text("x" * i)
        (directory / "src" / "deep" / "er" / f"f{i}").write_text("y" * i)
    (directory / "src" / "link").symlink_to("file 1")
    os.link(directory / "src" / "file 2", directory / "src" / "hard")


PROGRAMS = {
    "mv into a directory": "mkdir t t/d; echo x > t/a; mv t/a t/d/",
    "mv a directory": "mkdir d; mv src d/; mv d/src/deep d/",
    "cp -a": "cp -a src copy",
    "rm -rf": "rm -rf src",
    "tar": "mkdir out; tar -cf - src | tar -xf - -C out",
    "tar -C with modes": "tar -cf a.tar -C src . && mkdir out && tar -xpf a.tar -C out && rm a.tar",
    "find -delete": "find src -name 'f*' -type f -delete",
    "sed -i": "echo a > f; sed -i s/a/b/ f",
    "sort -o": "printf 'b\\na\\n' > f; sort -o f f",
    "dd": "dd if=/dev/zero of=f bs=1000 count=3 2>&1 | tail -1 | cut -c1-4; "
          "dd if=/dev/zero of=f bs=1 seek=10 conv=notrunc count=1 2>/dev/null",
    "ln": "ln -s src l; ln 'src/file 3' h; ln -sf other l",
    "touch": "touch new; touch -d @1000 'src/file 4'; touch -h -d @1000 src/link",
    "chmod": "chmod -R go-rwx src",
    "install": "install -D -m 600 'src/file 5' a/b/c",
    "truncate": "truncate -s 100000 f; truncate -s 10 'src/file 30'",
    "patch": "printf 'a\\nb\\n' > f; printf -- '--- f\\n+++ f\\n@@ -1,2 +1,2 @@\\n a\\n-b\\n+c\\n' | patch f",
    "python": "python3 -c \"import os, shutil; open('f','w').write('x'); os.rename('f','g'); "
              "shutil.copytree('src','copy'); os.truncate('g', 0); "
              "fd = os.open('h', os.O_CREAT | os.O_WRONLY); os.pwrite(fd, b'abc', 5); os._exit(0)\"",
    "perl": "perl -e 'open(F, \">f\"); print F \"x\"; close F; rename \"f\", \"g\"; unlink \"src/hard\"'",
    "gzip": "gzip 'src/file 39'",
    "git": "git init -q repo && cd repo && cp -r ../src/. . && git add -A && "
           "git -c user.name=n -c user.email=e@x commit -q -m m && git status --short && "
           "git checkout -q -b other && git rm -q 'file 1' && git gc -q",
    "mkfifo": "mkfifo p; (cat p > f &) ; echo x > p; sleep 0.1",
    "make": "printf 'all: out\\nout: src\\n\\techo built > out\\n' > Makefile; make -s",
    "strange names": "mkdir 'a b' $'new\\nline' $'\\xff\\xfe' -- -dash; echo x > $'a b/\\x01\"\\\\'",
}


def snapshot(directory):
    found = {}
    for root, dirs, files in os.walk(os.fsencode(directory)):
        for name in dirs + files:
            path = os.path.join(root, name)
            st = os.lstat(path)
            found[path] = (st.st_ino, st.st_mode, st.st_size, st.st_mtime_ns, st.st_ctime_ns)
            if st.st_nlink > 1:
                found[path] = found[path][:4]  # ctime tells of other names too
            if stat.S_ISFIFO(st.st_mode):
                found[path] = found[path][:2]  # what flows through is not mirrored
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(journal, tmp_path, name):
    if not shutil.which(PROGRAMS[name].split()[0]) and name in ("patch", "git", "perl", "make"):
        pytest.skip(f"{name} is not installed")
    results = []
    for directory in (tmp_path / "bare", tmp_path / "under"):
        directory.mkdir()
        populate(directory)
        before = snapshot(directory)
        environment = journal.environment() if directory.name == "under" else {
            **os.environ, "LC_ALL": "C"}
        done = subprocess.run(["bash", "-c", PROGRAMS[name]], cwd=directory, env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60)
        results.append((done.returncode, done.stdout, done.stderr))
    assert results[0] == results[1]
    assert results[0][0] == 0 and results[0][2] == b""
    model = journal.model()
    after = snapshot(directory)
    moved = [m for m in model.hints if m not in after or "rename" in model.kinds(m)]
    for path in before.keys() | after.keys():
        old, new = before.get(path, ()), after.get(path, ())
        count = min(len(old), len(new)) or 1
        same = bool(old) and old[:count] == new[:count]
        parent_only = old and new and os.path.isdir(path)
        if same or parent_only or any(path.startswith(m + b"/") for m in moved):
            continue
        told = path in model.hints if len(new) == 2 else model.told(path)
        assert told, (path, model.kinds(path))


def test_fakeroot(journal, work):
    if not shutil.which("fakeroot"):
        pytest.skip("fakeroot is not installed")
    got = journal.run(["fakeroot", "sh", "-c", "echo x > f; chown 0:0 f; mv f g; stat -c %u g"], work)
    assert (got.returncode, got.stdout) == (0, b"0\n")
    assert journal.model().told(work / "g")


def test_what_was_learnt_is_forgotten_in_time(journal, work):
    done = journal.run([program("trust"), str(work)], work)
    assert (done.returncode, done.stderr) == (0, b"")
    model = journal.model()
    for name in ("a/chdir-1", "b/chdir-2", "a/chdir-3", "chdir-4", "a/dirfd-1", "b/dirfd-2",
                 "a/dirfd-3", "b/dirfd-4", "a/walk-1", "b/walk-2", "walk-3", "thread-0",
                 "b/thread-1", "thread-2", "d/moved-4", "unseen-2"):
        assert model.kinds(work / name)[-1:] != [] and model.told(work / name), name
    for name in ("a/dirfd-1", "b/dirfd-2", "a/dirfd-3", "b/dirfd-4", "a/walk-1", "b/walk-2"):
        assert "unlink" in model.kinds(work / name), name
    assert "rename" in model.kinds(work / "c/moved-2") and "open" in model.kinds(work / "c/moved-3")
    assert model.kinds(work / "unseen-2") == ["open", "close"], "the second one named by its close"
