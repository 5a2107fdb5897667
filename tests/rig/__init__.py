# SPDX-License-Identifier: Apache-2.0
"""The rig: whole worlds on loopback, each in a directory of its own.

    with World() as world:
        world.sh("echo 1 > a")
        world.check()

World (world.py) has source and target tree, config, sshd and the managed broker; compare.py tells
how two trees differ without any code of the product; process.py finds and ends what a world
started, by pid.
"""
from .compare import differences, snapshot
from .process import wait_until
from .world import BUILD, World

__all__ = ["BUILD", "World", "differences", "snapshot", "wait_until"]
