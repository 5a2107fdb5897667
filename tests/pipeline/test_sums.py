# SPDX-License-Identifier: Apache-2.0
"""Every record and every change is accounted for, whoever is killed; what is lost is looked for."""
import json
import os
import shutil
import signal
import time

import pytest

from rig import World, wait_until

pytestmark = pytest.mark.slow

CONFIG = {"delay": "300ms", "max_delay": "2s", "settle": "1s", "retry": ["200ms", "500ms"]}

MIXED = """
import os, sys
outside, number = sys.argv[1], sys.argv[2]
os.makedirs(f"d{number}/e")
for i in range(120):
    name = f"d{number}/f{i % 40}"
    with open(name, "a") as file:
        file.write("x" * i)
    os.utime(name)
    os.utime(name)
    if i % 7 == 0:
        os.rename(name, f"d{number}/e/g{i}")
    if i % 11 == 0:
        os.symlink("f0", f"d{number}/s{i}")
    if i % 13 == 0:
        os.link(f"d{number}/e/g0", f"d{number}/l{i}")
        os.unlink(f"d{number}/l{i}")
    with open(f"{outside}/o{i % 5}", "a") as file:
        file.write("y")
    with open(f"d{number}/e/g0", "r+b"):
        pass
os.rename(f"d{number}/e", f"d{number}/moved")
"""


def sums(world):
    return world.status()["sums"]


def in_journal(world):
    """Records that no poster has released."""
    return len(world.must("journal", "--json").splitlines()) - 1


def in_sync(world):
    """The sums at rest: a poster tells its figures every five seconds, and when it stops."""
    world.check()
    world.stop("poster")
    def at_rest():
        now = sums(world)
        time.sleep(1)
        return now if now == sums(world) else None
    it = wait_until(at_rest, 90, "the sums to rest")
    world.start("poster")
    orders, changes, records = it["orders"], it["changes"], it["records"]
    assert it["balanced"], it
    assert records["read"] == sum(records[key] for key in ("told", "noted", "outside", "unnamed"))
    assert changes["all"] == changes["merged"] + orders["all"], it
    assert orders["open"] == 0, it
    assert orders["all"] == sum(orders[key] for key in ("done", "retry", "failed", "dropped")), it
    assert changes["all"] >= it["posted"]["made"] - it["posted"]["repeats"], it
    return it


def test_sums_close_whoever_is_killed():
    """The journal's records are counted by a reader of their own first."""
    with World(target="local", config=CONFIG) as world:
        outside = f"{world.directory}/tmp"
        before = in_sync(world)["records"]["read"]
        expected = 0
        for number, stage in enumerate(("poster", "winnow", "copier", "tally")):
            world.wait_ready()
            poster, = world.pids("poster")
            os.kill(poster, signal.SIGSTOP)
            already = in_journal(world)
            world.py(MIXED, outside, str(number))
            expected += in_journal(world) - already
            os.kill(poster, signal.SIGCONT)
            time.sleep(0.4)
            killed = {*world.kill("poster"), *world.kill(stage)}
            wait_until(lambda: not killed & {*world.pids("poster"), *world.pids(stage)} and
                       world.pids("poster") and world.pids(stage), 60, "both to be back")
        world.wait_ready()
        it = in_sync(world)
        assert it["records"]["read"] - before == expected, it
        assert min(it["records"][key] for key in ("told", "noted", "outside")) > 0, it
        assert it["changes"]["merged"] > 0, it
        text = world.mirrorctl("status").stdout
        assert "told +" in text and "of no tree" in text and "ordered" in text, text


def test_an_overflow_is_told_of_until_it_is_mended():
    with World(target="local", config={**CONFIG, "journal_size": "64KiB"}) as world:
        world.sh("mkdir d")
        world.check()
        world.stop("copier")
        poster, = world.pids("poster")
        os.kill(poster, signal.SIGSTOP)
        world.sh("for i in $(seq 3000); do echo $i > d/f$((i % 500)); done")
        dropped = json.loads(world.must("journal", "--json").splitlines()[0])["dropped"]
        assert dropped > 0
        os.kill(poster, signal.SIGCONT)
        wait_until(lambda: world.status()["mending"] and not world.status()["rescan"], 60,
                   "the rescan to be ordered")
        status = world.status()
        assert status["totals"]["lost"] == dropped, status["totals"]
        text = world.mirrorctl("status").stdout
        assert f"{dropped:,} records (a rescan looks" in text, text
        world.start()
        world.check()
        world.kill("poster")
        world.wait_ready()
        in_sync(world)
        status = world.status()
        assert not status["mending"] and status["totals"]["lost"] == dropped, "told of once"
        assert "made good" in world.mirrorctl("status").stdout


def test_a_journal_that_is_gone_is_a_loss():
    """As when a node's memory was cleared: what it still held is found by a rescan."""
    with World(target="local", config=CONFIG) as world:
        world.sh("mkdir d; echo 1 > d/a")
        world.check()
        world.stop()
        world.sh("echo 2 > d/a; echo 3 > d/b")
        shutil.rmtree(os.path.dirname(world.journal_ring()))
        world.start()
        world.check()
        in_sync(world)


# --- failed orders ------------------------------------------------------------------------------

def post_rubbish(world):
    """Into every queue that our daemons read from."""
    import pika
    with open(f"{world.directory}/state/treemirror/{world.mirror}/broker/url", encoding="ascii") as it:
        connection = pika.BlockingConnection(pika.URLParameters(it.readline().strip()))
    channel = connection.channel()
    broken = {"pubTime": "20261126T000000.0", "baseUrl": "file:/", "relPath": "a",
              "mirror": {"version": 1, "id": "no id", "op": "write", "path": "/a", "time": "1"}}
    for queue in ("changes00", "changes01", "orders", "bulk", "tally"):
        for body in b"", b"{", b"\xff\0", json.dumps(broken).encode():
            channel.basic_publish("", f"q_{world.mirror}_{queue}", body)
    connection.close()


def read_failed(world):
    return json.loads(world.must("failed", "--json"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("target", ["local", pytest.param("sftp", marks=pytest.mark.full)])
def test_poison_blocks_nobody(target):
    """Paths that cannot be mirrored and messages that cannot be read, amidst of work."""
    with World(target=target, copiers=1, config={**CONFIG, "copier": {"in_flight": 4}}) as world:
        world.sh("mkdir d; for i in $(seq 12); do echo 1 > d/bad$i; chmod 000 d/bad$i; done")
        post_rubbish(world)
        world.sh("for i in $(seq 300); do echo $i > d/good$i; done")
        wait_until(lambda: all(os.path.exists(f"{world.target}/d/good{i}") for i in range(1, 301)),
                   90, "the good ones")
        wait_until(lambda: len(read_failed(world)) == 12, 60, "the bad ones")
        failed = read_failed(world)
        assert all(it["attempts"] == 3 and "ermission" in it["why"] for it in failed), failed
        lines = world.must("failed").splitlines()
        assert len(lines) == 13, lines
        assert world.mirrorctl("status").returncode == 4
        assert world.mirrorctl("flush", "--now", "--timeout", "60s").returncode == 1
        wait_until(lambda: world.status()["unreadable"] == 16, 30, "the count of changes and orders")
        world.must("failed", "--retry")  # still in vain
        wait_until(lambda: world.status()["totals"]["by_status"]["failed"] == 24, 60, "again")
        assert len(read_failed(world)) == 12, "each once"
        world.sh("chmod 600 d/bad*")
        world.must("failed", "--retry")
        it = in_sync(world)
        assert read_failed(world) == []
        assert it["orders"]["failed"] >= 12 and it["orders"]["retry"] >= 24, it
