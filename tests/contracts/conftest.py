"""One deployed world a run; every test starts from the same snapshot of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.support import World


@pytest.fixture(scope="session")
def _deployed() -> World:
    return World()


@pytest.fixture
def world(_deployed: World) -> Iterator[World]:
    snapshot = _deployed.tester.take_snapshot()
    yield _deployed
    _deployed.tester.revert_to_snapshot(snapshot)
