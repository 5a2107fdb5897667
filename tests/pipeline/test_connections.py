# SPDX-License-Identifier: Apache-2.0
"""Connections that have gone silent, and many that are made at once."""
import os
import time

import pytest

from rig import World, wait_until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("transport", ["libssh2", pytest.param("ssh", marks=pytest.mark.full)])
def test_a_silent_connection_is_given_up(transport):
    """Half-open: the relay keeps both its ends, which TCP finds alive, and passes on nothing."""
    with World(transport=transport, copiers=1, relay=True,
               config={"copier": {"keepalive": "1s"}}) as world:
        world.sh("echo 1 > a")
        world.check()
        world.sshd.relay.silence(3600)
        world.sh("echo 2 > b")
        wait_until(lambda: os.path.exists(f"{world.target}/b"), 120, "a new connection")
        world.check()


@pytest.mark.full
def test_at_most_eight_shake_hands_at_once():
    """Twelve copiers begin at the same moment, and for a while nobody answers."""
    world = World(copiers=12, relay=True)
    relay = world.sshd.relay
    relay.hold()
    with world:  # all of them are up, and each has tried to connect
        wait_until(lambda: relay.held() == 8, 60, "eight connections")
        for _ in range(20):
            time.sleep(0.1)
            assert relay.held() <= 8
        relay.release()
        world.sh("for i in $(seq 30); do echo $i > f$i; done")
        world.check()
