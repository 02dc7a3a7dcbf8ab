"""One world for the tests that need a chain; a fresh point in it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(Path(tmp_path_factory.mktemp("world")))
    try:
        made.start_chain()
        made.deploy()
        made.start_service()
        yield made
    finally:
        made.stop()
