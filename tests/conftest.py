# SPDX-License-Identifier: Apache-2.0
"""What the pipeline tests share: one world per module, one place in it per test."""
import pytest

from rig import World


@pytest.fixture(scope="module")
def world(request):
    """A world like most: SFTP target over libssh2.  A module may set WORLD = {options}."""
    options = getattr(request, "param", None) or getattr(request.module, "WORLD", {})
    with World(**options) as it:
        yield it


@pytest.fixture
def here(world):
    return world.place()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows status and logs of the world it happened in."""
    outcome = yield
    report = outcome.get_result()
    worlds = [it for it in item.funcargs.values() if isinstance(it, World)]
    if report.failed and worlds:
        for it in worlds:
            it.failed = True
            report.sections.append(("world", _diagnosis(it)))


def _diagnosis(world):
    try:
        return world.diagnosis()
    except Exception as error:  # the test's own failure matters more
        return f"no diagnosis: {error!r}"
