# SPDX-License-Identifier: Apache-2.0
"""Of a large file only what changed is sent, as the receipts count it."""
import pytest

pytestmark = pytest.mark.slow


def moved(world):
    """Bytes moved and saved so far."""
    work = world.status()["totals"]["work"]
    return work["bytes"], work["bytes_saved"]


@pytest.mark.parametrize("mebibytes", [80, pytest.param(2048, marks=pytest.mark.full)])
def test_append_and_overwrite(here, world, mebibytes):
    here.sh(f"head -c {mebibytes}M /dev/urandom > a", seconds=300)
    here.check(seconds=600)
    before = moved(world)
    here.sh("head -c 1024 /dev/urandom >> a")
    here.check(seconds=600)
    after = moved(world)
    assert after[0] - before[0] < 100_000, "appending 1 KiB moves kilobytes"
    assert after[1] - before[1] >= mebibytes << 20
    here.sh("head -c 4096 /dev/urandom | dd of=a bs=4096 seek=1000 conv=notrunc status=none")
    here.check(seconds=600)
    assert moved(world)[0] - after[0] < 300_000, "overwriting 4 KiB moves kilobytes"
