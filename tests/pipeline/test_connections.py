# SPDX-License-Identifier: Apache-2.0
"""Connections that have gone silent."""
import os

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
