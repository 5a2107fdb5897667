# SPDX-License-Identifier: Apache-2.0
"""What a newer version has sent waits in the broker for a newer daemon, and status says so."""
import json

import pika
import pytest

from rig import wait_until

WORLD = {"copiers": 1, "config": {"winnow": {"shards": 1}}}
BODY = json.dumps({"relPath": "a", "mirror": {"version": 2, "anything": ["else"]}})


@pytest.fixture(name="channel")
def make_channel(world):
    with open(f"{world.directory}/state/treemirror/{world.mirror}/broker/url", encoding="ascii") as it:
        connection = pika.BlockingConnection(pika.URLParameters(it.readline().strip()))
    yield connection.channel()
    connection.close()


def send(channel, exchange, key):
    channel.basic_publish(exchange, key, BODY.encode(),
                          pika.BasicProperties(content_type="application/json", delivery_mode=2))


def told(world, stage):
    return any(stage in it and "of a newer version" in it for it in world.status()["problems"])


def take(channel, queue):
    """The message is there, as it was, for whoever can read it: here that is the test."""
    for method, _, body in channel.consume(queue, inactivity_timeout=30):
        assert method, f"nothing in {queue}: it was lost"
        channel.basic_ack(method.delivery_tag)
        if body.decode() == BODY:
            channel.cancel()
            return


def in_sync(world):
    wait_until(lambda: world.mirrorctl("status").stdout.startswith("IN SYNC"), 60, "IN SYNC")


def test_orders(here, world, channel):
    send(channel, "", f"q_{world.mirror}_orders")
    wait_until(lambda: told(world, "copier"), 60, "words about it")
    here.sh("echo 1 > a")
    here.check()  # all else goes on
    assert world.mirrorctl("status").stdout.startswith("STALLED (copier: messages of a newer")
    world.stop("copier")
    take(channel, f"q_{world.mirror}_orders")
    world.start()
    in_sync(world)


def test_changes(here, world, channel):
    """They may be owed: no flush succeeds while nobody can tell."""
    send(channel, f"xs_{world.mirror}_changes00", "v03.somewhere")
    wait_until(lambda: told(world, "winnow") or told(world, "tally"), 60, "words about it")
    here.sh("echo 1 > a")
    wait_until(lambda: here.holds("a", b"1\n"), 60, "what can be read")
    done = world.mirrorctl("flush", "--now", "--timeout", "3s")
    assert done.returncode == 75, (done.stdout, done.stderr)
    wait_until(lambda: told(world, "tally"), 60, "the tally's words")
    world.stop("winnow", "tally")
    take(channel, f"q_{world.mirror}_changes00")
    take(channel, f"q_{world.mirror}_tally")
    world.start()
    here.check()
    in_sync(world)
