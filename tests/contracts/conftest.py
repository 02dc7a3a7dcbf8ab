"""One deployed world a run; every test starts from the same snapshot of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.support import World
from tests.contracts.task_support import TaskWorld


@pytest.fixture(scope="session")
def _deployed() -> World:
    return World()


@pytest.fixture
def world(_deployed: World) -> Iterator[World]:
    snapshot = _deployed.tester.take_snapshot()
    yield _deployed
    _deployed.tester.revert_to_snapshot(snapshot)


@pytest.fixture(scope="session")
def _with_tasks() -> TaskWorld:
    return TaskWorld(World())  # a chain of its own, so that the others' block times stay as they are


@pytest.fixture
def tasks(_with_tasks: TaskWorld) -> Iterator[TaskWorld]:
    tester = _with_tasks.world.tester
    snapshot = tester.take_snapshot()
    yield _with_tasks
    tester.revert_to_snapshot(snapshot)
