# SPDX-License-Identifier: Apache-2.0
"""No rights, no space, no trust: one clear line each, nothing lost, and on it goes when mended.

Each test has a world of its own, for the trouble concerns all of it.
"""
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from rig import World, wait_until
from rig.sshd import SFTP_SERVER

pytestmark = pytest.mark.slow

RETRY = {"retry": ["1s", "1s", "2s", "2s", "2s", "2s", "2s", "2s", "2s", "2s", "2s", "2s"]}


def says(world, *words):
    """Waits until status, failed orders or logs contain a line with all the words."""
    def look():
        text = world.diagnosis()
        return any(all(re.search(word, line, re.I) for word in words) for line in text.splitlines())
    wait_until(look, 60, f"a line with {words}")


def not_in_sync(world):
    assert not world.mirrorctl("status").stdout.startswith("IN SYNC")
    assert world.mirrorctl("flush", "--now", "--timeout", "2s").returncode in (1, 75)


@pytest.mark.parametrize("transport", ["libssh2", "ssh"])
def test_login_refused_then_allowed(transport):
    with World(transport=transport, config=RETRY) as world:
        world.sh("echo 1 > before")
        world.check()
        world.sshd.authorize(False)
        world.sshd.cut()
        world.sh("echo 2 > during")
        says(world, r"127\.0\.0\.1|ssh", r"log ?in|auth|denied|refused")
        not_in_sync(world)
        world.sshd.authorize(True)
        world.check(seconds=240)


@pytest.mark.parametrize("transport", ["libssh2", "ssh"])
def test_changed_host_key(transport):
    with World(transport=transport, config=RETRY) as world:
        world.sh("echo 1 > before")
        world.check()
        key = f"{world.sshd.here}/host_key"
        shutil.copy(key, f"{key}.old")
        world.sshd.stop()
        world.sshd.new_host_key()
        world.sshd.start()
        world.sh("echo 2 > during")
        says(world, r"host key|known_hosts|verification")
        assert not os.path.exists(f"{world.target}/during"), "sent to a host nobody knows"
        not_in_sync(world)
        world.sshd.stop()
        os.replace(f"{key}.old", key)
        world.sshd.start()
        world.check(seconds=240)


def test_said_before_there_is_work():
    """A server of today that libssh2 cannot talk to: start, status and doctor name what helps."""
    with World(config=RETRY) as world:
        world.stop()
        world.sshd.stop()
        world.sshd.ciphers = "aes128-gcm@openssh.com"
        world.sshd.start()
        world.start()
        says(world, r"transport: ssh")
        assert "transport: ssh" in world.mirrorctl("doctor").stdout
        world.sshd.stop()
        world.sshd.ciphers = None
        world.sshd.start()
        world.sh("echo 1 > a")
        world.check(seconds=240)


@pytest.mark.parametrize("transport", ["libssh2", "ssh"])
def test_unknown_host_key(transport):
    """Whether at start or later: it says so, and sends nothing."""
    world = World(transport=transport, config=RETRY)
    try:
        os.rename(world.sshd.known_hosts, f"{world.sshd.known_hosts}.away")
        open(world.sshd.known_hosts, "w", encoding="ascii").close()
        done = world.mirrorctl("start")
        if done.returncode == 0:
            world.sh("echo 1 > a")
            says(world, r"host key|known_hosts")
        else:
            assert re.search(r"host key|known_hosts", done.stderr + world.logs(), re.I)
        assert os.listdir(world.target) == []
        os.replace(f"{world.sshd.known_hosts}.away", world.sshd.known_hosts)
        world.start()
        world.sh("echo 2 > b")
        world.check(seconds=240)
    finally:
        world.close()


def test_no_right_to_read_the_source():
    if os.getuid() == 0:
        pytest.skip("root may read everything")
    with World(config=RETRY) as world:
        world.sh("mkdir d; echo secret > d/a; echo open > b; chmod 000 d/a")
        says(world, r"'?d/a'?", r"permission")
        assert open(f"{world.target}/b", "rb").read() == b"open\n"
        not_in_sync(world)
        world.sh("chmod 600 d/a")
        world.check(seconds=240)


def test_no_right_to_write_the_target():
    """The server refuses to write for a while.  (A directory's mode is no obstacle to its owner.)"""
    with World(config=RETRY) as world:
        world.sh("echo 1 > a")
        world.check()
        world.sshd.use_server(f"{SFTP_SERVER} -P write")
        world.sh("echo 2 > a")
        says(world, r"permission")
        world.sshd.use_server(SFTP_SERVER)
        world.check(seconds=240)


def test_file_size_limit_at_the_target():
    """Stands for a full disk where nobody may mount one: the server cannot write past 1 MiB."""
    wrapper_text = "#!/bin/sh\nulimit -f 2048\ntrap '' XFSZ\nexec {} \"$@\"\n"
    world = World(config=RETRY)
    wrapper = f"{world.sshd.here}/small-server"
    with open(wrapper, "w", encoding="ascii") as file:
        file.write(wrapper_text.format(SFTP_SERVER))
    os.chmod(wrapper, 0o700)
    world.sshd.use_server(wrapper)
    with world:
        world.sh("head -c 5000000 /dev/urandom > big; echo small > small")
        wait_until(lambda: os.path.exists(f"{world.target}/small"), 60, "the small file")
        says(world, r"big", r"write|failure|large|space")
        assert not os.path.exists(f"{world.target}/big"), "a torn file was published"
        not_in_sync(world)
        world.sshd.use_server(SFTP_SERVER)
        world.check(seconds=240)


@pytest.mark.root
def test_target_full():
    if os.getuid() != 0:
        pytest.skip("only root may mount a small file system")
    world = World(config=RETRY)
    mount("-t", "tmpfs", "-o", "size=4m,mode=700", "none", world.target)
    try:
        world.start()
        world.sh("head -c 6000000 /dev/urandom > big")
        says(world, r"no space")
        assert not os.path.exists(f"{world.target}/big"), "a torn file was published"
        not_in_sync(world)
        mount("-o", "remount,size=64m", world.target)
        world.check(seconds=240)
    finally:
        print(world.diagnosis())
        world.stop()
        subprocess.run(["umount", "-l", world.target], check=True)
        world.close()


@pytest.mark.root
@pytest.mark.full
def test_state_directory_low_on_space():
    """The private broker takes no messages then: jobs run on, and status says why nothing moves."""
    if os.getuid() != 0:
        pytest.skip("only root may mount a small file system")
    world = World(target="local", config=RETRY)
    state = f"{world.directory}/state"
    mount("-t", "tmpfs", "-o", "size=150m,mode=700", "none", state)
    try:
        world.start()
        world.sh("echo 1 > a")
        status = world.mirrorctl("status")
        assert status.stdout.startswith("STALLED (broker: takes no messages: "), status.stdout
        doctor = world.mirrorctl("doctor")
        assert doctor.returncode == 1 and "takes no messages" in doctor.stdout, doctor.stdout
        not_in_sync(world)
        mount("-o", "remount,size=1g", state)
        world.check(seconds=240)
    finally:
        print(world.diagnosis())
        world.stop()
        subprocess.run(["umount", "-l", state], check=True)
        world.close()


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def test_target_gone():
    """The root is not there any more (unmounted): never made anew, never taken for empty."""
    with World(config=RETRY) as world:
        world.sh("echo 1 > a; mkdir d; echo 2 > d/b")
        world.check()
        os.rename(world.target, f"{world.target}-away")
        world.sh("echo 3 > c; rm a")
        says(world, r"target", r"no such|no directory|missing|not there|gone|root")
        assert not os.path.exists(world.target)
        not_in_sync(world)
        os.rename(f"{world.target}-away", world.target)
        world.check(seconds=240)


def test_marker_missing():
    """Another, empty file system under the target's name is not the target."""
    with World(config=RETRY) as world:
        world.sh("echo 1 > a")
        world.check()
        os.rename(world.target, f"{world.target}-away")
        os.mkdir(world.target)
        world.sshd.cut()
        world.sh("echo 2 > b; rm a")
        says(world, r"\.mirror\b")
        assert os.listdir(world.target) == [], "written to what is not the target"
        not_in_sync(world)
        os.rmdir(world.target)
        os.rename(f"{world.target}-away", world.target)
        world.check(seconds=240)


def test_source_gone():
    """A source that vanished never means: delete everything."""
    with World(config=RETRY) as world:
        world.sh("mkdir d; for i in $(seq 50); do echo $i > d/$i; done")
        world.check()
        os.rename(world.source, f"{world.source}-away")
        world.must("sync", "--delete", "--no-wait")
        says(world, r"source")
        assert len(os.listdir(f"{world.target}/d")) == 50
        os.mkdir(world.source)  # empty, and another directory than it was
        world.must("sync", "--delete", "--no-wait")
        assert len(os.listdir(f"{world.target}/d")) == 50
        os.rmdir(world.source)
        os.rename(f"{world.source}-away", world.source)
        world.sh("echo again > d/1")
        world.check(seconds=240)


def test_max_delete():
    """Above the limit nothing is deleted for good, and it says so; the other work goes on."""
    with World(config={**RETRY, "max_delete": 20, "keep_gone": "1s"}) as world:
        world.sh("mkdir d keep; for i in $(seq 60); do echo $i > d/$i; done; echo 1 > keep/a")
        world.check()
        world.sh("rm -r d; echo 2 > keep/b")
        world.check()
        says(world, r"max_delete")
        time.sleep(3)
        found = [name for _, _, names in os.walk(f"{world.target}/.mirror-gone") for name in names]
        assert sum(name.isdigit() for name in found) == 60, "content is gone for good"


def test_removed_entries_are_purged():
    """Below the limit, what was removed is kept for keep_gone and then deleted."""
    with World(config={**RETRY, "keep_gone": "1s"}) as world:
        world.sh("mkdir d; for i in $(seq 60); do echo $i > d/$i; done")
        world.check()
        world.sh("rm -r d")
        world.check()
        wait_until(lambda: not any(names for _, _, names in os.walk(f"{world.target}/.mirror-gone")),
                   120, "the purger")


def test_broker_with_a_wrong_password():
    """The managed broker of one world, used as a broker of its own by another."""
    with World(target="local") as host:
        url = broker_url(host)
        guest = World(target="local", config={"broker": url["public"]})
        credentials = f"{os.path.dirname(guest.config_file)}/credentials"
        try:
            write_secret(credentials, url["wrong"])
            done = guest.mirrorctl("start", seconds=150)
            assert done.returncode != 0
            assert re.search(r"password|login|refused|access", done.stderr + guest.logs(), re.I)
            assert "not-the-password" not in done.stderr + guest.logs()
            write_secret(credentials, url["right"])
            guest.start()
            guest.sh("echo 1 > a")
            guest.check(seconds=240)
            os.chmod(credentials, 0o644)
            done = guest.mirrorctl("flush", "--now")
            assert done.returncode != 0 and re.search(r"0600|mode", done.stderr), done.stderr
            os.chmod(credentials, 0o600)
        finally:
            guest.close()


MANY_CHANGES = """
import os, signal, time
ends = time.monotonic() + 8
i = 0
while time.monotonic() < ends:
    i += 1
    with open(f"f{i % 50}", "w") as file:
        file.write(str(i))
    os.rename(f"f{i % 50}", f"g{i % 40}")
    time.sleep(0.002)
print(i > 50, signal.getsignal(signal.SIGBUS) is signal.SIG_DFL)
"""


def test_the_journal_made_shorter():
    """As by a log rotation that copies and truncates: jobs live, and what they did arrives."""
    with World() as world:
        world.sh("echo 1 > before")
        world.check()
        ring = world.journal_ring()
        poster = world.pids("poster")
        job = subprocess.Popen([sys.executable, "-S", "-c", MANY_CHANGES], cwd=world.source,
                               env=world.shim_environment(), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        whole = os.path.getsize(ring)
        for size in 0, 5000, whole - 4096, whole // 20, 0:
            time.sleep(1)
            os.truncate(ring, size)
            wait_until(lambda: os.path.getsize(ring) == whole, 60, "the poster to renew it")
        out = job.communicate(timeout=120)[0]
        assert (out, job.returncode) == (b"True True\n", 0)
        world.check(seconds=240)
        assert world.pids("poster") == poster, "it goes on as the same process"


def write_secret(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
              encoding="ascii") as file:
        file.write(text + "\n")


def broker_url(world):
    """The managed broker's URL: without, with and with a wrong password."""
    found = re.findall(r"amqp://([^:@/\s]+):([^@\s]+)@([^/\s]+)(/\S*)?",
                       "\n".join(read_all(f"{world.directory}/state")))
    assert found, "no URL of the managed broker in the state directory"
    user, password, host, vhost = found[0]
    return {"public": f"amqp://{user}@{host}{vhost}",
            "right": f"amqp://{user}:{password}@{host}{vhost}",
            "wrong": f"amqp://{user}:not-the-password@{host}{vhost}"}


def read_all(directory):
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.path.getsize(path) < 65536:
                with open(path, encoding="utf-8", errors="replace") as file:
                    yield file.read()
