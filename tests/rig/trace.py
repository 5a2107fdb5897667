# SPDX-License-Identifier: Apache-2.0
"""
Every message of a world's broker, one line each in a file: when, where, what.

    python3 -m rig.trace WORLD FILE       (in tests/; ends with the world)

Needs python3-pika.  What passes while the broker is away from it is not in the file.
"""
import base64
import glob
import json
import os
import sys
import time

import pika

WHAT = ("changes", "receipts", "later", "orders", "bulk")


def text_of(value):
    if isinstance(value, dict):
        return repr(base64.b64decode(value["base64"]))[1:]
    return json.dumps(value)


def line_of(exchange, body):
    message = json.loads(body)
    it = message["mirror"]
    words = [f"{time.time():.3f}", exchange]
    if "note" in it:
        return " ".join([*words, json.dumps({k: v for k, v in it.items() if k != "version"})])
    words += [it.get("status") or it["op"], it["id"], f"<-{it.get('cause', '')}",
              text_of(it["path"]), ",".join(it.get("facts", []))]
    for key in ("attempt", "pairs", "why", "moved", "live", "seen", "work", "copier", "time"):
        if key in it:
            words.append(f"{key}={json.dumps(it[key])}")
    return " ".join(words)


def exchanges(mirror, shards, pauses):
    for shard in range(shards):
        yield f"xs_{mirror}_changes{shard:02}"
        yield f"xs_{mirror}_receipts{shard:02}"
    for pause in pauses:
        yield f"xs_{mirror}_later{pause}s"
    yield from (f"xs_{mirror}_orders", f"xs_{mirror}_bulk", f"x_{mirror}_notes",
                f"x_{mirror}_control")


def listen(world, out):
    url_file, = glob.glob(f"{world}/state/treemirror/*/broker/url")
    mirror = url_file.split("/")[-3]
    with open(url_file, encoding="ascii") as file:
        parameters = pika.URLParameters(file.read().strip())
    connection = pika.BlockingConnection(parameters)
    for name in exchanges(mirror, 16, (1, 2, 4, 60)):
        channel = connection.channel()
        try:
            channel.exchange_declare(name, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            continue
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, name, "#")
        channel.basic_consume(queue, lambda _c, method, _p, body: print(
            line_of(method.exchange[method.exchange.index("_", 3) + 1:], body), file=out, flush=True),
            auto_ack=True)
        last = channel
    last.start_consuming()


def main(world, file):
    with open(file, "a", encoding="utf-8") as out:
        while os.path.isdir(world):
            try:
                listen(world, out)
            except (pika.exceptions.AMQPError, OSError, ValueError) as error:
                print(f"{time.time():.3f} -- {error!r}", file=out, flush=True)
            time.sleep(0.3)


if __name__ == "__main__":
    main(*sys.argv[1:3])
