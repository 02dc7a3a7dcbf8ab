"""One world with a rail for all tests here; PostgreSQL where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rails.rail_world import RailWorld, make
from tests.service.conftest import postgres
from tests.service.world import free_port

__all__ = ["postgres"]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RailWorld]:
    folder = Path(tmp_path_factory.mktemp("rails"))
    made = make(folder, free_port(), "--dispute-fee", "15")
    try:
        made.launch()
        made.wait_until_ready()
        yield made
    finally:
        made.stop()
