"""One world with a rail for all tests here; PostgreSQL where it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rails.rail_world import RailWorld, make
from tests.service.postgres import Cluster, find_binaries
from tests.service.world import free_port


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    if find_binaries() is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    cluster = Cluster()
    yield cluster
    cluster.stop()
