# SPDX-License-Identifier: Apache-2.0
"""Sarracenia at the same exchanges: it can read what is posted there, and may post."""
import base64
import json
import os
import time

import pika
import pytest

from rig import wait_until

SHARDS = 2


@pytest.fixture
def channel(world):
    with open(f"{world.directory}/state/treemirror/{world.mirror}/broker/url", encoding="ascii") as it:
        connection = pika.BlockingConnection(pika.URLParameters(it.readline().strip()))
    yield connection.channel()
    connection.close()


def exchange(world, shard):
    return f"xs_{world.mirror}_changes{shard:02d}"


def subscribe(world, channel):
    queue = channel.queue_declare("", exclusive=True).method.queue
    for shard in range(SHARDS):
        channel.queue_bind(queue, exchange(world, shard), "v03.#")
    return queue


def messages(channel, queue):
    """All that is there, by the last part of relPath: (routing key, properties, message)."""
    found = {}
    for method, properties, body in channel.consume(queue, inactivity_timeout=2):
        if method is None:
            return found
        message = json.loads(body.decode("utf-8"))
        found.setdefault(message["relPath"].rpartition("/")[2], []).append(
            (method.routing_key, properties, message))


def post(world, channel, message):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    channel.basic_publish(exchange(world, 0), "v03.somewhere", body,
                          pika.BasicProperties(content_type="application/json"))


def test_changes_can_be_read(here, world, channel):
    queue = subscribe(world, channel)
    here.sh("""mkdir d; echo 1 > d/plain; echo 1 > 'a b#c%20"q'; echo 1 > $'inv\\377'
               ln -s plain d/sym; ln d/plain d/hard; mv d/hard d/name; rm d/sym""")
    world.flush()
    found = messages(channel, queue)
    rel = here.source[1:]
    topic, properties, plain = found["plain"][0]
    assert topic == "v03." + f"{rel}/d".replace("/", ".")
    assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
    assert (plain["baseUrl"], plain["relPath"]) == ("file:/", f"{rel}/d/plain")
    assert (plain["size"], plain["mode"], plain["source"]) == ("2", "644", "treemirror")
    assert time.strptime(plain["pubTime"].partition(".")[0], "%Y%m%dT%H%M%S")
    assert 'a%20b%23c%20"q' in found and "inv%FF" in found
    assert found["d"][0][2]["fileOp"] == {"directory": ""}
    assert [it["fileOp"] for _, _, it in found["sym"][:2]] == [{"link": "plain"}, {"remove": ""}]
    assert found["hard"][0][2]["fileOp"] == {"hlink": f"/{rel}/d/plain"}
    assert found["name"][0][2]["fileOp"] == {"rename": f"/{rel}/d/hard"}


def test_a_post_is_mirrored(here, world, channel):
    """What no shim has seen, told as sr3_cpost would."""
    def tell(name, **more):
        post(world, channel, {"pubTime": time.strftime("%Y%m%dT%H%M%S.25", time.gmtime()),
                              "baseUrl": "file:/", "relPath": f"{here.source[1:]}/{name}", **more})
    with open(f"{here.source}/a b#c", "w", encoding="ascii") as file:
        file.write("posted")
    os.symlink("nowhere", f"{here.source}/link")
    os.makedirs(f"{here.source}/d/e")
    tell("a%20b%23c", size="6", mode="644", identity={"method": "cod", "value": "sha512"})
    tell("link", fileOp={"link": "nowhere"})
    tell("d", fileOp={"directory": ""})
    wait_until(lambda: here.holds("a b#c", b"posted") and os.path.islink(f"{here.target}/link") and
               os.path.isdir(f"{here.target}/d/e"), 60, "what was posted")
    os.rename(f"{here.source}/a b#c", f"{here.source}/new")
    tell("new", fileOp={"rename": f"{here.source}/a b#c"})
    os.unlink(f"{here.source}/link")
    tell("link", fileOp={"remove": ""})
    wait_until(lambda: here.holds("new", b"posted") and not os.path.lexists(f"{here.target}/link")
               and not os.path.exists(f"{here.target}/a b#c"), 60, "what was posted then")
    here.check()


def test_rubbish_does_no_harm(here, world, channel):
    """It is counted; neither does the shard stop nor does status say so."""
    time_and = {"pubTime": "20261126T000000.0"}
    rubbish = [b"", b"{", b"\xff", {}, {**time_and, "baseUrl": "http://x", "relPath": "a"},
               {**time_and, "baseUrl": "file:/", "relPath": "../../etc/passwd"},
               {**time_and, "baseUrl": "file:/", "relPath": "etc/passwd"}]
    for it in rubbish:
        post(world, channel, it)
    here.sh("echo 1 > a")
    here.check()
    wait_until(lambda: world.status()["unreadable"] >= 5, 30, "the count")
    status = world.mirrorctl("status")
    assert status.stdout.startswith("IN SYNC") and "unreadable" in status.stdout, status.stdout
    assert not os.path.exists(f"{world.target}/etc")


def number(status):
    """Of messages refused because they cannot be read, and because of the path."""
    return status["unreadable"], status["totals"]["by_status"]["dropped"]


def tell_ours(world, channel, path, op="look", as_order=False, **more):
    """In our own format, as a change, or past the winnows straight to the copiers."""
    tell_ours.count += 1
    body = json.dumps({"pubTime": "20261126T000000.0", "baseUrl": "file:/", "relPath": "x", "mirror": {
        "version": 1, "id": f"00000000000000aa.{tell_ours.count}", "op": op, "facts": ["force", "deep"],
        "time": str(time.time_ns()), "path": path, **more}}).encode()
    if as_order:
        channel.basic_publish("", f"q_{world.mirror}_orders", body)
    else:
        post(world, channel, body)


tell_ours.count = 0


def test_paths_that_cannot_be(here, world, channel):
    """Refused and counted wherever they come in, and nothing is touched."""
    def bytes_of(path):
        return {"base64": base64.b64encode(path.encode()).decode()}
    source, before = world.source, number(world.status())
    here.sh("echo kept > kept")
    world.flush()
    for as_order in False, True:
        for path in (f"{source}/../target/{here.name}/kept", f"{source}/./x", f"{source}//x",
                     f"{source}/x/", "relative", "", bytes_of(f"{source}/a\0b"), f"{source}/{'n' * 256}",
                     bytes_of(f"{here.source}/.."), 7):
            tell_ours(world, channel, path, as_order=as_order)
        tell_ours(world, channel, f"{here.source}/kept", "rename", as_order,
                  pairs=[[f"{here.source}/../{here.name}/kept", f"{here.source}/kept"]])
    for path in (f"{world.directory}/elsewhere/f", f"{source}x/y", "/", f"{source}/.mirror",
                 f"{source}/.mirror-gone/x", f"{here.source}/.mirror-0123456789abcdef"):
        tell_ours(world, channel, path, "remove")
        tell_ours(world, channel, path, "remove", as_order=True)
    wait_until(lambda: number(world.status()) == (before[0] + 22, before[1] + 12), 60,
               f"22 and 12 more than {before}")
    status = world.must("status")
    assert "unreadable" in status and "refused" in status, status
    assert os.path.exists(f"{world.target}/.mirror")
    here.check()


def test_parents_that_are_symlinks(here, world, channel):
    """On either side: neither read nor written through."""
    outside = f"{world.directory}/outside"
    os.mkdir(outside)
    for name in "secret", "f", "victim":
        with open(f"{outside}/{name}", "w", encoding="ascii") as file:
            file.write("not yours")
    here.sh(f"ln -s {outside} link; mkdir -p d/e; echo 1 > d/f; echo 2 > d/e/g")
    world.flush()
    os.rename(f"{here.target}/d", f"{world.directory}/away")
    os.symlink(outside, f"{here.target}/d")
    for as_order in False, True:
        for name in "link/secret", "link/new", "d/f", "d/victim", "d/e/g", "d/e":
            tell_ours(world, channel, f"{here.source}/{name}", "write", as_order)
        tell_ours(world, channel, f"{here.source}/d/f", "rename", as_order,
                  pairs=[[f"{here.source}/link/secret", f"{here.source}/d/f"],
                         [f"{here.source}/d/victim", f"{here.source}/d/f"]])
    tell_ours(world, channel, here.source)
    wait_until(lambda: os.path.isdir(f"{here.target}/d") and not os.path.islink(f"{here.target}/d"), 60,
               "the directory to be one again")
    here.check()
    assert os.readlink(f"{here.target}/link") == outside
    assert sorted(os.listdir(outside)) == ["f", "secret", "victim"]
    for name in os.listdir(outside):
        with open(f"{outside}/{name}", encoding="ascii") as file:
            assert file.read() == "not yours"
