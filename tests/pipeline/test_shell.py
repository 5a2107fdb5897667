# SPDX-License-Identifier: Apache-2.0
"""Descriptors that nobody closes: redirections, inherited files, killed and hanging writers."""
import os
import pty
import signal
import subprocess

import pytest

from rig import wait_until

SCRIPT = r"""
echo 1 > a
{ echo 2; /bin/echo 3; } > b
/bin/echo 4 >> b
( exec > c; echo 5; /bin/echo 6 )
exec 7> d; echo 7 >&7; /bin/echo 8 >&7
seq 10 | tee e > f
while read x; do echo "<$x>"; done < e > g
bash -c 'exec /bin/echo exec > h'
cat << END > i
here
END
ls nothing 2> j
/bin/echo &> k both
"""


def job(here, script, **options):
    return subprocess.Popen(["bash", "-c", script], cwd=here.source,
                            env=here.world.shim_environment(), stdin=subprocess.DEVNULL, **options)


def test_stdout_is_a_pipe(here):
    done = job(here, SCRIPT + "echo said", stdout=subprocess.PIPE)
    assert done.communicate(timeout=60)[0] == b"said\n"
    here.check()


def test_stdout_is_a_tty(here):
    ours, theirs = pty.openpty()
    try:
        assert job(here, SCRIPT, stdout=theirs, stderr=theirs).wait(60) == 0
    finally:
        os.close(ours)
        os.close(theirs)
    here.check()


def test_stdout_is_a_file_of_the_tree(here):
    """The job's own output file, opened by somebody who is not under the shim."""
    with open(f"{here.source}/log", "wb") as log:
        assert job(here, SCRIPT + "echo end", stdout=log).wait(60) == 0
    here.check()
    assert here.read("log") == b"end\n"


def test_python_exits_without_closing(here):
    here.py("""
import os
fd = os.open("a", os.O_WRONLY | os.O_CREAT)
os.write(fd, b"never closed")
os._exit(0)
""")
    here.check()
    assert here.read("a") == b"never closed"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_killed_writer(here, number):
    here.py(f"""
import os
fd = os.open("a", os.O_WRONLY | os.O_CREAT)
os.write(fd, b"before the end")
os.kill(os.getpid(), {int(number)})
""", check=False)
    here.check()
    assert here.read("a") == b"before the end"


def test_file_that_stays_open(here, world):
    """Looked at again after max_delay, and by every flush."""
    script = "exec > a; echo first; read -t 100 line < p; echo second; exec sleep 100"
    here.sh("mkfifo p")
    writer = job(here, script, start_new_session=True)
    try:
        wait_until(lambda: os.path.exists(f"{here.source}/a")
                   and os.path.getsize(f"{here.source}/a"), 30, "the writer")
        world.flush()
        assert here.read("a") == b"first\n"
        here.world.job(["bash", "-c", "echo > p"], cwd=here.source)
        wait_until(lambda: os.path.getsize(f"{here.source}/a") > 6, 30, "the second line")
        wait_until(lambda: here.holds("a", b"first\nsecond\n"), 90, "max_delay")
    finally:
        os.killpg(writer.pid, signal.SIGKILL)
        writer.wait()
    here.check()


def test_background_writer_outlives_the_job(here):
    """The job's shell is gone long before what it left in the background closes the file."""
    here.sh("(sleep 2; echo late) > a & exit 0", stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
    wait_until(lambda: here.holds("a", b"late\n"), 60, "the late line")
    here.check()


def test_inherited_by_a_child(here):
    here.py("""
import os, subprocess
with open("a", "w") as file:
    child = subprocess.Popen(["sh", "-c", "sleep 1; echo from the child"], stdout=file)
child.wait()
""")
    here.check()
    assert here.read("a") == b"from the child\n"
